import Testing

@testable import Hansard

/// What a policy makes of the end of a quota, and when its nearness is told.
@Suite struct MinuteGrantWarningTests {
    private typealias Bench = MinuteGrantBench

    @Test func aSoftLimitGoesOnBeyondItsEnd() {
        var bench = Bench(Bench.limit(15_000, .soft))
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
        var bench = Bench(Bench.limit(100_000))
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
        bench.run(bench.grant.limitChanged(Bench.limit(1_000_000, version: 2), now: bench.now))
        #expect(bench.trace.allSatisfy { !$0.hasPrefix("warn") })
    }

    /// Who raised the limit wants to know of its end too, and nobody is told again of what is still so.
    @Test func aRaisedLimitIsWarnedOfAnew() {
        var bench = Bench(Bench.limit(100_000))
        bench.elsewhere(81_000)
        bench.join()
        #expect(bench.grant.warned == 80)
        _ = bench.done()
        bench.run(bench.grant.limitChanged(Bench.limit(101_000, version: 2), now: bench.now))
        #expect(bench.grant.warned == 80 && bench.trace.allSatisfy { !$0.hasPrefix("warn") }, "it is as near as before")
        bench.run(bench.grant.limitChanged(Bench.limit(200_000, version: 3), now: bench.now))
        #expect(bench.grant.warned == nil)
        bench.elsewhere(80_000, sequence: 2)
        for _ in 0..<20 where bench.grant.warned == nil { bench.take(1_000) }
        #expect(bench.trace.count { $0.hasPrefix("warn 80") } == 1)
    }

    @Test func onlyTheHigherWarningIsGivenIfBothComeAtOnce() {
        var bench = Bench(Bench.limit(100_000))
        bench.elsewhere(99_000)
        bench.join()
        #expect(bench.trace.first == "grow 10000")
        #expect(bench.grant.warned == 95)
    }

    @Test func noLimitIsNoWarning() {
        var bench = Bench(Bench.limit(nil))
        bench.join()
        for _ in 0..<100 {
            bench.now += .seconds(1)
            bench.expectTaken(1_000, of: 1_000)
        }
        #expect(bench.trace.allSatisfy { $0.hasPrefix("grow") })
    }
}
