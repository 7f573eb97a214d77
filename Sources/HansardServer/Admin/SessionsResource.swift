import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants/{tenant_id}/sessions`: who is connected, how sessions ended, and their end by an operator.
struct SessionsResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/sessions"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{session_id}"
        return [
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("POST", one + "/terminate", .operators, idempotency: .optional, terminate),
        ]
    }

    /// Those that hold a slot now, oldest first: at most as many as the tenant may have.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let tenant = try call.tenant
        _ = try await admin.read { try await $0.tenant(tenant) }
        let leases = try await admin.connections.leases(of: tenant)
        return .json { text in
            text.array("data") { text in
                for lease in leases { text.object { lease.write(into: &$0) } }
            }
            text.field("has_more", false)
            text.field("next_cursor", orNull: String?.none)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let (tenant, id) = (try call.tenant, try call.session)
        if let status = try await admin.connections.status(of: id), status.tenant == tenant {
            return .json { status.write(into: &$0) }
        }
        guard let lease = try await lease(id, of: tenant) else { throw AdminCall.nothingHere }
        return .json { lease.write(into: &$0) }
    }

    private func terminate(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        try call.body().end()
        let (tenant, id) = (try call.tenant, try call.session)
        guard let lease = try await lease(id, of: tenant) else {
            if let status = try await admin.connections.status(of: id), status.tenant == tenant {
                throw HansardError(.conflict, "the session has ended: it is \(status.state.rawValue)")
            }
            throw AdminCall.nothingHere
        }
        return try await admin.transactions.run(call, "session.terminate") { connection in
            try await connection.give(.terminate(id), of: tenant, id: UUID(), at: call.now)
            var text = JSONText()
            text.object { lease.write(into: &$0) }
            return AdminAnswer(status: 202, body: text.bytes, target: .init("session", id.description), tenant: tenant)
        }
    }

    private func lease(_ id: SessionID, of tenant: TenantID) async throws -> Lease? {
        try await admin.connections.leases(of: tenant).first { $0.session == id }
    }
}

extension AdminCall {
    /// The session in the path.
    fileprivate var session: SessionID {
        get throws(HansardError) {
            guard let id = SessionID(try segment("session_id")) else { throw Self.nothingHere }
            return id
        }
    }
}

extension Lease {
    func write(into text: inout JSONText) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", SessionState.active.rawValue)
        text.field("node", holder.node)
        text.field("region", region)
        text.field("started_at", Timestamp.format(claimedAt))
        text.field("ended_at", orNull: String?.none)
        // As far as the store knows, which is told each minute of audio.
        text.field("audio_ms", Int(usedMilliseconds))
    }
}

extension SessionStatus {
    func write(into text: inout JSONText) {
        text.field("id", session.description)
        text.field("tenant_id", tenant.description)
        text.field("key_id", key.rawValue)
        text.field("state", state.rawValue)
        text.field("reason", reason)
        text.field("region", region)
        text.field("started_at", Timestamp.format(startedAt))
        text.field("ended_at", Timestamp.format(endedAt))
        text.field("audio_ms", Int(audioMilliseconds))
        text.field("finals", finals)
    }
}
