import Hansard
import Testing

/// When a node beats, and when it must take itself for cut off.
@Suite struct HeartbeatsTests {
    let start = ContinuousClock.now

    @Test func aNodeBeatsEveryInterval() {
        var heartbeats = Heartbeats(began: start)
        for beat in 0..<5 {
            let due = start + Heartbeats.interval * beat
            #expect(heartbeats.isDue(now: due) == true)
            #expect(heartbeats.isDue(now: due + .milliseconds(1_999)) == false)
            heartbeats.answered(sentAt: due)
        }
    }

    @Test func soManyWaitAtOnceAndNoMore() {
        var heartbeats = Heartbeats(began: start)
        var now = start
        for _ in 0..<Heartbeats.outstandingLimit {
            #expect(heartbeats.isDue(now: now) == true)
            now += .seconds(3)
        }
        #expect(heartbeats.isDue(now: now) == false)
        heartbeats.answered(sentAt: start)
        #expect(heartbeats.isDue(now: now) == true)
    }

    @Test func aFailureIsTriedAgainSooner() {
        var heartbeats = Heartbeats(began: start)
        #expect(heartbeats.isDue(now: start + .milliseconds(1)) == true)
        #expect(heartbeats.failed(sentAt: start + .milliseconds(1), now: start + .milliseconds(10)) == true)
        #expect(heartbeats.isDue(now: start + .milliseconds(1_000)) == false)
        #expect(heartbeats.isDue(now: start + .milliseconds(1_010)) == true)
    }

    @Test func aFailureThatALaterAnswerHasOvertakenSaysNothing() {
        var heartbeats = Heartbeats(began: start)
        for second in [1, 3] { #expect(heartbeats.isDue(now: start + .seconds(second)) == true) }
        heartbeats.answered(sentAt: start + .seconds(3))
        #expect(heartbeats.failed(sentAt: start + .seconds(1), now: start + .seconds(4)) == false)
    }

    /// By when the last heartbeat that arrived was sent: peers cannot have seen it before.
    @Test func aNodeIsCutOffBeforeItsPeersGiveItUp() {
        #expect(Heartbeats.isolation < PeerLiveness.patience)
        #expect(Heartbeats.isolation > Heartbeats.interval * 2, "one lost heartbeat is not the end")
        var heartbeats = Heartbeats(began: start)
        #expect(heartbeats.isDue(now: start + .seconds(2)) == true)
        heartbeats.answered(sentAt: start + .seconds(2))
        let last = start + .seconds(2) + Heartbeats.isolation
        #expect(!heartbeats.isIsolated(now: last - .milliseconds(1)) && heartbeats.isIsolated(now: last))
        #expect(heartbeats.isDue(now: last) == true)
        heartbeats.answered(sentAt: last)
        #expect(!heartbeats.isIsolated(now: last))
        heartbeats.answered(sentAt: start)
        #expect(!heartbeats.isIsolated(now: last), "an early one that is answered late takes nothing back")
    }
}
