import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/nodes`: the processes that serve.
struct NodesResource: Sendable {
    static let path = "/v1/admin/nodes"

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("GET", Self.path, .watchers, list),
            AdminRoute("GET", Self.path + "/{node}", .watchers, get),
            AdminRoute("POST", Self.path + "/{node}/drain", .operators, idempotency: .optional) {
                try await command("drain", $0) { .drain($0) }
            },
            AdminRoute("POST", Self.path + "/{node}/undrain", .operators, idempotency: .optional) {
                try await command("undrain", $0) { .undrain($0) }
            },
        ]
    }

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see nodes")
        try call.requireQuery(only: [])
        var found: [(node: NodeRecord, sessions: Int)] = []
        for node in try await admin.connections.nodes() {
            let use = try await admin.connections.sessions(heldBy: node.epoch)
            found.append((node, use.values.reduce(0, +)))
        }
        return .list(found) { item, text in item.node.write(into: &text, sessions: item.sessions) }
    }

    /// One node with what it has of each tenant. A life of it that is over may still hold some until peers have freed them; the
    /// last that registered is the one that serves.
    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see nodes")
        try call.requireQuery(only: [])
        let name = try call.segment("node")
        guard let node = try await admin.connections.nodes().last(where: { $0.epoch.node == name }) else {
            throw AdminCall.nothingHere
        }
        let use = try await admin.connections.sessions(heldBy: node.epoch)
        // The most first; of the same, in the order of their ids, so that two answers can be compared.
        let tenants = use.sorted { ($1.value, $0.key.description) < ($0.value, $1.key.description) }
        return .json { text in
            node.write(into: &text, sessions: use.values.reduce(0, +))
            text.array("tenants") { text in
                for (tenant, sessions) in tenants {
                    text.object { text in
                        text.field("tenant_id", tenant.description)
                        text.field("sessions", sessions)
                    }
                }
            }
        }
    }

    /// The node hears of it by the feed, wherever it is.
    private func command(
        _ name: String, _ call: AdminCall, _ command: @Sendable (String) -> NodeCommand
    ) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see nodes")
        try call.requireQuery(only: [])
        try call.body().end()
        let node = try call.segment("node")
        if let replayed = try await admin.transactions.replayed(call) { return replayed }
        guard try await admin.connections.nodes().contains(where: { $0.epoch.node == node }) else {
            throw AdminCall.nothingHere
        }
        let given = command(node)
        return try await admin.transactions.run(call, "node.\(name)") { connection in
            try await connection.give(given, of: nil, id: UUID(), at: call.now)
            var text = JSONText()
            text.object { text in
                text.field("name", node)
                text.field("command", name)
            }
            return AdminAnswer(status: 202, body: text.bytes, target: .init("node", node))
        }
    }
}

extension NodeRecord {
    fileprivate func write(into text: inout JSONText, sessions: Int) {
        text.field("name", epoch.node)
        text.field("epoch", epoch.epoch.uuidString.lowercased())
        text.field("address", address)
        text.field("region", region)
        text.field("version", version)
        text.field("is_draining", isDraining)
        text.field("sessions", sessions)
    }
}
