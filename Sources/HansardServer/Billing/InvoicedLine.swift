import FoundationEssentials
import Hansard
import Postgres

/// A line of an invoice, made or as it would be: what its sessions are found by.
struct InvoicedLine: Sendable {
    var tenant: TenantID
    /// The invoice's month.
    var period: QuotaPeriod
    var state: Invoice.State
    var subject: RatedLine.Subject
    /// By what the line's month is billed, which may be an earlier one.
    var terms: BillingTerms
    /// By what the month before that was.
    var earlier: PlanVersion?
    /// Whether the line's month is on an invoice before this one: then it has what was not.
    var isRest: Bool
    /// Whether late usage of the line's month was kept from its closing on.
    var isKept: Bool
    /// Up to when all nodes' usage was there.
    var dataAsOf: Date

    /// Up to which month invoices have what the line has; nil is all that there is now.
    var through: String? { state == .closed ? period.description : nil }
    /// Up to which month invoices have what the line does not have any more.
    var before: String { QuotaPeriod(period.start - 1).description }
}

/// Some sessions of a line.
struct LinePage: Sendable {
    /// In the order in which they began.
    var sessions: [LineSession]
    /// Behind which session the next ones are; nil if there are none.
    var next: SessionID?
}

extension Connection {
    /// Segments that are looked at for one page, unless they are of one session: a line may be of a few sessions among a million.
    static let segmentsPerAnswer = 50_000

    /// Finds a line. It wants an operator's sight, since plans are not the tenants'.
    ///
    /// - Parameters:
    ///   - month: the one that the line is for.
    ///   - name: its subject's.
    ///   - mayPreview: whether the invoice may be one that is not made.
    /// - Returns: nil if there is no such line.
    func invoicedLine(
        of tenant: TenantID, in period: QuotaPeriod, for month: QuotaPeriod, named name: String, mayPreview: Bool
    ) throws -> InvoicedLine? {
        let state: Invoice.State
        let subject: RatedLine.Subject
        let terms: BillingTerms
        let dataAsOf: Date
        if let invoice = try billedTenant(tenant, for: period)?.invoice {
            guard
                let line = invoice.lines.first(where: { $0.period == month && $0.subject.name == name }),
                let usage = line.subject.usage, let plan = line.plan, let version = line.version,
                let found = try self.terms(plan, version: version, in: month)
            else { return nil }
            (state, subject, terms, dataAsOf) = (.closed, usage, found, invoice.dataAsOf)
        } else {
            guard mayPreview, let found = try previewedTerms(of: tenant, in: period, for: month),
                let usage = found.prices.usage(named: name)
            else { return nil }
            dataAsOf = try usageDataAsOf()
            (state, subject, terms) = (.preview, usage, found)
        }
        let row = try query(
            """
            SELECT EXISTS (
                SELECT FROM invoice_lines WHERE tenant_id = \(tenant.rawValue) AND for_period = \(month.description)
                    AND kind <> 'credit' AND period < \(period.description)) AS is_rest,
                coalesce((
                    SELECT keeps_late_usage FROM billing_periods
                    WHERE state <> 'open' AND period >= \(month.description) ORDER BY period LIMIT 1), true) AS is_kept
            """
        ).only()
        return InvoicedLine(
            tenant: tenant, period: period, state: state, subject: subject, terms: terms,
            earlier: try self.terms(of: tenant, in: QuotaPeriod(month.start - 1))?.prices,
            isRest: try row.value("is_rest"), isKept: try row.value("is_kept"), dataAsOf: dataAsOf)
    }

    /// By what a line for a month would be billed on an invoice that is not made; nil if there would be none.
    private func previewedTerms(
        of tenant: TenantID, in period: QuotaPeriod, for month: QuotaPeriod
    ) throws -> BillingTerms? {
        guard month <= period, try billingPeriod(period).state != .closed else { return nil }
        if month < period {
            // One that is yet to be closed has an invoice of its own.
            let last: String? = try query(
                "SELECT max(period) AS last FROM billing_periods WHERE state = 'closed'"
            ).only().value("last")
            guard let last, month.description <= last else { return nil }
        }
        return try terms(of: tenant, in: month)
    }

    // MARK: Its sessions

    /// The next sessions of a line. It wants no more than the tenant's sight.
    ///
    /// - Parameters:
    ///   - last: the session behind which they are; nil is from the first on.
    ///   - count: at most so many.
    ///   - most: segments that are looked at for it.
    /// - Throws: `.conflict` if it is not known any more which they are.
    func sessions(
        of line: InvoicedLine, after last: SessionID?, _ count: Int, lookingAt most: Int = segmentsPerAnswer
    ) throws -> LinePage {
        // The planner believes that these statements read far more than they do, and would compile them first.
        try query("SELECT set_config('jit', 'off', true)")
        if last == nil, !line.isKept { try requireKnown(line) }
        var sessions = LineSessions(of: line.subject, line.terms.prices, after: line.earlier)
        var found: [LineSession] = []
        var place = (session: last?.rawValue ?? Self.noSession, segment: last == nil ? -1 : Int(Int32.max))
        var (read, size) = (0, min(4 * count, most, Self.segmentsPerPage))
        while true {
            let rows =
                line.isRest
                ? try lateSegments(of: line, after: place.session, size)
                : try segments(of: line.tenant, line.terms, through: line.through, after: place, size)
            let earlier = try earlierSegments(of: line.tenant, in: line.terms.period, beside: rows)
            for row in rows {
                let whole = try sessions.add(segment(row, after: earlier))
                place = (try row.value("session_id"), try row.value("segment"))
                guard let whole else { continue }
                // One more than is wanted says that there are more.
                guard found.count < count else { return LinePage(sessions: found, next: found.last?.session) }
                found.append(whole)
            }
            read += rows.count
            guard rows.count >= size else { break }
            if read >= most, let whole = sessions.lastWhole {
                return LinePage(sessions: found, next: whole)
            }
            size = min(4 * size, Self.segmentsPerPage)
        }
        guard let whole = sessions.end() else { return LinePage(sessions: found) }
        guard found.count < count else { return LinePage(sessions: found, next: found.last?.session) }
        return LinePage(sessions: found + [whole])
    }

