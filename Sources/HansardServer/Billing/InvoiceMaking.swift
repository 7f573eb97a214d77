import Crypto
import FoundationEssentials
import Hansard
import Postgres

/// Why a tenant's invoice cannot be made: two places that must say the same do not. Nothing is stored then.
struct InvoiceFault: Error, Equatable {
    var tenant: TenantID
    var reason: String
}

/// By which version of which plan a month of a tenant is billed.
struct BillingTerms: Sendable {
    var period: QuotaPeriod
    var plan: PlanID
    var version: Int
    var prices: PlanVersion
}

/// What a tenant has in a month, in milliseconds, as one of the ledger's tables sums it up.
struct UsageSum: Sendable, Equatable {
    var sessions: Int64
    var audio: Int64
    var connected: Int64

    func milliseconds(_ time: BilledTime) -> Int64 { time == .audio ? audio : connected }
}

/// What a tenant is billed for of a month, in milliseconds of the time that its plan bills.
struct BilledSum: Sendable, Equatable {
    var sessions: Int64
    var milliseconds: Int64

    init(_ row: Row) throws {
        sessions = try row.value("sessions")
        milliseconds = try row.value("raw_ms")
    }
}

/// Makes invoices from the ledger, within a transaction that sees one moment: a preview reads, a closing stores as well.
extension Connection {
    /// Segments that are read at once: a tenant may have millions.
    static let segmentsPerPage = 5_000
    /// Before all sessions.
    static let noSession = UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))

    /// What the tenant's invoice for a month would be now; nil if there is nothing that it could be about: no plan, no credit, and
    /// no late usage of earlier months.
    ///
    /// - Throws: `InvoiceFault` if the ledger does not agree with itself.
    func draftInvoice(of tenant: TenantID, for period: QuotaPeriod) throws -> Invoice? {
        let terms = try terms(of: tenant, in: period)
        var lines: [InvoiceLine] = []
        if let terms {
            let rated = try rated(terms, of: tenant)
            if rated.isUsed || rated.rated.contains(where: { $0.subject == .commitment }) { lines = rated.lines }
        }
        lines += try adjustments(of: tenant, before: period)
        lines += try query(
            """
            SELECT credit_id, tenant_id, period, currency, amount::text AS amount, reason, actor, created_at FROM credits
            WHERE tenant_id = \(tenant.rawValue) AND period = \(period.description) ORDER BY created_at, credit_id
            """
        ).map { InvoiceLine(try Credit(row: $0)) }
        guard let currency = terms?.prices.currency ?? lines.first?.amount.currency else { return nil }
        if let other = lines.first(where: { $0.amount.currency != currency })?.amount.currency {
            throw InvoiceFault(tenant: tenant, reason: "there are lines in \(currency) and in \(other)")
        }
        let times = try query("SELECT usage_data_as_of() AS data_as_of, now() AS created_at").only()
        var invoice = Invoice(
            state: .preview, tenant: tenant, period: period, currency: currency, plan: terms?.plan,
            version: terms?.version, lines: lines, dataAsOf: try times.value("data_as_of"),
            createdAt: try times.value("created_at"))
        // Part of what is hashed: an address that stays, and not what is there, which it is made of as the lines are.
        let reader = BillingReader(issuer: "")
        invoice.lines = lines.map {
            var line = $0
            line.sessionsURL = reader.sessionsURL(line, of: invoice)
            return line
        }
        return invoice
    }

    /// Up to when all nodes' usage is there.
    func usageDataAsOf() throws -> Date {
        try query("SELECT usage_data_as_of() AS data_as_of").only().value("data_as_of")
    }

    /// Stores an invoice under the next number. The month must be closing.
    func store(_ draft: Invoice) throws {
        var invoice = draft
        invoice.state = .closed
        let number: Int64 = try query(
            "UPDATE billing_state SET last_invoice = last_invoice + 1 RETURNING last_invoice"
        ).only().value("last_invoice")
        invoice.number = number
        let (tenant, period, document) = (invoice.tenant.rawValue, invoice.period.description, try invoice.document())
        try execute(
            """
            INSERT INTO invoices (tenant_id, period, number, currency, total, plan_id, version, data_as_of, created_at,
                document, sha256)
            VALUES (\(tenant), \(period), \(number), \(invoice.currency.code), \(invoice.total.description)::numeric,
                \(invoice.plan?.rawValue), \(invoice.version), \(invoice.dataAsOf), \(invoice.createdAt), \(document),
                \(SHA256.hash(Array(document.utf8))))
            """)
        let lines = invoice.lines
        try execute(
            """
            INSERT INTO invoice_lines (tenant_id, period, line, kind, for_period, sessions, raw_ms, billed_ms, amount, document)
            SELECT \(tenant), \(period), l.place - 1, l.kind, l.for_period, l.sessions, l.raw_ms, l.billed_ms,
                l.amount::numeric, l.document
            FROM unnest(\(lines.map(\.kind.rawValue)), \(lines.map(\.period.description)), \(lines.map(\.sessions)),
                \(lines.map(\.raw)), \(lines.map(\.billed)), \(lines.map(\.amount.description)),
                \(try lines.map { try $0.document() })) WITH ORDINALITY
                AS l (kind, for_period, sessions, raw_ms, billed_ms, amount, document, place)
            """)
        // Late usage that this transaction sees, and none that comes meanwhile: also what comes to nothing, since the time of
        // later months may be rated by it.
        try execute(
            """
            UPDATE late_usage SET billed_in = \(period)
            WHERE tenant_id = \(tenant) AND period <= \(invoice.period.firstDay)::date AND billed_in IS NULL
            """)
    }

    // MARK: Months

    /// What a month is billed by; nil if nothing says.
    func terms(of tenant: TenantID, in period: QuotaPeriod) throws -> BillingTerms? {
        try query(
            """
            SELECT v.* FROM plan_assignments AS a JOIN plan_versions AS v USING (plan_id, version)
            WHERE a.tenant_id = \(tenant.rawValue) AND a.from_period <= \(period.description)
                AND (a.to_period IS NULL OR a.to_period >= \(period.description))
            """
        ).first.map { try BillingTerms($0, period) }
    }

    /// The version of a plan, as what a month is billed by; nil if there is none.
    func terms(_ plan: PlanID, version: Int, in period: QuotaPeriod) throws -> BillingTerms? {
        try query(
            "SELECT * FROM plan_versions WHERE plan_id = \(plan.rawValue) AND version = \(version)"
        ).first.map { try BillingTerms($0, period) }
    }

    /// What all usage of a month, as it is known now, comes to.
    func rated(_ terms: BillingTerms, of tenant: TenantID) throws -> RatedPeriod {
        let isAudio = terms.prices.time == .audio
        let rated = try rated(terms, of: tenant) { session, segment in
            try query(
                """
                SELECT session_id, segment, session_started_at, engine, language, segment = 0 OR begins AS is_beginning,
                    audio_before_ms, connected_before_ms,
                    CASE WHEN \(isAudio) THEN audio_ms ELSE connected_ms END AS billable_ms
                FROM usage_segments
                WHERE tenant_id = \(tenant.rawValue) AND period = \(terms.period.firstDay)::date
                    AND (session_id, segment) > (\(session), \(segment))
                    AND (segment < \(UsageRecord.surplusSegment) OR audio_ms > 0 OR begins)
                ORDER BY session_id, segment LIMIT \(Self.segmentsPerPage)
                """)
        }
        try requireAgreement(rated, of: tenant)
        return rated
    }

    /// What segments come to.
    ///
    /// - Parameter page: `segmentsPerPage` of them at most, after the one that it is given.
    func rated(
        _ terms: BillingTerms, of tenant: TenantID, _ page: (_ session: UUID, _ segment: Int) throws -> [Row]
    ) throws -> RatedPeriod {
        let month = QuotaPeriod(terms.period.start - 1)
        var rating = Rating(terms.prices, after: try self.terms(of: tenant, in: month)?.prices)
        var (session, segment) = (Self.noSession, -1)
        while true {
            let rows = try page(session, segment)
            let earlier = try earlierSegments(of: tenant, in: terms.period, beside: rows)
            for row in rows {
                (session, segment) = (try row.value("session_id"), try row.value("segment"))
                guard let time = try billableTime(row, after: earlier) else { continue }
                rating.add(time)
            }
            guard rows.count == Self.segmentsPerPage else { break }
        }
        return RatedPeriod(
            period: terms.period, plan: terms.plan, version: terms.version, prices: terms.prices, rated: rating.lines)
    }

    /// What earlier months that are not closed any more come to now, less all that was billed for them: those too that were passed
    /// over since there was nothing in them. A month's usage only ever grows, but for the surplus of lost nodes' sessions: one
    /// without that, whose sums are those that were billed, is as it was.
    private func adjustments(of tenant: TenantID, before period: QuotaPeriod) throws -> [InvoiceLine] {
        let closed = try query(
            """
            SELECT v.*, m.period FROM (
                SELECT period FROM usage_months()
                UNION SELECT for_period FROM invoice_lines WHERE tenant_id = \(tenant.rawValue)
            ) AS m
            JOIN plan_assignments AS a ON a.tenant_id = \(tenant.rawValue) AND a.from_period <= m.period
                AND (a.to_period IS NULL OR a.to_period >= m.period)
            JOIN plan_versions AS v USING (plan_id, version)
            WHERE m.period < \(period.description)
                AND m.period <= (SELECT max(period) FROM billing_periods WHERE state = 'closed')
            ORDER BY m.period
            """)
        return try closed.flatMap { row -> [InvoiceLine] in
            let terms = try BillingTerms(row, row.period("period"))
            let (used, billed) = (
                try ledgerSum(of: tenant, in: terms.period),
                try billedSum(of: tenant, for: terms.period, through: period.description)
            )
            if used.sessions == billed.sessions, used.milliseconds(terms.prices.time) == billed.milliseconds,
                try !hasSurplus(of: tenant, in: terms.period)
            {
                return []
            }
            let billedLines = try billedLines(of: tenant, for: terms.period)
            return try rated(terms, of: tenant).adjustments(billed: billedLines, of: tenant)
        }
    }

    /// Whether a lost node's session has, or had, a surplus in the month: it may have become another segment's time.
    private func hasSurplus(of tenant: TenantID, in period: QuotaPeriod) throws -> Bool {
        try !query(
            """
            SELECT FROM usage_reaped AS p JOIN usage_segments AS s USING (tenant_id, session_id)
            WHERE p.tenant_id = \(tenant.rawValue) AND p.is_counted AND s.segment = \(UsageRecord.surplusSegment)
                AND s.period = \(period.firstDay)::date
            LIMIT 1
            """
        ).isEmpty
    }

    /// The lines of all invoices for a month's usage.
    func billedLines(of tenant: TenantID, for period: QuotaPeriod) throws -> [InvoiceLine] {
        try query(
            """
            SELECT document FROM invoice_lines
            WHERE tenant_id = \(tenant.rawValue) AND for_period = \(period.description) AND kind <> 'credit'
            ORDER BY period, line
            """
        ).map { try InvoiceLine(billed: try $0.value("document"), of: tenant, for: period) }
    }

    /// What the invoices up to that of a month have of a month's usage.
    func billedSum(of tenant: TenantID, for period: QuotaPeriod, through last: String) throws -> BilledSum {
        try BilledSum(
            query(
                """
                SELECT coalesce(sum(sessions), 0)::bigint AS sessions, coalesce(sum(raw_ms), 0)::bigint AS raw_ms
                FROM invoice_lines
                WHERE tenant_id = \(tenant.rawValue) AND for_period = \(period.description) AND kind <> 'credit'
                    AND period <= \(last)
                """
            ).only())
    }

    // MARK: Agreement

    /// Throws unless lines, segments and hours have the same time and as many sessions.
    private func requireAgreement(_ rated: RatedPeriod, of tenant: TenantID) throws {
        let (time, period) = (rated.prices.time, rated.period)
        let (ledger, hours) = (try ledgerSum(of: tenant, in: period), try hourlySum(of: tenant, in: period))
        let lines = (
            sessions: rated.rated.reduce(0) { $0 + Int64($1.sessions) },
            milliseconds: rated.rated.reduce(0) { $0 + $1.raw }
        )
        guard ledger == hours, lines.sessions == ledger.sessions, lines.milliseconds == ledger.milliseconds(time) else {
            throw InvoiceFault(
                tenant: tenant,
                reason:
                    "the lines for \(period) have \(lines.sessions) sessions and \(lines.milliseconds) ms of \(time.rawValue), "
                    + "the ledger \(ledger), the sums by hour \(hours): hansard usage verify --period \(period) names the sessions"
            )
        }
    }

    /// A column's sum, as far as it fits: what does not agrees with nothing.
    private static func most(of column: String) -> Query {
        "least(greatest(coalesce(sum(\(identifier: column)), 0), 0), \(Int64.max))::bigint"
    }

    /// What segments say.
    func ledgerSum(of tenant: TenantID, in period: QuotaPeriod) throws -> UsageSum {
        try UsageSum(
            query(
                """
                SELECT count(*) FILTER (WHERE segment = 0 OR begins) AS sessions, \(Self.most(of: "audio_ms")) AS audio_ms,
                    \(Self.most(of: "connected_ms")) AS connected_ms
                FROM usage_segments WHERE tenant_id = \(tenant.rawValue) AND period = \(period.firstDay)::date
                """
            ).only())
    }

    /// What hours say: those that are not summed up yet are, for this once.
    func hourlySum(of tenant: TenantID, in period: QuotaPeriod) throws -> UsageSum {
        let (start, end) = (period.start, period.end)
        return try UsageSum(
            query(
                """
                WITH dirty AS (
                    SELECT DISTINCT hour FROM usage_dirty_hours
                    WHERE tenant_id = \(tenant.rawValue) AND hour >= \(start) AND hour < \(end)
                ), hours AS (
                    SELECT h.sessions, h.audio_ms, h.connected_ms FROM usage_hourly AS h
                    WHERE h.tenant_id = \(tenant.rawValue) AND h.hour >= \(start) AND h.hour < \(end)
                        AND h.hour NOT IN (SELECT hour FROM dirty)
                    UNION ALL
                    SELECT u.sessions, u.audio_ms, u.connected_ms FROM dirty AS d
                    CROSS JOIN LATERAL usage_of_hours(\(tenant.rawValue), d.hour, d.hour + interval '1 hour') AS u
                )
                SELECT coalesce(sum(sessions), 0)::bigint AS sessions, \(Self.most(of: "audio_ms")) AS audio_ms,
                    \(Self.most(of: "connected_ms")) AS connected_ms
                FROM hours
                """
            ).only())
    }
}

