import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// A report costs what it shows, however much has been used since and by others.
@Suite struct UsageReportsCostTests {
    private static let first = Date(timeIntervalSince1970: 1_767_225_600)  // 2026-01-01T00:00:00Z

    /// 40,000 sessions of two tenants, evenly over four months; all is rolled up but an hour of every seventh day.
    private func plant(_ fixture: StoreFixture) async throws {
        for month in ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"] {
            try await fixture.ownerPool.query("SELECT ensure_usage_partitions(\(month)::date)")
        }
        let planted: Query = """
            INSERT INTO usage_segments
            SELECT CASE WHEN n % 2 = 0 THEN \(Sample.tenant.rawValue) ELSE \(Sample.otherTenant.rawValue) END,
                (substr(lpad(to_hex(ms), 12, '0'), 1, 8) || '-' || substr(lpad(to_hex(ms), 12, '0'), 9, 4) || '-7000-8000-'
                    || lpad(to_hex(n), 12, '0'))::uuid,
                0, date_trunc('month', at, 'UTC')::date, 'key_' || n % 5, 'synthetic', 'general', 'en', '{}', 'local', 1, at, at,
                at + interval '1 second', 0, 0, 1000, 1000, 1000, true
            FROM generate_series(1, 39999) AS n
            CROSS JOIN LATERAL (SELECT 1767225600000 + n * 259200::bigint AS ms) AS t
            CROSS JOIN LATERAL (SELECT to_timestamp(ms / 1000) AS at) AS u
            """
        try await fixture.ownerPool.query(planted)
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_records
            SELECT tenant_id, session_id, 0, 'node', 0, period, session_started_at, audio_ms, connected_ms, engine_ms, true
            FROM usage_segments
            """)
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_marks
            SELECT tenant_id, session_id, 0, period, date_trunc('hour', session_started_at, 'UTC'), audio_ms, connected_ms,
                engine_ms, true
            FROM usage_segments
            """)
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_hourly
            SELECT tenant_id, date_trunc('hour', session_started_at, 'UTC'), key_id, engine, model, language, tags, region,
                sum(audio_ms), sum(connected_ms), sum(engine_ms), count(*)
            FROM usage_segments GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
            """)
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_daily
            SELECT tenant_id, date_trunc('day', hour, 'UTC'), key_id, engine, model, language, tags, region, sum(audio_ms),
                sum(connected_ms), sum(engine_ms), sum(sessions)
            FROM usage_hourly GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
            """)
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_dirty_hours
            SELECT tenant_id, day + interval '5 hours' FROM usage_daily WHERE extract(day FROM day) % 7 = 0 GROUP BY 1, 2
            """)
        for table in [
            "usage_records", "usage_segments", "usage_marks", "usage_hourly", "usage_daily", "usage_dirty_hours",
        ] {
            try await fixture.ownerPool.query("ANALYZE \(identifier: table)")
        }
    }

    /// What Postgres itself counts of a statement: scans of whole tables, and rows that it fetched from all of them. Days are so
    /// few that it may read them all.
    private func cost(_ fixture: StoreFixture, _ statement: Query) async throws -> (scans: Int, rows: Int, found: Int) {
        try await fixture.pool.asTenant(Sample.tenant) { connection in
            func counted() async throws -> (Int, Int) {
                let row = try await connection.query(
                    """
                    SELECT sum(seq_scan)::bigint AS seq_scan,
                        sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint AS fetched
                    FROM pg_stat_xact_user_tables
                    WHERE relname LIKE 'usage\\_%' AND relname NOT IN ('usage_daily', 'usage_dirty_hours')
                    """
                ).only()
                return (try row.value("seq_scan"), try row.value("fetched"))
            }
            try await connection.query("SELECT set_config('jit', 'off', true)")
            let before = try await counted()
            let found = try await connection.query(statement).count
            let after = try await counted()
            return (after.0 - before.0, after.1 - before.1, found)
        }
    }

    @Test func aReportReadsWhatItShows() async throws {
        try await StoreFixture.with { fixture in
            try await plant(fixture)
            func query(_ width: BucketWidth, from: Int, hours: Int, step: Int) -> Query {
                let start = Self.first + Double(from) * 3_600
                let boundaries = stride(from: 0, through: hours * 3_600, by: step).map { start + Double($0) }
                let query = UsageQuery(
                    tenant: Sample.tenant, boundaries: boundaries, width: width, dimensions: [.key, .tag])
                return width == .minute
                    ? PostgresUsageReports.fromRecords(query) : PostgresUsageReports.fromRollups(query)
            }
            // Two thousand sessions of the tenant a week, seven an hour.
            for (name, statement, most) in [
                ("a week by the hour", query(.hour, from: 200, hours: 168, step: 3_600), 2_000),
                ("a cut week by the day", query(.day, from: 197, hours: 168, step: 86_400), 1_000),
                ("a month", query(.month, from: 0, hours: 744, step: 744 * 3_600), 2_000),
                ("an hour long ago by the minute", query(.minute, from: 100, hours: 1, step: 60), 100),
                ("a day by the minute", query(.minute, from: 100, hours: 24, step: 60), 1_500),
                (
                    "sessions",
                    PostgresUsageReports.segments(
                        of: Sample.tenant, from: SessionID(firstFrom: Self.first),
                        before: SessionID(firstFrom: Self.first + 90 * 86_400), UsageGroup(), limit: 21), 100
                ),
            ] {
                let (scans, rows, found) = try await cost(fixture, statement)
                #expect(found > 0, "\(name)")
                #expect(scans == 0, "\(name): whole tables are read")
                #expect(rows <= most, "\(name): \(rows) rows are read")
            }
        }
    }
}
