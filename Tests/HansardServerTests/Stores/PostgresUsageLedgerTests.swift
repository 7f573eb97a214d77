import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

@Suite struct PostgresUsageLedgerTests {
    /// A segment's hour in the ledger, or of a tenant in its sums.
    struct Sum: Hashable {
        var tenant: TenantID
        var start: Date
        var engine: String
    }

    /// Sessions of some tenants with records of several segments, from shortly before a month's end on.
    struct History {
        static let start = QuotaPeriod(moment(0)).end - 4 * 3_600
        let tenants = [TenantID(UUID()), TenantID(UUID()), TenantID(UUID())]
        var records: [UsageRecord] = []
        var totals: [SessionID: UsageCounters] = [:]

        init(sessions: Int, seed: UInt64) {
            var random = SeededGenerator(seed: seed)
            for number in 0..<sessions {
                let began = Self.start + Double.random(in: 0..<(5 * 3_600), using: &random).rounded()
                let id = SessionID(
                    startedAt: began, random: (0..<10).map { _ in UInt8.random(in: 0...255, using: &random) })
                let first = UsageRecord(
                    session: id, tenant: tenants[number % tenants.count], key: KeyID("key_\(number % 2)"),
                    engine: "one", model: "m", language: "en", tags: number % 3 == 0 ? ["a", "b"] : [], region: "r",
                    channels: 1, startedAt: began)
                var meter = UsageMeter(first)
                records.append(first)
                var (total, now, engine) = (UsageCounters(), began, "one")
                for _ in 0..<Int.random(in: 0...30, using: &random) {
                    let step = Int64.random(in: 1...600_000, using: &random)
                    now += Double(step) / 1_000
                    total = total + UsageCounters(audio: step - step / 3, connected: step, engine: step + 7)
                    if Int.random(in: 0..<8, using: &random) == 0 { engine = engine == "one" ? "two" : "one" }
                    records += meter.advance(to: total, engine: engine, channels: 1, at: now)
                }
                records += meter.end(at: total, engine: engine, channels: 1, now: now)
                totals[id] = total
            }
        }

        /// What each hour, or day, has: computed from the records alone.
        func sums(by length: TimeInterval) -> [Sum: UsageCounters] {
            var sums: [Sum: UsageCounters] = [:]
            for own in Dictionary(grouping: records, by: { [$0.session.description, "\($0.segment)"] }).values {
                var known = UsageCounters()
                for record in own.sorted(by: { $0.sequence < $1.sequence }) {
                    let news = record.counters.since(known)
                    known = record.counters
                    let start = (record.madeAt.timeIntervalSince1970 / length).rounded(.down) * length
                    let sum = Sum(
                        tenant: record.tenant, start: Date(timeIntervalSince1970: start), engine: record.engine)
                    sums[sum] = (sums[sum] ?? UsageCounters()) + news
                }
            }
            return sums.filter { $0.value != UsageCounters() }
        }
    }

    private func sums(_ table: String, _ column: String, _ fixture: StoreFixture) async throws -> [Sum: UsageCounters] {
        let rows = try await fixture.ownerPool.query(
            """
            SELECT tenant_id, \(identifier: column) AS start, engine, sum(audio_ms)::bigint AS audio,
                sum(connected_ms)::bigint AS connected, sum(engine_ms)::bigint AS engine_ms
            FROM \(identifier: table) GROUP BY 1, 2, 3
            """)
        var sums: [Sum: UsageCounters] = [:]
        for row in rows {
            sums[
                Sum(
                    tenant: TenantID(try row.value("tenant_id")), start: try row.value("start"),
                    engine: try row.value("engine"))] =
                try counters(row)
        }
        return sums.filter { $0.value != UsageCounters() }
    }

    private func counters(_ row: Row) throws -> UsageCounters {
        UsageCounters(
            audio: try row.value("audio"), connected: try row.value("connected"), engine: try row.value("engine_ms"))
    }

