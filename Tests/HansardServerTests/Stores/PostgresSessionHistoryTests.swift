import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// Past sessions as lists read them: who sees which, in which order, and that a page costs a page.
@Suite struct PostgresSessionHistoryTests {
    private func run(_ body: (StoreFixture, PostgresSessionHistory) async throws -> Void) async throws {
        try await StoreFixture.with { fixture in try await body(fixture, PostgresSessionHistory(pool: fixture.pool)) }
    }

    private func row(
        _ number: Int, _ tenant: TenantID = Sample.tenant, key: String = "key_1", engine: String = "synthetic",
        state: SessionState? = .completed
    ) -> UsageRow {
        let session = Sample.session(number)
        return UsageRow(
            session: session, tenant: tenant, key: KeyID(key), engine: engine, model: "general", language: "en",
            tags: ["a"], region: "local", channels: 1, audioMilliseconds: 2_000, connectedMilliseconds: 2_500,
            startedAt: session.startedAt, endedAt: session.startedAt + 2,
            outcome: state.map { SessionOutcome(state: $0, reason: "why", finals: 2, hasTranscript: true) })
    }

    private func filter(_ change: (inout SessionFilter) -> Void) -> SessionFilter {
        var filter = SessionFilter()
        change(&filter)
        return filter
    }

    @Test func listsAreNewestFirstAndFiltered() async throws {
        try await run { fixture, history async throws in
            let rows = [
                row(1), row(2, state: .failed), row(3, key: "key_2"), row(4, engine: "pocketsphinx", state: .storing),
                row(5, state: nil), row(6, key: "key_2", state: .failed),
            ]
            let others = [row(7, Sample.otherTenant), row(8, Sample.otherTenant, state: .failed)]
            try await PostgresUsageStore(pool: fixture.pool).record(rows + others)
            func numbers(_ reach: SessionReach, before: Int? = nil, limit: Int = 100, _ filter: SessionFilter)
                async throws
                -> [Int]
            {
                let found = try await history.past(
                    reach, filter, before: before.map { Sample.session($0) }, limit: limit)
                for one in found { #expect((rows + others).contains(one)) }
                return found.compactMap { one in (1...8).first { Sample.session($0) == one.session } }
            }
            for reach in [SessionReach.own(Sample.tenant), .tenant(Sample.tenant), .tenants([Sample.tenant])] {
                #expect(try await numbers(reach, SessionFilter()) == [6, 5, 4, 3, 2, 1])
                #expect(try await numbers(reach, before: 5, limit: 2, SessionFilter()) == [4, 3])
                #expect(try await numbers(reach, filter { $0.status = .past }) == [6, 5, 4, 3, 2, 1])
                #expect(try await numbers(reach, filter { $0.status = .failed }) == [6, 2])
                #expect(try await numbers(reach, filter { $0.status = .storing }) == [4])
                #expect(try await numbers(reach, filter { $0.status = .live }) == [])
                #expect(try await numbers(reach, filter { $0.key = KeyID("key_2") }) == [6, 3])
                #expect(try await numbers(reach, filter { ($0.key, $0.status) = (KeyID("key_2"), .failed) }) == [6])
                #expect(try await numbers(reach, filter { $0.engine = "pocketsphinx" }) == [4])
                #expect(try await numbers(reach, filter { $0.startedFrom = moment(3) }) == [6, 5, 4, 3])
                #expect(try await numbers(reach, filter { $0.startedBefore = moment(3) }) == [2, 1])
                #expect(
                    try await numbers(
                        reach, before: 5, filter { ($0.startedFrom, $0.startedBefore) = (moment(2), moment(6)) })
                        == [4, 3, 2])
            }
            #expect(try await numbers(.tenants(nil), SessionFilter()) == [8, 7, 6, 5, 4, 3, 2, 1])
            let both = [Sample.otherTenant, Sample.tenant, Sample.tenant]
            #expect(try await numbers(.tenants(both), limit: 3, SessionFilter()) == [8, 7, 6])
            #expect(try await numbers(.tenants(both), limit: 3, filter { $0.status = .failed }) == [8, 6, 2])
            #expect(try await numbers(.tenants([]), SessionFilter()) == [])
        }
    }

    @Test func oneIsFoundByItsIdWithinReach() async throws {
        try await run { fixture, history async throws in
            try await PostgresUsageStore(pool: fixture.pool).record([row(1), row(2, Sample.otherTenant)])
            let (mine, theirs) = (Sample.session(1), Sample.session(2))
            for reach in [SessionReach.own(Sample.tenant), .tenant(Sample.tenant), .tenants([Sample.tenant])] {
                #expect(try await history.past(mine, reach) == row(1))
                #expect(try await history.past(theirs, reach) == nil)
            }
            #expect(try await history.past(theirs, .tenants(nil)) == row(2, Sample.otherTenant))
            #expect(try await history.past(Sample.session(3), .tenants(nil)) == nil)
        }
    }

    /// The policy, not the statement: a statement that names another tenant finds nothing.
    @Test func aTenantsOwnLookSeesNothingElse() async throws {
        try await run { fixture, _ async throws in
            try await PostgresUsageStore(pool: fixture.pool).record([row(1), row(2, Sample.otherTenant)])
            let list = PostgresSessionHistory.list(.tenants(nil), SessionFilter(), before: nil, limit: 10)
            let seen = try await fixture.pool.asTenant(Sample.tenant) { try await $0.query(list) }
            #expect(try seen.map(UsageRow.init(row:)) == [row(1)])
        }
    }

