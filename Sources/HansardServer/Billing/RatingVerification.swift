import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// What is billed for a month by one invoice: its own month's usage, or what an earlier month has changed by.
private struct BilledPart {
    var number: Int64
    /// The invoice's month.
    var period: QuotaPeriod
    var createdAt: Date
    var lines: [InvoiceLine]
}

/// What a month comes to, by the records that were there when each of its invoices was made, and by all there are.
extension Connection {
    /// Times that are tried as an invoice's.
    private static let cutOffTrials = 20

    /// Tenants that something is billed for the month, and, once it is closed, those with a plan.
    func ratedTenants(_ period: QuotaPeriod) throws -> [TenantID] {
        try query(
            """
            SELECT tenant_id FROM invoice_lines WHERE for_period = \(period.description) AND kind <> 'credit'
            UNION
            SELECT a.tenant_id FROM plan_assignments AS a JOIN billing_periods AS p ON p.period = \(period.description)
            WHERE p.state = 'closed' AND a.from_period <= p.period AND (a.to_period IS NULL OR a.to_period >= p.period)
            ORDER BY tenant_id
            """
        ).map { TenantID(try $0.value("tenant_id")) }
    }

    /// Up to each invoice, what is billed for the month is what it came to when that invoice was made. What it comes to beyond
    /// the last of them is late, if records that came later say so.
    ///
    /// - Parameter areRecordsGone: whether nothing says any more when which usage came: what is not billed is late then, and the
    ///   next invoice has it.
    func ratingFindings(
        _ period: QuotaPeriod, _ tenant: TenantID, areRecordsGone: Bool
    ) throws -> [UsageVerification.Finding] {
        do {
            let parts = try billedParts(of: tenant, for: period)
            guard let terms = try terms(of: tenant, in: period, billedBy: parts) else {
                let text = "tenant \(tenant): the plan's version by which \(period) is billed is gone"
                return parts.isEmpty ? [] : [Finding(.plans, text)]
            }
            let unpriced = parts.flatMap(\.lines).filter { !$0.isPriced(by: terms) }
            guard unpriced.isEmpty else {
                let version = "version \(terms.version) of plan \(terms.plan)"
                return unpriced.map {
                    Finding(.invoices, "tenant \(tenant), \($0.subject): it is not as in \(version)")
                }
            }
            let listed = try sessionFindings(terms, tenant, parts)
            if areRecordsGone {
                return try listed
                    + rated(terms, of: tenant).adjustments(billed: parts.flatMap(\.lines), of: tenant).map {
                        line in
                        let what = "\(line.difference(of: tenant)) are not billed yet"
                        return Finding(.late, "\(what); of which sessions it is, the records said that are gone")
                    }
            }
            return try listed + findings(terms, tenant, parts)
        } catch let fault as InvoiceFault {
            return [Finding(.invoices, "tenant \(tenant): \(fault.reason)")]
        } catch let error as HansardError {
            // A value that is none, such as prices that cannot be read.
            return [Finding(.plans, "tenant \(tenant): \(error.explanation)")]
        }
    }

    private func findings(_ terms: BillingTerms, _ tenant: TenantID, _ parts: [BilledPart]) throws -> [Finding] {
        var billed: [InvoiceLine] = []
        var cutOff = Date.distantPast
        func unexplained(_ lines: [InvoiceLine], _ invoice: String) -> [Finding] {
            lines.map { Finding(.invoices, "\($0.difference(of: tenant)) are not billed \(invoice)") }
        }
        for part in parts {
            billed += part.lines
            let missing: [InvoiceLine]
            (cutOff, missing) = try known(terms, tenant, billed, around: part.createdAt)
            if !missing.isEmpty {
                return unexplained(missing, "by invoice \(part.number), and nothing that came after it explains that")
            }
        }
        if parts.isEmpty {
            // No invoice was to be made, as far as was known.
            guard let closing = try billingPeriod(terms.period).closingAt else { return [] }
            let missing: [InvoiceLine]
            (cutOff, missing) = try known(terms, tenant, [], around: closing)
            if !missing.isEmpty { return unexplained(missing, "by any invoice") }
        }
        let missing = try rated(terms, of: tenant).adjustments(billed: billed, of: tenant)
        if missing.isEmpty { return [] }
        let sessions = try lateSessions(terms.period, tenant, after: cutOff)
        if sessions.isEmpty {
            return unexplained(missing, "by any invoice, and nothing came after the month was closed")
        }
        let named =
            sessions.prefix(10).map(\.description).joined(separator: ", ") + (sessions.count > 10 ? " and more" : "")
        return missing.map { line in
            Finding(
                .late,
                "\(line.difference(of: tenant)) are not billed yet; what came after the month was closed is of the sessions "
                    + named)
        }
    }