    private func expectWhole(_ history: History, _ fixture: StoreFixture) async throws {
        let rows = try await fixture.ownerPool.query(
            """
            SELECT session_id, sum(audio_ms)::bigint AS audio, sum(connected_ms)::bigint AS connected,
                sum(engine_ms)::bigint AS engine_ms, bool_and(is_final) AS is_final
            FROM usage_segments GROUP BY session_id
            """)
        #expect(rows.count == history.totals.count)
        for row in rows {
            #expect(try counters(row) == history.totals[SessionID(try row.value("session_id"))])
            #expect(try row.value("is_final"))
        }
        while try await PostgresUsageLedger(pool: fixture.pool).rollUp(atMost: 7) == 7 {}
        #expect(try await sums("usage_hourly", "hour", fixture) == history.sums(by: 3_600))
        #expect(try await sums("usage_daily", "day", fixture) == history.sums(by: 86_400))
        for table in ["usage_hourly", "usage_daily"] {
            let sessions: Int = try await fixture.ownerPool.query(
                "SELECT sum(sessions)::bigint AS n FROM \(identifier: table)"
            ).only().value("n")
            #expect(sessions == history.totals.count)
        }
        #expect(try await fixture.ownerPool.query("SELECT FROM usage_dirty_hours").isEmpty)
    }

    // MARK: Exactly once

    @Test func noOrderAndNoRepetitionMakesADifference() async throws {
        try await StoreFixture.with { fixture in
            let history = History(sessions: 60, seed: 1)
            var random = SeededGenerator(seed: 2)
            let given = (history.records + history.records).shuffled(using: &random)
            var batches: [[UsageRecord]] = []
            for start in stride(from: 0, to: given.count, by: 37) {
                batches.append(Array(given[start..<min(start + 37, given.count)]))
            }
            // Two nodes at once, and somebody who sums up all the while.
            let added = try await withThrowingTaskGroup(of: Int.self) { group in
                for (number, batch) in batches.enumerated() {
                    let pool = number % 2 == 0 ? fixture.pool : fixture.peerPool
                    group.addTask {
                        let ledger = PostgresUsageLedger(pool: pool)
                        let added = try await ledger.ingest(batch)
                        if number % 5 == 0 { _ = try await ledger.rollUp(atMost: 3) }
                        return added
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(added == history.records.count)
            try await expectWhole(history, fixture)
            // And once more, from the beginning.
            #expect(try await PostgresUsageLedger(pool: fixture.pool).ingest(history.records) == 0)
            #expect(try await fixture.ownerPool.query("SELECT FROM usage_dirty_hours").isEmpty)
            try await expectWhole(history, fixture)
        }
    }

    @Test func anHourThatComesLateIsTakenFromTheOneAfterIt() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            func hours() async throws -> [Int64] {
                _ = try await ledger.rollUp(atMost: 9)
                return try await sums("usage_hourly", "hour", fixture).values.map(\.audio).sorted()
            }
            _ = try await ledger.ingest([.sample(0, sequence: 2, at: 3_610, audio: 30_000, isFinal: true)])
            #expect(try await hours() == [30_000])
            _ = try await ledger.ingest([.sample(0, sequence: 1, at: 10, audio: 10_000)])
            #expect(try await hours() == [10_000, 20_000])
        }
    }

    /// One batch has an hour of a segment, and another, at the same time, the hour before it: what the later hour has is counted
    /// from the earlier one, so that it must be summed up again, although it was not to be seen when the other batch came.
    @Test func twoThatBringHoursOfOneSegmentWaitForEachOther() async throws {
        try await StoreFixture.with { fixture in
            let (ledger, peer) = (PostgresUsageLedger(pool: fixture.pool), PostgresUsageLedger(pool: fixture.peerPool))
            let earlier = UsageRecord.sample(0, sequence: 1, at: 10, audio: 10_000)
            let later = UsageRecord.sample(0, sequence: 2, at: 3_610, audio: 30_000, isFinal: true)
            let statement = try PostgresUsageLedger.statement([later])
            let other = try await fixture.pool.transaction { connection in
                try await connection.query(statement)
                let other = Task { try await peer.ingest([earlier]) }
                try await eventually("the other one waits") {
                    try await !fixture.ownerPool.query(
                        """
                        SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%ingest_usage%'
                        """
                    ).isEmpty
                }
                return other
            }
            #expect(try await other.value == 1)
            let dirty = try await fixture.ownerPool.query(
                "SELECT FROM usage_dirty_hours WHERE hour = date_trunc('hour', \(later.madeAt), 'UTC')")
            #expect(dirty.count == 2, "the second saw what the first had left")
            #expect(try await ledger.rollUp(atMost: 9) == 2)
            let hours = try await sums("usage_hourly", "hour", fixture)
            #expect(hours.values.map(\.audio).sorted() == [10_000, 20_000])
        }
    }

    @Test func aBatchIsThereAsAWholeOrNotAtAll() async throws {
        let many = (0..<700).map { UsageRecord.sample($0, sequence: 0, at: $0) }
        let wrong = UsageRecord.sample(1, sequence: 0, at: 1, audio: -1)
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let refusal = await code { _ = try await ledger.ingest(many + [wrong]) }
            #expect(refusal == .invalid)
            let there = try await fixture.ownerPool.query("SELECT FROM usage_records")
            #expect(there.isEmpty)
            #expect(try await ledger.ingest(many) == 700)
            #expect(try await ledger.ingest([]) == 0)
        }
    }

