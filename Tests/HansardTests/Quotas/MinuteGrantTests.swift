import Foundation
import Testing

@testable import Hansard

/// One node's part of a quota, event by event.
@Suite struct MinuteGrantTests {
    private static let owner = QuotaOwner.key(KeyID("key_1"))
    private static let period = QuotaPeriod(Date(timeIntervalSince1970: 1_795_000_000))
    private static let node = NodeEpoch(node: "a", epoch: UUID())
    private static let other = NodeEpoch(node: "b", epoch: UUID())

    private static func limit(_ milliseconds: Int64?, _ policy: QuotaPolicy = .hard, version: Int64 = 1) -> MinuteLimit
    {
        MinuteLimit(milliseconds: milliseconds, policy: policy, version: version)
    }

    /// A grant and its store, which answers at once what it is asked.
    private struct Bench {
        let start = ContinuousClock.now
        var now: ContinuousClock.Instant
        var grant: MinuteGrant
        var ledger = GrantLedger()
        /// What was done, in order: `grow 10000`, `give 5000`, `warn 80`.
        var trace: [String] = []
        /// What is under way, if nothing is answered at once.
        var underWay: MinuteGrant.Action?
        var isAnswered = true

        init(_ limit: MinuteLimit) {
            now = start
            grant = MinuteGrant(owner: owner, period: period, holder: node, limit: limit, now: start)
        }

        mutating func run(_ actions: [MinuteGrant.Action]) {
            for action in actions {
                switch action {
                case .grow(let request): trace.append("grow \(request.milliseconds)")
                case .giveBack(let request): trace.append("give \(request.milliseconds)")
                case .warn(let percent, let remaining): trace.append("warn \(percent) of which \(remaining) left")
                }
                if case .warn = action { continue }
                underWay = action
                if isAnswered { answer() }
            }
        }

        mutating func answer() {
            guard let action = underWay, let answer = ledger.answer(action) else { return }
            underWay = nil
            run(grant.answered(answer, now: now))
        }

        mutating func join() { run(grant.sessionJoined(now: now)) }

        @discardableResult
        mutating func take(_ milliseconds: Int64) -> Int64 {
            let (taken, actions) = grant.take(milliseconds, now: now)
            run(actions)
            return taken
        }

        mutating func look(after duration: Duration = .zero) {
            now += duration
            run(grant.looked(now: now))
        }

        /// Another node is granted so much, or gives it back.
        mutating func elsewhere(_ milliseconds: Int64, sequence: Int64 = 1) {
            let request = GrantRequest(
                owner: owner, period: period, holder: other, sequence: sequence, milliseconds: abs(milliseconds),
                limit: grant.limit)
            _ = ledger.change(request, isGrowth: milliseconds > 0)
        }

        mutating func expectTaken(_ taken: Int64, of wanted: Int64, at location: SourceLocation = #_sourceLocation) {
            let given = take(wanted)
            #expect(given == taken, sourceLocation: location)
        }

        /// This was done since the last call, and nothing else.
        mutating func expectDone(
            _ expected: [String], _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
        ) {
            let done = done()
            #expect(done == expected, comment, sourceLocation: location)
        }

        /// What was done since the last call.
        mutating func done() -> [String] {
            defer { trace = [] }
            return trace
        }
    }

    // MARK: Growth

    @Test func nothingIsHeldAndNothingAskedForUntilASessionComes() {
        var bench = Bench(Self.limit(600_000))
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
        var bench = Bench(Self.limit(100_000))
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
        var bench = Bench(Self.limit(limit))
        bench.join()
        bench.isAnswered = false
        bench.now += .seconds(5)
        _ = bench.done()
        bench.run(bench.grant.charge(15_000, now: bench.now))
        bench.expectDone(["grow \(chunk)"])
    }

    @Test func everySessionCountsForTenSeconds() {
        var bench = Bench(Self.limit(nil))
        for _ in 0..<4 { bench.join() }
        bench.expectDone(["grow 10000"])
        bench.now += .seconds(6)
        bench.take(6_000)
        bench.expectDone(["grow 40000"])
    }

    // MARK: The end

    @Test func theLastOfAQuotaIsGivenOutToTheMillisecond() {
        var bench = Bench(Self.limit(25_001))
        bench.join()
        var taken: Int64 = 0
        for _ in 0..<60 {
            bench.now += .milliseconds(500)
            taken += bench.take(500)
        }
        #expect(taken == 25_001 && bench.grant.supply == .exhausted && bench.grant.used == 25_001)
        #expect(bench.ledger.use(Self.owner, Self.period)?.granted == 25_001)
    }

    @Test func anExhaustedQuotaIsAskedEveryTwoSeconds() {
        var bench = Bench(Self.limit(0))
        bench.join()
        bench.expectDone(["grow 10000"])
        #expect(bench.grant.supply == .exhausted)
        for _ in 0..<32 { bench.look(after: .milliseconds(250)) }
        bench.expectDone(Array(repeating: "grow 10000", count: 4))
        #expect(bench.grant.supply == .exhausted)
    }

