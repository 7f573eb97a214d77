import FoundationEssentials
import Hansard
import Postgres
import Web

/// The tenant's own plane: its invoices, as they are stored. They are read under the policy that binds the tenant.
struct TenantInvoiceRoutes: Sendable {
    static let path = "/v1/invoices"
    private static let absence = HansardError(.notFound, "there is no such invoice")

    let authenticator: Authenticator
    let pool: ConnectionPool
    /// MAC keys of cursors: the first signs, all are accepted.
    let secrets: [[UInt8]]
    let reader: BillingReader

    var routes: [Route] {
        [Route("GET", Self.path, list), Route("GET", Self.path + "/{period}", get)]
    }

    private func tenant(_ match: Route.Match) throws -> TenantID {
        let caller = try authenticator.caller(of: match)
        try caller.require(.usageRead)
        return caller.tenant.id
    }

    private func list(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try tenant(match)
        try match.requireQuery(only: PageRequest.parameters)
        let page = try PageRequest(match, list: "own invoices", secrets: secrets)
        let found = try await pool.asTenant(tenant) { try await $0.invoices(of: tenant, page) }
        return page.response(found, match, secret: secrets[0], cursor: \.cursor) { $0.write(into: &$1) }
    }

    private func get(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try tenant(match)
        try match.requireQuery(only: ["format"])
        let form = try match.choice("format", BillingForm.self) ?? .json
        guard let period = match.segments["period"].flatMap(QuotaPeriod.init),
            let billed = try await pool.asTenant(tenant, { try await $0.billedTenant(tenant, for: period) })
        else { throw Self.absence }
        return .invoice(billed, as: form, for: reader)
    }
}
