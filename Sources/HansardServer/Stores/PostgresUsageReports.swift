import FoundationEssentials
import Hansard
import Postgres

/// Reports from the ledger (`Migrations/0014_ledger.sql`), under the policies that bind the tenant: operators ask for one
/// tenant's as well, and see what it sees.
struct PostgresUsageReports: UsageReports {
    let pool: ConnectionPool

    func report(_ query: UsageQuery) async throws -> UsageReport {
        let statement = query.width == .minute ? Self.fromRecords(query) : Self.fromRollups(query)
        let (rows, asOf) = try await read(query.tenant) { connection in
            if query.width == .minute, try await connection.areRecordsGone(query.stretch) {
                throw UsageReport.recordsAreGone
            }
            return try await connection.query(statement)
        }
        guard rows.count <= UsageReport.maximumResults else { throw UsageReport.tooManyResults }
        var results: [Int: [UsageReport.Result]] = [:]
        for row in rows { results[try row.value("bucket"), default: []].append(try UsageReport.Result(row: row)) }
        let buckets = zip(query.boundaries, query.boundaries.dropFirst()).enumerated().map { index, ends in
            UsageReport.Bucket(start: ends.0, end: ends.1, results: results[index + 1] ?? [])
        }
        return UsageReport(buckets: buckets, asOf: asOf)
    }

    func sessions(
        of tenant: TenantID, startedIn stretch: Range<Date>, _ filter: UsageGroup, before: SessionID?, limit: Int
    ) async throws -> (sessions: [SessionUsage], asOf: Date) {
        let end = SessionID(firstFrom: stretch.upperBound)
        let statement = Self.segments(
            of: tenant, from: SessionID(firstFrom: stretch.lowerBound), before: before.map { min($0, end) } ?? end,
            filter, limit: limit)
        let (rows, asOf) = try await read(tenant) { try await $0.query(statement) }
        return (SessionUsage.sessions(of: try rows.map(UsageSegment.init(row:))), asOf)
    }

    func firstHour(of tenant: TenantID) async throws -> Date? {
        try await pool.asTenant(tenant) { connection in
            try await connection.query(
                "SELECT min(hour) AS hour FROM usage_marks WHERE tenant_id = \(tenant.rawValue)"
            ).only().value("hour")
        }
    }

    /// What is read and up to when it is complete are of one moment. The planner believes that these statements read far more
    /// than they do, and would compile them first, which takes a second.
    private func read(
        _ tenant: TenantID, _ body: @Sendable (Connection) async throws -> [Row]
    ) async throws -> (rows: [Row], asOf: Date) {
        try await pool.asTenant(tenant) { connection in
            let asOf = try await connection.query(
                "SELECT usage_data_as_of() AS as_of, set_config('jit', 'off', true)"
            ).only()
            return (try await body(connection), try asOf.value("as_of"))
        }
    }

    // MARK: Hours and longer

