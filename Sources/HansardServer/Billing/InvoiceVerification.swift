import Crypto
import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Invoices, each against its row, its lines, its credits and its plan; and that none is missing.
extension Connection {
    /// Invoices that are read at once.
    private static let invoicesPerPage = 100
    /// A document has milliseconds, a row more.
    private static let millisecond: TimeInterval = 0.0011

    /// All of a month's invoices, and the numbers of all invoices.
    func invoiceFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        var findings =
            try numberFindings() + monthFindings(period) + strayLineFindings(period)
            + strayCreditFindings(period)
        var number: Int64 = 0
        while findings.count < UsageVerification.limit {
            let rows = try query(
                """
                SELECT tenant_id, period, number, currency, total::text AS total, plan_id, version, data_as_of, created_at,
                    document, sha256
                FROM invoices WHERE period = \(period.description) AND number > \(number)
                ORDER BY number LIMIT \(Self.invoicesPerPage)
                """)
            for row in rows { findings += try self.findings(of: row) }
            guard rows.count == Self.invoicesPerPage, let last = rows.last else { break }
            number = try last.value("number")
        }
        return findings
    }

    // MARK: Each

    private func findings(of row: Row) throws -> [Finding] {
        let (number, tenant): (Int64, UUID) = (try row.value("number"), try row.value("tenant_id"))
        let document: String = try row.value("document")
        var findings: [Finding] = []
        func note(_ text: String, _ check: Finding.Check = .invoices) {
            findings.append(Finding(check, "invoice \(number) of tenant \(TenantID(tenant)): \(text)"))
        }
        if try row.value("sha256") != SHA256.hash(Array(document.utf8)) { note("its hash is another's") }
        guard let invoice = try? Invoice(document: document) else {
            note("it cannot be read")
            return findings
        }
        // Else there is no sum of them.
        guard invoice.lines.allSatisfy({ $0.amount.currency == invoice.currency }) else {
            note("its lines are not in its currency")
            return findings
        }
        for name in try differences(invoice, row) { note("its \(name) is not what its row has") }
        // What a reader leaves out, such as the total, is the same again if it is written again.
        if try invoice.document() != document { note("its total, its times or its form are not what follows from it") }
        for text in try lineDifferences(invoice, row) { note(text) }
        for text in try creditDifferences(invoice, row) { note(text, .credits) }
        if let plan = invoice.plan, try !isAssigned(plan, invoice.version, row) {
            note("version \(invoice.version ?? 0) of plan \(plan) was not the tenant's in \(invoice.period)", .plans)
        }
        return findings
    }

    /// What a document and its row have otherwise.
    private func differences(_ invoice: Invoice, _ row: Row) throws -> [String] {
        let (dataAsOf, createdAt): (Date, Date) = (try row.value("data_as_of"), try row.value("created_at"))
        let (tenant, period): (UUID, String) = (try row.value("tenant_id"), try row.value("period"))
        let (number, currency): (Int64, String) = (try row.value("number"), try row.value("currency"))
        let (plan, version) = (try row.value("plan_id", as: UUID?.self), try row.value("version", as: Int?.self))
        let total: String = try row.value("total")
        var names: [String] = []
        func compare(_ name: String, _ isSame: Bool) { if !isSame { names.append(name) } }
        compare("state", invoice.state == .closed)
        compare("tenant_id", invoice.tenant.rawValue == tenant)
        compare("period", invoice.period.description == period)
        compare("number", invoice.number == number)
        compare("currency", invoice.currency.code == currency)
        compare("total", Money(total, invoice.currency) == invoice.total)
        compare("plan_id", invoice.plan?.rawValue == plan)
        compare("version", invoice.version == version)
        compare("data_as_of", abs(invoice.dataAsOf.timeIntervalSince(dataAsOf)) < Self.millisecond)
        compare("created_at", abs(invoice.createdAt.timeIntervalSince(createdAt)) < Self.millisecond)
        return names
    }

    /// What an invoice and its lines' rows have otherwise.
    private func lineDifferences(_ invoice: Invoice, _ row: Row) throws -> [String] {
        let (tenant, period): (UUID, String) = (try row.value("tenant_id"), try row.value("period"))
        let rows = try query(
            """
            SELECT line, kind, for_period, sessions, raw_ms, billed_ms, amount::text AS amount, document FROM invoice_lines
            WHERE tenant_id = \(tenant) AND period = \(period) ORDER BY line
            """)
        guard rows.count == invoice.lines.count else {
            return ["it has \(invoice.lines.count) lines, and \(rows.count) are there"]
        }
        var texts: [String] = []
        for (place, (line, row)) in zip(invoice.lines, rows).enumerated() {
            let (kind, month): (String, String) = (try row.value("kind"), try row.value("for_period"))
            let (amount, document): (String, String) = (try row.value("amount"), try row.value("document"))
            let (sessions, raw): (Int64, Int64) = (try row.value("sessions"), try row.value("raw_ms"))
            func compare(_ name: String, _ isSame: Bool) {
                if !isSame { texts.append("the \(name) of its line \(place) is not what the line's row has") }
            }
            compare("place", try row.value("line") == place)
            compare("document", try line.document() == document)
            compare("kind", line.kind.rawValue == kind)
            compare("for_period", line.period.description == month)
            compare("sessions", line.sessions == sessions)
            compare("raw_ms", line.raw == raw)
            compare("billed_ms", try row.value("billed_ms") == line.billed)
            compare("amount", Money(amount, invoice.currency) == line.amount)
        }
        return texts
    }

    /// Credits that are no line, and the other way round.
    private func creditDifferences(_ invoice: Invoice, _ row: Row) throws -> [String] {
        let (tenant, period): (UUID, String) = (try row.value("tenant_id"), try row.value("period"))
        let rows = try query(
            """
            SELECT credit_id, tenant_id, period, currency, amount::text AS amount, reason, actor, created_at FROM credits
            WHERE tenant_id = \(tenant) AND period = \(period) ORDER BY created_at, credit_id
            """)
        let lines = invoice.lines.filter { $0.kind == .credit }
        var credits: [InvoiceLine] = []
        var texts: [String] = []
        for row in rows {
            // An amount may be one of another currency.
            let credit = (try? Credit(row: row)).map { InvoiceLine($0) }
            if let credit, lines.contains(credit) {
                credits.append(credit)
            } else {
                let id = CreditID(try row.value("credit_id", as: UUID.self))
                let (amount, reason): (String, String) = (try row.value("amount"), try row.value("reason"))
                texts.append("credit \(id) of \(amount), \(reason), is no line of it")
            }
        }
        for line in lines where !credits.contains(line) {
            texts.append("its line of \(line.subject) is \(line.amount), \(line.reason ?? ""), and that is no credit")
        }
        return texts
    }

    private func isAssigned(_ plan: PlanID, _ version: Int?, _ row: Row) throws -> Bool {
        let (tenant, period): (UUID, String) = (try row.value("tenant_id"), try row.value("period"))
        return try !query(
            """
            SELECT FROM plan_assignments
            WHERE tenant_id = \(tenant) AND from_period <= \(period) AND (to_period IS NULL OR to_period >= \(period))
                AND plan_id = \(plan.rawValue) AND version = \(version)
            """
        ).isEmpty
    }

    // MARK: All

    /// Numbers go from 1 to the last that was given, each once.
    private func numberFindings() throws -> [Finding] {
        let gaps = try query(
            """
            SELECT number, before FROM (
                SELECT number, lag(number, 1, 0::bigint) OVER (ORDER BY number) AS before FROM invoices
            ) AS n
            WHERE number <> before + 1 ORDER BY number LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (number, before): (Int64, Int64) = (try row.value("number"), try row.value("before"))
            let missing =
                number == before
                ? "there are two"
                : number == before + 2
                    ? "there is no invoice \(number - 1)" : "there are no invoices \(before + 1) to \(number - 1)"
            return Finding(.invoices, "invoice \(number): \(missing)")
        }
        let row = try query(
            """
            SELECT (SELECT max(last_invoice) FROM billing_state) AS given, coalesce(max(number), 0) AS last FROM invoices
            """
        ).only()
        let (given, last) = (try row.value("given", as: Int64?.self), try row.value("last", as: Int64.self))
        guard given != last else { return gaps }
        let text =
            "the last number that was given is \(given.map { "\($0)" } ?? "unknown"), the last invoice's is \(last)"
        return gaps + [Finding(.invoices, text)]
    }

    /// A month with invoices is being closed, or is closed.
    private func monthFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let row = try query(
            """
            SELECT (SELECT count(*) FROM invoices WHERE period = \(period.description)) AS invoices,
                EXISTS (
                    SELECT FROM billing_periods WHERE period = \(period.description) AND state <> 'open') AS is_shut
            """
        ).only()
        let (count, isShut): (Int, Bool) = (try row.value("invoices"), try row.value("is_shut"))
        if isShut || count == 0 { return [] }
        return [Finding(.invoices, "\(period) has \(count) invoices, and is neither closing nor closed")]
    }

    /// Lines of no invoice.
    private func strayLineFindings(_ period: QuotaPeriod) throws -> [Finding] {
        try query(
            """
            SELECT l.tenant_id, l.period, count(*) AS lines FROM invoice_lines AS l
            WHERE \(period.description) IN (l.period, l.for_period) AND NOT EXISTS (
                SELECT FROM invoices AS i WHERE i.tenant_id = l.tenant_id AND i.period = l.period)
            GROUP BY l.tenant_id, l.period ORDER BY l.tenant_id, l.period LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (tenant, month): (UUID, String) = (try row.value("tenant_id"), try row.value("period"))
            let count: Int = try row.value("lines")
            return Finding(.invoices, "tenant \(TenantID(tenant)): there are \(count) lines of \(month) and no invoice")
        }
    }

    /// Credits of a month that is closed, of tenants without an invoice.
    private func strayCreditFindings(_ period: QuotaPeriod) throws -> [Finding] {
        try query(
            """
            SELECT c.tenant_id, c.credit_id, c.amount::text AS amount, c.currency
            FROM credits AS c JOIN billing_periods AS p USING (period)
            WHERE c.period = \(period.description) AND p.state = 'closed' AND NOT EXISTS (
                SELECT FROM invoices AS i WHERE i.tenant_id = c.tenant_id AND i.period = c.period)
            ORDER BY c.tenant_id, c.credit_id LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (tenant, credit): (UUID, UUID) = (try row.value("tenant_id"), try row.value("credit_id"))
            let (amount, currency): (String, String) = (try row.value("amount"), try row.value("currency"))
            return Finding(
                .credits,
                "tenant \(TenantID(tenant)): credit \(CreditID(credit)) of \(amount) \(currency) is on no invoice")
        }
    }

    /// Versions that are in use and are not marked so, which could be changed; and assignments of none.
    func planFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        let unmarked = try query(
            """
            SELECT v.plan_id, v.version FROM plan_versions AS v
            WHERE v.used_at IS NULL AND (
                EXISTS (SELECT FROM plan_assignments AS a WHERE a.plan_id = v.plan_id AND a.version = v.version)
                OR EXISTS (SELECT FROM invoices AS i WHERE i.plan_id = v.plan_id AND i.version = v.version))
            ORDER BY v.plan_id, v.version LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (plan, version): (UUID, Int) = (try row.value("plan_id"), try row.value("version"))
            return Finding(.plans, "version \(version) of plan \(PlanID(plan)) is in use, and its used_at is null")
        }
        let lost = try query(
            """
            SELECT a.tenant_id, a.plan_id, a.version FROM plan_assignments AS a
            WHERE a.from_period <= \(period.description) AND (a.to_period IS NULL OR a.to_period >= \(period.description))
                AND NOT EXISTS (
                    SELECT FROM plan_versions AS v WHERE v.plan_id = a.plan_id AND v.version = a.version)
            ORDER BY a.tenant_id LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (tenant, plan): (UUID, UUID) = (try row.value("tenant_id"), try row.value("plan_id"))
            let version: Int = try row.value("version")
            return Finding(
                .plans, "tenant \(TenantID(tenant)): version \(version) of plan \(PlanID(plan)), which it has, is gone")
        }
        return unmarked + lost
    }
}
