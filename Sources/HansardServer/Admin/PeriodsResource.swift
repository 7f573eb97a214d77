import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/periods`: the months of the installation, open until they are closed, which makes the invoices of all tenants.
struct PeriodsResource: Sendable {
    static let path = "/v1/admin/periods"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{period}"
        return [
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("POST", one + "/close", .billers, idempotency: .optional, close),
        ]
    }

    /// Months in which somebody owes something or is owed, those that were begun to be closed, and the present one; the latest first.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see periods")
        let page = try PageRequest(call, list: "periods", secrets: admin.secrets)
        let present = QuotaPeriod(call.now).description
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT m.period, coalesce(b.state, 'open') AS state, b.closing_at, b.closed_at, b.override,
                    coalesce(b.missing_sources, '{}') AS missing_sources, coalesce(b.unbilled, '{}') AS unbilled
                FROM (
                    SELECT period FROM billable_months() UNION SELECT period FROM billing_periods
                    UNION SELECT \(present) COLLATE "C"
                ) AS m
                LEFT JOIN billing_periods AS b USING (period)
                WHERE \(page.after?.id)::text IS NULL OR m.period < \(page.after?.id)
                ORDER BY m.period DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(BillingPeriod.init(row:)), call, secret: admin.secrets[0]) { period in
            Cursor(time: period.period.start, id: period.period.description)
        } write: {
            $0.write(into: &$1)
        }
    }

    /// One month, with the tenants that have usage in it and no plan: while it is open, as it is now.
    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see periods")
        try call.requireQuery(only: [])
        let period = try call.period
        let found = try await admin.read { connection in
            var found = try await connection.billingPeriod(period)
            if found.state != .closed { found.unbilled = try await connection.unbilledTenants(in: period) }
            return (found, try await connection.invoiceCount(of: period))
        }
        return .json { text in found.0.write(into: &text, invoices: found.1) }
    }

    private func close(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "close periods")
        try call.requireQuery(only: [])
        let period = try call.period
        var body = try call.body()
        let override = try body.optional("override") { try $0.reason() }
        try body.end()
        let (grace, closing) = (admin.closeGrace, PeriodClosing(pool: admin.pool, period: period))
        return try await admin.transactions.runInSteps(call, (begun: "period.closing", finished: "period.close")) {
            let begun = try await closing.begin(override, grace: grace, at: call.now, on: $0)
            var answer = begun.answer(invoices: nil)
            answer.after = answer.body
            return answer
        } work: {
            try await closing.makeInvoices()
        } finish: { connection in
            let closed = try await closing.finish(at: .now, on: connection)
            var answer = closed.answer(invoices: try await connection.invoiceCount(of: period))
            answer.after = answer.body
            return answer
        }
    }
}

extension AdminCall {
    /// The UTC month in the path.
    var period: QuotaPeriod {
        get throws(HansardError) {
            guard let period = QuotaPeriod(try segment("period")), BillingPeriod.months.contains(period) else {
                throw Self.nothingHere
            }
            return period
        }
    }
}

extension BillingPeriod {
    /// Those that the ledger has partitions for.
    static let months =
        QuotaPeriod(
            Date(timeIntervalSince1970: 946_684_800))...QuotaPeriod(
            Date(timeIntervalSince1970: 4_102_444_799))

    fileprivate func answer(invoices: Int?) -> AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0, invoices: invoices) }
        return AdminAnswer(body: text.bytes, target: .init("period", period.description))
    }

    fileprivate func write(into text: inout JSONText, invoices: Int?) {
        write(into: &text)
        text.field("unbilled", unbilled.map(\.description))
        text.field("invoices", orNull: invoices)
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("period", period.description)
        text.field("state", state.rawValue)
        text.field("start_time", Timestamp.format(period.start))
        text.field("end_time", Timestamp.format(period.end))
        text.field("closing_at", orNull: closingAt.map(Timestamp.format))
        text.field("closed_at", orNull: closedAt.map(Timestamp.format))
        text.field("override", orNull: override)
        text.array("missing_sources") { text in
            for source in missingSources {
                text.object { text in
                    text.field("node", source.node)
                    text.field("epoch", source.epoch.uuidString.lowercased())
                }
            }
        }
    }
}

extension Connection {
    fileprivate func invoiceCount(of period: QuotaPeriod) throws -> Int {
        try query("SELECT count(*) AS n FROM invoices WHERE period = \(period.description)").only().value("n")
    }
}
