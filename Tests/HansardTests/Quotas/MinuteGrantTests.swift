import Testing

@testable import Hansard

/// One node's part of a quota, event by event: how it grows, and how it ends.
@Suite struct MinuteGrantTests {
    private typealias Bench = MinuteGrantBench

    // MARK: Growth

    @Test func nothingIsHeldAndNothingAskedForUntilASessionComes() {
        var bench = Bench(Bench.limit(600_000))
        bench.look(after: .seconds(5))
        let taken = bench.take(20)
        #expect(taken == 0 && bench.trace == [])
        bench.join()
        bench.expectDone(["grow 10000"])
        #expect(bench.grant.available == 10_000 && bench.grant.supply == .available)
        bench.expectTaken(20, of: 20)
        #expect(bench.grant.available == 9_980)
    }

    @Test func moreIsAskedForFromHalfOnAndOnceAtATime() {
        var bench = Bench(Bench.limit(100_000))
        bench.join()
        bench.isAnswered = false
        _ = bench.done()
        bench.now += .seconds(5)
        bench.take(4_999)
        bench.expectDone([])
        bench.take(1)
        bench.expectDone(["grow 10000"])
        bench.take(4_000)
        bench.look(after: .seconds(1))
        bench.expectDone([], "one is under way")
        bench.expectTaken(1_000, of: 2_000)
        #expect(bench.grant.supply == .awaited)
        bench.answer()
        #expect(bench.grant.available == 10_000)
    }

    /// 60 s of the use at most, 10 s at least, and between them a tenth of what is left; what is owed comes on top.
    @Test(arguments: [(1_000_000_000, 185_000), (400_000, 44_000), (100_000, 35_000)] as [(Int64, Int)])
    func theChunkFollowsTheUse(limit: Int64, chunk: Int) {
        var bench = Bench(Bench.limit(limit))
        bench.join()
        bench.isAnswered = false
        bench.now += .seconds(5)
        _ = bench.done()
        bench.run(bench.grant.charge(15_000, now: bench.now))
        bench.expectDone(["grow \(chunk)"])
    }

    @Test func everySessionCountsForTenSeconds() {
        var bench = Bench(Bench.limit(nil))
        for _ in 0..<4 { bench.join() }
        bench.expectDone(["grow 10000"])
        bench.now += .seconds(6)
        bench.take(6_000)
        bench.expectDone(["grow 40000"])
    }

    // MARK: The end

    @Test func theLastOfAQuotaIsGivenOutToTheMillisecond() {
        var bench = Bench(Bench.limit(25_001))
        bench.join()
        var taken: Int64 = 0
        for _ in 0..<60 {
            bench.now += .milliseconds(500)
            taken += bench.take(500)
        }
        #expect(taken == 25_001 && bench.grant.supply == .exhausted && bench.grant.used == 25_001)
        #expect(bench.ledger.use(Bench.owner, Bench.period)?.granted == 25_001)
    }

    @Test func anExhaustedQuotaIsAskedEveryTwoSeconds() {
        var bench = Bench(Bench.limit(0))
        bench.join()
        bench.expectDone(["grow 10000"])
        #expect(bench.grant.supply == .exhausted)
        for _ in 0..<32 { bench.look(after: .milliseconds(250)) }
        bench.expectDone(Array(repeating: "grow 10000", count: 4))
        #expect(bench.grant.supply == .exhausted)
    }

    @Test func aRaiseIsFeltAtOnceWhereItIsKnownAndWithinTwoSecondsElsewhere() {
        for isKnown in [true, false] {
            var bench = Bench(Bench.limit(10_000))
            bench.join()
            bench.take(10_000)
            bench.look(after: .milliseconds(100))
            #expect(bench.grant.supply == .exhausted)
            let raised = Bench.limit(15_000, version: 2)
            if isKnown {
                bench.run(bench.grant.limitChanged(raised, now: bench.now))
            } else {
                bench.ledger.state(raised, Bench.owner, Bench.period)
                for _ in 0..<8 { bench.look(after: .milliseconds(250)) }
            }
            #expect(bench.grant.available == 5_000 && bench.grant.limit == raised, "\(isKnown)")
        }
    }

    @Test func anOlderLimitSaysNothing() {
        var bench = Bench(Bench.limit(10_000, version: 5))
        for version in [Int64(4), 5] {
            let actions = bench.grant.limitChanged(Bench.limit(1, version: version), now: bench.now)
            #expect(actions == [])
        }
        #expect(bench.grant.limit == Bench.limit(10_000, version: 5))
        // The store knows a newer one.
        bench.ledger.state(Bench.limit(4_000, version: 6), Bench.owner, Bench.period)
        bench.join()
        #expect(bench.grant.available == 4_000 && bench.grant.limit.version == 6)
    }

    @Test(arguments: [(used: Int64(1_000), back: "give 7000", left: Int64(2_000)), (4_000, "give 6000", 0)])
    func whatIsHeldBeyondALowerLimitGoesBackAtOnce(used: Int64, back: String, left: Int64) {
        var bench = Bench(Bench.limit(60_000))
        bench.join()
        bench.take(used)
        bench.expectDone(["grow 10000"])
        bench.run(bench.grant.limitChanged(Bench.limit(3_000, version: 2), now: bench.now))
        #expect(bench.done().filter { $0.hasPrefix("give") } == [back])
        bench.expectTaken(left, of: 20_000)
        #expect(bench.grant.supply == .exhausted && bench.grant.usedByAll == used + left)
    }

    @Test func whatAnotherNodeGivesBackCanBeHad() {
        var bench = Bench(Bench.limit(30_000))
        bench.elsewhere(30_000)
        bench.join()
        #expect(bench.grant.supply == .exhausted)
        bench.run(bench.grant.sessionLeft(now: bench.now))
        bench.elsewhere(-12_000, sequence: 2)
        _ = bench.done()
        bench.look(after: .seconds(60))
        bench.expectDone([], "nobody needs it")
        bench.join()
        #expect(bench.trace.first == "grow 10000" && bench.grant.supply == .available)
    }

    /// Minutes may come back at any time: the next session is to find out, not to be told what was so long ago.
    @Test func whoComesIsRefusedOnlyByAFreshAnswer() {
        var bench = Bench(Bench.limit(30_000))
        #expect(!bench.grant.refusesSessions(now: bench.now), "nothing is known")
        bench.elsewhere(30_000)
        bench.join()
        #expect(bench.grant.refusesSessions(now: bench.now))
        bench.run(bench.grant.sessionLeft(now: bench.now))
        bench.look(after: MinuteGrant.refusalMemory - .milliseconds(1))
        #expect(bench.grant.refusesSessions(now: bench.now))
        bench.look(after: .milliseconds(1))
        #expect(!bench.grant.refusesSessions(now: bench.now))
        bench.join()
        #expect(bench.grant.refusesSessions(now: bench.now), "it was asked again, and nothing is there")
        bench.run(bench.grant.limitChanged(Bench.limit(60_000, version: 2), now: bench.now))
        #expect(!bench.grant.refusesSessions(now: bench.now))
    }
}
