import Crypto
import FoundationEssentials
public import Hansard
public import Postgres

/// Proves of a month that what sessions say they used is what the ledger has, what was summed up from it, and what was billed.
public struct UsageVerification: Sendable {
    /// Something that is not as it should be, or that is yet to be billed.
    public struct Finding: Sendable, Equatable {
        /// What is compared.
        public enum Check: String, Sendable, CaseIterable {
            /// Sessions' rows and the ledger's totals.
            case sessions
            /// Records and totals.
            case records
            /// Totals and their marks at the end of each hour.
            case marks
            /// Marks and sums by hour.
            case hours
            /// Invoices, their hashes, lines and numbers.
            case invoices
            /// Usage that came after its month was closed: no fault, the next invoice has it.
            case late
            /// Records that were taken out after their time: no fault, and those that are there are compared.
            case gone
        }

        /// What is compared.
        public var check: Check
        /// Where, and what each side says.
        public var text: String
        /// Whether it is a fault.
        public var isFault: Bool { check != .late && check != .gone }

        init(_ check: Check, _ text: String) {
            self.check = check
            self.text = text
        }
    }

    /// Findings of one check that are told.
    public static let limit = 100
    /// How much earlier than an invoice late usage may say that it came: a record's time is when its delivery began.
    private static let delivery: TimeInterval = 60

    private let pool: ConnectionPool
    private let period: QuotaPeriod

    /// - Parameter url: of a login that nodes or the tables' owner have.
    public init(_ url: DatabaseURL, period: QuotaPeriod) {
        var options = ConnectionPool.Options()
        options.connections = 1
        // It reads all of a month.
        options.connection.statementTimeout = nil
        options.connection.applicationName = "hansard usage verify"
        pool = ConnectionPool(url, options: options)
        self.period = period
    }

    /// Compares everything, as it is at one moment.
    ///
    /// - Throws: `HansardError` if it cannot be read.
    public func findings() async throws -> [Finding] {
        let period = period
        do {
            let findings = try await pool.asOperator(isolation: .repeatableReadOnly) { connection in
                let droppedAt = try await connection.recordsDroppedAt(period)
                var findings = try await connection.sessionFindings(period)
                findings += try await connection.recordFindings(period, droppedAt: droppedAt)
                findings += try await connection.markFindings(period) + connection.hourFindings(period)
                findings += try await connection.invoiceFindings(period)
                for tenant in try await connection.billedTenants(period) {
                    findings += try await connection.billingFindings(
                        period, tenant, margin: Self.delivery, areRecordsGone: droppedAt != nil)
                }
                return findings
            }
            await pool.close()
            return findings
        } catch {
            await pool.close()
            throw error
        }
    }
}

private typealias Finding = UsageVerification.Finding

extension Row {
    /// One side of a comparison; nil where there is none.
    fileprivate func counters(_ side: String) throws -> String {
        guard let audio: Int64 = try value("\(side)_audio") else { return "nothing" }
        let (connected, engine): (Int64, Int64) = (try value("\(side)_connected"), try value("\(side)_engine"))
        return "audio_ms \(audio), connected_ms \(connected), engine_ms \(engine)"
    }

    fileprivate var place: String {
        get throws {
            let (tenant, session): (UUID, UUID) = (try value("tenant_id"), try value("session_id"))
            return "session \(SessionID(session)) of tenant \(TenantID(tenant))"
        }
    }
}

extension Connection {
    private static var rows: Int { UsageVerification.limit }

