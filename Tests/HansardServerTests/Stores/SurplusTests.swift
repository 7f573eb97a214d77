import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// What is counted of a lost node's sessions beyond their records (`Migrations/0020_surplus.sql`): never twice, in whichever order
/// anything comes.
@Suite struct SurplusTests {
    private typealias Arrival = LostSession.Arrival

    /// All that the ledger has made of its totals.
    private func expectWhole(_ fixture: StoreFixture, _ comment: String) async throws {
        try await fixture.makeEvents(slack: .zero)
        func sum(_ table: String) async throws -> [Int64] {
            let row = try await fixture.ownerPool.query(
                """
                SELECT coalesce(sum(audio_ms), 0)::bigint AS audio, coalesce(sum(engine_ms), 0)::bigint AS engine,
                    coalesce(sum(connected_ms), 0)::bigint AS connected FROM \(identifier: table)
                """
            ).only()
            return [try row.value("audio"), try row.value("engine"), try row.value("connected")]
        }
        let totals = try await sum("usage_segments")
        for table in ["usage_hourly", "usage_daily", "usage_events"] {
            #expect(try await sum(table) == totals, "\(comment), \(table)")
        }
        for period in [BillingFixture.january, BillingFixture.february] {
            let findings = try await UsageVerification(fixture.pool.url, period: period).findings()
            // Of sessions whose node is not given up there should be rows.
            #expect(findings.filter { $0.isFault && $0.check != .sessions } == [], "\(comment)")
        }
    }

    /// What reports say of all sessions at once.
    private func reported(_ width: BucketWidth, _ fixture: StoreFixture) async throws -> UsageCounters {
        let start = BillingFixture.january.end - 86_400
        let report = try await PostgresUsageReports(pool: fixture.pool).report(
            UsageQuery(
                tenant: Sample.tenant, boundaries: [start, BillingFixture.january.end, start + 2 * 86_400], width: width
            ))
        return report.buckets.flatMap(\.results).reduce(UsageCounters()) { $0 + $1.amounts }
    }

    // MARK: Orders