    /// Up to each invoice, what is billed for the month is what the sessions come to that its lines' addresses list. Of months whose
    /// closing began before late usage was kept apart nothing says which these are.
    private func sessionFindings(
        _ terms: BillingTerms, _ tenant: TenantID, _ parts: [BilledPart]
    ) throws -> [Finding] {
        let isKept = try query(
            """
            SELECT keeps_late_usage FROM billing_periods
            WHERE state <> 'open' AND period >= \(terms.period.description) ORDER BY period LIMIT 1
            """
        ).first?.value("keeps_late_usage", as: Bool.self)
        guard isKept == true else { return [] }
        var billed: [InvoiceLine] = []
        return try parts.flatMap { part in
            billed += part.lines
            let listed = try rated(terms, of: tenant, billedThrough: part.period)
            return try listed.adjustments(billed: billed, of: tenant).map {
                Finding(
                    .invoices,
                    "\($0.difference(of: tenant)) are what the sessions of lines have beyond what is billed up to invoice \(part.number)"
                )
            }
        }
    }

    /// What is billed for the month, invoice by invoice as they were made.
    private func billedParts(of tenant: TenantID, for period: QuotaPeriod) throws -> [BilledPart] {
        let rows = try query(
            """
            SELECT i.number, i.period, i.created_at, l.document FROM invoice_lines AS l JOIN invoices AS i USING (tenant_id, period)
            WHERE l.tenant_id = \(tenant.rawValue) AND l.for_period = \(period.description) AND l.kind <> 'credit'
            ORDER BY i.number, l.line
            """)
        var parts: [BilledPart] = []
        for row in rows {
            let number: Int64 = try row.value("number")
            if parts.last?.number != number {
                parts.append(
                    BilledPart(
                        number: number, period: try row.period("period"), createdAt: try row.value("created_at"),
                        lines: []))
            }
            let line = try InvoiceLine(billed: try row.value("document"), of: tenant, for: period)
            parts[parts.count - 1].lines.append(line)
        }
        return parts
    }

    /// What the month is billed by, as its lines say; the assignment may be gone, and says it where there are none.
    private func terms(
        of tenant: TenantID, in period: QuotaPeriod, billedBy parts: [BilledPart]
    ) throws -> BillingTerms? {
        guard let line = parts.first?.lines.first, let plan = line.plan, let version = line.version else {
            return try terms(of: tenant, in: period)
        }
        return try terms(plan, version: version, in: period)
    }

    // MARK: What was known

    /// Up to which time of their delivery an invoice has records, and what these come to beyond what is billed.
    private func known(
        _ terms: BillingTerms, _ tenant: TenantID, _ billed: [InvoiceLine], around time: Date
    ) throws -> (cutOff: Date, missing: [InvoiceLine]) {
        let times = try cutOffs(terms, tenant, billed, around: time)
        var first: (Date, [InvoiceLine])?
        for time in times {
            let missing = try rated(terms, of: tenant, recordedBy: time).adjustments(billed: billed, of: tenant)
            if missing.isEmpty { return (time, []) }
            first = first ?? (time, missing)
        }
        return first ?? (time, [])
    }

