import Testing

@testable import Hansard

/// What of a grant goes back, and when.
@Suite struct MinuteGrantReturnTests {
    private typealias Bench = MinuteGrantBench

    @Test func whatIsNotUsedGoesBackAfterHalfAMinute() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        bench.take(2_000)
        _ = bench.done()
        bench.look(after: .milliseconds(29_900))
        bench.expectDone([])
        bench.look(after: .milliseconds(100))
        bench.expectDone(["give 7000"])
        #expect(bench.grant.available == MinuteGrant.idleKeep)
        for _ in 0..<100 { bench.look(after: .seconds(1)) }
        bench.expectDone([], "a silent session keeps what is left")
        #expect(bench.ledger.use(Bench.owner, Bench.period)?.granted == 3_000)
        bench.take(600)
        bench.expectDone(["grow 10000"])
    }

    /// Others may need it, and nobody here does.
    @Test func whatTheLastSessionLeavesGoesBackSoon() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        bench.take(2_000)
        bench.run(bench.grant.sessionLeft(now: bench.now))
        _ = bench.done()
        // Before another node's sessions, which are without a minute, are given up.
        #expect(MinuteGrant.emptyPatience + MinuteGrant.pollInterval < .seconds(5))
        bench.look(after: MinuteGrant.emptyPatience - .milliseconds(1))
        bench.expectDone([], "another may come at once")
        bench.look(after: .milliseconds(1))
        bench.expectDone(["give 7000"])
    }

    @Test func whatIsMoreThanAMinutesUseGoesBackToo() {
        var bench = Bench(Bench.limit(nil))
        for _ in 0..<100 { bench.join() }
        bench.take(6_000)
        bench.expectDone(["grow 10000", "grow 1000000"])
        for _ in 0..<99 { bench.run(bench.grant.sessionLeft(now: bench.now)) }
        for _ in 0..<35 {
            bench.take(1_000)
            bench.look(after: .seconds(1))
        }
        let given = bench.done()
        #expect(given.count == 1 && given[0].hasPrefix("give 9"), "\(given)")
        #expect(bench.grant.available <= 72_000 && bench.grant.available >= 40_000)
    }

    /// The answer may have been lost: what is on its way back is nobody's.
    @Test func whatIsOnItsWayBackIsNotGivenOut() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        _ = bench.done()
        bench.isAnswered = false
        bench.look(after: .seconds(30))
        #expect(bench.grant.available == MinuteGrant.idleKeep)
        bench.expectTaken(1_000, of: 5_000)
        let failed = bench.grant.failed(now: bench.now)
        #expect(failed == [])
        bench.expectTaken(0, of: 5_000)
        bench.expectDone(["give 9000"])
        bench.isAnswered = true
        bench.look(after: .milliseconds(250))
        #expect(bench.trace.prefix(2) == ["give 9000", "grow 12000"], "the same request, and then more")
    }

    @Test func stoppingGivesEverythingBack() {
        var bench = Bench(Bench.limit(600_000))
        bench.join()
        bench.take(1_234)
        #expect(!bench.grant.isSettled)
        bench.run(bench.grant.stop(now: bench.now))
        #expect(bench.trace.last == "give 8766" && bench.grant.isSettled && bench.grant.available == 0)
        #expect(bench.ledger.use(Bench.owner, Bench.period)?.granted == 1_234)
        _ = bench.done()
        bench.look(after: .seconds(60))
        bench.expectTaken(0, of: 1)
        bench.expectDone([])
    }

    /// The first attempt is done after the second was refused: without its number being used up, it would hold for good
    /// what nobody knows of.
    @Test func aGrowthThatWasRefusedAndMayStillArriveIsWaitedFor() {
        for isInTime in [true, false] {
            var bench = Bench(Bench.limit(5_000))
            bench.elsewhere(5_000)
            bench.isAnswered = false
            bench.join()
            let late = bench.underWay
            _ = bench.grant.failed(now: bench.now)
            bench.isAnswered = true
            bench.look(after: .seconds(1))
            #expect(bench.grant.supply == .exhausted)
            bench.elsewhere(-5_000, sequence: 2)
            _ = bench.done()
            if isInTime, let late { _ = bench.ledger.answer(late) }
            bench.run(bench.grant.stop(now: bench.now))
            bench.expectDone(isInTime ? ["give 0", "give 5000"] : ["give 0"])
            if let late { _ = bench.ledger.answer(late) }
            #expect(bench.grant.isSettled && bench.ledger.use(Bench.owner, Bench.period)?.granted == 0)
        }
    }

    @Test func aStoppedGrantWaitsForWhatIsUnderWay() {
        var bench = Bench(Bench.limit(600_000))
        bench.isAnswered = false
        bench.join()
        bench.run(bench.grant.stop(now: bench.now))
        #expect(!bench.grant.isSettled)
        bench.isAnswered = true
        bench.answer()
        bench.expectDone(["grow 10000", "give 10000"])
        #expect(bench.grant.isSettled)
    }

    @Test func theNextMonthBeginsWithTheSessionsOfThisOne() {
        var bench = Bench(Bench.limit(20_000))
        bench.join()
        bench.take(10_000)
        bench.take(10_000)
        bench.look(after: .seconds(1))
        #expect(bench.grant.supply == .exhausted && bench.grant.warned == 95)
        _ = bench.done()
        bench.grant = bench.grant.successor(in: Bench.period.next, now: bench.now)
        #expect(bench.grant.period == Bench.period.next && bench.grant.sessions == 1 && bench.grant.warned == nil)
        bench.look()
        #expect(bench.trace.count == 1 && bench.grant.supply == .available)
    }
}
