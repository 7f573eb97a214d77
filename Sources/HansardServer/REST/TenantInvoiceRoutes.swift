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
        let one = Self.path + "/{period}"
        return [
            Route("GET", Self.path, list), Route("GET", one, get),
            Route("GET", one + LineSessionsAnswer.path, sessions),
        ]
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

    /// The sessions of a line of an invoice that is made. Which line it is and what it is billed by is for operators to see.
    private func sessions(_ match: Route.Match) async throws -> HTTPResponse {
        let tenant = try tenant(match)
        let answer = try LineSessionsAnswer(match, of: tenant, secrets: secrets)
        let line = try await pool.asOperator(isolation: .repeatableReadOnly) {
            try await answer.line(on: $0, mayPreview: false)
        }
        guard let line else { throw Self.absence }
        let page = try await LineSessionsAnswer.mappingFaults {
            try await pool.asTenant(tenant) { try await $0.sessions(of: line, after: answer.after, answer.limit) }
        }
        return answer.response(line, page)
    }
}
