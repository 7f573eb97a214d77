import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/usage-sources`: the lives of nodes that make usage records, and up to when these are all in the ledger. A month is
/// closed when all of them have brought what is of it.
struct UsageSourcesResource: Sendable {
    static let path = "/v1/admin/usage-sources"
    /// One that has said something more recently is at work, and not lost.
    static let silence: TimeInterval = 60

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("POST", Self.path + "/{node}/{epoch}/retire", .billers, idempotency: .optional, retire),
        ]
    }

    /// Those that may still bring something first, the farthest behind at the beginning; then those that are over, the last first.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see usage sources")
        try call.requireQuery(only: [])
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                (SELECT * FROM usage_sources WHERE finished_at IS NULL AND retired_at IS NULL
                ORDER BY complete_through, node, epoch)
                UNION ALL
                (SELECT * FROM usage_sources WHERE finished_at IS NOT NULL OR retired_at IS NOT NULL
                ORDER BY complete_through DESC, node, epoch LIMIT \(PageRequest.sizes.upperBound))
                """)
        }
        return .list(try rows.map(UsageSource.init(row:))) { source, text in source.write(into: &text) }
    }

    /// Gives up what a source may still have. If it comes after all it is late usage, and billed as that.
    private func retire(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "retire usage sources")
        try call.requireQuery(only: [])
        let node = try call.segment("node")
        guard let epoch = UUID(uuidString: try call.segment("epoch")) else { throw AdminCall.nothingHere }
        var body = try call.body()
        let reason = try body.required("reason") { try $0.reason() }
        try body.end()
        return try await admin.transactions.run(call, "usage_source.retire") { connection in
            let rows = try await connection.query(
                "SELECT * FROM usage_sources WHERE node = \(node) AND epoch = \(epoch) FOR UPDATE")
            guard let before = try rows.first.map(UsageSource.init(row:)) else { throw AdminCall.nothingHere }
            try before.requireLost(at: call.now)
            var source = before
            (source.retiredAt, source.retiredBecause) = (call.now, reason)
            try await connection.execute(
                """
                UPDATE usage_sources SET retired_at = \(call.now), retired_because = \(reason)
                WHERE node = \(node) AND epoch = \(epoch)
                """)
            // What its sessions' leases told counts from now on, as far as their records are not here.
            try await connection.query("SELECT count_reaped_usage(\(node), \(epoch))")
            return AdminAnswer(
                body: source.json, target: .init("usage_source", source.epoch.description), before: before.json,
                after: source.json)
        }
    }
}

extension UsageSource {
    /// Throws `.conflict` if there is nothing to give up.
    fileprivate func requireLost(at now: Date) throws(HansardError) {
        if let finishedAt {
            throw HansardError(
                .conflict,
                "it ended, with all its usage here, at \(Timestamp.format(finishedAt)): there is nothing to retire")
        }
        if let retiredAt {
            throw HansardError(.conflict, "it was retired at \(Timestamp.format(retiredAt))")
        }
        guard completeThrough <= now - UsageSourcesResource.silence else {
            throw HansardError(
                .conflict,
                "it brought its usage up to \(Timestamp.format(completeThrough)): a node that is at work is not lost")
        }
    }

    fileprivate var json: [UInt8] {
        var text = JSONText()
        text.object { write(into: &$0) }
        return text.bytes
    }

    fileprivate func write(into text: inout JSONText) {
        let state = retiredAt != nil ? "retired" : finishedAt != nil ? "finished" : "active"
        text.field("node", epoch.node)
        text.field("epoch", epoch.epoch.uuidString.lowercased())
        text.field("state", state)
        text.field("registered_at", Timestamp.format(registeredAt))
        text.field("complete_through", Timestamp.format(completeThrough))
        text.field("finished_at", orNull: finishedAt.map(Timestamp.format))
        text.field("retired_at", orNull: retiredAt.map(Timestamp.format))
        text.field("reason", orNull: retiredBecause)
    }
}
