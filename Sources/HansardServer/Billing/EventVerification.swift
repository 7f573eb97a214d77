import FoundationEssentials
import Hansard
import Postgres

private typealias Finding = UsageVerification.Finding

/// Events and the marks that they were made of.
extension Connection {
    /// An hour of a segment, of which events were made, has as much told of it as its marks say, and each event tells what its
    /// segment is. Of what may have grown since an event was made, which are channels and the time of the last use, no event tells
    /// more than there is.
    func eventFindings(_ period: QuotaPeriod) throws -> [UsageVerification.Finding] {
        try query(
            """
            WITH scope AS MATERIALIZED (
                SELECT greatest(first_hour, \(period.start)) AS start FROM usage_event_delivery
            ), told AS (\(Self.told(of: period))), marks AS (
                SELECT u.* FROM scope JOIN (\(Self.marks(of: period))) AS u ON u.time >= scope.start
            ), compared AS (
                SELECT tenant_id, session_id, segment, time, e.audio_ms::text AS one_audio, e.connected_ms::text AS one_connected,
                    e.engine_ms::text AS one_engine, m.audio_ms::text AS other_audio, m.connected_ms::text AS other_connected,
                    m.engine_ms::text AS other_engine, coalesce(e.sessions, 0)::text AS one_sessions,
                    coalesce(m.sessions, 0)::text AS other_sessions, e.wrong,
                    (coalesce(e.audio_ms, 0), coalesce(e.connected_ms, 0), coalesce(e.engine_ms, 0), coalesce(e.sessions, 0))
                        <> (coalesce(m.audio_ms, 0), coalesce(m.connected_ms, 0), coalesce(m.engine_ms, 0),
                            coalesce(m.sessions, 0)) AS is_other
                FROM marks AS m FULL JOIN told AS e USING (tenant_id, session_id, segment, time)
            )
            SELECT * FROM compared AS c
            WHERE (is_other OR wrong IS NOT NULL)
                AND NOT EXISTS (SELECT FROM usage_dirty_hours AS d WHERE d.tenant_id = c.tenant_id AND d.hour = c.time)
                AND NOT EXISTS (SELECT FROM usage_event_hours AS h WHERE h.tenant_id = c.tenant_id AND h.hour = c.time)
            ORDER BY tenant_id, time, session_id, segment LIMIT \(UsageVerification.limit)
            """
        ).map { Finding(.events, try $0.toldOtherwise()) }
    }

    /// What events tell of each hour of each segment, from the start of `scope`, and what they tell `wrong`; null if nothing.
    private static func told(of period: QuotaPeriod) -> Query {
        """
        SELECT e.tenant_id, e.session_id, e.segment, e.hour AS time, sum(e.audio_ms) AS audio_ms,
            sum(e.connected_ms) AS connected_ms, sum(e.engine_ms) AS engine_ms, sum(e.sessions) AS sessions,
            nullif(concat_ws('; ', string_agg(DISTINCT nullif(w.text, ''), '; '),
                CASE WHEN max(e.revision) <> count(*)
                    THEN format('the last of its %s events is revision %s', count(*), max(e.revision)) END), '') AS wrong
        FROM scope CROSS JOIN usage_events AS e
        LEFT JOIN usage_segments AS s
            ON s.tenant_id = e.tenant_id AND s.session_id = e.session_id AND s.segment = e.segment
                AND s.period = \(period.firstDay)::date
        CROSS JOIN LATERAL (
            SELECT concat_ws('; ',
                CASE WHEN e.key_id <> s.key_id THEN format('key_id is %s, the segment has %s', e.key_id, s.key_id) END,
                CASE WHEN e.engine <> s.engine THEN format('engine is %s, the segment has %s', e.engine, s.engine) END,
                CASE WHEN e.model <> s.model THEN format('model is %s, the segment has %s', e.model, s.model) END,
                CASE WHEN e.language <> s.language
                    THEN format('language is %s, the segment has %s', e.language, s.language) END,
                CASE WHEN e.region <> s.region THEN format('region is %s, the segment has %s', e.region, s.region) END,
                CASE WHEN e.tags <> s.tags THEN format('tags are %s, the segment has %s', e.tags, s.tags) END,
                CASE WHEN e.channels > s.channels
                    THEN format('channels are %s, the segment has %s', e.channels, s.channels) END,
                CASE WHEN e.used_until > least(s.last_at, e.hour + interval '1 hour' - interval '1 millisecond')
                    THEN 'it was used until a later time than in the segment' END) AS text
        ) AS w
        WHERE e.hour >= scope.start AND e.hour < \(period.end)
        GROUP BY e.tenant_id, e.session_id, e.segment, e.hour
        """
    }
}

extension Row {
    fileprivate func toldOtherwise() throws -> String {
        let (one, other): (String, String) = (try value("one_sessions"), try value("other_sessions"))
        let wrong: String? = try value("wrong")
        let isOther: Bool = try value("is_other")
        let counted =
            isOther
            ? "its events have \(try counters("one")) of \(one) sessions, its marks say \(try counters("other")) of \(other)"
            : nil
        let time: Date = try value("time")
        return "\(try segment), the hour from \(Timestamp.format(time)): "
            + [counted, wrong].compactMap { $0 }.joined(separator: "; ")
    }
}
