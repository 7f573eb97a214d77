import Hansard

/// Invoices as a table with a row for each line.
struct InvoiceTable {
    static let columns = [
        "tenant_id", "tenant_name", "period", "state", "number", "line", "kind", "subject", "for_period", "plan_id",
        "version", "engine", "language", "unit", "mode", "sessions", "raw_ms", "billed_ms", "included_ms", "tiers",
        "amount_precise", "amount", "currency", "reason", "sessions_url",
    ]

    let reader: BillingReader

    func write(_ billed: [BilledTenant], into text: inout CSVText) {
        text.row(Self.columns)
        for one in billed {
            for (place, line) in one.invoice.lines.enumerated() { text.row(cells(line, place, of: one)) }
        }
    }

    private func cells(_ line: InvoiceLine, _ place: Int, of billed: BilledTenant) -> [String?] {
        let invoice = billed.invoice
        return [
            invoice.tenant.description, billed.name, invoice.period.description, invoice.state.rawValue,
            invoice.number.map(String.init), "\(place)", line.kind.rawValue, line.subject.description,
            line.period.description, line.plan?.description, line.version.map(String.init), line.engine, line.language,
            line.unit?.rawValue, line.mode?.rawValue, "\(line.sessions)", "\(line.raw)", "\(line.billed)",
            "\(line.included)", tiers(line), line.precise.description, line.amount.description,
            line.amount.currency.code, line.reason, reader.sessionsURL(line, of: invoice),
        ]
    }

    /// What each tier has of it, as people read it: `60000000 ms at 0.03: 30; 8590000 ms at 0.024: 3.436`.
    private func tiers(_ line: InvoiceLine) -> String? {
        guard !line.tiers.isEmpty else { return nil }
        return line.tiers.map { "\($0.milliseconds) ms at \($0.unitPrice): \($0.precise)" }.joined(separator: "; ")
    }
}
