import Foundation
import Hansard
import Testing

@testable import HansardServer

extension UsageRecord {
    /// A record of a sample session, which began at `moment(number)`.
    static func sample(
        _ number: Int, segment: Int = 0, sequence: Int, at second: Int, audio: Int64? = nil, isFinal: Bool = false,
        tenant: TenantID = Sample.tenant, tags: [String] = []
    ) -> UsageRecord {
        var record = UsageRecord(
            session: Sample.session(number), tenant: tenant, key: KeyID("key_1"), engine: "synthetic", model: "m",
            language: "en", tags: tags, region: "eu", channels: 1, startedAt: moment(number))
        record.segment = segment
        record.sequence = sequence
        record.madeAt = moment(second)
        record.period = QuotaPeriod(record.madeAt)
        let used = audio ?? Int64(second - number) * 1_000
        record.counters = UsageCounters(audio: used, connected: used, engine: used)
        record.isFinal = isFinal
        return record
    }
}

@Suite struct PendingUsageTests {
    @Test func recordsComeInTheirOrder() {
        var pending = PendingUsage()
        for second in 0..<10 { pending.add(.sample(second, sequence: 0, at: second), isLive: true) }
        #expect(pending.count == 10 && pending.oldest == moment(0))
        #expect(pending.takeBatch(atMost: 4).map(\.madeAt) == (0..<4).map(moment))
        #expect(pending.takeBatch(atMost: 40).map(\.madeAt) == (4..<10).map(moment))
        #expect(pending.takeBatch(atMost: 4).isEmpty)
    }

    @Test func ofASegmentsMinuteTheLastStays() {
        var pending = PendingUsage()
        // moment(0) is 40 s after a full minute.
        for (number, second) in stride(from: 0, to: 120, by: 10).enumerated() {
            pending.add(.sample(0, sequence: number, at: second), isLive: true)
            pending.add(.sample(1, sequence: number, at: second + 1), isLive: true)
        }
        let batch = pending.takeBatch(atMost: 100)
        #expect(batch.filter { $0.session == Sample.session(0) }.map(\.sequence) == [1, 7, 11])
        #expect(batch.count == 6)
        // What is under way is not touched.
        pending.add(.sample(0, sequence: 12, at: 111), isLive: true)
        #expect(pending.count == 7)
    }

    @Test func anOlderRecordOfTheMinuteChangesNothing() {
        var pending = PendingUsage()
        pending.add(.sample(0, sequence: 2, at: 12), isLive: true)
        pending.add(.sample(0, sequence: 1, at: 11), isLive: true)
        #expect(pending.takeBatch(atMost: 9).map(\.sequence) == [2])
    }

    @Test func aSessionIsDeliveredWhenItsLastRecordIs() {
        var pending = PendingUsage()
        let session = Sample.session(0)
        #expect(pending.isDelivered(session))
        pending.add(.sample(0, sequence: 0, at: 0), isLive: true)
        pending.add(.sample(0, sequence: 1, at: 100, isFinal: true), isLive: false)
        let first = pending.takeBatch(atMost: 1)
        pending.delivered(first)
        #expect(!pending.isDelivered(session))
        let second = pending.takeBatch(atMost: 1)
        #expect(!pending.isDelivered(session), "it is under way")
        pending.delivered(second)
        #expect(pending.isDelivered(session))
    }

    @Test func whatIsPutBackComesFirst() {
        var pending = PendingUsage()
        for number in 0..<4 { pending.add(.sample(number, sequence: 0, at: number), isLive: false) }
        let batch = pending.takeBatch(atMost: 2)
        pending.add(.sample(0, sequence: 1, at: 5), isLive: false)
        pending.putBack(batch)
        #expect(pending.takeBatch(atMost: 9).map(\.madeAt) == [0, 1, 2, 3, 5].map(moment))
    }

