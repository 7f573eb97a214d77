import Foundation
import Testing

@testable import Hansard

@Suite struct UsageMeterTests {
    /// 2025-06-30 23:59:50 UTC: ten seconds before a month ends.
    static let start = Date(timeIntervalSince1970: 1_751_327_990)
    static let end = QuotaPeriod("2025-07")!.start

    static func first(at start: Date = start) -> UsageRecord {
        UsageRecord(
            session: Fixtures.session, tenant: Fixtures.tenantID, key: Fixtures.keyID, engine: "one", model: "m",
            language: "en", tags: ["a"], region: "r", channels: 1, startedAt: start)
    }

    /// A session of which as much is heard as time passes.
    struct Stream {
        var meter = UsageMeter(UsageMeterTests.first())
        var records: [UsageRecord] = [UsageMeterTests.first()]

        static func counters(_ milliseconds: Int64) -> UsageCounters {
            UsageCounters(audio: milliseconds, connected: milliseconds, engine: milliseconds)
        }

        mutating func advance(to milliseconds: Int64, engine: String = "one", channels: Int = 1) {
            records += meter.advance(
                to: Self.counters(milliseconds), engine: engine, channels: channels,
                at: UsageMeterTests.start + Double(milliseconds) / 1_000)
        }

        mutating func end(at milliseconds: Int64, engine: String = "one") {
            records += meter.end(
                at: Self.counters(milliseconds), engine: engine, channels: 1,
                now: UsageMeterTests.start + Double(milliseconds) / 1_000)
        }

        /// The highest counters of each segment.
        var totals: [UsageCounters] {
            let last = records.map(\.segment).max() ?? 0
            return (0...last).map { segment in
                records.filter { $0.segment == segment }.reduce(UsageCounters()) { $0.maximum($1.counters) }
            }
        }
    }

    @Test func theFirstRecordSaysThatASessionBegan() {
        let first = Self.first()
        #expect(first.segment == 0 && first.sequence == 0 && !first.isFinal && first.source == .node)
        #expect(first.counters == UsageCounters() && first.before == UsageCounters())
        #expect(first.period == QuotaPeriod("2025-06") && first.madeAt == Self.start)
    }

    @Test func aRecordEachTenSecondsOfAudio() {
        var stream = Stream(meter: UsageMeter(Self.first(at: Self.end)), records: [])
        for step in 1...1_000 {
            stream.records += stream.meter.advance(
                to: UsageCounters(audio: Int64(step) * 100), engine: "one", channels: 1, at: Self.end)
        }
        #expect(stream.records.map(\.counters.audio) == (1...10).map { $0 * 10_000 })
        #expect(stream.records.map(\.sequence) == Array(1...10))
    }

    @Test func aRecordEachTenSecondsWithoutAudio() {
        var stream = Stream(meter: UsageMeter(Self.first(at: Self.end)), records: [])
        for step in 1...35 {
            stream.records += stream.meter.advance(
                to: UsageCounters(connected: Int64(step) * 1_000), engine: "one", channels: 1,
                at: Self.end + Double(step))
        }
        #expect(stream.records.map(\.counters.connected) == [10_000, 20_000, 30_000])
        #expect(stream.records.allSatisfy { $0.counters.audio == 0 })
    }

    @Test func theEndIsWrittenAlways() {
        var stream = Stream()
        stream.end(at: 0)
        #expect(stream.records.count == 2)
        #expect(stream.records[1].isFinal && stream.records[1].sequence == 1)
    }

    @Test func aMonthsEndCutsTheSessionThere() throws {
        var stream = Stream()
        stream.advance(to: 9_900)
        #expect(stream.meter.isPeriodOver(at: Self.end) && !stream.meter.isPeriodOver(at: Self.end - 0.001))
        // The owner asks before it admits more: 9.9 s of audio were heard, and the clock says 10.2 s.
        stream.records += stream.meter.advance(
            to: UsageCounters(audio: 9_900, connected: 10_200, engine: 9_900), engine: "one", channels: 1,
            at: Self.end + 0.2)
        let closing = try #require(stream.records.last { $0.segment == 0 })
        #expect(closing.isFinal && closing.period == QuotaPeriod("2025-06"))
        #expect(closing.madeAt < Self.end && closing.madeAt > Self.end - 0.01)
        #expect(closing.counters == UsageCounters(audio: 9_900, connected: 10_000, engine: 9_900))
        stream.end(at: 15_000)
        let rest = try #require(stream.records.last)
        #expect(rest.segment == 1 && rest.period == QuotaPeriod("2025-07") && rest.startedAt == Self.end)
        #expect(rest.before == closing.counters && rest.sessionStartedAt == Self.start)
        #expect(rest.counters == UsageCounters(audio: 5_100, connected: 5_000, engine: 5_100))
        #expect(rest.isFinal && rest.total == Stream.counters(15_000))
    }

