import Crypto
import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/invoices` and `/v1/admin/tenants/{tenant_id}/invoices`: what was billed, and what would be. An invoice is answered as
/// it is stored, byte for byte, with its hash.
struct InvoicesResource: Sendable {
    static let path = "/v1/admin/invoices"
    static let tenantPath = TenantsResource.path + "/{tenant_id}/invoices"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.tenantPath + "/{period}"
        return [
            AdminRoute("GET", Self.path, .readers, listAll),
            AdminRoute("GET", Self.tenantPath, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("GET", one + "/preview", .readers, preview),
            AdminRoute("GET", one + LineSessionsAnswer.path, .readers, sessions),
        ]
    }

    /// Those of all tenants that the caller may know of, by their numbers, the last first.
    private func listAll(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(call, list: "invoices", filters: ["period"], secrets: admin.secrets)
        let period = try call.query("period").map { text throws(HansardError) in
            try JSONField(value: .string(text), pointer: "period").billedMonth().description
        }
        let (reach, last) = (call.caller.tenants?.map(\.rawValue), page.after.flatMap { Int64($0.id) })
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT tenant_id, period, number, currency, total::text AS total, plan_id, version, data_as_of, created_at, sha256
                FROM invoices
                WHERE (\(reach)::uuid[] IS NULL OR tenant_id = ANY(\(reach)::uuid[]))
                    AND (\(period)::text IS NULL OR period = \(period)) AND (\(last)::bigint IS NULL OR number < \(last))
                ORDER BY number DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(InvoiceRecord.init(row:)), call, secret: admin.secrets[0]) { invoice in
            Cursor(time: invoice.createdAt, id: "\(invoice.number)")
        } write: {
            $0.write(into: &$1)
        }
    }

    /// A tenant's, the latest month first. A tenant that was deleted has them still.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        let page = try PageRequest(call, list: "invoices \(tenant)", secrets: admin.secrets)
        let found = try await admin.read { connection in
            try await connection.requireKnown(tenant)
            return try await connection.invoices(of: tenant, page)
        }
        return page.response(found, call, secret: admin.secrets[0], cursor: \.cursor) { $0.write(into: &$1) }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: ["format"])
        let form = try call.match.choice("format", BillingForm.self) ?? .json
        let (tenant, period) = (try call.tenant, try call.period)
        let billed = try await admin.read { try await $0.billedTenant(tenant, for: period) }
        guard let billed else { throw AdminCall.nothingHere }
        return .invoice(billed, as: form, for: admin.reader)
    }

    /// What the invoice would be if the month were closed now.
    private func preview(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: ["format"])
        let form = try call.match.choice("format", BillingForm.self) ?? .json
        let (tenant, period) = (try call.tenant, try call.period)
        let draft = try await admin.read { connection -> BilledTenant? in
            try await connection.requireKnown(tenant)
            guard try await connection.billedTenant(tenant, for: period) == nil else {
                throw HansardError(
                    .conflict,
                    "the invoice of \(period) is made and final: late usage of it is in the preview of a later month")
            }
            // Another's month must look as if it were none.
            guard try await connection.billingPeriod(period).state != .closed else { return nil }
            return try await connection.drafted(tenant, for: period)
        }
        guard let draft else { throw AdminCall.nothingHere }
        return .invoice(draft, as: form, for: admin.reader)
    }

    /// The sessions of a line, of an invoice that is made or of one as it would be.
    private func sessions(_ call: AdminCall) async throws -> HTTPResponse {
        let answer = try LineSessionsAnswer(call.match, of: try call.tenant, secrets: admin.secrets)
        let found = try await LineSessionsAnswer.mappingFaults {
            try await admin.read { connection -> (InvoicedLine, LinePage)? in
                guard let line = try await answer.line(on: connection, mayPreview: true) else { return nil }
                return (line, try await connection.sessions(of: line, after: answer.after, answer.limit))
            }
        }
        guard let found else { throw AdminCall.nothingHere }
        return answer.response(found.0, found.1)
    }
}

extension InvoiceRecord {
    var cursor: Cursor { Cursor(time: createdAt, id: period.description) }

    func write(into text: inout JSONText) {
        text.field("tenant_id", tenant.description)
        text.field("period", period.description)
        text.field("number", Int(number))
        text.field("currency", total.currency.code)
        text.field("total", total.description)
        text.field("plan_id", orNull: plan?.description)
        text.field("version", orNull: version)
        text.field("data_as_of", Timestamp.format(dataAsOf))
        text.field("created_at", Timestamp.format(createdAt))
        text.field("sha256", sha256.hexadecimal)
    }
}

extension Connection {
    /// Throws unless there is such a tenant, or was: what it is billed outlives it.
    func requireKnown(_ tenant: TenantID) throws {
        let rows = try query("SELECT FROM tenants WHERE tenant_id = \(tenant.rawValue)")
        guard !rows.isEmpty else { throw AdminCall.nothingHere }
    }

    /// A page of a tenant's invoices, the latest month first.
    func invoices(of tenant: TenantID, _ page: PageRequest) throws -> [InvoiceRecord] {
        try query(
            """
            SELECT tenant_id, period, number, currency, total::text AS total, plan_id, version, data_as_of, created_at, sha256
            FROM invoices
            WHERE tenant_id = \(tenant.rawValue) AND (\(page.after?.id)::text IS NULL OR period < \(page.after?.id))
            ORDER BY period DESC LIMIT \(page.rows)
            """
        ).map(InvoiceRecord.init(row:))
    }
}