    /// Days and hours that have been rolled up from the rollups, the others from the marks that rollups are made of.
    ///
    /// Which ones have not been is part of the same snapshot, so that a report is the same before, after and in the middle of
    /// rolling up. A day one of whose hours has not been is read by the hour. OFFSET keeps the planner from reading all hours
    /// that there are to join them with these few stretches.
    static func fromRollups(_ query: UsageQuery) -> Query {
        let tenant = query.tenant.rawValue
        let stretch = query.stretch
        let parts = RollupStretch(stretch, by: query.width)
        let by = query.dimensions
        let filter = query.filter
        return """
            WITH dirty AS MATERIALIZED (
                SELECT DISTINCT hour FROM usage_dirty_hours
                WHERE tenant_id = \(tenant) AND hour >= \(stretch.lowerBound) AND hour < \(stretch.upperBound)
            ), stale AS MATERIALIZED (
                SELECT DISTINCT date_trunc('day', hour, 'UTC') AS day FROM dirty
                WHERE hour >= \(parts.days.lowerBound) AND hour < \(parts.days.upperBound)
            ), by_hour AS (
                SELECT first, last
                FROM unnest(\(parts.hours.map(\.lowerBound)), \(parts.hours.map(\.upperBound))) AS t (first, last)
                UNION ALL
                SELECT day, day + interval '24 hours' FROM stale
            ), used AS (
                SELECT day AS moment, key_id, engine, model, language, tags, region, audio_ms, connected_ms, engine_ms,
                    sessions
                FROM usage_daily
                WHERE tenant_id = \(tenant) AND day >= \(parts.days.lowerBound) AND day < \(parts.days.upperBound)
                    AND day NOT IN (SELECT day FROM stale)
                UNION ALL
                SELECT h.hour, h.key_id, h.engine, h.model, h.language, h.tags, h.region, h.audio_ms, h.connected_ms,
                    h.engine_ms, h.sessions
                FROM by_hour CROSS JOIN LATERAL (
                    SELECT * FROM usage_hourly
                    WHERE tenant_id = \(tenant) AND hour >= by_hour.first AND hour < by_hour.last
                    OFFSET 0
                ) AS h
                WHERE h.hour NOT IN (SELECT hour FROM dirty)
                UNION ALL
                SELECT u.hour, u.key_id, u.engine, u.model, u.language, u.tags, u.region, u.audio_ms, u.connected_ms,
                    u.engine_ms, u.sessions
                FROM dirty
                CROSS JOIN LATERAL usage_of_hours(\(tenant), dirty.hour, dirty.hour + interval '1 hour') AS u
            )
            SELECT width_bucket(used.moment, \(query.boundaries)) AS bucket,
                CASE WHEN \(by.contains(.key)) THEN key_id END AS key_id,
                CASE WHEN \(by.contains(.engine)) THEN engine END AS engine,
                CASE WHEN \(by.contains(.model)) THEN model END AS model,
                CASE WHEN \(by.contains(.language)) THEN language END AS language, labels.tag,
                CASE WHEN \(by.contains(.region)) THEN region END AS region,
                sum(audio_ms)::bigint AS audio_ms, sum(connected_ms)::bigint AS connected_ms,
                sum(engine_ms)::bigint AS engine_ms, sum(sessions)::bigint AS sessions
            FROM used LEFT JOIN LATERAL (
                SELECT DISTINCT t.tag FROM unnest(used.tags) AS t (tag) WHERE \(by.contains(.tag))
            ) AS labels ON true
            WHERE (\(filter[.key])::text IS NULL OR key_id = \(filter[.key]))
                AND (\(filter[.engine])::text IS NULL OR engine = \(filter[.engine]))
                AND (\(filter[.model])::text IS NULL OR model = \(filter[.model]))
                AND (\(filter[.language])::text IS NULL OR language = \(filter[.language]))
                AND (\(filter[.tag])::text IS NULL OR \(filter[.tag]) = ANY (tags))
                AND (\(filter[.region])::text IS NULL OR region = \(filter[.region]))
            GROUP BY 1, 2, 3, 4, 5, 6, 7
            HAVING sum(audio_ms) + sum(connected_ms) + sum(engine_ms) + sum(sessions) > 0
            LIMIT \(UsageReport.maximumResults + 1)
            """
    }

    // MARK: Minutes