    // MARK: What a page costs

    /// 100,000 sessions of ten tenants. The oldest 500 failed, are of one key and had another engine; one tenant has been quiet
    /// since then, and one has had more sessions than the others lately: nothing is spread evenly.
    private func fill(_ fixture: StoreFixture) async throws {
        try await fixture.ownerPool.query(
            """
            INSERT INTO usage_rows (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms,
                engine_ms, connected_ms, started_at, ended_at, state, reason, finals, has_transcript)
            SELECT ('00000000-0000-4000-8000-00000000000' || CASE WHEN n <= 20000 THEN n % 10 ELSE 1 + n % 9 END)::uuid,
                (substr(lpad(to_hex(1780000000000 + n * 1000), 12, '0'), 1, 8) || '-' ||
                    substr(lpad(to_hex(1780000000000 + n * 1000), 12, '0'), 9, 4) || '-7000-8000-' ||
                    lpad(to_hex(n), 12, '0'))::uuid,
                CASE WHEN n <= 500 THEN 'key_old' ELSE 'key_' || n % 10 END,
                CASE WHEN n <= 500 THEN 'pocketsphinx' ELSE 'synthetic' END, 'general', 'en', '{}', 'local', 1, 1, 1, 1,
                to_timestamp(1780000000 + n), to_timestamp(1780000001 + n),
                CASE WHEN n <= 500 THEN 'failed' ELSE 'completed' END, '', 1, true
            FROM generate_series(1, 100000) AS n
            """)
        try await fixture.ownerPool.query("ANALYZE usage_rows")
    }

    /// What Postgres itself counts of a statement: scans of the whole table, and rows that it fetched, those that a filter then
    /// threw away included.
    private func cost(
        _ fixture: StoreFixture, _ reach: SessionReach, _ filter: SessionFilter
    ) async throws -> (scans: Int, rows: Int) {
        // Not at the newest, where a page is simply the end of an index.
        let list = PostgresSessionHistory.list(
            reach, filter, before: Sample.session(0, startedAt: moment(90_000)), limit: 21)
        @Sendable func measured(_ connection: Connection) async throws -> (Int, Int) {
            func counted() async throws -> (Int, Int) {
                let row = try await connection.query(
                    """
                    SELECT seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) AS fetched
                    FROM pg_stat_xact_user_tables WHERE relid = 'usage_rows'::regclass
                    """
                ).only()
                return (try row.value("seq_scan"), try row.value("fetched"))
            }
            let before = try await counted()
            try await connection.query(list)
            let after = try await counted()
            return (after.0 - before.0, after.1 - before.1)
        }
        if case .own(let tenant) = reach { return try await fixture.pool.asTenant(tenant, measured) }
        return try await fixture.pool.asOperator(measured)
    }

    @Test func aPageOfAHundredThousandIsReadOffAnIndex() async throws {
        try await run { fixture, _ async throws in
            try await fill(fixture)
            func tenant(_ number: Int) throws -> TenantID {
                TenantID(try #require(UUID(uuidString: "00000000-0000-4000-8000-00000000000\(number)")))
            }
            let (quiet, other) = (try tenant(0), try tenant(7))
            let filters: [(String, SessionFilter)] = [
                ("no filter", SessionFilter()), ("past", filter { $0.status = .past }),
                ("failed", filter { $0.status = .failed }), ("completed", filter { $0.status = .completed }),
                ("interrupted", filter { $0.status = .interrupted }), ("key", filter { $0.key = KeyID("key_old") }),
                ("nobody's key", filter { $0.key = KeyID("key_nobody") }),
                ("engine", filter { $0.engine = "pocketsphinx" }),
                ("no such engine", filter { $0.engine = "deepgram" }),
                ("several", filter { ($0.status, $0.engine) = (.failed, "pocketsphinx") }),
                ("times", filter { ($0.startedFrom, $0.startedBefore) = (moment(10_000), moment(10_300)) }),
                (
                    "all",
                    filter {
                        ($0.status, $0.engine) = (.failed, "pocketsphinx")
                        ($0.startedFrom, $0.startedBefore) = (moment(100), moment(400))
                    }
                ),
            ]
            let reaches: [(SessionReach, pages: Int)] = [
                (.own(quiet), 1), (.own(other), 1), (.tenant(quiet), 1), (.tenants(nil), 1),
                (.tenants([quiet, other]), 2),
            ]
            for (reach, pages) in reaches {
                for (name, filter) in filters {
                    let (scans, rows) = try await cost(fixture, reach, filter)
                    #expect(scans == 0, "\(reach), \(name)")
                    // Of the 500 old ones Postgres may take all that fit and sort them; of more, only what it shows.
                    let isOfOldOnes = filter.key != nil || filter.engine != nil || filter.status == .failed
                    let most = isOfOldOnes ? 500 : 21 * pages
                    #expect(rows <= most, "\(reach), \(name): \(rows) rows are read for a page of 21")
                }
            }
            // The measure itself: without the index it says so.
            try await fixture.ownerPool.query("DROP INDEX usage_rows_by_state, usage_rows_by_tenant_and_state")
            let slow = try await cost(fixture, .own(quiet), filter { $0.status = .failed })
            #expect(slow.rows > 1_000)
        }
    }
}