    /// Up to which time of their delivery an invoice may have records, the most likely one first; there is always one.
    ///
    /// A record's time is when its delivery began, and an invoice's when its transaction did: of records that came within a
    /// minute of it, the invoice has those up to one of them. Since a month only grows, these are as many as do not come to
    /// more than is billed. The surplus of lost nodes' sessions alone may go down again: if it changes in that minute, it may
    /// be a time before as well. Of two nodes that deliver late usage of one tenant in the very moment in which its invoice
    /// is made, the one that began first may end last: that is the one case in which what is found is no fault.
    private func cutOffs(
        _ terms: BillingTerms, _ tenant: TenantID, _ billed: [InvoiceLine], around time: Date
    ) throws -> [Date] {
        let earliest = time - UsageVerification.delivery
        let latest = time + UsageVerification.delivery
        let isAudio = terms.prices.time == .audio
        let milliseconds = billed.reduce(0) { $0 + $1.raw }
        let sessions = billed.reduce(0) { $0 + $1.sessions }
        let surplus = UsageRecord.surplusSegment
        return try query(
            """
            WITH known AS (
                SELECT recorded_at, session_id, segment, row_number() OVER w AS place,
                    CASE WHEN segment < \(surplus) THEN max(CASE WHEN \(isAudio) THEN audio_ms ELSE connected_ms END) OVER w
                        WHEN \(isAudio) THEN audio_ms ELSE connected_ms END AS ms,
                    -- A surplus counts its session where no other segment does.
                    segment = 0 OR segment = \(surplus) AND EXISTS (
                        SELECT FROM usage_segments AS s
                        WHERE s.tenant_id = r.tenant_id AND s.session_id = r.session_id AND s.segment = r.segment
                            AND s.period = r.period AND s.session_started_at >= \(terms.period.start)) AS may_begin
                FROM usage_records AS r
                WHERE tenant_id = \(tenant.rawValue) AND period = \(terms.period.firstDay)::date
                WINDOW w AS (PARTITION BY session_id, segment ORDER BY recorded_at, seq, source ROWS UNBOUNDED PRECEDING)
            ), news AS (
                SELECT recorded_at, segment = \(surplus) AS is_surplus,
                    (may_begin AND row_number() OVER (PARTITION BY session_id, may_begin ORDER BY recorded_at) = 1)::integer
                        AS sessions,
                    ms - lag(ms, 1, 0::bigint) OVER (PARTITION BY session_id, segment ORDER BY place) AS ms
                FROM known
            ), sums AS (
                SELECT recorded_at, bool_or(is_surplus) AS has_surplus, sum(sum(ms)) OVER w AS ms,
                    sum(sum(sessions)) OVER w AS sessions
                FROM news GROUP BY recorded_at WINDOW w AS (ORDER BY recorded_at)
            ), fitting AS (
                SELECT recorded_at, has_surplus, ms = \(milliseconds) AND sessions = \(sessions) AS is_whole,
                    recorded_at BETWEEN \(earliest) AND \(latest) AND ms <= \(milliseconds) AND sessions <= \(sessions) AS fits
                FROM sums
            )
            SELECT recorded_at FROM (
                SELECT recorded_at, is_whole, fits,
                    lead(fits AND NOT has_surplus, 1, false) OVER (ORDER BY recorded_at) AS is_passed
                FROM fitting
            ) AS t
            WHERE fits AND NOT is_passed
            ORDER BY is_whole DESC, recorded_at > \(time), abs(extract(epoch FROM recorded_at - \(time)))
            LIMIT \(Self.cutOffTrials)
            """
        ).map { try $0.value("recorded_at") } + [earliest]
    }

