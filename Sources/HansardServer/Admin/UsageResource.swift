import FoundationEssentials
import Hansard
import Web

/// `/v1/admin/tenants/{tenant_id}/usage`: what a tenant used, by time and by session.
struct UsageResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/usage"

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("GET", Self.path, .readers) { call in
                try await admin.usage.report(call.match, of: try await tenant(call), now: call.now)
            },
            AdminRoute("GET", Self.path + "/sessions", .readers) { call in
                try await admin.usage.sessions(call.match, of: try await tenant(call), now: call.now)
            },
        ]
    }

    /// Throws `.notFound` if there is no such tenant, or if it was deleted.
    private func tenant(_ call: AdminCall) async throws -> TenantID {
        let tenant = try call.tenant
        return try await admin.read { try await $0.tenant(tenant) }.id
    }
}
