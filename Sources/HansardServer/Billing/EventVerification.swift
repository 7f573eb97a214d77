import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Events and the marks that they were made of.
extension Connection {
    /// An hour of which events were made has had as much told of it as its marks say.
    func eventFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH scope AS MATERIALIZED (
                SELECT greatest(first_hour, \(start)) AS start FROM usage_event_delivery
            ), told AS (
                SELECT e.tenant_id, e.hour, sum(e.audio_ms) AS audio_ms, sum(e.connected_ms) AS connected_ms,
                    sum(e.engine_ms) AS engine_ms, sum(e.sessions) AS sessions
                FROM scope CROSS JOIN usage_events AS e WHERE e.hour >= scope.start AND e.hour < \(end)
                GROUP BY e.tenant_id, e.hour
            ), marks AS (
                SELECT u.tenant_id, u.time AS hour, sum(u.audio_ms) AS audio_ms, sum(u.connected_ms) AS connected_ms,
                    sum(u.engine_ms) AS engine_ms, sum(u.sessions) AS sessions
                FROM scope JOIN (\(Self.marks(of: period))) AS u ON u.time >= scope.start GROUP BY u.tenant_id, u.time
            )
            SELECT tenant_id, hour, e.audio_ms::text AS one_audio, e.connected_ms::text AS one_connected,
                e.engine_ms::text AS one_engine, m.audio_ms::text AS other_audio, m.connected_ms::text AS other_connected,
                m.engine_ms::text AS other_engine, coalesce(e.sessions, 0)::text AS one_sessions,
                coalesce(m.sessions, 0)::text AS other_sessions
            FROM marks AS m FULL JOIN told AS e USING (tenant_id, hour)
            WHERE (coalesce(e.audio_ms, 0), coalesce(e.connected_ms, 0), coalesce(e.engine_ms, 0), coalesce(e.sessions, 0))
                    <> (coalesce(m.audio_ms, 0), coalesce(m.connected_ms, 0), coalesce(m.engine_ms, 0), coalesce(m.sessions, 0))
                AND NOT EXISTS (SELECT FROM usage_dirty_hours AS d
                    WHERE d.tenant_id = coalesce(m.tenant_id, e.tenant_id) AND d.hour = coalesce(m.hour, e.hour))
                AND NOT EXISTS (SELECT FROM usage_event_hours AS h
                    WHERE h.tenant_id = coalesce(m.tenant_id, e.tenant_id) AND h.hour = coalesce(m.hour, e.hour))
            ORDER BY tenant_id, hour LIMIT \(UsageVerification.limit)
            """
        ).map { row in
            let (tenant, hour): (UUID, Date) = (try row.value("tenant_id"), try row.value("hour"))
            let (one, other): (String, String) = (try row.value("one_sessions"), try row.value("other_sessions"))
            return Finding(
                .events,
                "tenant \(TenantID(tenant)), the hour from \(Timestamp.format(hour)): its events have "
                    + "\(try row.counters("one")) of \(one) sessions, its marks say \(try row.counters("other")) of \(other)"
            )
        }
    }
}