    private func segment(_ row: Row, after earlier: EarlierSegments) throws -> BilledSegment {
        BilledSegment(
            session: SessionID(try row.value("session_id", as: UUID.self)),
            startedAt: try row.value("session_started_at"),
            known: try billableTime(row, after: earlier),
            billed: try billableTime(row, "billed_ms", "was_beginning", after: earlier))
    }

    /// The next segments of a month as the invoices up to that of a month have them, or, of nil, as they are.
    func segments(
        of tenant: TenantID, _ terms: BillingTerms, through last: String?, after place: (session: UUID, segment: Int),
        _ count: Int
    ) throws -> [Row] {
        let isAudio = terms.prices.time == .audio
        return try query(
            """
            SELECT session_id, segment, session_started_at, engine, language, is_beginning, NULL::boolean AS was_beginning,
                audio_before_ms, connected_before_ms,
                CASE WHEN \(isAudio) THEN audio_ms ELSE connected_ms END AS billable_ms, NULL::bigint AS billed_ms
            FROM usage_as_of(\(tenant.rawValue), \(terms.period.firstDay)::date, \(last)::text)
            WHERE (session_id, segment) > (\(place.session), \(place.segment))
            ORDER BY session_id, segment LIMIT \(count)
            """)
    }

    /// All segments of the next sessions, in whichever lines they are, of which the line's invoice is the first to have something.
    ///
    /// OFFSET keeps the planner from reading the whole month to join it with these few.
    ///
    /// - Parameter count: of the sessions; none has less than one segment.
    private func lateSegments(of line: InvoicedLine, after session: UUID, _ count: Int) throws -> [Row] {
        let isAudio = line.terms.prices.time == .audio
        let (tenant, month) = (line.tenant.rawValue, line.terms.period.firstDay)
        return try query(
            """
            WITH late AS MATERIALIZED (
                SELECT DISTINCT session_id FROM late_usage
                WHERE tenant_id = \(tenant) AND period = \(month)::date AND session_id > \(session)
                    AND (billed_in = \(line.through) OR billed_in IS NULL AND \(line.through)::text IS NULL)
                ORDER BY session_id LIMIT \(count)
            )
            SELECT u.session_id, u.segment, u.session_started_at, u.engine, u.language, u.is_beginning,
                b.is_beginning AS was_beginning,
                u.audio_before_ms, u.connected_before_ms,
                CASE WHEN \(isAudio) THEN u.audio_ms ELSE u.connected_ms END AS billable_ms,
                CASE WHEN \(isAudio) THEN b.audio_ms ELSE b.connected_ms END AS billed_ms
            FROM late
            CROSS JOIN LATERAL (
                SELECT * FROM usage_as_of(\(tenant), \(month)::date, \(line.through)::text) AS n
                WHERE n.session_id = late.session_id OFFSET 0
            ) AS u
            CROSS JOIN LATERAL (
                SELECT n.audio_ms, n.connected_ms, n.is_beginning FROM usage_as_of(\(tenant), \(month)::date, \(line.before)) AS n
                WHERE n.session_id = u.session_id AND n.segment = u.segment OFFSET 0
            ) AS b
            ORDER BY u.session_id, u.segment
            """)
    }

    // MARK: What is not known

    /// Throws unless invoices and ledger have the same of the line's month: a month only grows, so that where the sums are the same
    /// each session is.
    private func requireKnown(_ line: InvoicedLine) throws {
        let month = line.terms.period
        for through in [line.through, line.isRest ? line.before : nil].compactMap({ $0 }) {
            let (known, billed) = (
                try sum(of: line, asOf: through), try billedSum(of: line.tenant, for: month, through: through)
            )
            guard known == billed else {
                throw HansardError(
                    .conflict,
                    "which sessions these are is not known any more: usage of \(month) came after it was closed, before late usage was "
                        + "kept apart, and its records are gone")
            }
        }
    }

    private func sum(of line: InvoicedLine, asOf through: String) throws -> BilledSum {
        let isAudio = line.terms.prices.time == .audio
        return try BilledSum(
            query(
                """
                SELECT count(*) FILTER (WHERE is_beginning) AS sessions,
                    coalesce(sum(CASE WHEN \(isAudio) THEN audio_ms ELSE connected_ms END), 0)::bigint AS raw_ms
                FROM usage_as_of(\(line.tenant.rawValue), \(line.terms.period.firstDay)::date, \(through))
                WHERE audio_ms IS NOT NULL
                """
            ).only())
    }
}

extension PlanVersion {
    /// The usage that a line of a bill is of, by its name; nil if no line of this version has it.
    fileprivate func usage(named name: String) -> RatedLine.Subject? {
        let subjects = charges.indices.map(InvoiceLine.Subject.charge) + [.unpriced]
        return subjects.first { $0.name == name }?.usage
    }
}
