import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Sums by hour and by day, group by group. Those that are known to be out of date are left out: nothing reads them.
extension Connection {
    func sumFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        try hourFindings(period) + dayFindings(period)
    }

    /// An hour that is summed up has what its marks say.
    private func hourFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH marks AS (
                SELECT u.* FROM (
                    SELECT tenant_id FROM usage_marks WHERE period = \(period.firstDay)::date
                    UNION SELECT tenant_id FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)
                ) AS t
                CROSS JOIN LATERAL usage_of_hours(t.tenant_id, \(start), \(end)) AS u
            ), hours AS (
                SELECT tenant_id, hour, key_id, engine, model, language, tags, region, sum(audio_ms)::bigint AS audio_ms,
                    sum(connected_ms)::bigint AS connected_ms, sum(engine_ms)::bigint AS engine_ms,
                    sum(sessions)::bigint AS sessions
                FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)
                GROUP BY tenant_id, hour, key_id, engine, model, language, tags, region
            )
            SELECT tenant_id, hour AS time, key_id, engine, model, language, tags, region, h.audio_ms AS one_audio,
                h.connected_ms AS one_connected, h.engine_ms AS one_engine, coalesce(h.sessions, 0) AS one_sessions,
                m.audio_ms AS other_audio, m.connected_ms AS other_connected, m.engine_ms AS other_engine,
                coalesce(m.sessions, 0) AS other_sessions
            FROM hours AS h FULL JOIN marks AS m USING (tenant_id, hour, key_id, engine, model, language, tags, region)
            WHERE (h.audio_ms, h.connected_ms, h.engine_ms, h.sessions)
                    IS DISTINCT FROM (m.audio_ms, m.connected_ms, m.engine_ms, m.sessions)
                AND NOT EXISTS (
                    SELECT FROM usage_dirty_hours AS d
                    WHERE d.tenant_id = coalesce(m.tenant_id, h.tenant_id) AND d.hour = coalesce(m.hour, h.hour))
            ORDER BY tenant_id, hour, key_id, engine, model, language, tags, region LIMIT \(UsageVerification.limit)
            """
        ).map { Finding(.hours, try $0.sums("hour", one: "its sum is", other: "its marks say")) }
    }

    /// A day has what its hours have.
    private func dayFindings(_ period: QuotaPeriod) throws -> [Finding] {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            WITH hours AS (
                SELECT tenant_id, date_trunc('day', hour, 'UTC') AS day, key_id, engine, model, language, tags, region,
                    sum(audio_ms)::bigint AS audio_ms, sum(connected_ms)::bigint AS connected_ms,
                    sum(engine_ms)::bigint AS engine_ms, sum(sessions)::bigint AS sessions
                FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)
                GROUP BY tenant_id, date_trunc('day', hour, 'UTC'), key_id, engine, model, language, tags, region
            ), days AS (
                SELECT tenant_id, day, key_id, engine, model, language, tags, region, sum(audio_ms)::bigint AS audio_ms,
                    sum(connected_ms)::bigint AS connected_ms, sum(engine_ms)::bigint AS engine_ms,
                    sum(sessions)::bigint AS sessions
                FROM usage_daily WHERE day >= \(start) AND day < \(end)
                GROUP BY tenant_id, day, key_id, engine, model, language, tags, region
            )
            SELECT tenant_id, day AS time, key_id, engine, model, language, tags, region, d.audio_ms AS one_audio,
                d.connected_ms AS one_connected, d.engine_ms AS one_engine, coalesce(d.sessions, 0) AS one_sessions,
                h.audio_ms AS other_audio, h.connected_ms AS other_connected, h.engine_ms AS other_engine,
                coalesce(h.sessions, 0) AS other_sessions
            FROM days AS d FULL JOIN hours AS h USING (tenant_id, day, key_id, engine, model, language, tags, region)
            WHERE (d.audio_ms, d.connected_ms, d.engine_ms, d.sessions)
                    IS DISTINCT FROM (h.audio_ms, h.connected_ms, h.engine_ms, h.sessions)
                AND NOT EXISTS (
                    SELECT FROM usage_dirty_hours AS q
                    WHERE q.tenant_id = coalesce(d.tenant_id, h.tenant_id) AND q.hour >= coalesce(d.day, h.day)
                        AND q.hour < coalesce(d.day, h.day) + interval '24 hours')
            ORDER BY tenant_id, day, key_id, engine, model, language, tags, region LIMIT \(UsageVerification.limit)
            """
        ).map { Finding(.days, try $0.sums("day", one: "its sum is", other: "its hours say")) }
    }
}

extension Row {
    fileprivate func sums(_ span: String, one: String, other: String) throws -> String {
        let (tenant, time): (UUID, Date) = (try value("tenant_id"), try value("time"))
        let (key, engine): (String, String) = (try value("key_id"), try value("engine"))
        let (model, language): (String, String) = (try value("model"), try value("language"))
        let (tags, region): ([String], String) = (try value("tags"), try value("region"))
        let (ones, others): (Int, Int) = (try value("one_sessions"), try value("other_sessions"))
        return "tenant \(TenantID(tenant)), the \(span) from \(Timestamp.format(time)), \(key) with engine \(engine), "
            + "model \(model), language \(language), tags [\(tags.joined(separator: ", "))] in \(region): "
            + "\(one) \(try counters("one")) of \(ones) sessions, \(other) \(try counters("other")) of \(others)"
    }
}
