import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Sessions' rows, totals, records and marks, each against the other.
extension Connection {
    /// Up to when rows and records must both be there.
    func settledThrough() throws -> Date {
        try query(
            "SELECT usage_data_as_of() - make_interval(secs => \(UsageVerification.settling)) AS settled"
        ).only().value("settled")
    }

    /// What sessions' rows and the ledger say of the same.
    func sessionFindings(_ period: QuotaPeriod, settled: Date) throws -> [UsageVerification.Finding] {
        try counterFindings(period, settled: settled) + statusFindings(period, settled: settled)
            + labelFindings(period, settled: settled) + recentFindings(period, settled: settled)
    }

    /// What a month's records, its totals and its marks say of the same. One transaction writes them: they agree at any moment.
    ///
    /// - Parameter droppedAt: when some were taken out; of those that are left a segment has at least the highest.
    func recordFindings(_ period: QuotaPeriod, droppedAt: Date?) throws -> [UsageVerification.Finding] {
        guard let droppedAt else {
            return try totalFindings(period, areAllThere: true) + surplusFindings(period, areAllThere: true)
                + orderFindings(period) + markFindings(period)
        }
        let told = Finding(.gone, "the records of \(period) were taken out on \(Timestamp.format(droppedAt))")
        return try [told] + totalFindings(period, areAllThere: false) + surplusFindings(period, areAllThere: false)
    }

    /// When records of the month were last taken out; nil if none were.
    func recordsDroppedAt(_ period: QuotaPeriod) throws -> Date? {
        try query(
            "SELECT max(dropped_at) AS dropped_at FROM dropped_usage_records WHERE period = \(period.firstDay)::date"
        ).only().value("dropped_at")
    }

    // MARK: Sessions