    @Test func aRaiseIsFeltAtOnceWhereItIsKnownAndWithinTwoSecondsElsewhere() {
        for isKnown in [true, false] {
            var bench = Bench(Self.limit(10_000))
            bench.join()
            bench.take(10_000)
            bench.look(after: .milliseconds(100))
            #expect(bench.grant.supply == .exhausted)
            let raised = Self.limit(15_000, version: 2)
            if isKnown {
                bench.run(bench.grant.limitChanged(raised, now: bench.now))
            } else {
                bench.ledger.state(raised, Self.owner, Self.period)
                for _ in 0..<8 { bench.look(after: .milliseconds(250)) }
            }
            #expect(bench.grant.available == 5_000 && bench.grant.limit == raised, "\(isKnown)")
        }
    }

    @Test func anOlderLimitSaysNothing() {
        var bench = Bench(Self.limit(10_000, version: 5))
        for version in [Int64(4), 5] {
            let actions = bench.grant.limitChanged(Self.limit(1, version: version), now: bench.now)
            #expect(actions == [])
        }
        #expect(bench.grant.limit == Self.limit(10_000, version: 5))
        // The store knows a newer one.
        bench.ledger.state(Self.limit(4_000, version: 6), Self.owner, Self.period)
        bench.join()
        #expect(bench.grant.available == 4_000 && bench.grant.limit.version == 6)
    }

    @Test(arguments: [(used: Int64(1_000), back: "give 7000", left: Int64(2_000)), (4_000, "give 6000", 0)])
    func whatIsHeldBeyondALowerLimitGoesBackAtOnce(used: Int64, back: String, left: Int64) {
        var bench = Bench(Self.limit(60_000))
        bench.join()
        bench.take(used)
        bench.expectDone(["grow 10000"])
        bench.run(bench.grant.limitChanged(Self.limit(3_000, version: 2), now: bench.now))
        #expect(bench.done().filter { $0.hasPrefix("give") } == [back])
        bench.expectTaken(left, of: 20_000)
        #expect(bench.grant.supply == .exhausted && bench.grant.usedByAll == used + left)
    }

    @Test func whatAnotherNodeGivesBackCanBeHad() {
        var bench = Bench(Self.limit(30_000))
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
        var bench = Bench(Self.limit(30_000))
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
        bench.run(bench.grant.limitChanged(Self.limit(60_000, version: 2), now: bench.now))
        #expect(!bench.grant.refusesSessions(now: bench.now))
    }

    // MARK: Policy and warnings

