import Testing

@testable import Hansard

/// A grant while its store is away, or answers late or twice.
@Suite struct MinuteGrantOutageTests {
    private typealias Bench = MinuteGrantBench

    @Test func failuresAreTriedAgainWithLongerPauses() {
        var bench = Bench(Bench.limit(600_000))
        bench.isAnswered = false
        bench.join()
        var attempts: [Duration] = []
        for _ in 0..<60 {
            if bench.underWay != nil {
                bench.underWay = nil
                attempts.append(bench.start.duration(to: bench.now))
                _ = bench.grant.failed(now: bench.now)
            }
            bench.look(after: .milliseconds(125))
        }
        #expect(
            attempts.map { $0 / .milliseconds(1) } == [0, 250, 750, 1_750, 3_750, 5_750])
        #expect(bench.grant.supply == .unavailable(since: bench.start))
        #expect(Set(bench.trace) == ["grow 10000"])
        bench.isAnswered = true
        bench.look(after: .seconds(2))
        #expect(bench.grant.supply == .available && bench.grant.unavailableSince == nil)
    }

    @Test func whatIsHeldIsSpentWhileTheStoreIsAway() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        bench.isAnswered = false
        bench.take(6_000)
        _ = bench.grant.failed(now: bench.now)
        #expect(bench.grant.supply == .available && bench.grant.unavailableSince == bench.start)
        bench.expectTaken(4_000, of: 6_000)
        #expect(bench.grant.supply == .unavailable(since: bench.start))
        // Whoever goes on all the same says so.
        bench.run(bench.grant.charge(25_000, now: bench.now))
        #expect(bench.grant.available == -25_000 && bench.grant.used == 35_000)
        bench.isAnswered = true
        bench.look(after: .seconds(3))
        #expect(bench.grant.available > 0)
        #expect(bench.ledger.use(Bench.owner, Bench.period)?.granted == 35_000 + bench.grant.available)
    }

    @Test func whatWasChargedBeyondALimitStaysOwed() {
        var bench = Bench(Bench.limit(12_000))
        bench.join()
        bench.run(bench.grant.charge(15_000, now: bench.now))
        #expect(bench.grant.available == -3_000 && bench.grant.supply == .exhausted)
        bench.run(bench.grant.stop(now: bench.now))
        #expect(bench.grant.isSettled)
    }

    @Test func aRetiredGrantIsOver() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        let grant = bench.ledger.grants(heldBy: Bench.node)[0]
        let retired = [bench.ledger.retire(grant, used: 0), bench.ledger.retire(grant, used: 0)]
        #expect(retired == [true, false])
        bench.take(5_000)
        bench.expectTaken(0, of: 1)
        #expect(bench.grant.supply == .retired && bench.grant.isSettled)
        _ = bench.done()
        bench.look(after: .seconds(60))
        bench.expectDone([])
    }

    /// The answer was lost, and the request's second attempt finds it done.
    @Test func aGrowthWhoseAnswerWasLostCountsOnce() {
        var bench = Bench(Bench.limit(600_000))
        bench.isAnswered = false
        bench.join()
        if let action = bench.underWay { _ = bench.ledger.answer(action) }
        _ = bench.grant.failed(now: bench.now)
        bench.isAnswered = true
        bench.look(after: .seconds(1))
        bench.expectDone(["grow 10000", "grow 10000"])
        #expect(bench.grant.available == 10_000 && bench.ledger.use(Bench.owner, Bench.period)?.granted == 10_000)
    }

    @Test func anAnswerThatNobodyAwaitsSaysNothing() {
        var bench = Bench(Bench.limit(600_000))
        let now = bench.now
        let actions = bench.grant.answered(.retired, now: now) + bench.grant.failed(now: now)
        #expect(actions == [] && bench.grant.supply == .awaited)
    }
}
