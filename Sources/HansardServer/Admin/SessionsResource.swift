import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/sessions` and `/v1/admin/tenants/{tenant_id}/sessions`: who is connected, how sessions ended, and their end by
/// an operator.
struct SessionsResource: Sendable {
    static let path = "/v1/admin/sessions"
    static let tenantPath = TenantsResource.path + "/{tenant_id}/sessions"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.tenantPath + "/{session_id}"
        return [
            AdminRoute("GET", Self.path, .readers, listAll),
            AdminRoute("GET", Self.path + "/{session_id}", .readers, getAny),
            AdminRoute("GET", Self.tenantPath, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("POST", one + "/terminate", .operators, idempotency: .optional, terminate),
        ]
    }

    // MARK: Whosesoever

    private func listAll(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(
            call, list: "sessions", filters: SessionFilter.parameters.union(["tenant_id"]), secrets: admin.secrets)
        let tenant = try call.tenantParameter()
        let sessions = admin.sessions(tenant.map(SessionReach.tenant) ?? .tenants(call.caller.tenants))
        return try await sessions.list(call.match, page, secret: admin.secrets[0])
    }

    private func getAny(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        return try await admin.sessions(.tenants(call.caller.tenants)).get(call.session)
    }

    // MARK: One tenant's

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(
            call, list: "tenant sessions", filters: SessionFilter.parameters, secrets: admin.secrets)
        let tenant = try call.tenant
        _ = try await admin.read { try await $0.tenant(tenant) }
        return try await admin.sessions(.tenant(tenant)).list(call.match, page, secret: admin.secrets[0])
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let tenant = try call.tenant
        try requireTenant(tenant)
        return try await admin.sessions(.tenant(tenant)).get(call.session)
    }

    /// Throws `.notFound` if the tenant was deleted: its sessions are not found by their ids either. As far as this node knows,
    /// since who is connected can be seen while Postgres is away.
    private func requireTenant(_ tenant: TenantID) throws(HansardError) {
        guard admin.access.snapshot?.tenant(tenant) != nil else { throw AdminCall.nothingHere }
    }

    private func terminate(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        try call.body().end()
        let (tenant, id) = (try call.tenant, try call.session)
        try requireTenant(tenant)
        let lease = try await admin.sessions(.tenant(tenant)).live(id)
        return try await admin.transactions.run(call, "session.terminate") { connection in
            try await connection.give(.terminate(id), of: tenant, id: UUID(), at: call.now)
            var text = JSONText()
            text.object { lease.write(into: &$0) }
            return AdminAnswer(status: 202, body: text.bytes, target: .init("session", id.description), tenant: tenant)
        }
    }
}

extension AdminServices {
    /// The sessions within an operator's reach.
    fileprivate func sessions(_ reach: SessionReach) -> ReachableSessions {
        ReachableSessions(
            reach: reach, connections: connections, history: history, transcripts: TranscriptsResource.path,
            absence: AdminCall.nothingHere)
    }
}
