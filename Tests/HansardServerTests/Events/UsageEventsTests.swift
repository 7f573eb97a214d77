import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// The outbox has what the ledger has (`Migrations/0019_usage_events.sql`), whatever comes when.
@Suite struct UsageEventsTests {
    private typealias History = PostgresUsageLedgerTests.History

    private func expectWhole(_ fixture: StoreFixture) async throws {
        let events = try await fixture.events()
        #expect(Set(events.map(\.id)).count == events.count)
        let told = UsageEvent.told(events)
        for (place, told) in told { #expect(told.revisions == Array(1...told.revisions.count), "\(place)") }
        let rows = try await fixture.pool.asOperator { connection in
            try await connection.query(
                """
                SELECT u.session_id, u.segment, u.hour, u.audio_ms, u.connected_ms, u.engine_ms, u.sessions
                FROM (SELECT DISTINCT tenant_id FROM usage_marks) AS t
                CROSS JOIN LATERAL usage_of_segments(t.tenant_id, '2001-01-01', '2101-01-01') AS u
                WHERE (u.audio_ms, u.connected_ms, u.engine_ms, u.sessions) <> (0, 0, 0, 0)
                """)
        }
        var seen = 0
        for row in rows {
            let hour: Date = try row.value("hour")
            let place =
                "\(SessionID(try row.value("session_id"))).\(try row.value("segment", as: Int.self))."
                + Timestamp.format(hour).filter { $0 != "-" }.prefix(11)
            let here = try #require(told[place], "\(place)")
            #expect(
                try here.counters
                    == UsageCounters(
                        audio: row.value("audio_ms"), connected: row.value("connected_ms"),
                        engine: row.value("engine_ms")))
            #expect(try here.sessions == row.value("sessions"))
            seen += 1
        }
        #expect(told.values.count { $0.counters != UsageCounters() || $0.sessions != 0 } == seen)
        let positions = try await fixture.ownerPool.query("SELECT position FROM usage_events ORDER BY position")
        #expect(try positions.map { try $0.value("position", as: Int.self) } == Array(1...max(1, events.count)))
        let findings = try await UsageVerification(fixture.pool.url, period: QuotaPeriod(History.start)).findings()
        #expect(findings.filter { $0.check == .events } == [])
    }