    @Test func aRecordOfAnotherMonthThanItSaysIsRefused() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            for period in ["2026-04", "2026-06", "1999-12", "2100-02"] {
                var wrong = UsageRecord.sample(0, sequence: 0, at: 0)
                wrong.period = try #require(QuotaPeriod(period))
                let record = wrong
                let refusal = await code { _ = try await ledger.ingest([record]) }
                #expect(refusal == .invalid, "\(period)")
            }
        }
    }

    @Test func whatTheReaperSaysIsAFloor() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            _ = try await ledger.ingest([.sample(0, sequence: 0, at: 0), .sample(0, sequence: 1, at: 50)])
            let lease = Sample.lease(Sample.session(0), holder: Sample.epoch())
            try await ledger.note([ReapedUsage(lease, audio: 60_000, foundAt: moment(100))])
            #expect(try await fixture.retire(Sample.epoch()) == 1)
            #expect(try await fixture.totals().values.map(\.self) == [60_000])
            // The node comes back, and knows better.
            _ = try await ledger.ingest([.sample(0, sequence: 2, at: 65, audio: 65_000, isFinal: true)])
            #expect(try await fixture.totals().values.map(\.self) == [65_000])
            _ = try await ledger.rollUp(atMost: 100)
            let hours = try await sums("usage_hourly", "hour", fixture)
            #expect(hours.values.map(\.audio).reduce(0, +) == 65_000)
        }
    }

    /// A node and its disk are lost: what its leases told counts once it is given up, where it goes beyond what the ledger has.
    @Test func whatALostNodesLeasesToldCountsOnceItIsGivenUp() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            _ = try await ledger.ingest([.sample(1, sequence: 1, at: 11), .sample(2, sequence: 1, at: 92)])
            let reaped = (1...3).map { number in
                var lease = Sample.lease(Sample.session(number), holder: Sample.epoch())
                lease.usedMilliseconds = 60_000
                return ReapedUsage(lease, audio: 0, foundAt: moment(99))
            }
            try await ledger.note(reaped + reaped)
            try await ledger.note([
                ReapedUsage(Sample.lease(Sample.session(1), holder: Sample.epoch()), audio: 5, foundAt: moment(0))
            ])
            func totals() async throws -> [Int64] {
                try await fixture.ownerPool.query(
                    "SELECT sum(audio_ms)::bigint AS n FROM usage_segments GROUP BY session_id ORDER BY session_id"
                ).map { try $0.value("n") }
            }
            #expect(try await totals() == [10_000, 90_000], "the node may come back")
            let epoch = Sample.epoch()
            for expected in [2, 0] {
                let counted = try await fixture.pool.query(
                    "SELECT count_reaped_usage(\(epoch.node), \(epoch.epoch)) AS n"
                ).only()
                #expect(try counted.value("n") == expected)
                #expect(try await totals() == [60_000, 90_000, 60_000])
            }
            let unknown = try await fixture.ownerPool.query(
                "SELECT session_id, tags FROM usage_segments WHERE engine = 'unknown'"
            ).only()
            #expect(try unknown.value("session_id") == Sample.session(3).rawValue, "of the others the rest is known")
        }
    }

    @Test func labelsComeBackAsTheyWere() async throws {
        try await StoreFixture.with { fixture in
            let tags = ["a", "b \"c\", {d}", "é", ""]
            _ = try await PostgresUsageLedger(pool: fixture.pool).ingest([
                .sample(0, sequence: 0, at: 0, tags: tags), .sample(1, sequence: 0, at: 1),
            ])
            let rows = try await fixture.ownerPool.query(
                "SELECT tags, key_id, engine, model, language, region FROM usage_segments ORDER BY session_started_at")
            #expect(try rows.map { try $0.value("tags", as: [String].self) } == [tags, []])
            let labels = try ["key_id", "engine", "model", "language", "region"].map {
                try rows[0].value($0, as: String.self)
            }
            #expect(labels == ["key_1", "synthetic", "m", "en", "eu"])
        }
    }

    // MARK: Sources

    @Test func dataIsAsOfTheNodeThatIsFarthestBehind() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            func asOf() async throws -> Date {
                try await fixture.pool.query("SELECT usage_data_as_of() AS at").only().value("at")
            }
            #expect(abs(try await asOf().timeIntervalSinceNow) < 60, "nobody makes any")
            let (one, two, spool) = (Sample.epoch("one", 1), Sample.epoch("two", 2), UUID())
            try await ledger.register(one, spool: spool)
            try await ledger.register(one, spool: spool)
            try await ledger.register(two, spool: UUID())
            let behind = try await asOf()
            let time = try await ledger.isComplete(two, through: .now + 3_600, isOver: false)
            #expect(abs(try #require(time).timeIntervalSinceNow) < 60)
            let stated = try await fixture.ownerPool.query(
                "SELECT complete_through <= clock_timestamp() AS is_past FROM usage_sources WHERE node = 'two'"
            ).only()
            #expect(try stated.value("is_past"), "a clock that is ahead does not make the future known")
            #expect(try await ledger.isComplete(Sample.epoch("three", 3), through: .now, isOver: false) == nil)
            #expect(try await asOf() == behind)
            _ = try await ledger.isComplete(one, through: behind + 5, isOver: false)
            _ = try await ledger.isComplete(one, through: behind + 1, isOver: false)
            #expect(try await asOf() <= behind + 5)
            // The next life of the same spool has brought everything.
            try await ledger.register(Sample.epoch("one", 3), spool: spool)
            let left = try await ledger.finish(spool: spool, before: Sample.epoch("one", 3))
            #expect(left == 1, "with a copy of the spool, it may live")
            try await fixture.ownerPool.execute(
                """
                UPDATE usage_sources SET (registered_at, complete_through) = (now() - interval '1 min', now() - interval '1 min')
                WHERE epoch = \(one.epoch)
                """)
            #expect(try await ledger.finish(spool: spool, before: Sample.epoch("one", 3)) == 0)
            let over = try await fixture.ownerPool.query(
                "SELECT node FROM usage_sources WHERE finished_at IS NOT NULL"
            ).only()
            #expect(try over.value("node") == "one")
            #expect(try await asOf() > behind)
        }
    }

    @Test func partitionsAreThereBeforeTheyAreNeeded() async throws {
        try await StoreFixture.with { fixture in
            try await PostgresUsageLedger(pool: fixture.pool).register(Sample.epoch(), spool: UUID())
            for period in [QuotaPeriod(.now), QuotaPeriod(.now).next] {
                let name = "usage_records_" + period.description.replacing("-", with: "_")
                let there = try await fixture.ownerPool.query("SELECT to_regclass(\(name))::text AS name").only()
                #expect(try there.value("name") == name)
            }
        }
    }

    /// Sessions of before there was a ledger are in it once it is there.
    @Test func earlierSessionsAreInTheLedger() async throws {
        try await StoreFixture.with(migratedTo: 13) { fixture in
            let rows = (0..<3).map { number in
                UsageRow(
                    session: Sample.session(number), tenant: Sample.tenant, key: KeyID("key_1"), engine: "e",
                    model: "m",
                    language: "en", tags: ["t"], region: "r", channels: 1, audioMilliseconds: 7_000,
                    connectedMilliseconds: 8_000, startedAt: QuotaPeriod(moment(0)).end - 3_600 + Double(number),
                    endedAt: QuotaPeriod(moment(0)).end + 100)
            }
            try await PostgresUsageStore(pool: fixture.pool).record(rows)
            try await Migrations(directory: StoreFixture.migrationsDirectory).apply(to: fixture.url)
            _ = try await PostgresUsageLedger(pool: fixture.pool).rollUp(atMost: 100)
            let daily = try await fixture.ownerPool.query(
                "SELECT audio_ms, sessions, tags FROM usage_daily"
            ).only()
            #expect(try daily.value("audio_ms") == 21_000 && daily.value("sessions") == 3)
            #expect(try daily.value("tags") == ["t"])
        }
    }
}