    /// A session's row says what all its segments have together, in whichever months.
    fileprivate func sessionFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH here AS (
                SELECT tenant_id, session_id FROM usage_segments WHERE period = \(period.firstDay)::date
                UNION SELECT tenant_id, session_id FROM usage_rows WHERE started_at >= \(start) AND started_at < \(end)
            ), ledger AS (
                SELECT tenant_id, session_id, sum(s.audio_ms)::bigint AS audio_ms, sum(s.connected_ms)::bigint AS connected_ms,
                    sum(s.engine_ms)::bigint AS engine_ms, bool_and(s.is_final) AS is_over
                FROM here JOIN usage_segments AS s USING (tenant_id, session_id) GROUP BY tenant_id, session_id
            )
            SELECT tenant_id, session_id, u.audio_ms AS one_audio, u.connected_ms AS one_connected, u.engine_ms AS one_engine,
                l.audio_ms AS other_audio, l.connected_ms AS other_connected, l.engine_ms AS other_engine
            FROM here LEFT JOIN ledger AS l USING (tenant_id, session_id) LEFT JOIN usage_rows AS u USING (tenant_id, session_id)
            WHERE (u.audio_ms, u.connected_ms, u.engine_ms) IS DISTINCT FROM (l.audio_ms, l.connected_ms, l.engine_ms)
                -- One that is live has no row yet.
                AND (u.session_id IS NOT NULL OR l.is_over)
            ORDER BY tenant_id, session_id LIMIT \(Self.rows)
            """
        ).map { row in
            Finding(
                .sessions,
                "\(try row.place): its row has \(try row.counters("one")), the ledger has \(try row.counters("other"))")
        }
    }

    /// When records of the month were last taken out; nil if none were.
    fileprivate func recordsDroppedAt(_ period: QuotaPeriod) throws -> Date? {
        try query(
            "SELECT max(dropped_at) AS dropped_at FROM dropped_usage_records WHERE period = \(period.firstDay)::date"
        ).only().value("dropped_at")
    }

    /// A segment has the highest of its records; if some were taken out, at least that of those that are left.
    fileprivate func recordFindings(_ period: QuotaPeriod, droppedAt: Date?) throws -> [Finding] {
        let told = droppedAt.map {
            Finding(.gone, "the records of \(period) were taken out on \(Timestamp.format($0))")
        }
        return try [told].compactMap(\.self)
            + segmentFindings(
                .records, "records",
                query(
                    """
                    SELECT tenant_id, session_id, segment, r.audio_ms AS one_audio, r.connected_ms AS one_connected,
                        r.engine_ms AS one_engine, s.audio_ms AS other_audio, s.connected_ms AS other_connected,
                        s.engine_ms AS other_engine
                    FROM (
                        SELECT tenant_id, session_id, segment, max(audio_ms) AS audio_ms, max(connected_ms) AS connected_ms,
                            max(engine_ms) AS engine_ms
                        FROM usage_records WHERE period = \(period.firstDay)::date GROUP BY tenant_id, session_id, segment
                    ) AS r
                    FULL JOIN (SELECT * FROM usage_segments WHERE period = \(period.firstDay)::date) AS s
                        USING (tenant_id, session_id, segment)
                    WHERE (r.audio_ms, r.connected_ms, r.engine_ms) IS DISTINCT FROM (s.audio_ms, s.connected_ms, s.engine_ms)
                        AND (NOT \(droppedAt != nil) OR s.session_id IS NULL
                            OR r.audio_ms > s.audio_ms OR r.connected_ms > s.connected_ms OR r.engine_ms > s.engine_ms)
                    ORDER BY tenant_id, session_id, segment LIMIT \(Self.rows)
                    """))
    }

    /// The last mark of a segment is its total.
    fileprivate func markFindings(_ period: QuotaPeriod) throws -> [Finding] {
        try segmentFindings(
            .marks, "marks",
            query(
                """
                SELECT tenant_id, session_id, segment, m.audio_ms AS one_audio, m.connected_ms AS one_connected,
                    m.engine_ms AS one_engine, s.audio_ms AS other_audio, s.connected_ms AS other_connected,
                    s.engine_ms AS other_engine
                FROM (
                    SELECT tenant_id, session_id, segment, max(audio_ms) AS audio_ms, max(connected_ms) AS connected_ms,
                        max(engine_ms) AS engine_ms, count(*) FILTER (WHERE begins) AS beginnings
                    FROM usage_marks WHERE period = \(period.firstDay)::date GROUP BY tenant_id, session_id, segment
                ) AS m
                FULL JOIN (SELECT * FROM usage_segments WHERE period = \(period.firstDay)::date) AS s
                    USING (tenant_id, session_id, segment)
                WHERE (m.audio_ms, m.connected_ms, m.engine_ms) IS DISTINCT FROM (s.audio_ms, s.connected_ms, s.engine_ms)
                    OR m.beginnings <> (segment = 0)::int
                ORDER BY tenant_id, session_id, segment LIMIT \(Self.rows)
                """))
    }

    private func segmentFindings(_ check: Finding.Check, _ name: String, _ rows: [Row]) throws -> [Finding] {
        try rows.map { row in
            Finding(
                check,
                "\(try row.place), segment \(try row.value("segment", as: Int.self)): its \(name) have "
                    + "\(try row.counters("one")), its total is \(try row.counters("other"))")
        }
    }

    /// An hour that is summed up has what its marks say.
    fileprivate func hourFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH marks AS (
                SELECT u.tenant_id, u.hour, sum(u.audio_ms)::bigint AS audio_ms, sum(u.connected_ms)::bigint AS connected_ms,
                    sum(u.engine_ms)::bigint AS engine_ms, sum(u.sessions)::bigint AS sessions
                FROM (
                    SELECT tenant_id FROM usage_marks WHERE period = \(period.firstDay)::date
                    UNION SELECT tenant_id FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)
                ) AS t
                CROSS JOIN LATERAL usage_of_hours(t.tenant_id, \(start), \(end)) AS u GROUP BY u.tenant_id, u.hour
            ), hours AS (
                SELECT h.tenant_id, h.hour, sum(h.audio_ms)::bigint AS audio_ms, sum(h.connected_ms)::bigint AS connected_ms,
                    sum(h.engine_ms)::bigint AS engine_ms, sum(h.sessions)::bigint AS sessions
                FROM usage_hourly AS h WHERE h.hour >= \(start) AND h.hour < \(end) GROUP BY h.tenant_id, h.hour
            )
            SELECT tenant_id, hour, h.audio_ms AS one_audio, h.connected_ms AS one_connected, h.engine_ms AS one_engine,
                m.audio_ms AS other_audio, m.connected_ms AS other_connected, m.engine_ms AS other_engine,
                coalesce(h.sessions, 0) AS one_sessions, coalesce(m.sessions, 0) AS other_sessions
            FROM marks AS m FULL JOIN hours AS h USING (tenant_id, hour)
            WHERE (h.audio_ms, h.connected_ms, h.engine_ms, h.sessions)
                    IS DISTINCT FROM (m.audio_ms, m.connected_ms, m.engine_ms, m.sessions)
                AND NOT EXISTS (
                    SELECT FROM usage_dirty_hours AS d
                    WHERE d.tenant_id = coalesce(m.tenant_id, h.tenant_id) AND d.hour = coalesce(m.hour, h.hour))
            ORDER BY tenant_id, hour LIMIT \(Self.rows)
            """
        ).map { row in
            let (tenant, hour): (UUID, Date) = (try row.value("tenant_id"), try row.value("hour"))
            let (one, other): (Int, Int) = (try row.value("one_sessions"), try row.value("other_sessions"))
            return Finding(
                .hours,
                "tenant \(TenantID(tenant)), the hour from \(Timestamp.format(hour)): its sum is \(try row.counters("one")) of "
                    + "\(one) sessions, its marks say \(try row.counters("other")) of \(other)")
        }
    }

    // MARK: Invoices

    /// Each is what its hash and its lines say, and no number is missing.
    fileprivate func invoiceFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let rows = try query(
            """
            SELECT i.number, i.document, i.total::text AS total, i.currency, i.sha256,
                ARRAY(SELECT l.document FROM invoice_lines AS l WHERE l.tenant_id = i.tenant_id AND l.period = i.period
                    ORDER BY l.line) AS lines,
                i.number = 1 OR EXISTS (SELECT FROM invoices AS e WHERE e.number = i.number - 1) AS follows
            FROM invoices AS i WHERE i.period = \(period.description) ORDER BY i.number
            """)
        return try rows.flatMap { row -> [Finding] in
            let (number, document): (Int64, String) = (try row.value("number"), try row.value("document"))
            var wrong: [String] = []
            if try row.value("sha256") != SHA256.hash(Array(document.utf8)) { wrong.append("its hash is another's") }
            if try !row.value("follows", as: Bool.self) { wrong.append("there is no invoice \(number - 1)") }
            guard let invoice = try? Invoice(document: document) else {
                return [Finding(.invoices, "invoice \(number): it cannot be read")]
            }
            if invoice.number != number || invoice.period != period { wrong.append("it is the document of another") }
            if try invoice.total != row.money("total") {
                wrong.append("its total is \(invoice.total), its row has another")
            }
            if try invoice.lines.map({ try $0.document() }) != row.value("lines") {
                wrong.append("its lines are others")
            }
            return wrong.map { Finding(.invoices, "invoice \(number) of tenant \(invoice.tenant): \($0)") }
        }
    }

    /// Tenants with a plan, if the month is closed.
    fileprivate func billedTenants(_ period: QuotaPeriod) throws -> [TenantID] {
        guard try billingPeriod(period).state == .closed else { return [] }
        return try query(
            """
            SELECT tenant_id FROM plan_assignments
            WHERE from_period <= \(period.description) AND (to_period IS NULL OR to_period >= \(period.description))
            ORDER BY tenant_id
            """
        ).map { TenantID(try $0.value("tenant_id")) }
    }

    /// What the month comes to now is what all invoices have for it, but for what came after.
    fileprivate func billingFindings(
        _ period: QuotaPeriod, _ tenant: TenantID, margin: TimeInterval, areRecordsGone: Bool
    ) throws -> [Finding] {
        guard let terms = try terms(of: tenant, in: period) else { return [] }
        let missing: [InvoiceLine]
        do {
            missing = try rated(terms, of: tenant).adjustments(billed: billedLines(of: tenant, for: period))
        } catch let fault as InvoiceFault {
            return [Finding(.invoices, "tenant \(tenant): \(fault.reason)")]
        }
        if missing.isEmpty { return [] }
        let sessions = try lateSessions(period, tenant, margin: margin)
        let named =
            sessions.prefix(10).map(\.description).joined(separator: ", ") + (sessions.count > 10 ? " and more" : "")
        return missing.map { line in
            let what =
                "tenant \(tenant), \(line.subject): \(line.raw) ms and \(line.amount) \(line.amount.currency) are not billed"
            // The next invoice has it in any case.
            if sessions.isEmpty, areRecordsGone {
                return Finding(.late, "\(what) yet; of which sessions it is, the records said that are gone")
            }
            return sessions.isEmpty
                ? Finding(.invoices, "\(what), and nothing came after the month was closed")
                : Finding(.late, "\(what) yet; what came after the month was closed is of the sessions \(named)")
        }
    }

    /// Sessions of which records came after the last invoice that has something for the month.
    private func lateSessions(_ period: QuotaPeriod, _ tenant: TenantID, margin: TimeInterval) throws -> [SessionID] {
        try query(
            """
            SELECT DISTINCT r.session_id FROM usage_records AS r
            WHERE r.tenant_id = \(tenant.rawValue) AND r.period = \(period.firstDay)::date AND r.recorded_at > (
                SELECT greatest(
                    (SELECT p.closing_at FROM billing_periods AS p WHERE p.period = \(period.description)),
                    (SELECT max(i.created_at) FROM invoices AS i JOIN invoice_lines AS l USING (tenant_id, period)
                    WHERE l.tenant_id = \(tenant.rawValue) AND l.for_period = \(period.description)))
            ) - make_interval(secs => \(margin))
            ORDER BY r.session_id LIMIT \(Self.rows)
            """
        ).map { SessionID(try $0.value("session_id")) }
    }
}
