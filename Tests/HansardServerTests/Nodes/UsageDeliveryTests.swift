import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A ledger in memory that can be made to fail.
final class MemoryUsageLedger: UsageLedger {
    struct Source {
        var spool: UUID
        var through = Date.distantPast
        var isOver = false
    }

    struct Key: Hashable {
        var session: SessionID
        var segment: Int
        var source: UsageRecord.Source
        var sequence: Int
    }

    let faults = StoreFaults()
    private struct State {
        var records: [Key: UsageRecord] = [:]
        var sources: [NodeEpoch: Source] = [:]
        var reaped: [ReapedUsage] = []
    }

    private let state = Locked(State())
    /// By how much its clock is ahead of this machine's.
    let ahead = Locked<TimeInterval>(0)

    var stored: [UsageRecord] { state.withLock { Array($0.records.values) } }
    var reaped: [ReapedUsage] { state.withLock(\.reaped) }
    var sources: [NodeEpoch: Source] { state.withLock(\.sources) }

    func ingest(_ records: [UsageRecord]) async throws -> Int {
        try await faults.call("ingest") {
            guard !records.contains(where: { $0.model == "refused" }) else {
                throw HansardError(.invalid, "it is refused")
            }
            return state.withLock { state in
                let before = state.records.count
                for record in records {
                    let key = Key(
                        session: record.session, segment: record.segment, source: record.source,
                        sequence: record.sequence)
                    if state.records[key] == nil { state.records[key] = record }
                }
                return state.records.count - before
            }
        }
    }

    func register(_ epoch: NodeEpoch, spool: UUID) async throws {
        try await faults.call("register") { state.withLock { $0.sources[epoch] = Source(spool: spool) } }
    }

    func isComplete(_ epoch: NodeEpoch, through: Date, isOver: Bool) async throws -> Date {
        try await faults.call("isComplete") {
            state.withLock { state in
                let known = state.sources[epoch]?.through ?? through
                state.sources[epoch]?.through = max(known, through)
                if isOver { state.sources[epoch]?.isOver = true }
            }
            return Date.now + ahead.withLock { $0 }
        }
    }

    func finish(spool: UUID, before epoch: NodeEpoch) async throws {
        try await faults.call("finish") {
            state.withLock { state in
                for (other, source) in state.sources where source.spool == spool && other != epoch {
                    state.sources[other]?.isOver = true
                }
            }
        }
    }

    func note(_ reaped: [ReapedUsage]) async throws {
        try await faults.call("note") { state.withLock { $0.reaped += reaped } }
    }

    func rollUp(atMost limit: Int) async throws -> Int { try await faults.call("rollUp") { 0 } }
}

@Suite struct UsageDeliveryTests {
    let ledger = MemoryUsageLedger()
    let disk: SpoolFixture
    let log = LogRecorder()
    let epoch = Sample.epoch()

    init() throws { disk = try SpoolFixture() }

    private func delivery(_ spool: Spool, epoch: NodeEpoch? = nil) -> UsageDelivery {
        var limits = UsageDelivery.Limits()
        limits.interval = .milliseconds(5)
        limits.retryInterval = .milliseconds(5)
        limits.callWait = .milliseconds(200)
        limits.patience = .milliseconds(200)
        limits.batch = 10
        return UsageDelivery(
            ledger: ledger, spool: spool, epoch: epoch ?? self.epoch, maximumAge: .seconds(3_600), logger: log.logger,
            limits: limits)
    }

    private func working(_ delivery: UsageDelivery, _ body: () async throws -> Void) async throws {
        let work = Task { await delivery.work() }
        do {
            try await body()
        } catch {
            work.cancel()
            await work.value
            throw error
        }
        work.cancel()
        await work.value
    }

