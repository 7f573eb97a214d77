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
        return try await sessions(of: tenant).list()
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        return try await sessions(of: call.tenant).get(call.session)
    }

    private func terminate(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        try call.body().end()
        let (tenant, id) = (try call.tenant, try call.session)
        let lease = try await sessions(of: tenant).live(id)
        return try await admin.transactions.run(call, "session.terminate") { connection in
            try await connection.give(.terminate(id), of: tenant, id: UUID(), at: call.now)
            var text = JSONText()
            text.object { lease.write(into: &$0) }
            return AdminAnswer(status: 202, body: text.bytes, target: .init("session", id.description), tenant: tenant)
        }
    }

    private func sessions(of tenant: TenantID) -> TenantSessions {
        TenantSessions(tenant: tenant, connections: admin.connections, absence: AdminCall.nothingHere)
    }
}