    /// What the records come to that were there by then: of each segment the highest, of a surplus the last.
    private func rated(
        _ terms: BillingTerms, of tenant: TenantID, recordedBy cutOff: Date
    ) throws -> RatedPeriod {
        let isAudio = terms.prices.time == .audio
        let surplus = UsageRecord.surplusSegment
        return try rated(terms, of: tenant) { session, segment in
            try query(
                """
                SELECT s.session_id, s.segment, s.session_started_at, s.engine, s.language,
                    s.segment = 0 OR s.segment = \(surplus) AND s.session_started_at >= \(terms.period.start) AND NOT EXISTS (
                        SELECT FROM usage_records AS r
                        WHERE r.tenant_id = s.tenant_id AND r.session_id = s.session_id AND r.segment = 0
                            AND r.period = s.period AND r.recorded_at <= \(cutOff)) AS is_beginning,
                    s.audio_before_ms, s.connected_before_ms,
                    CASE WHEN \(isAudio) THEN r.audio_ms ELSE r.connected_ms END AS billable_ms
                FROM usage_segments AS s
                CROSS JOIN LATERAL (
                    SELECT max(r.audio_ms) AS audio_ms, max(r.connected_ms) AS connected_ms FROM usage_records AS r
                    WHERE s.segment < \(surplus) AND r.tenant_id = s.tenant_id AND r.session_id = s.session_id
                        AND r.segment = s.segment AND r.period = s.period AND r.recorded_at <= \(cutOff)
                    UNION ALL
                    (SELECT r.audio_ms, r.connected_ms FROM usage_records AS r
                    WHERE s.segment = \(surplus) AND r.tenant_id = s.tenant_id AND r.session_id = s.session_id
                        AND r.segment = s.segment AND r.period = s.period AND r.recorded_at <= \(cutOff)
                    ORDER BY r.seq DESC LIMIT 1)
                ) AS r
                WHERE s.tenant_id = \(tenant.rawValue) AND s.period = \(terms.period.firstDay)::date
                    AND (s.session_id, s.segment) > (\(session), \(segment)) AND r.audio_ms IS NOT NULL
                ORDER BY s.session_id, s.segment LIMIT \(Self.segmentsPerPage)
                """)
        }
    }

    /// What the segments come to as the invoices up to that of a month have them.
    private func rated(
        _ terms: BillingTerms, of tenant: TenantID, billedThrough last: QuotaPeriod
    ) throws -> RatedPeriod {
        try rated(terms, of: tenant) { session, segment in
            try segments(
                of: tenant, terms, through: last.description, after: (session, segment), Self.segmentsPerPage)
        }
    }

    /// Sessions of which records came later.
    private func lateSessions(_ period: QuotaPeriod, _ tenant: TenantID, after cutOff: Date) throws -> [SessionID] {
        try query(
            """
            SELECT DISTINCT session_id FROM usage_records
            WHERE tenant_id = \(tenant.rawValue) AND period = \(period.firstDay)::date AND recorded_at > \(cutOff)
            ORDER BY session_id LIMIT \(UsageVerification.limit)
            """
        ).map { SessionID(try $0.value("session_id")) }
    }
}

extension InvoiceLine {
    /// Whether all that it says beside times and amounts is what the plan's version has.
    fileprivate func isPriced(by terms: BillingTerms) -> Bool {
        guard plan == terms.plan, version == terms.version else { return false }
        guard case .charge(let place) = subject else {
            return engine == nil && language == nil && unit == nil && mode == nil && tiers.isEmpty
        }
        guard terms.prices.charges.indices.contains(place) else { return false }
        let charge = terms.prices.charges[place]
        guard engine == charge.engine, language == charge.language, unit == charge.unit, mode == charge.mode else {
            return false
        }
        return tiers.allSatisfy { part in
            guard charge.tiers.indices.contains(part.tier) else { return false }
            let tier = charge.tiers[part.tier]
            return part.upTo == tier.upTo && part.unitPrice == tier.unitPrice
        }
    }

    /// As what is missing of a tenant's bill.
    fileprivate func difference(of tenant: TenantID) -> String {
        "tenant \(tenant), \(subject): \(raw) ms and \(amount) \(amount.currency)"
    }
}