    /// From the records: what each has beyond the highest before it. Which segments have any is known from their marks of the
    /// hours; where a segment stood before is known from its own earlier records. A surplus is what its total says.
    static func fromRecords(_ query: UsageQuery) -> Query {
        let tenant = query.tenant.rawValue
        let (from, before) = (query.stretch.lowerBound, query.stretch.upperBound)
        let by = query.dimensions
        let filter = query.filter
        return """
            WITH touched AS MATERIALIZED (
                SELECT session_id, segment, period, bool_or(begins) AS begins FROM usage_marks
                WHERE tenant_id = \(tenant) AND hour >= date_trunc('hour', \(from), 'UTC') AND hour < \(before)
                GROUP BY session_id, segment, period
            ), parts AS MATERIALIZED (
                SELECT s.session_id, s.segment, s.period, s.key_id, s.engine, s.model, s.language, s.tags, s.region,
                    s.last_at, s.audio_ms, s.connected_ms, s.engine_ms,
                    CASE WHEN t.begins THEN s.session_started_at END AS begins_at
                FROM touched AS t CROSS JOIN LATERAL (
                    SELECT * FROM usage_segments
                    WHERE tenant_id = \(tenant) AND session_id = t.session_id AND segment = t.segment AND period = t.period
                    OFFSET 0
                ) AS s
                WHERE (\(filter[.key])::text IS NULL OR s.key_id = \(filter[.key]))
                    AND (\(filter[.engine])::text IS NULL OR s.engine = \(filter[.engine]))
                    AND (\(filter[.model])::text IS NULL OR s.model = \(filter[.model]))
                    AND (\(filter[.language])::text IS NULL OR s.language = \(filter[.language]))
                    AND (\(filter[.tag])::text IS NULL OR \(filter[.tag]) = ANY (s.tags))
                    AND (\(filter[.region])::text IS NULL OR s.region = \(filter[.region]))
            ), used AS (
                SELECT r.made_at AS moment, p.key_id, p.engine, p.model, p.language, p.tags, p.region,
                    greatest(r.audio_ms - coalesce(r.audio_before, 0), 0) AS audio_ms,
                    greatest(r.connected_ms - coalesce(r.connected_before, 0), 0) AS connected_ms,
                    greatest(r.engine_ms - coalesce(r.engine_before, 0), 0) AS engine_ms, 0 AS sessions
                FROM parts AS p CROSS JOIN LATERAL (
                    SELECT made_at, audio_ms, connected_ms, engine_ms, max(audio_ms) OVER earlier AS audio_before,
                        max(connected_ms) OVER earlier AS connected_before, max(engine_ms) OVER earlier AS engine_before
                    FROM usage_records
                    WHERE tenant_id = \(tenant) AND session_id = p.session_id AND segment = p.segment
                        AND segment < \(UsageRecord.surplusSegment) AND period = p.period AND made_at < \(before)
                    WINDOW earlier AS (
                        ORDER BY made_at, seq, source ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                ) AS r
                WHERE r.made_at >= \(from)
                UNION ALL
                SELECT last_at, key_id, engine, model, language, tags, region, audio_ms, connected_ms, engine_ms, 0 FROM parts
                WHERE segment = \(UsageRecord.surplusSegment) AND last_at >= \(from) AND last_at < \(before)
                UNION ALL
                SELECT begins_at, key_id, engine, model, language, tags, region, 0, 0, 0, 1 FROM parts
                WHERE begins_at >= \(from) AND begins_at < \(before)
            )
            SELECT width_bucket(used.moment, \(query.boundaries)) AS bucket,
                CASE WHEN \(by.contains(.key)) THEN key_id END AS key_id,
                CASE WHEN \(by.contains(.engine)) THEN engine END AS engine,
                CASE WHEN \(by.contains(.model)) THEN model END AS model,
                CASE WHEN \(by.contains(.language)) THEN language END AS language, labels.tag,
                CASE WHEN \(by.contains(.region)) THEN region END AS region,
                sum(audio_ms)::bigint AS audio_ms, sum(connected_ms)::bigint AS connected_ms,
                sum(engine_ms)::bigint AS engine_ms, sum(sessions)::bigint AS sessions
            FROM used LEFT JOIN LATERAL (
                SELECT DISTINCT t.tag FROM unnest(used.tags) AS t (tag) WHERE \(by.contains(.tag))
            ) AS labels ON true
            GROUP BY 1, 2, 3, 4, 5, 6, 7
            HAVING sum(audio_ms) + sum(connected_ms) + sum(engine_ms) + sum(sessions) > 0
            LIMIT \(UsageReport.maximumResults + 1)
            """
    }

    // MARK: Sessions