    @Test func recordsReachTheSpoolAndTheLedger() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        try await working(delivery) {
            for number in 0..<25 { delivery.add(.sample(number, sequence: 0, at: number), isLast: true) }
            try await eventually("all are there") { delivery.delivered == 25 && ledger.stored.count == 25 }
            #expect(delivery.isDelivered(Sample.session(3)) && delivery.backlog == 0)
        }
        spool.close()
        let (next, recovery) = try disk.open()
        #expect(recovery.usage.count == 25, "no session is settled yet")
        #expect(next.identity == spool.identity)
        next.close()
    }

    @Test func whileTheLedgerIsAwayRecordsWait() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        ledger.faults.set { _, _ in .away }
        try await working(delivery) {
            for number in 0..<25 { delivery.add(.sample(number, sequence: 0, at: number), isLast: true) }
            try await eventually("it was asked") { ledger.faults.callCount > 5 }
            #expect(delivery.backlog == 25 || ledger.stored.isEmpty)
            ledger.faults.clear()
            try await eventually("all are there") { delivery.backlog == 0 && ledger.stored.count == 25 }
        }
        #expect(log.count(of: "the usage ledger does not answer; usage waits in the spool") == 1)
        #expect(log.count(of: "the usage ledger answers again") == 1)
        spool.close()
    }

    @Test(arguments: [StoreFaults.Fate.answerLost, .hangs]) func anAnswerThatIsLostIsAskedForAgain(
        _ fate: StoreFaults.Fate
    ) async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        ledger.faults.set { name, number in name == "ingest" && number < 12 ? fate : .works }
        try await working(delivery) {
            for number in 0..<25 { delivery.add(.sample(number, sequence: 0, at: number), isLast: true) }
            try await eventually("all are there") { delivery.backlog == 0 && ledger.stored.count == 25 }
        }
        spool.close()
    }

    @Test func oneThatIsRefusedHoldsUpNobody() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        try await working(delivery) {
            for number in 0..<25 {
                var record = UsageRecord.sample(number, sequence: 0, at: number)
                if number == 4 { record.model = "refused" }
                delivery.add(record, isLast: true)
            }
            try await eventually("the others are there") { ledger.stored.count == 24 && delivery.backlog == 1 }
        }
        #expect(delivery.refused == 1 && !delivery.isDelivered(Sample.session(4)))
        #expect(delivery.isDelivered(Sample.session(5)))
        #expect(log.count(of: "the ledger refuses a usage record; it stays in the spool") == 1)
        await delivery.finish()
        #expect(ledger.sources[epoch]?.isOver == false, "nobody may close a month that lacks it")
        spool.close()
    }

    @Test func aNodeThatStopsIsOver() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        delivery.add(.sample(0, sequence: 0, at: 0), isLast: true)
        await delivery.finish()
        #expect(ledger.stored.count == 1 && ledger.sources[epoch]?.isOver == true)
        spool.close()
    }

    /// kill -9 while the ledger is away; the next life brings everything, and only then is the first one over.
    @Test func theNextLifeBringsWhatTheLastOneLeft() async throws {
        let (spool, _) = try disk.open()
        let first = delivery(spool)
        try await first.begin([], spool: spool.identity)
        #expect(await spool.appended(.began(Sample.began(Sample.session(0), holder: epoch))))
        ledger.faults.set(.away, for: ["ingest"])
        for (number, second) in [0, 10, 70].enumerated() {
            first.add(.sample(0, sequence: number, at: second))
        }
        spool.close()

        let (next, recovery) = try disk.open()
        let successor = NodeEpoch(node: epoch.node, epoch: UUID())
        let second = delivery(next, epoch: successor)
        try await second.begin(recovery.usage, spool: next.identity)
        #expect(ledger.sources[epoch]?.isOver == false && second.backlog > 0)
        ledger.faults.clear()
        try await working(second) {
            try await eventually("it is over") { ledger.sources[epoch]?.isOver == true }
        }
        let total = ledger.stored.reduce(UsageCounters()) { $0.maximum($1.total) }
        #expect(total.audio == 70_000 && ledger.stored.contains(where: \.isFinal))
        #expect(ledger.sources[successor]?.isOver == false)
        next.close()
    }

    @Test func aClockThatIsWrongBeginsNoSessions() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        ledger.ahead.withLock { $0 = 30 }
        try await delivery.begin([], spool: spool.identity)
        #expect(delivery.obstacle() == "the clock is 30.0 s behind the database's")
        ledger.ahead.withLock { $0 = -30 }
        try await working(delivery) {
            try await eventually("noticed") { delivery.obstacle() == "the clock is 30.0 s ahead of the database's" }
            ledger.ahead.withLock { $0 = 0 }
            try await eventually("right again") { delivery.obstacle() == nil }
        }
        spool.close()
    }

    @Test func whatIsKnownOfADeadNodesSessionsIsTold() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([], spool: spool.identity)
        var lease = Sample.lease(Sample.session(1), holder: epoch)
        lease.usedMilliseconds = 60_000
        let known = [1_000, 70_000].map { ReapedUsage(lease, audio: $0, foundAt: moment(0)) }
        #expect(known.map(\.audio) == [60_000, 70_000])
        ledger.faults.set(.away, for: ["note"])
        known.forEach(delivery.reaped)
        try await working(delivery) {
            try await eventually("it was asked") { ledger.faults.calls.contains("note") }
            ledger.faults.clear()
            try await eventually("it is told") { ledger.reaped == known }
        }
        spool.close()
    }

    @Test func usageThatWaitsForTooLongBeginsNoSessions() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        #expect(delivery.obstacle(at: moment(0)) == nil)
        delivery.add(.sample(0, sequence: 0, at: 0))
        #expect(delivery.obstacle(at: moment(3_600)) == nil)
        #expect(delivery.obstacle(at: moment(3_601)) == "usage has waited for the ledger for too long")
        spool.close()
    }
}
