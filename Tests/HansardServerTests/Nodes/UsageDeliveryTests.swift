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
    /// Records of sessions that asked for this model are refused.
    let refusedModel = Locked("refused")

    var stored: [UsageRecord] { state.withLock { Array($0.records.values) } }
    var reaped: [ReapedUsage] { state.withLock(\.reaped) }
    var sources: [NodeEpoch: Source] { state.withLock(\.sources) }

    func ingest(_ records: [UsageRecord]) async throws -> Int {
        try await faults.call("ingest") {
            if broken.withLock({ $0 })() { throw HansardError(.internal, "there is no such table") }
            guard !records.contains(where: { $0.model == refusedModel.withLock { $0 } }) else {
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

    func isComplete(_ epoch: NodeEpoch, through: Date, isOver: Bool) async throws -> Date? {
        try await faults.call("isComplete") {
            guard sources[epoch] != nil else { return nil }
            state.withLock { state in
                let known = state.sources[epoch]?.through ?? through
                state.sources[epoch]?.through = max(known, through)
                if isOver { state.sources[epoch]?.isOver = true }
            }
            return Date.now + ahead.withLock { $0 }
        }
    }

    func finish(spool: UUID, before epoch: NodeEpoch) async throws -> Int {
        try await faults.call("finish") {
            state.withLock { state in
                for (other, source) in state.sources where source.spool == spool && other != epoch {
                    state.sources[other]?.isOver = true
                }
                return 0
            }
        }
    }

    /// The database went back to before any node was there.
    func forgetSources() { state.withLock { $0.sources = [:] } }

    func note(_ reaped: [ReapedUsage]) async throws {
        try await faults.call("note") { state.withLock { $0.reaped += reaped } }
    }

    /// Whether its database is not what it should be.
    let broken = Locked<@Sendable () -> Bool>({ false })
    /// Hours that are to be summed up, and how many it manages in one call.
    let dirtyHours = Locked(0)
    let mostHours = Locked(Int.max)

    func rollUp(atMost limit: Int) async throws -> Int {
        try await faults.call("rollUp") {
            guard limit <= mostHours.withLock({ $0 }) else { throw HansardError(.unavailable, "it takes too long") }
            return dirtyHours.withLock { hours in
                let rolled = min(limit, hours)
                hours -= rolled
                return rolled
            }
        }
    }
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
        limits.refusalInterval = .milliseconds(20)
        limits.rollupInterval = .milliseconds(5)
        limits.rollupHours = 16
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
        try await delivery.begin([])
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
        try await delivery.begin([])
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
        try await delivery.begin([])
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
        try await delivery.begin([])
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

    @Test func whatIsRefusedIsTriedAgain() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([])
        try await working(delivery) {
            var record = UsageRecord.sample(0, sequence: 0, at: 0)
            record.model = "refused"
            delivery.add(record, isLast: true)
            try await eventually("it was refused twice") { delivery.refused >= 2 }
            #expect(delivery.obstacle(at: moment(3_601)) != nil, "what is refused counts as waiting")
            ledger.refusedModel.withLock { $0 = "" }
            try await eventually("it is there") { delivery.isDelivered(record.session) && delivery.backlog == 0 }
        }
        spool.close()
    }

    /// A table that is missing, a right that was taken away: nothing of that is the record's fault.
    @Test func whatIsNotTheRecordsFaultIsAnOutage() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([])
        let isBroken = Locked(true)
        ledger.broken.withLock { $0 = { isBroken.withLock { $0 } } }
        try await working(delivery) {
            delivery.add(.sample(0, sequence: 0, at: 0), isLast: true)
            try await eventually("it was asked") { ledger.faults.calls.count { $0 == "ingest" } > 2 }
            #expect(delivery.refused == 0 && delivery.backlog <= 1)
            isBroken.withLock { $0 = false }
            try await eventually("it is there") { ledger.stored.count == 1 }
        }
        spool.close()
    }

    @Test func aLedgerThatWentBackLearnsOfTheNodeAgain() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([])
        try await working(delivery) {
            ledger.forgetSources()
            try await eventually("it is known again") { ledger.sources[epoch]?.spool == spool.identity }
        }
        spool.close()
    }

    /// As much is summed up at once as can be in the time that there is.
    @Test func whatIsTooMuchAtOnceIsSummedUpInSmallerParts() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([])
        ledger.dirtyHours.withLock { $0 = 100 }
        ledger.mostHours.withLock { $0 = 3 }
        try await working(delivery) {
            try await eventually("all is summed up") { ledger.dirtyHours.withLock { $0 } == 0 }
        }
        #expect(log.count(of: "usage is not summed up; reports are made without, and take longer") > 0)
        spool.close()
    }

    @Test func aNodeThatStopsIsOver() async throws {
        let (spool, _) = try disk.open()
        let delivery = delivery(spool)
        try await delivery.begin([])
        delivery.add(.sample(0, sequence: 0, at: 0), isLast: true)
        await delivery.finish()
        #expect(ledger.stored.count == 1 && ledger.sources[epoch]?.isOver == true)
        spool.close()
    }

    /// kill -9 while the ledger is away; the next life brings everything, and only then is the first one over.
    @Test func theNextLifeBringsWhatTheLastOneLeft() async throws {
        let (spool, _) = try disk.open()
        let first = delivery(spool)
        try await first.begin([])
        #expect(await spool.appended(.began(Sample.began(Sample.session(0), holder: epoch))))
        ledger.faults.set(.away, for: ["ingest"])
        for (number, second) in [0, 10, 70].enumerated() {
            first.add(.sample(0, sequence: number, at: second))
        }
        spool.close()

        let (next, recovery) = try disk.open()
        let successor = NodeEpoch(node: epoch.node, epoch: UUID())
        let second = delivery(next, epoch: successor)
        try await second.begin(recovery.usage)
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
        try await delivery.begin([])
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
        try await delivery.begin([])
        var lease = Sample.lease(Sample.session(1), holder: epoch)
        lease.usedMilliseconds = 60_000
        let known = [1_000, 70_000].map { ReapedUsage(lease, audio: $0, foundAt: moment(0)) }
        #expect(known.map(\.audio) == [60_000, 70_000])
        ledger.faults.set(.away, for: ["note"])
        for one in known { await delivery.reaped(one) }
        #expect(ledger.reaped.isEmpty)
        try await working(delivery) {
            try await eventually("it was asked") { ledger.faults.calls.contains("note") }
            ledger.faults.clear()
            try await eventually("it is told") { ledger.reaped == known }
            await delivery.reaped(known[0])
            // At once, unless it has not been noticed yet that the ledger is back.
            try await eventually("it is told as well") { ledger.reaped == known + [known[0]] }
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