    @Test func aSoftLimitGoesOnBeyondItsEnd() {
        var bench = Bench(Self.limit(15_000, .soft))
        bench.join()
        for _ in 0..<40 {
            bench.now += .milliseconds(500)
            bench.expectTaken(500, of: 500)
        }
        #expect(bench.grant.usedByAll == 20_000)
        #expect(
            bench.trace.filter { $0.hasPrefix("warn") } == ["warn 80 of which 3000 left", "warn 95 of which 500 left"])
    }

    @Test func warningsCountWhatOthersHold() {
        var bench = Bench(Self.limit(100_000))
        bench.elsewhere(79_000)
        bench.join()
        bench.expectDone(["grow 10000"])
        bench.take(999)
        bench.expectDone([])
        #expect(bench.grant.warned == nil)
        bench.take(1)
        bench.expectDone(["warn 80 of which 20000 left"])
        bench.take(1)
        bench.expectDone([], "each once")
        bench.elsewhere(11_000, sequence: 2)
        bench.take(4_000)
        #expect(bench.trace.contains("warn 95 of which 4999 left") && bench.grant.warned == 95)
        _ = bench.done()
        bench.run(bench.grant.limitChanged(Self.limit(1_000_000, version: 2), now: bench.now))
        #expect(bench.trace.allSatisfy { !$0.hasPrefix("warn") })
    }

    /// Who raised the limit wants to know of its end too, and nobody is told again of what is still so.
    @Test func aRaisedLimitIsWarnedOfAnew() {
        var bench = Bench(Self.limit(100_000))
        bench.elsewhere(81_000)
        bench.join()
        #expect(bench.grant.warned == 80)
        _ = bench.done()
        bench.run(bench.grant.limitChanged(Self.limit(101_000, version: 2), now: bench.now))
        #expect(bench.grant.warned == 80 && bench.trace.allSatisfy { !$0.hasPrefix("warn") }, "it is as near as before")
        bench.run(bench.grant.limitChanged(Self.limit(200_000, version: 3), now: bench.now))
        #expect(bench.grant.warned == nil)
        bench.elsewhere(80_000, sequence: 2)
        for _ in 0..<20 where bench.grant.warned == nil { bench.take(1_000) }
        #expect(bench.trace.count { $0.hasPrefix("warn 80") } == 1)
    }

    @Test func onlyTheHigherWarningIsGivenIfBothComeAtOnce() {
        var bench = Bench(Self.limit(100_000))
        bench.elsewhere(99_000)
        bench.join()
        #expect(bench.trace.first == "grow 10000")
        #expect(bench.grant.warned == 95)
    }

    @Test func noLimitIsNoWarning() {
        var bench = Bench(Self.limit(nil))
        bench.join()
        for _ in 0..<100 {
            bench.now += .seconds(1)
            bench.expectTaken(1_000, of: 1_000)
        }
        #expect(bench.trace.allSatisfy { $0.hasPrefix("grow") })
    }

    // MARK: Giving back

    @Test func whatIsNotUsedGoesBackAfterHalfAMinute() {
        var bench = Bench(Self.limit(600_000))
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
        #expect(bench.ledger.use(Self.owner, Self.period)?.granted == 3_000)
        bench.take(600)
        bench.expectDone(["grow 10000"])
    }

    /// Others may need it, and nobody here does.
    @Test func whatTheLastSessionLeavesGoesBackSoon() {
        var bench = Bench(Self.limit(600_000))
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
        var bench = Bench(Self.limit(nil))
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
        var bench = Bench(Self.limit(600_000))
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
        var bench = Bench(Self.limit(600_000))
        bench.join()
        bench.take(1_234)
        #expect(!bench.grant.isSettled)
        bench.run(bench.grant.stop(now: bench.now))
        #expect(bench.trace.last == "give 8766" && bench.grant.isSettled && bench.grant.available == 0)
        #expect(bench.ledger.use(Self.owner, Self.period)?.granted == 1_234)
        _ = bench.done()
        bench.look(after: .seconds(60))
        bench.expectTaken(0, of: 1)
        bench.expectDone([])
    }

    /// The first attempt is done after the second was refused: without its number being used up, it would hold for good
    /// what nobody knows of.
    @Test func aGrowthThatWasRefusedAndMayStillArriveIsWaitedFor() {
        for isInTime in [true, false] {
            var bench = Bench(Self.limit(5_000))
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
            #expect(bench.grant.isSettled && bench.ledger.use(Self.owner, Self.period)?.granted == 0)
        }
    }

    @Test func aStoppedGrantWaitsForWhatIsUnderWay() {
        var bench = Bench(Self.limit(600_000))
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
        var bench = Bench(Self.limit(20_000))
        bench.join()
        bench.take(10_000)
        bench.take(10_000)
        bench.look(after: .seconds(1))
        #expect(bench.grant.supply == .exhausted && bench.grant.warned == 95)
        _ = bench.done()
        bench.grant = bench.grant.successor(in: Self.period.next, now: bench.now)
        #expect(bench.grant.period == Self.period.next && bench.grant.sessions == 1 && bench.grant.warned == nil)
        bench.look()
        #expect(bench.trace.count == 1 && bench.grant.supply == .available)
    }

    // MARK: The store away

    @Test func failuresAreTriedAgainWithLongerPauses() {
        var bench = Bench(Self.limit(600_000))
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
        var bench = Bench(Self.limit(600_000))
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
        #expect(bench.ledger.use(Self.owner, Self.period)?.granted == 35_000 + bench.grant.available)
    }

    @Test func whatWasChargedBeyondALimitStaysOwed() {
        var bench = Bench(Self.limit(12_000))
        bench.join()
        bench.run(bench.grant.charge(15_000, now: bench.now))
        #expect(bench.grant.available == -3_000 && bench.grant.supply == .exhausted)
        bench.run(bench.grant.stop(now: bench.now))
        #expect(bench.grant.isSettled)
    }

    @Test func aRetiredGrantIsOver() {
        var bench = Bench(Self.limit(600_000))
        bench.join()
        let grant = bench.ledger.grants(heldBy: Self.node)[0]
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
        var bench = Bench(Self.limit(600_000))
        bench.isAnswered = false
        bench.join()
        if let action = bench.underWay { _ = bench.ledger.answer(action) }
        _ = bench.grant.failed(now: bench.now)
        bench.isAnswered = true
        bench.look(after: .seconds(1))
        bench.expectDone(["grow 10000", "grow 10000"])
        #expect(bench.grant.available == 10_000 && bench.ledger.use(Self.owner, Self.period)?.granted == 10_000)
    }

    @Test func anAnswerThatNobodyAwaitsSaysNothing() {
        var bench = Bench(Self.limit(600_000))
        let now = bench.now
        let actions = bench.grant.answered(.retired, now: now) + bench.grant.failed(now: now)
        #expect(actions == [] && bench.grant.supply == .awaited)
    }
}
