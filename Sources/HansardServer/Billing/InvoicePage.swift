import Crypto
import FoundationEssentials
import Hansard
import Web

/// Invoices as pages to read and to print.
struct InvoicePage {
    static let style = """
        @page{size:A4;margin:18mm 16mm}
        body{font:14px/1.45 system-ui,"Helvetica Neue",Arial,sans-serif;color:#1b1f24;background:#fff;max-width:56rem;\
        margin:2rem auto;padding:0 1rem}
        header{display:flex;justify-content:space-between;align-items:baseline;border-bottom:2px solid #1b1f24}
        h1{font-size:1.6rem;margin:.2rem 0}.issuer{font-weight:600}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0 1.5rem}dt{color:#57606a}
        dd{margin:0;overflow-wrap:anywhere}
        table{border-collapse:collapse;width:100%}caption{text-align:left;color:#57606a;padding-bottom:.4rem}
        th,td{padding:.35rem .5rem;text-align:right;vertical-align:top;border-bottom:1px solid #d0d7de;\
        font-variant-numeric:tabular-nums}
        th:first-child,td:first-child{text-align:left;padding-left:0;overflow-wrap:anywhere}
        th:last-child,td:last-child{padding-right:0;white-space:nowrap}
        thead th{border-bottom:1px solid #1b1f24}tr{break-inside:avoid}thead{display:table-header-group}
        .tier td{border-bottom:0;color:#57606a;font-size:.85em;padding-top:0}.tiered td{border-bottom:0}
        tfoot td{border:0;border-top:2px solid #1b1f24;font-weight:700}
        footer{margin-top:1.5rem;color:#57606a;font-size:.8em;overflow-wrap:anywhere}a{color:inherit}
        section+section{break-before:page;margin-top:3rem}
        @media print{body{margin:0;padding:0;max-width:none;font-size:11px}a{text-decoration:none}}
        """

    let reader: BillingReader

    /// One invoice.
    func response(_ billed: BilledTenant) -> HTTPResponse {
        .page("\(title(billed.invoice)), \(billed.invoice.period)", style: Self.style, body: section(billed))
    }

    /// All of them: what each comes to, then each on a page of its own.
    ///
    /// - Parameter hasMore: whether there are others, which come on other pages.
    func response(_ billed: [BilledTenant], of period: QuotaPeriod, hasMore: Bool) -> HTTPResponse {
        let rows = billed.map { one in
            "<tr><td>\(called(one))<td>\(one.invoice.number.map(String.init) ?? "")"
                + "<td>\(one.invoice.currency)<td>\(one.invoice.total)"
        }
        var totals: [Currency: Money] = [:]
        for one in billed {
            totals[one.invoice.currency, default: Money(currency: one.invoice.currency)] += one.invoice.total
        }
        let sums = totals.values.sorted { $0.currency.code < $1.currency.code }.map {
            "<tr><td>Total<td><td>\($0.currency)<td>\($0)"
        }
        let summary = """
            <section><header><h1>Billing report \(period)</h1><span class="issuer">\(HTML.escaped(reader.issuer))</span></header>
            <table><caption>\(billed.count) tenants\(hasMore ? "; there are more, on further pages of this list" : "")</caption>
            <thead><tr><th>Tenant<th>Invoice<th>Currency<th>Amount</thead>
            <tbody>\(rows.joined(separator: "\n"))</tbody>
            <tfoot>\(sums.joined(separator: "\n"))</tfoot></table></section>
            """
        return .page(
            "Billing report \(period)", style: Self.style,
            body: ([summary] + billed.map(section)).joined(separator: "\n"))
    }

    private func title(_ invoice: Invoice) -> String {
        invoice.number.map { "Invoice \($0)" } ?? "Preview of an invoice"
    }

    private func called(_ billed: BilledTenant) -> String { isolated(billed.name ?? "\(billed.invoice.tenant)") }

    /// What others wrote, which may turn the direction of its own text alone.
    private func isolated(_ text: String) -> String { "<bdi>\(HTML.escaped(text))</bdi>" }

    private func section(_ billed: BilledTenant) -> String {
        let invoice = billed.invoice
        let plan = invoice.plan.map { "\($0), version \(invoice.version ?? 0)" } ?? "none in this month"
        let facts = [
            ("For", called(billed)), ("Tenant", "\(invoice.tenant)"),
            ("Month", "\(invoice.period), from \(day(invoice.period.start)) to before \(day(invoice.period.end)), UTC"),
            ("Plan", plan), ("Made", Timestamp.format(invoice.createdAt)),
            ("Usage known up to", Timestamp.format(invoice.dataAsOf)),
        ]
        let hash = SHA256.hash(Array(billed.document.utf8)).hexadecimal
        return """
            <section><header><h1>\(title(invoice))</h1><span class="issuer">\(HTML.escaped(reader.issuer))</span></header>
            <dl>\(facts.map { "<dt>\($0)<dd>\($1)" }.joined(separator: "\n"))</dl>
            <table><thead><tr><th>For<th>Sessions<th>Metered<th>Billed<th>Included<th>\(invoice.currency)</thead>
            <tbody>\(invoice.lines.map { rows($0, of: invoice) }.joined(separator: "\n"))</tbody>
            <tfoot><tr><td>Total<td><td><td><td><td>\(invoice.total)</tfoot></table>
            <footer>Times are hours, minutes and seconds. A line is rounded once, and the total is the sum of the lines. SHA-256 of the
            JSON: \(hash)</footer></section>
            """
    }

    private func rows(_ line: InvoiceLine, of invoice: Invoice) -> String {
        let title = isolated(line.title)
        let linked =
            reader.sessionsURL(line, of: invoice).map { "<a href=\"\(HTML.escaped($0))\">\(title)</a>" } ?? title
        let isTime = line.raw != 0 || line.billed != 0
        let counts =
            isTime || line.sessions != 0
            ? ["\(line.sessions)", clock(line.raw), clock(line.billed), line.included == 0 ? "" : clock(line.included)]
            : ["", "", "", ""]
        let first =
            "<tr\(line.tiers.isEmpty ? "" : " class=\"tiered\"")><td>\(linked)"
            + counts.map { "<td>\($0)" }.joined() + "<td>\(line.amount)"
        return ([first] + line.tiers.map { tier($0, of: line) }).joined(separator: "\n")
    }

    private func tier(_ part: InvoiceLine.TierPart, of line: InvoiceLine) -> String {
        let unit = line.unit?.rawValue ?? BillingUnit.minute.rawValue
        let range = part.upTo.map { "up to \($0) \(unit)\($0 == 1 ? "" : "s")" } ?? (part.tier == 0 ? "all" : "above")
        return "<tr class=\"tier\"><td>\(range), at \(part.unitPrice) a \(unit)<td><td><td>\(clock(part.milliseconds))"
            + "<td><td>\(part.precise)"
    }

    /// `20:00:56.000`
    private func clock(_ milliseconds: Int64) -> String {
        let (seconds, rest) = milliseconds.magnitude.quotientAndRemainder(dividingBy: 1_000)
        let parts = [(seconds / 3_600, 1), (seconds / 60 % 60, 2), (seconds % 60, 2)].map { Self.digits($0, $1) }
        return "\(milliseconds < 0 ? "-" : "")\(parts.joined(separator: ":")).\(Self.digits(rest, 3))"
    }

    private static func digits(_ number: UInt64, _ least: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, least - text.utf8.count)) + text
    }

    private func day(_ date: Date) -> String { String(Timestamp.format(date).prefix(10)) }
}