extension BillingTerms {
    init(_ row: Row, _ period: QuotaPeriod) throws {
        let record = try PlanVersionRecord(row: row)
        self.init(period: period, plan: record.plan, version: record.number, prices: record.prices)
    }
}

extension RatedPeriod {
    /// The same as `adjustments(billed:)`, of lines that anything may be in.
    ///
    /// - Throws: `InvoiceFault` if they are of another currency.
    func adjustments(billed: [InvoiceLine], of tenant: TenantID) throws -> [InvoiceLine] {
        if let other = billed.first(where: { $0.amount.currency != prices.currency })?.amount.currency {
            throw InvoiceFault(
                tenant: tenant,
                reason:
                    "\(period) is billed in \(other), and version \(version) of plan \(plan) is in \(prices.currency)")
        }
        return adjustments(billed: billed)
    }
}

extension InvoiceLine {
    /// Times of a line that are added up.
    private static let times: ClosedRange<Int64> = -1_000_000_000_000_000...1_000_000_000_000_000

    /// Reads what is billed for a month.
    ///
    /// - Throws: `InvoiceFault` if it is no line of it.
    init(billed document: String, of tenant: TenantID, for period: QuotaPeriod) throws {
        guard let line = try? InvoiceLine(document: document), line.period == period,
            ([line.sessions, line.raw, line.billed, line.included] + line.tiers.map(\.milliseconds))
                .allSatisfy({ Self.times ~= $0 })
        else {
            throw InvoiceFault(tenant: tenant, reason: "a line that is billed for \(period) cannot be read")
        }
        self = line
    }
}

extension UsageSum: CustomStringConvertible {
    init(_ row: Row) throws {
        self.init(
            sessions: try row.value("sessions"), audio: try row.value("audio_ms"),
            connected: try row.value("connected_ms"))
    }

    var description: String { "\(sessions) sessions, \(audio) ms of audio and \(connected) ms connected" }
}