    /// All segments of a page of sessions, those of one together and in order. Ids begin with the time at which sessions do,
    /// so that the primary key has them in the list's order. A surplus that there is nothing of any more is none.
    static func segments(
        of tenant: TenantID, from first: SessionID, before end: SessionID, _ filter: UsageGroup, limit: Int
    ) -> Query {
        let tenant = tenant.rawValue
        return """
            WITH page AS MATERIALIZED (
                SELECT DISTINCT session_id FROM usage_segments
                WHERE tenant_id = \(tenant) AND session_id >= \(first.rawValue) AND session_id < \(end.rawValue)
                    AND (segment < \(UsageRecord.surplusSegment) OR audio_ms > 0)
                    AND (\(filter[.key])::text IS NULL OR key_id = \(filter[.key]))
                    AND (\(filter[.engine])::text IS NULL OR engine = \(filter[.engine]))
                    AND (\(filter[.model])::text IS NULL OR model = \(filter[.model]))
                    AND (\(filter[.language])::text IS NULL OR language = \(filter[.language]))
                    AND (\(filter[.tag])::text IS NULL OR \(filter[.tag]) = ANY (tags))
                    AND (\(filter[.region])::text IS NULL OR region = \(filter[.region]))
                ORDER BY session_id DESC LIMIT \(limit)
            )
            SELECT s.session_id, to_char(s.period, 'YYYY-MM') AS period, s.key_id, s.engine, s.model, s.language, s.tags,
                s.region, s.channels::bigint AS channels, s.session_started_at, s.audio_ms, s.connected_ms, s.engine_ms,
                s.is_final,
                (\(filter[.key])::text IS NULL OR s.key_id = \(filter[.key]))
                    AND (\(filter[.engine])::text IS NULL OR s.engine = \(filter[.engine]))
                    AND (\(filter[.model])::text IS NULL OR s.model = \(filter[.model]))
                    AND (\(filter[.language])::text IS NULL OR s.language = \(filter[.language]))
                    AND (\(filter[.tag])::text IS NULL OR \(filter[.tag]) = ANY (s.tags))
                    AND (\(filter[.region])::text IS NULL OR s.region = \(filter[.region])) AS fits
            FROM page CROSS JOIN LATERAL (
                SELECT * FROM usage_segments WHERE tenant_id = \(tenant) AND session_id = page.session_id
                    AND (segment < \(UsageRecord.surplusSegment) OR audio_ms > 0)
            ) AS s
            ORDER BY s.session_id DESC, s.segment, s.period
            """
    }
}

extension UsageCounters {
    fileprivate init(row: Row) throws {
        self.init(
            audio: try row.value("audio_ms"), connected: try row.value("connected_ms"),
            engine: try row.value("engine_ms"))
    }
}

extension UsageReport.Result {
    fileprivate init(row: Row) throws {
        var group = UsageGroup()
        for dimension in UsageDimension.allCases { group[dimension] = try row.value(dimension.rawValue) }
        self.init(group: group, amounts: try UsageCounters(row: row), sessions: try row.value("sessions"))
    }
}

extension UsageSegment {
    fileprivate init(row: Row) throws {
        var group = UsageGroup()
        for dimension in UsageDimension.allCases where dimension != .tag {
            group[dimension] = try row.value(dimension.rawValue)
        }
        let period: String = try row.value("period")
        guard let period = QuotaPeriod(period) else {
            throw HansardError(.internal, "the ledger has the period '\(period)'")
        }
        self.init(
            session: SessionID(try row.value("session_id")), sessionStartedAt: try row.value("session_started_at"),
            period: period, group: group, tags: try row.value("tags"), channels: try row.value("channels"),
            amounts: try UsageCounters(row: row), isFinal: try row.value("is_final"), fits: try row.value("fits"))
    }
}

extension Connection {
    fileprivate func areRecordsGone(_ stretch: Range<Date>) throws -> Bool {
        try query(
            "SELECT are_usage_records_dropped(\(stretch.lowerBound), \(stretch.upperBound)) AS are_gone"
        ).only().value("are_gone")
    }
}