    @Test func whoeverHasNoReceiverAnyMoreEndsIt() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            _ = try await ledger.ingest([.sample(0, sequence: 1, at: 10, isFinal: true)])
            try await fixture.makeEvents()
            await #expect(throws: HansardError.self) { try await UsageEventsEnd(fixture.pool.url).end() }
            #expect(try await UsageEventsEnd(fixture.ownerPool.url).end() == 1, "that were not delivered")
            #expect(try await UsageEventsEnd(fixture.ownerPool.url).end() == nil)
            _ = try await ledger.ingest([.sample(1, sequence: 1, at: 11, isFinal: true)])
            _ = try await ledger.rollUp(atMost: 100)
            #expect(try await fixture.queuedHours() == 0)
        }
    }

    @Test func noOrderAndNoRepetitionMakesADifference() async throws {
        try await StoreFixture.with { fixture in
            let outbox = try await fixture.outbox()
            let history = History(sessions: 40, seed: 7)
            var random = SeededGenerator(seed: 8)
            let given = (history.records + history.records).shuffled(using: &random)
            let batches = stride(from: 0, to: given.count, by: 23).map { Array(given[$0..<min($0 + 23, given.count)]) }
            // Two nodes, who bring records, sum up, and make events, all at the same time.
            for start in stride(from: 0, to: batches.count, by: 4) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for (number, batch) in batches[start..<min(start + 4, batches.count)].enumerated() {
                        let pool = number % 2 == 0 ? fixture.pool : fixture.peerPool
                        group.addTask {
                            let ledger = PostgresUsageLedger(pool: pool)
                            _ = try await ledger.ingest(batch)
                            _ = try await ledger.rollUp(atMost: 9)
                            _ = try await PostgresUsageEvents(pool: pool).make(hours: 9, slack: .zero)
                        }
                    }
                    try await group.waitForAll()
                }
            }
            try await fixture.makeEvents()
            #expect(try await fixture.queuedHours() == 0)
            try await expectWhole(fixture)
            let events = try await fixture.events()
            #expect(events.contains { $0.revision > 1 }, "some hours were told of before all of them was there")
            #expect(events.map(\.sessions).reduce(0, +) == history.totals.count)
            let told = UsageEvent.told(events).values.reduce(UsageCounters()) { $0 + $1.counters }
            #expect(told == history.totals.values.reduce(UsageCounters()) { $0 + $1 })
            // What comes again is nothing new.
            for _ in 0..<3 {
                _ = try await PostgresUsageLedger(pool: fixture.pool).ingest(history.records)
                try await fixture.makeEvents()
                #expect(try await fixture.events() == events)
            }
            #expect(try await outbox.make(hours: 50, slack: .zero) == 0)
        }
    }

    @Test func whatComesLateIsToldAsTheDifference() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            _ = try await ledger.ingest([
                .sample(0, sequence: 2, at: 3_610, audio: 30_000, isFinal: true, tags: ["a", "b"])
            ])
            try await fixture.makeEvents()
            _ = try await ledger.ingest([.sample(0, sequence: 1, at: 10, audio: 10_000)])
            try await fixture.makeEvents()
            let events = try await fixture.events()
            let session = Sample.session(0)
            #expect(
                events.map(\.id) == [
                    "\(session).0.20260528T20.1", "\(session).0.20260528T21.1", "\(session).0.20260528T20.2",
                    "\(session).0.20260528T21.2",
                ])
            #expect(events.map(\.counters.audio) == [0, 30_000, 10_000, -10_000])
            #expect(events.map(\.sessions) == [1, 0, 0, 0])
            #expect(
                events[1].usedUntil == moment(3_610) && events[1].tags == ["a", "b"] && events[1].engine == "synthetic")
            #expect(events[0].usedUntil == events[0].hourEnd - 0.001, "it went on")
            try await expectWhole(fixture)
        }
    }

    @Test func aLiveSessionIsToldOfByTheHourAndAShortOneOnce() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let hour = Date(timeIntervalSince1970: (Date.now.timeIntervalSince1970 / 3_600).rounded(.down) * 3_600)
            let first = UsageRecord(
                session: Sample.session(1, startedAt: hour), tenant: Sample.tenant, key: KeyID("key_1"),
                engine: "synthetic", model: "m", language: "en", tags: [], region: "r", channels: 1, startedAt: hour)
            var meter = UsageMeter(first)
            func total(_ seconds: Int64) -> UsageCounters {
                UsageCounters(audio: seconds * 1_000, connected: seconds * 1_000, engine: seconds * 1_000)
            }
            // An hour that is not over, and neither is the session.
            for seconds in [10, 20] as [Int64] {
                _ = try await ledger.ingest(
                    meter.advance(to: total(seconds), engine: "synthetic", channels: 1, at: hour + Double(seconds)))
                try await fixture.makeEvents()
                #expect(try await fixture.events().isEmpty)
                #expect(try await fixture.queuedHours() == 1, "it is looked at when the hour is over")
                #expect(try await PostgresUsageEvents(pool: fixture.pool).make(hours: 9, slack: .zero) == 0)
            }
            // Another one of the hour is over.
            let short = UsageRecord.session(2, startedAt: hour, seconds: 5)
            _ = try await ledger.ingest(short)
            try await fixture.makeEvents()
            #expect(try await fixture.events().map(\.counters.audio) == [5_000])
            // The session ends within the hour.
            let last = meter.end(at: total(30), engine: "synthetic", channels: 1, now: hour + 30)
            _ = try await ledger.ingest(last)
            try await fixture.makeEvents()
            #expect(try await fixture.events().map(\.counters.audio) == [5_000, 30_000])
            #expect(try await fixture.queuedHours() == 0)
            // Of one that goes on is told once the hour is over.
            var live = first
            live.session = Sample.session(3, startedAt: hour)
            live.counters = total(40)
            live.sequence = 1
            _ = try await ledger.ingest([live])
            try await fixture.makeEvents()
            #expect(try await fixture.events().count == 2)
            try await fixture.ownerPool.execute("UPDATE usage_event_hours SET due_at = now()")
            try await fixture.makeEvents(slack: .seconds(-3_600))
            #expect(try await fixture.events().map(\.counters.audio) == [5_000, 30_000, 40_000])
        }
    }

    @Test func aMakerThatDiesLeavesNothingAndNoGap() async throws {
        try await StoreFixture.with { fixture in
            let outbox = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            struct Death: Error {}
            _ = try await ledger.ingest((0..<5).map { .sample($0, sequence: 1, at: $0 + 10, isFinal: true) })
            _ = try await ledger.rollUp(atMost: 10)
            await #expect(throws: Death.self) {
                try await fixture.pool.transaction { connection in
                    try await connection.query("SELECT make_usage_events(10, 0)")
                    let made = try await connection.query("SELECT * FROM usage_events_after(0, 100)")
                    #expect(made.count == 5)
                    // Another one does not wait, and makes nothing meanwhile.
                    let hours = try await PostgresUsageEvents(pool: fixture.peerPool).make(hours: 10, slack: .zero)
                    #expect(hours == 0)
                    throw Death()
                }
            }
            #expect(try await fixture.events().isEmpty)
            #expect(try await outbox.make(hours: 10, slack: .zero) == 1)
            #expect(try await outbox.events(after: 0, atMost: 100).map(\.position) == [1, 2, 3, 4, 5])
            try await expectWhole(fixture)
        }
    }

    // MARK: When it begins and ends

    @Test func nothingIsQueuedBeforeThereIsADestination() async throws {
        try await StoreFixture.with { fixture in
            try await PostgresTenantStore(pool: fixture.ownerPool).create(
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let now = Date.now
            _ = try await ledger.ingest(
                [.sample(0, sequence: 1, at: 10)] + UsageRecord.session(1, startedAt: now, seconds: 1))
            _ = try await ledger.rollUp(atMost: 100)
            #expect(try await fixture.queuedHours() == 0)
            let outbox = PostgresUsageEvents(pool: fixture.pool)
            #expect(try await outbox.hold(UUID(), for: .seconds(1)) == nil)
            // From then on: the present hour is whole, and those before it are not told of.
            _ = try await outbox.make(hours: 100, slack: .zero)
            _ = try await ledger.ingest([.sample(0, sequence: 2, at: 20, isFinal: true)])
            try await fixture.makeEvents()
            #expect(try await fixture.events().map(\.session) == [Sample.session(1, startedAt: now)])
        }
    }

    @Test func oldEventsGoOnceTheyAreDelivered() async throws {
        try await StoreFixture.with { fixture in
            let outbox = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let old = UsageRecord.session(1, startedAt: .now - 101 * 86_400, seconds: 60)
            let new = UsageRecord.session(2, startedAt: .now - 99 * 86_400, seconds: 60)
            _ = try await ledger.ingest(old + new)
            try await fixture.makeEvents()
            let count = try await fixture.events().count
            let pruning = RowPruning(
                pool: fixture.pool, metrics: Metrics(), logger: LogRecorder().logger, recordsDays: 400)
            #expect(try await pruning.look(now: .now)["usage_events"] == nil, "they are not delivered")
            let holder = UUID()
            _ = try await outbox.hold(holder, for: .seconds(9))
            #expect(try await outbox.delivered(holder, through: Int64(count)))
            try await fixture.ownerPool.execute("UPDATE pruning SET pruned_at = '-infinity'")
            #expect((try await pruning.look(now: .now)["usage_events"] ?? 0) > 0)
            #expect(Set(try await fixture.events().map(\.session)) == [new[0].session])
            // What is late for them is not told: it is not known any more what was.
            var late = try #require(old.last)
            late.sequence += 1
            late.counters.audio += 1_000
            _ = try await ledger.ingest([late])
            try await fixture.makeEvents()
            #expect(Set(try await fixture.events().map(\.session)) == [new[0].session])
            // Not even if it had been queued before.
            try await fixture.ownerPool.execute(
                "INSERT INTO usage_event_hours SELECT DISTINCT tenant_id, hour, now() FROM usage_marks")
            try await fixture.makeEvents()
            #expect(Set(try await fixture.events().map(\.session)) == [new[0].session])
        }
    }

    // MARK: Who delivers

    @Test func oneDeliversAtATime() async throws {
        try await StoreFixture.with { fixture in
            let outbox = try await fixture.outbox()
            _ = try await PostgresUsageLedger(pool: fixture.pool).ingest(
                (0..<3).map { .sample($0, sequence: 1, at: $0 + 10, isFinal: true) })
            try await fixture.makeEvents()
            let (one, other) = (UUID(), UUID())
            let held = try #require(try await outbox.hold(one, for: .seconds(60)))
            #expect(held.isHeld && held.delivered == 0 && held.pending == 3 && held.oldest != nil)
            #expect(try await outbox.hold(other, for: .seconds(60))?.isHeld == false)
            #expect(try await outbox.delivered(one, through: 1))
            #expect(try await outbox.delivered(other, through: 2) == false)
            #expect(try await outbox.delivered(one, through: 1) == false, "it never goes back")
            #expect(try await outbox.delivered(one, through: 4) == false, "and not beyond what there is")
            #expect(try await outbox.hold(one, for: .zero)?.pending == 2)
            // It is given up, and taken over.
            #expect(try await outbox.hold(other, for: .seconds(60))?.delivered == 1)
            #expect(try await outbox.delivered(one, through: 2) == false)
            #expect(try await outbox.delivered(other, through: 2, refusal: 422))
            let refused = try await fixture.ownerPool.query(
                "SELECT position, refused_status FROM usage_events WHERE refused_at IS NOT NULL"
            ).only()
            #expect(try refused.value("position") == 2 && refused.value("refused_status") == 422)
            #expect(try await outbox.hold(other, for: .zero)?.pending == 1)
        }
    }
}