    /// A node is found dead at 60 s, which are taken to be in the one segment that is known. In truth that one ended at 20 s. The
    /// node is given up, comes back, and brings what it has.
    @Test(arguments: LostSession.Cut.allCases)
    func aNodeThatComesBackIsCountedOnce(_ cut: LostSession.Cut) async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let lost = LostSession(1, cut)
            try await fixture.register([lost])
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            #expect(try await ledger.ingest(Array(lost.segment(0).prefix(1))) == 1)
            try await ledger.note([lost.reaped(60_000)])
            #expect(try await fixture.retire(lost.holder) == 1)
            #expect(try await fixture.totals() == [lost.session: 60_000])
            _ = try await ledger.ingest(lost.records)
            #expect(try await fixture.totals() == [lost.session: 60_000], "no second of it is counted twice")
            #expect(try await fixture.retire(lost.holder) == 0)
            try await expectWhole(fixture, "it is back")
        }
    }

    /// All 120 orders of what comes, each with a session and a node of its own, step by step.
    @Test(arguments: LostSession.Cut.allCases)
    func noOrderMakesADifference(_ cut: LostSession.Cut) async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let orders = Arrival.allCases.orders
            let lost = orders.indices.map { LostSession($0, cut) }
            try await fixture.register(lost)
            for step in Arrival.allCases.indices {
                for (one, order) in zip(lost, orders) {
                    try await fixture.arrive(order[step], of: one, isPeer: order[step] == .toldMore)
                }
                let totals = try await fixture.totals()
                for (one, order) in zip(lost, orders) {
                    let expected = LostSession.total(Set(order[...step]))
                    #expect(totals[one.session, default: 0] == expected, "\(order[...step])")
                }
                try await expectWhole(fixture, "step \(step)")
            }
            let all = Int64(orders.count * LostSession.seconds * 1_000)
            for width in [BucketWidth.minute, .hour, .day] {
                #expect(
                    try await reported(width, fixture) == UsageCounters(audio: all, connected: all, engine: all))
            }
            let events = try await fixture.events()
            #expect(events.map(\.sessions).reduce(0, +) == orders.count)
            let sessions = try await PostgresUsageReports(pool: fixture.pool).sessions(
                of: Sample.tenant, startedIn: BillingFixture.january.start..<BillingFixture.february.end, UsageGroup(),
                before: nil, limit: 1_000
            ).sessions
            #expect(sessions.count == orders.count)
            #expect(sessions.allSatisfy { $0.segments == 2 && $0.isFinal && $0.amounts.audio == 60_000 })
        }
    }

    /// The same all at once: two nodes bring what is theirs, reapers tell, and operators give up. Of every other session the
    /// second segment never comes.
    @Test func nothingIsMissedBetweenTwoAtOnce() async throws {
        try await StoreFixture.with { fixture in
            let lost = (0..<60).map { LostSession($0, $0 % 4 < 2 ? .engine : .month) }
            try await fixture.register(lost)
            var random = SeededGenerator(seed: 20)
            let arrivals = lost.enumerated().flatMap { number, one in
                Arrival.allCases.filter { number % 2 == 0 || $0 != .second }.map { (one, $0) }
            }.shuffled(using: &random)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (number, (one, arrival)) in arrivals.enumerated() {
                    group.addTask { try await fixture.arrive(arrival, of: one, isPeer: number % 2 == 0) }
                    if number % 30 == 0 {
                        group.addTask { _ = try await PostgresUsageLedger(pool: fixture.pool).rollUp(atMost: 3) }
                    }
                }
                try await group.waitForAll()
            }
            let totals = try await fixture.totals()
            for one in lost { #expect(totals[one.session] == 60_000) }
            let left = try await fixture.ownerPool.query(
                "SELECT sum(audio_ms)::bigint AS n FROM usage_segments WHERE segment = \(UsageRecord.surplusSegment)"
            ).only()
            #expect(try left.value("n") == 30 * 40_000)
            while try await PostgresUsageLedger(pool: fixture.pool).rollUp(atMost: 500) == 500 {}
            let daily = try await fixture.ownerPool.query("SELECT sum(audio_ms)::bigint AS n FROM usage_daily").only()
            #expect(try daily.value("n") == 60 * 60_000)
        }
    }

    // MARK: Two at once

    /// Runs `second` while `first` has made its change and not committed it yet.
    private func run(
        _ first: Query, beside second: @escaping @Sendable () async throws -> Void, _ fixture: StoreFixture
    ) async throws {
        let other = try await fixture.pool.transaction { connection in
            try await connection.query(first)
            let other = Task { try await second() }
            try await eventually("the other one waits") {
                try await !fixture.ownerPool.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).isEmpty
            }
            return other
        }
        try await other.value
    }

    /// Records that are not committed yet when a node is given up.
    @Test func whoGivesANodeUpWaitsForItsRecords() async throws {
        try await StoreFixture.with { fixture in
            let lost = LostSession(1, .engine)
            try await fixture.register([lost])
            for arrival in [Arrival.first, .toldMore] { try await fixture.arrive(arrival, of: lost) }
            let second = try PostgresUsageLedger.statement(lost.segment(1)[...])
            try await run(second, beside: { try await fixture.retire(lost.holder) }, fixture)
            #expect(try await fixture.totals() == [lost.session: 60_000])
        }
    }

    /// A node that is given up, and something told of it which is not committed yet when its records come.
    @Test func recordsWaitForWhatIsToldOfAGivenUpNode() async throws {
        try await StoreFixture.with { fixture in
            let lost = LostSession(1, .engine)
            try await fixture.register([lost])
            for arrival in [Arrival.first, .retired] { try await fixture.arrive(arrival, of: lost) }
            try await run(
                PostgresUsageLedger.statement([lost.reaped(60_000)]),
                beside: { try await fixture.arrive(.second, of: lost, isPeer: true) }, fixture)
            #expect(try await fixture.totals() == [lost.session: 60_000])
        }
    }

    /// Two segments of one session, by two nodes that have copies of a spool.
    @Test func twoThatBringSegmentsOfOneSessionWaitForEachOther() async throws {
        try await StoreFixture.with { fixture in
            let lost = LostSession(1, .month)
            try await fixture.register([lost])
            for arrival in [Arrival.toldMore, .retired] { try await fixture.arrive(arrival, of: lost) }
            let first = try PostgresUsageLedger.statement(lost.segment(0)[...])
            try await run(first, beside: { try await fixture.arrive(.second, of: lost, isPeer: true) }, fixture)
            #expect(try await fixture.totals() == [lost.session: 60_000])
        }
    }

    // MARK: What it is

    /// It has the place and the labels that were known of the session when it was counted, and counts the session as long as
    /// nothing else does.
    @Test func aSurplusStaysWhereItIs() async throws {
        try await StoreFixture.with { fixture in
            let (known, unknown) = (LostSession(1, .month), LostSession(2, .month))
            try await fixture.register([known, unknown])
            try await fixture.arrive(.first, of: known)
            func surpluses() async throws -> [[String]] {
                try await fixture.ownerPool.query(
                    """
                    SELECT session_id, engine, language, to_char(period, 'YYYY-MM') AS period, audio_ms, begins
                    FROM usage_segments WHERE segment = \(UsageRecord.surplusSegment) ORDER BY session_id
                    """
                ).map { row in
                    let (audio, begins): (Int, Bool) = (try row.value("audio_ms"), try row.value("begins"))
                    return [
                        try row.value("engine"), try row.value("language"), try row.value("period"), "\(audio)",
                        "\(begins)",
                    ]
                }
            }
            for one in [known, unknown] {
                for arrival in [Arrival.toldMore, .retired] { try await fixture.arrive(arrival, of: one) }
            }
            #expect(
                try await surpluses() == [
                    ["pocketsphinx", "en", "2026-01", "40000", "false"],
                    ["unknown", "unknown", "2026-01", "60000", "true"],
                ])
            for one in [known, unknown] { try await fixture.arrive(.second, of: one) }
            #expect(
                try await surpluses() == [
                    ["pocketsphinx", "en", "2026-01", "0", "false"],
                    ["unknown", "unknown", "2026-01", "20000", "true"],
                ])
            try await fixture.arrive(.first, of: unknown)
            #expect(try await surpluses()[1] == ["unknown", "unknown", "2026-01", "0", "false"])
            let own = try await fixture.ownerPool.query(
                "SELECT DISTINCT engine FROM usage_segments WHERE segment < \(UsageRecord.surplusSegment)"
            ).only()
            #expect(try own.value("engine") == "pocketsphinx", "what the node says is as it says")
        }
    }

    @Test func recordsAreThoseOfNodes() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            var reaped = UsageRecord.sample(0, sequence: 0, at: 100, audio: 60_000)
            reaped.source = .reaper
            let (one, other) = (
                reaped, UsageRecord.sample(0, segment: UsageRecord.surplusSegment, sequence: 0, at: 100)
            )
            #expect(await code { _ = try await ledger.ingest([one]) } == .invalid)
            #expect(await code { _ = try await ledger.ingest([other]) } == .invalid)
        }
    }

    // MARK: What was counted before

    /// Sessions that were counted when the figure was still a segment's: the ledger says the same after the migration, and the node
    /// that comes back then is counted once.
    @Test func whatWasCountedInSegmentsIsTakenOutOfThem() async throws {
        try await StoreFixture.with(migratedTo: 19) { fixture in
            let lost = (0..<4).map { LostSession($0, $0 < 2 ? .engine : .month) }
            _ = try await fixture.outbox()
            try await fixture.register(lost)
            for (number, one) in lost.enumerated() {
                for arrival in number % 2 == 0 ? [Arrival.first, .told, .retired] : [.told, .retired] {
                    try await fixture.arrive(arrival, of: one)
                }
            }
            let before = try await fixture.totals()
            #expect(before.values.allSatisfy { $0 == 45_000 } && before.count == 4)
            try await fixture.makeEvents(slack: .zero)
            try await Migrations(directory: StoreFixture.migrationsDirectory).apply(to: fixture.url)
            #expect(try await fixture.totals() == before)
            try await expectWhole(fixture, "migrated")
            for one in lost { for arrival in [Arrival.first, .second] { try await fixture.arrive(arrival, of: one) } }
            #expect(try await fixture.totals().values.allSatisfy { $0 == 60_000 })
            try await expectWhole(fixture, "back")
            #expect(try await fixture.events().map(\.sessions).reduce(0, +) == 4)
        }
    }
}
