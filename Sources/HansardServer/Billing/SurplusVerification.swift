import FoundationEssentials
import Hansard
import Postgres

/// What is counted of lost nodes' sessions beyond their records (`Migrations/0020_surplus.sql`).
extension Connection {
    /// A session's surplus is what was told of it, since its node was given up, less what its node's segments have in whichever
    /// months; and it is what its last record says. A session counts with it as long as its first segment is not here.
    ///
    /// - Parameter areAllThere: whether none of its records was taken out.
    func surplusFindings(_ period: QuotaPeriod, areAllThere: Bool) throws -> [UsageVerification.Finding] {
        let (start, end, surplus) = (period.start, period.end, UsageRecord.surplusSegment)
        return try query(
            """
            WITH lost AS (
                SELECT tenant_id, session_id FROM usage_segments
                WHERE period = \(period.firstDay)::date AND segment = \(surplus)
                UNION
                SELECT tenant_id, session_id FROM usage_reaped
                WHERE is_counted AND started_at >= \(start) AND started_at < \(end)
            ), compared AS (
                SELECT l.tenant_id, l.session_id, coalesce(p.audio_ms, 0) AS told, n.audio_ms AS own,
                    greatest(coalesce(p.audio_ms, 0) - n.audio_ms, 0) AS due, s.*,
                    NOT n.is_begun AND date_trunc('month', s.session_started_at AT TIME ZONE 'UTC')::date = s.period AS may_begin,
                    (SELECT r.audio_ms FROM usage_records AS r
                    WHERE r.tenant_id = l.tenant_id AND r.session_id = l.session_id AND r.segment = \(surplus)
                        AND r.period = s.period
                    ORDER BY r.seq DESC LIMIT 1) AS recorded
                FROM lost AS l
                LEFT JOIN usage_reaped AS p ON p.tenant_id = l.tenant_id AND p.session_id = l.session_id AND p.is_counted
                LEFT JOIN LATERAL (
                    SELECT t.period, t.audio_ms AS had, t.connected_ms, t.engine_ms, t.session_started_at, t.begins
                    FROM usage_segments AS t
                    WHERE t.tenant_id = l.tenant_id AND t.session_id = l.session_id AND t.segment = \(surplus)
                ) AS s ON true
                CROSS JOIN LATERAL (
                    SELECT coalesce(sum(t.audio_ms), 0)::bigint AS audio_ms,
                        coalesce(bool_or(t.segment = 0), false) AS is_begun
                    FROM usage_segments AS t
                    WHERE t.tenant_id = l.tenant_id AND t.session_id = l.session_id AND t.segment < \(surplus)
                ) AS n
            )
            SELECT tenant_id, session_id, told, own, due, coalesce(had, 0) AS had,
                had IS NOT NULL AND begins <> may_begin AS is_miscounted
            FROM compared
            WHERE coalesce(had, 0) <> due OR had IS NOT NULL AND begins <> may_begin OR connected_ms <> 0 OR engine_ms <> had
                OR had <> coalesce(recorded, CASE WHEN \(areAllThere) THEN -1 ELSE had END)
            ORDER BY tenant_id, session_id LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (told, own): (Int64, Int64) = (try row.value("told"), try row.value("own"))
            let (had, due): (Int64, Int64) = (try row.value("had"), try row.value("due"))
            let beginning = try row.value("is_miscounted") ? ", and does not count the session as it should" : ""
            return UsageVerification.Finding(
                .records,
                "\(try row.session): \(told) ms were told of it when its node was lost, its segments have \(own); its surplus is "
                    + "\(had) and not \(due), or another than its records, connected_ms or engine_ms say\(beginning)")
        }
    }
}