    @Test func placesStayRightWhateverIsTakenAndPutBack() {
        var random = SeededGenerator(seed: 4)
        var pending = PendingUsage()
        var (delivered, added): ([UsageRecord], Set<SessionID>) = ([], [])
        for step in 0..<3_000 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                let batch = pending.takeBatch(atMost: Int.random(in: 1...20, using: &random))
                if Bool.random(using: &random) {
                    pending.putBack(batch)
                } else {
                    pending.delivered(batch)
                    delivered += batch
                }
            default:
                let record = UsageRecord.sample(Int.random(in: 0..<9, using: &random), sequence: step, at: step)
                added.insert(record.session)
                pending.add(record, isLive: true)
            }
        }
        let rest = pending.takeBatch(atMost: 10_000)
        pending.delivered(rest)
        delivered += rest
        #expect(added.allSatisfy(pending.isDelivered))
        // Of each session's minutes the last record has come through.
        for session in added {
            let own = delivered.filter { $0.session == session }
            #expect(own.map(\.sequence) == own.map(\.sequence).sorted())
        }
    }

    // MARK: Up to when everything is there

    @Test func nothingWaits() {
        let pending = PendingUsage()
        #expect(pending.completeThrough(at: moment(100)) == moment(99))
    }

    @Test func whatWaitsIsNotThere() {
        var pending = PendingUsage()
        pending.add(.sample(0, sequence: 0, at: 50), isLive: true)
        #expect(pending.completeThrough(at: moment(100)) == moment(45))
    }

    @Test func whatWasRefusedIsNotThere() {
        var pending = PendingUsage()
        pending.add(.sample(0, sequence: 0, at: 50), isLive: false)
        pending.wasRefused(pending.takeBatch(atMost: 1)[0])
        #expect(pending.completeThrough(at: moment(100)) == moment(45) && pending.count == 1)
        #expect(!pending.isDelivered(Sample.session(0)), "the spool keeps it")
    }

    /// A session that hears nothing has not noticed yet that the month is over: its last record of that month is to come.
    @Test func aMonthIsNotThereUntilTheLastSessionHasLeftIt() {
        var pending = PendingUsage()
        let end = QuotaPeriod(moment(0)).end
        pending.add(.sample(0, sequence: 0, at: 0), isLive: true)
        pending.delivered(pending.takeBatch(atMost: 1))
        #expect(pending.completeThrough(at: end + 100) == end - PendingUsage.orderSlack)
        var next = UsageRecord.sample(0, segment: 1, sequence: 1, at: 0)
        next.period = QuotaPeriod(end)
        next.madeAt = end + 90
        pending.add(next, isLive: true)
        pending.delivered(pending.takeBatch(atMost: 1))
        #expect(pending.completeThrough(at: end + 100) == end + 99)
        pending.add(.sample(7, sequence: 0, at: 7), isLive: true)
        pending.delivered(pending.takeBatch(atMost: 1))
        #expect(pending.completeThrough(at: end + 100) == end - PendingUsage.orderSlack)
        pending.add(.sample(7, sequence: 1, at: 8, isFinal: true), isLive: false)
        pending.delivered(pending.takeBatch(atMost: 1))
        #expect(pending.completeThrough(at: end + 100) == end + 99)
    }

    /// What has been sent and is not answered has waited as well, or the bound by age would not hold while the ledger hangs.
    @Test func whatIsUnderWayStillWaits() {
        var pending = PendingUsage()
        for number in 0..<5 { pending.add(.sample(number, sequence: 0, at: number), isLive: true) }
        let batch = pending.takeBatch(atMost: 5)
        #expect(pending.count == 5 && pending.oldest == moment(0))
        pending.delivered(Array(batch.prefix(2)))
        #expect(pending.count == 3 && pending.oldest == moment(0))
        pending.wasRefused(batch[2])
        #expect(pending.count == 3)
        pending.putBack(Array(batch[3...]))
        #expect(pending.count == 3 && pending.oldest == moment(2))
        pending.retryRefused()
        pending.delivered(pending.takeBatch(atMost: 9))
        #expect(pending.count == 0 && pending.oldest == nil)
    }
}