    /// A session's row says what all its node's segments have together, in whichever months. One that is live has no row yet,
    /// and one whose node was lost may never get one: what is known of it counts since that node was given up.
    private func counterFindings(_ period: QuotaPeriod, settled: Date) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH here AS (
                SELECT tenant_id, session_id FROM usage_segments WHERE period = \(period.firstDay)::date
                UNION SELECT tenant_id, session_id FROM usage_rows WHERE started_at >= \(start) AND started_at < \(end)
            ), ledger AS (
                SELECT tenant_id, session_id, sum(s.audio_ms) AS audio_ms, sum(s.connected_ms) AS connected_ms,
                    sum(s.engine_ms) AS engine_ms, bool_and(s.is_final) AS is_over, max(s.last_at) AS last_at
                FROM here JOIN usage_segments AS s USING (tenant_id, session_id)
                WHERE s.segment < \(UsageRecord.surplusSegment) GROUP BY tenant_id, session_id
            )
            SELECT tenant_id, session_id, u.audio_ms::text AS one_audio, u.connected_ms::text AS one_connected,
                u.engine_ms::text AS one_engine, l.audio_ms::text AS other_audio, l.connected_ms::text AS other_connected,
                l.engine_ms::text AS other_engine
            FROM here LEFT JOIN ledger AS l USING (tenant_id, session_id) LEFT JOIN usage_rows AS u USING (tenant_id, session_id)
            WHERE (u.audio_ms, u.connected_ms, u.engine_ms) IS DISTINCT FROM (l.audio_ms, l.connected_ms, l.engine_ms)
                AND coalesce(l.last_at, u.ended_at) <= \(settled)
                AND (u.session_id IS NOT NULL OR l.is_over AND NOT EXISTS (
                    SELECT FROM usage_reaped AS p
                    WHERE p.tenant_id = l.tenant_id AND p.session_id = l.session_id AND p.is_counted))
            ORDER BY tenant_id, session_id LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            Finding(
                .sessions,
                "\(try row.session): its row has \(try row.counters("one")), the ledger has \(try row.counters("other"))"
            )
        }
    }

    /// What the connection store keeps of sessions that ended, where it is this database: their rows and records come by the
    /// node's spool, and would both be missing if that was lost. A lost node's session may be known by its lease alone, as a
    /// whole, so that it may have less there.
    private func statusFindings(_ period: QuotaPeriod, settled: Date) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            SELECT t.tenant_id, t.session_id, t.audio_ms::text AS status_audio, l.audio_ms::text AS ledger_audio
            FROM session_status AS t CROSS JOIN LATERAL (
                SELECT coalesce(sum(s.audio_ms), 0) AS audio_ms FROM usage_segments AS s
                WHERE s.tenant_id = t.tenant_id AND s.session_id = t.session_id
            ) AS l
            WHERE t.started_at >= \(start) AND t.started_at < \(end) AND t.ended_at <= \(settled)
                AND t.audio_ms > l.audio_ms
            ORDER BY t.tenant_id, t.session_id LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (status, ledger): (String, String) = (try row.value("status_audio"), try row.value("ledger_audio"))
            return Finding(
                .sessions, "\(try row.session): it ended with audio_ms \(status), the ledger has audio_ms \(ledger)")
        }
    }

    /// A segment has what its session's row has, where that can be told: of a session at several engines the row names one, and
    /// of audio that described itself the segment may have more channels, which were announced. Of one that only the count of a
    /// lost node's sessions knows the client's wishes are not known.
    ///
    /// And it begins where those before it end, and is over if the session is.
    private func labelFindings(_ period: QuotaPeriod, settled: Date) throws -> [Finding] {
        try query(
            """
            SELECT * FROM (
                SELECT s.tenant_id, s.session_id, s.segment, concat_ws('; ',
                    CASE WHEN s.key_id <> u.key_id THEN format('key_id is %s, the row has %s', s.key_id, u.key_id) END,
                    CASE WHEN s.region <> u.region THEN format('region is %s, the row has %s', s.region, u.region) END,
                    CASE WHEN s.model <> u.model AND k.is_known
                        THEN format('model is %s, the row has %s', s.model, u.model) END,
                    CASE WHEN s.language <> u.language AND k.is_known
                        THEN format('language is %s, the row has %s', s.language, u.language) END,
                    CASE WHEN s.tags <> u.tags AND k.is_known THEN format('tags are %s, the row has %s', s.tags, u.tags) END,
                    CASE WHEN s.engine <> u.engine AND k.is_known AND NOT EXISTS (
                            SELECT FROM usage_segments AS t
                            WHERE t.tenant_id = s.tenant_id AND t.session_id = s.session_id AND t.engine = u.engine)
                        THEN format('engine is %s, the row has %s', s.engine, u.engine) END,
                    CASE WHEN u.channels > s.channels AND k.is_known AND NOT EXISTS (
                            SELECT FROM usage_segments AS t
                            WHERE t.tenant_id = s.tenant_id AND t.session_id = s.session_id AND t.channels >= u.channels)
                        THEN format('channels are %s, the row has %s', s.channels, u.channels) END,
                    -- Times of a spool may have been rounded.
                    CASE WHEN s.session_started_at - u.started_at NOT BETWEEN '-1 millisecond' AND '1 millisecond'
                        THEN 'the session began at another time than in its row' END,
                    CASE WHEN s.begins THEN 'begins is set, as of a surplus alone' END,
                    CASE WHEN u.session_id IS NOT NULL AND NOT s.is_final AND s.last_at <= \(settled)
                        THEN 'it is not final, and the session is over' END,
                    CASE WHEN (s.audio_before_ms, s.connected_before_ms) <> (e.audio_ms, e.connected_ms)
                            AND s.last_at <= \(settled)
                        THEN format('audio_before_ms is %s and connected_before_ms %s, the segments before it have %s and %s',
                            s.audio_before_ms, s.connected_before_ms, e.audio_ms, e.connected_ms) END
                    ) AS wrong
                FROM usage_segments AS s LEFT JOIN usage_rows AS u USING (tenant_id, session_id)
                CROSS JOIN LATERAL (
                    SELECT s.engine <> 'unknown' OR NOT EXISTS (
                        SELECT FROM usage_records AS r
                        WHERE r.tenant_id = s.tenant_id AND r.session_id = s.session_id AND r.segment = s.segment
                            AND r.source = 'reaper' AND r.period = s.period) AS is_known
                ) AS k
                CROSS JOIN LATERAL (
                    SELECT coalesce(sum(b.audio_ms), 0) AS audio_ms, coalesce(sum(b.connected_ms), 0) AS connected_ms
                    FROM usage_segments AS b
                    WHERE s.segment > 0 AND b.tenant_id = s.tenant_id AND b.session_id = s.session_id
                        AND b.segment < s.segment
                ) AS e
                WHERE s.period = \(period.firstDay)::date AND s.segment < \(UsageRecord.surplusSegment)
            ) AS t
            WHERE wrong <> '' ORDER BY tenant_id, session_id, segment LIMIT \(UsageVerification.limit)
            """
        ).map { Finding(.sessions, "\(try $0.segment): \(try $0.value("wrong", as: String.self))") }
    }

    /// How many sessions were left out.
    private func recentFindings(_ period: QuotaPeriod, settled: Date) throws -> [Finding] {
        let count: Int = try query(
            """
            SELECT count(DISTINCT (tenant_id, session_id)) AS sessions FROM usage_segments
            WHERE period = \(period.firstDay)::date AND last_at > \(settled)
            """
        ).only().value("sessions")
        guard count > 0 else { return [] }
        let text =
            "\(count) sessions used something after \(Timestamp.format(settled)): their rows are not compared yet"
        return [Finding(.recent, text)]
    }

    // MARK: Records

    /// A segment has the highest of its records, ends with the last, and is over if one of them says so.
    private func totalFindings(_ period: QuotaPeriod, areAllThere: Bool) throws -> [Finding] {
        try query(
            """
            SELECT tenant_id, session_id, segment, r.audio_ms::text AS one_audio, r.connected_ms::text AS one_connected,
                r.engine_ms::text AS one_engine, r.last_at AS one_at, r.is_final AS one_final, s.audio_ms::text AS other_audio,
                s.connected_ms::text AS other_connected, s.engine_ms::text AS other_engine, s.last_at AS other_at,
                s.is_final AS other_final
            FROM (
                SELECT tenant_id, session_id, segment, max(audio_ms) AS audio_ms, max(connected_ms) AS connected_ms,
                    max(engine_ms) AS engine_ms, max(made_at) AS last_at, bool_or(is_final) AS is_final
                FROM usage_records
                WHERE period = \(period.firstDay)::date AND segment < \(UsageRecord.surplusSegment)
                GROUP BY tenant_id, session_id, segment
            ) AS r
            FULL JOIN (
                SELECT * FROM usage_segments
                WHERE period = \(period.firstDay)::date AND segment < \(UsageRecord.surplusSegment)
            ) AS s USING (tenant_id, session_id, segment)
            WHERE (r.audio_ms, r.connected_ms, r.engine_ms, r.last_at, r.is_final)
                IS DISTINCT FROM (s.audio_ms, s.connected_ms, s.engine_ms, s.last_at, s.is_final)
                AND (\(areAllThere) OR s.session_id IS NULL OR r.audio_ms > s.audio_ms OR r.connected_ms > s.connected_ms
                    OR r.engine_ms > s.engine_ms)
            ORDER BY tenant_id, session_id, segment LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            Finding(
                .records,
                "\(try row.segment): its records have \(try row.total("one")), its total is \(try row.total("other"))")
        }
    }

    /// A later record has as much as an earlier one or more, was made no earlier, and none before the segment began. Not so the
    /// last one of a session whose node died: what it wrote down just before, the ledger may have, and the spool not. Its number
    /// shows which one that is.
    private func orderFindings(_ period: QuotaPeriod) throws -> [Finding] {
        try query(
            """
            SELECT r.tenant_id, r.session_id, r.segment, r.seq, r.has_less,
                r.made_at < s.started_at - interval '1 millisecond' AS is_early
            FROM (
                SELECT tenant_id, session_id, segment, seq, made_at, is_final AND seq > \(UsageMeter.recoveryGap) AS is_recovered,
                    audio_ms < lag(audio_ms) OVER w OR connected_ms < lag(connected_ms) OVER w
                        OR engine_ms < lag(engine_ms) OVER w AS has_less,
                    made_at < lag(made_at) OVER w AS is_out_of_order
                FROM usage_records WHERE period = \(period.firstDay)::date AND source = 'node'
                WINDOW w AS (PARTITION BY tenant_id, session_id, segment ORDER BY seq)
            ) AS r
            LEFT JOIN usage_segments AS s ON s.tenant_id = r.tenant_id AND s.session_id = r.session_id
                AND s.segment = r.segment AND s.period = \(period.firstDay)::date
            WHERE (r.has_less OR r.is_out_of_order) AND NOT r.is_recovered
                OR r.made_at < s.started_at - interval '1 millisecond'
            ORDER BY r.tenant_id, r.session_id, r.segment, r.seq LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let isEarly = try row.value("is_early", as: Bool?.self) ?? false
            let hasLess = try row.value("has_less", as: Bool?.self) ?? false
            let wrong =
                isEarly ? "was made before the segment began" : hasLess ? "has less than" : "was made before"
            let other = isEarly ? "" : " the one before it"
            return Finding(
                .records, "\(try row.segment): its record \(try row.value("seq", as: Int.self)) \(wrong)\(other)")
        }
    }

    /// The mark of an hour is the highest of the records that were made in it; the session's beginning is marked too. Of a
    /// surplus it is the total.
    private func markFindings(_ period: QuotaPeriod) throws -> [Finding] {
        try query(
            """
            SELECT tenant_id, session_id, segment, hour, m.audio_ms::text AS one_audio, m.connected_ms::text AS one_connected,
                m.engine_ms::text AS one_engine, r.audio_ms::text AS other_audio, r.connected_ms::text AS other_connected,
                r.engine_ms::text AS other_engine, coalesce(m.begins, false) AS one_begins, coalesce(r.begins, false) AS other_begins
            FROM (
                SELECT tenant_id, session_id, segment, hour, max(audio_ms) AS audio_ms, max(connected_ms) AS connected_ms,
                    max(engine_ms) AS engine_ms, bool_or(begins) AS begins
                FROM (
                    SELECT tenant_id, session_id, segment, date_trunc('hour', made_at, 'UTC') AS hour, audio_ms, connected_ms,
                        engine_ms, false AS begins
                    FROM usage_records
                    WHERE period = \(period.firstDay)::date AND segment < \(UsageRecord.surplusSegment)
                    UNION ALL
                    SELECT tenant_id, session_id, segment, date_trunc('hour', last_at, 'UTC'), audio_ms, connected_ms,
                        engine_ms, false
                    FROM usage_segments
                    WHERE period = \(period.firstDay)::date AND segment = \(UsageRecord.surplusSegment)
                    UNION ALL
                    SELECT tenant_id, session_id, segment, date_trunc('hour', session_started_at, 'UTC'), 0, 0, 0,
                        segment = 0 OR begins
                    FROM usage_segments
                    WHERE period = \(period.firstDay)::date AND (segment = 0
                        OR segment = \(UsageRecord.surplusSegment) AND session_started_at >= \(period.start))
                ) AS t
                GROUP BY tenant_id, session_id, segment, hour
            ) AS r
            FULL JOIN (SELECT * FROM usage_marks WHERE period = \(period.firstDay)::date) AS m
                USING (tenant_id, session_id, segment, hour)
            WHERE (m.audio_ms, m.connected_ms, m.engine_ms, m.begins)
                IS DISTINCT FROM (r.audio_ms, r.connected_ms, r.engine_ms, r.begins)
            ORDER BY tenant_id, session_id, segment, hour LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            func side(_ name: String) throws -> String {
                let begins: Bool = try row.value("\(name)_begins")
                return try row.counters(name) + (begins ? " and the session's beginning" : "")
            }
            let hour = Timestamp.format(try row.value("hour"))
            return Finding(
                .marks,
                "\(try row.segment), the hour from \(hour): its mark is \(try side("one")), its records have "
                    + "\(try side("other"))")
        }
    }
}

extension Row {
    /// One side of a comparison of counters, which come as text: sums may be beyond 64 bits.
    func counters(_ side: String) throws -> String {
        guard let audio: String = try value("\(side)_audio") else { return "nothing" }
        let (connected, engine): (String, String) = (try value("\(side)_connected"), try value("\(side)_engine"))
        return "audio_ms \(audio), connected_ms \(connected), engine_ms \(engine)"
    }

    fileprivate func total(_ side: String) throws -> String {
        let counters = try counters(side)
        guard let last: Date = try value("\(side)_at"), let isFinal: Bool = try value("\(side)_final") else {
            return counters
        }
        return "\(counters) until \(Timestamp.format(last)), \(isFinal ? "and is final" : "and is not final")"
    }

    var session: String {
        get throws {
            let (tenant, session): (UUID, UUID) = (try value("tenant_id"), try value("session_id"))
            return "session \(SessionID(session)) of tenant \(TenantID(tenant))"
        }
    }

    var segment: String {
        get throws { "\(try session), segment \(try value("segment", as: Int.self))" }
    }
}
