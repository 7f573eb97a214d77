import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Sums by hour and by day, group by group. Those that are known to be out of date are left out: nothing reads them.
extension Connection {
    /// An hour that is summed up has what its marks say, and a day what its hours have.
    func sumFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        let (start, end) = (period.start, period.end)
        let hourly: Query = "SELECT *, hour AS time FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)"
        let daily: Query = "SELECT *, day AS time FROM usage_daily WHERE day >= \(start) AND day < \(end)"
        let hoursOfDays: Query = """
            SELECT *, date_trunc('day', hour, 'UTC') AS time FROM usage_hourly WHERE hour >= \(start) AND hour < \(end)
            """
        return try differences(of: hourly, from: Self.marks(of: period), hours: 1).map {
            Finding(.hours, try $0.sums("hour", one: "its sum is", other: "its marks say"))
        }
            + differences(of: daily, from: hoursOfDays, hours: 24).map {
                Finding(.days, try $0.sums("day", one: "its sum is", other: "its hours say"))
            }
    }

    /// What each mark adds to its hour, as `time`: the highest of its segment up to then, less what that had before. It is what
    /// `usage_of_hours` sums up, which fails where a sum does not fit in 64 bits.
    static func marks(of period: QuotaPeriod) -> Query {
        """
        SELECT * FROM (
            SELECT m.tenant_id, m.session_id, m.segment, m.hour AS time, s.key_id, s.engine, s.model, s.language, s.tags, s.region,
                greatest(m.audio_ms - coalesce(max(m.audio_ms::numeric) OVER w, 0), 0) AS audio_ms,
                greatest(m.connected_ms - coalesce(max(m.connected_ms::numeric) OVER w, 0), 0) AS connected_ms,
                greatest(m.engine_ms - coalesce(max(m.engine_ms::numeric) OVER w, 0), 0) AS engine_ms,
                m.begins::integer AS sessions
            FROM usage_marks AS m JOIN usage_segments AS s USING (tenant_id, session_id, segment, period)
            WHERE period = \(period.firstDay)::date
            WINDOW w AS (PARTITION BY m.tenant_id, m.session_id, m.segment ORDER BY m.hour
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) AS u
        WHERE time >= \(period.start) AND time < \(period.end)
        """
    }

    /// Where the one, summed up, is not what the other is.
    ///
    /// - Parameter hours: how many are in what is summed up, which is out of date if one of them is.
    private func differences(of one: Query, from other: Query, hours: Int) throws -> [Row] {
        try query(
            """
            SELECT * FROM (
                SELECT tenant_id, time, key_id, engine, model, language, tags, region, o.audio_ms::text AS one_audio,
                    o.connected_ms::text AS one_connected, o.engine_ms::text AS one_engine,
                    coalesce(o.sessions, 0)::text AS one_sessions, p.audio_ms::text AS other_audio,
                    p.connected_ms::text AS other_connected, p.engine_ms::text AS other_engine,
                    coalesce(p.sessions, 0)::text AS other_sessions
                FROM (\(Self.summedUp(one))) AS o
                FULL JOIN (\(Self.summedUp(other))) AS p USING (tenant_id, time, key_id, engine, model, language, tags, region)
                WHERE (o.audio_ms, o.connected_ms, o.engine_ms, o.sessions)
                    IS DISTINCT FROM (p.audio_ms, p.connected_ms, p.engine_ms, p.sessions)
            ) AS c
            WHERE NOT EXISTS (
                SELECT FROM usage_dirty_hours AS d
                WHERE d.tenant_id = c.tenant_id AND d.hour >= c.time AND d.hour < c.time + make_interval(hours => \(hours)::integer))
            ORDER BY tenant_id, time, key_id, engine, model, language, tags, region LIMIT \(UsageVerification.limit)
            """)
    }

    private static func summedUp(_ rows: Query) -> Query {
        """
        SELECT tenant_id, time, key_id, engine, model, language, tags, region, sum(audio_ms) AS audio_ms,
            sum(connected_ms) AS connected_ms, sum(engine_ms) AS engine_ms, sum(sessions) AS sessions
        FROM (\(rows)) AS t GROUP BY tenant_id, time, key_id, engine, model, language, tags, region
        """
    }
}

extension Row {
    fileprivate func sums(_ span: String, one: String, other: String) throws -> String {
        let (tenant, time): (UUID, Date) = (try value("tenant_id"), try value("time"))
        let (key, engine): (String, String) = (try value("key_id"), try value("engine"))
        let (model, language): (String, String) = (try value("model"), try value("language"))
        let (tags, region): ([String], String) = (try value("tags"), try value("region"))
        let (ones, others): (String, String) = (try value("one_sessions"), try value("other_sessions"))
        return "tenant \(TenantID(tenant)), the \(span) from \(Timestamp.format(time)), \(key) with engine \(engine), "
            + "model \(model), language \(language), tags [\(tags.joined(separator: ", "))] in \(region): "
            + "\(one) \(try counters("one")) of \(ones) sessions, \(other) \(try counters("other")) of \(others)"
    }
}
