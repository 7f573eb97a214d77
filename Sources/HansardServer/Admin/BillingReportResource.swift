import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/periods/{period}/report`: what each tenant is billed for a month, or would be if it were closed now.
struct BillingReportResource: Sendable {
    static let path = PeriodsResource.path + "/{period}/report"

    let admin: AdminServices

    var routes: [AdminRoute] { [AdminRoute("GET", Self.path, .readers, report)] }

    /// Tenants in the order of their ids. A page is read at one moment; the next one may be of a later one.
    private func report(_ call: AdminCall) async throws -> HTTPResponse {
        let period = try call.period
        let page = try PageRequest(
            call, list: "billing report \(period)", filters: ["format"], secrets: admin.secrets)
        let form = try call.match.choice("format", BillingForm.self) ?? .json
        let after = page.after.flatMap { UUID(uuidString: $0.id) }
        let reach = call.caller.tenants?.map(\.rawValue)
        let (state, tenants, billed, asOf) = try await admin.read { connection in
            try await connection.billingReport(of: period, within: reach, after: after, page)
        }
        let next = page.next(after: tenants, secret: admin.secrets[0]) { Cursor(time: period.start, id: "\($0)") }
        var response = self.response(billed, of: period, state, form, next: next)
        if form != .json { response = response.known(upTo: asOf) }
        if let next { response.headers.add("Link", call.match.link(toNext: next, "after")) }
        return response
    }

    private func response(
        _ billed: [BilledTenant], of period: QuotaPeriod, _ state: BillingPeriod.State, _ form: BillingForm,
        next: String?
    ) -> HTTPResponse {
        switch form {
        case .csv, .focus: return .billingTable(billed, as: form, for: admin.reader)
        case .html: return InvoicePage(reader: admin.reader).response(billed, of: period, hasMore: next != nil)
        case .json:
            return .json { text in
                text.field("period", period.description)
                text.field("state", state.rawValue)
                text.field("data", json: Array("[\(billed.map(\.document).joined(separator: ","))]".utf8))
                text.field("has_more", next != nil)
                text.field("next_cursor", orNull: next)
            }
        }
    }
}

extension Connection {
    /// A page of tenants, what those that are shown are billed, and up to when the usage of all of them is known.
    fileprivate func billingReport(
        of period: QuotaPeriod, within reach: [UUID]?, after: UUID?, _ page: PageRequest
    ) throws -> (BillingPeriod.State, [TenantID], [BilledTenant], asOf: Date) {
        let state = try billingPeriod(period).state
        let tenants = try billableTenants(in: period, within: reach, after: after, page.rows)
        let billed = try tenants.prefix(page.limit).compactMap { tenant in
            try billedTenant(tenant, for: period) ?? (state == .closed ? nil : drafted(tenant, for: period))
        }
        let shown = billed.filter { !$0.invoice.lines.isEmpty }
        let asOf = try shown.map(\.invoice.dataAsOf).min() ?? usageDataAsOf()
        return (state, tenants, shown, asOf)
    }

    /// Tenants that an invoice of a month may be about, or is, in the order of their ids.
    fileprivate func billableTenants(
        in period: QuotaPeriod, within reach: [UUID]?, after: UUID?, _ limit: Int
    ) throws -> [TenantID] {
        try query(
            """
            SELECT tenant_id FROM (
                SELECT tenant_id FROM plan_assignments WHERE from_period <= \(period.description)
                UNION SELECT tenant_id FROM credits WHERE period = \(period.description)
                UNION SELECT tenant_id FROM invoices WHERE period = \(period.description)
            ) AS t
            WHERE (\(reach)::uuid[] IS NULL OR tenant_id = ANY(\(reach)::uuid[]))
                AND (\(after)::uuid IS NULL OR tenant_id > \(after))
            ORDER BY tenant_id LIMIT \(limit)
            """
        ).map { TenantID(try $0.value("tenant_id")) }
    }

    /// What an invoice would be if its month were closed now.
    ///
    /// - Throws: `.conflict` that names the tenant if its ledger does not agree with itself.
    func drafted(_ tenant: TenantID, for period: QuotaPeriod) throws -> BilledTenant? {
        do {
            return try draftInvoice(of: tenant, for: period).map { try BilledTenant($0, name: tenantName(tenant)) }
        } catch let fault as InvoiceFault {
            throw HansardError(.conflict, "tenant \(fault.tenant): \(fault.reason)")
        }
    }
}