    @Test func anotherEngineIsAnotherSegment() throws {
        var stream = Stream(meter: UsageMeter(Self.first(at: Self.end)), records: [])
        stream.records += stream.meter.advance(
            to: UsageCounters(audio: 4_000), engine: "two", channels: 2, at: Self.end + 4)
        #expect(stream.records.map(\.engine) == ["one", "two"] && stream.records.map(\.isFinal) == [true, false])
        #expect(stream.records[1].sequence == 0 && stream.records[1].counters == UsageCounters())
        stream.records += stream.meter.end(
            at: UsageCounters(audio: 6_000), engine: "two", channels: 2, now: Self.end + 6)
        let last = try #require(stream.records.last)
        #expect(last.engine == "two" && last.segment == 1 && last.before.audio == 4_000 && last.counters.audio == 2_000)
        #expect(last.period == QuotaPeriod("2025-07") && last.channels == 2)
    }

    @Test func timeAndCountersNeverGoBack() throws {
        var stream = Stream()
        stream.advance(to: 20_000)
        let before = try #require(stream.records.last)
        #expect(before.period == QuotaPeriod("2025-07"))
        let again = stream.meter.end(
            at: UsageCounters(audio: 5), engine: "one", channels: 1, now: Self.start - 86_400 * 40)
        #expect(again.count == 1 && again[0].period == before.period && again[0].madeAt == before.madeAt)
        #expect(again[0].total == before.total && again[0].sequence == before.sequence + 1)
    }

    @Test func aMachineThatSleptThroughAMonthMissesNone() {
        var stream = Stream()
        stream.end(at: 40 * 86_400_000)
        #expect(
            stream.records.map(\.period.description) == [
                "2025-06", "2025-06", "2025-07", "2025-07", "2025-08", "2025-08", "2025-08",
            ])
        #expect(stream.totals.reduce(UsageCounters(), +).connected == 40 * 86_400_000)
    }

    /// Whatever happens when, segments add up to the session to the millisecond, each in one month and at one engine, with
    /// records in their order.
    @Test(arguments: 0..<200) func segmentsAddUp(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var stream = Stream()
        var (now, engine) = (Int64(0), "one")
        for _ in 0..<Int.random(in: 0...60, using: &random) {
            now += Int64.random(in: 0...5_000, using: &random)
            if Int.random(in: 0..<12, using: &random) == 0 { engine = engine == "one" ? "two" : "one" }
            stream.advance(to: now, engine: engine)
        }
        stream.end(at: now, engine: engine)
        #expect(stream.totals.reduce(UsageCounters(), +) == Stream.counters(now))
        for segment in Set(stream.records.map(\.segment)) {
            let own = stream.records.filter { $0.segment == segment }
            #expect(Set(own.map(\.period)).count == 1 && Set(own.map(\.engine)).count == 1)
            #expect(own.map(\.sequence) == own.map(\.sequence).sorted())
            #expect(Set(own.map(\.sequence)).count == own.count)
            #expect(own.map(\.counters.audio) == own.map(\.counters.audio).sorted())
            #expect(own.count(where: \.isFinal) == 1 && own.last?.isFinal == true)
            #expect(own.allSatisfy { $0.madeAt >= $0.period.start && $0.madeAt < $0.period.end })
        }
        #expect(try JSONDecoder().decode([UsageRecord].self, from: JSONEncoder().encode(stream.records)).count > 1)
    }

    // MARK: After a crash

    @Test func aRecoveredSessionGoesOnBehindWhatMayBeLost() throws {
        var stream = Stream()
        stream.advance(to: 9_000, engine: "one")
        let last = try #require(stream.records.last)
        var meter = UsageMeter(recovering: last)
        let closing = meter.end(at: Stream.counters(9_500), engine: "one", channels: 1, now: Self.start + 9.5)
        #expect(closing.count == 1 && closing[0].isFinal && closing[0].segment == last.segment)
        #expect(closing[0].sequence == last.sequence + UsageMeter.recoveryGap + 1)
        #expect(closing[0].total.audio == 9_500)
    }

    @Test func whatComesAfterASegmentThatIsOverIsInTheNext() throws {
        var stream = Stream()
        stream.advance(to: 9_000)
        stream.advance(to: 10_500)
        let closed = try #require(stream.records.last { $0.isFinal })
        var meter = UsageMeter(recovering: closed)
        let rest = meter.end(at: Stream.counters(13_000), engine: "one", channels: 1, now: Self.end + 3)
        #expect(rest.map(\.segment) == [1] && rest[0].period == QuotaPeriod("2025-07"))
        #expect(closed.counters.audio + rest[0].counters.audio == 13_000)
    }
}
