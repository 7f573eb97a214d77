import Testing

@testable import Postgres

@Suite struct PoolStateTests {
    @Test func lendsInTurnAndNeverMoreThanThereAre() {
        var state = PoolState(connections: 2, maximumWaiters: 2)
        let answer1 = state.connectionRequested(by: 1)
        #expect(answer1 == .use(0))
        let answer2 = state.connectionRequested(by: 2)
        #expect(answer2 == .use(1))
        let answer3 = state.connectionRequested(by: 3)
        #expect(answer3 == .wait)
        let answer4 = state.connectionRequested(by: 4)
        #expect(answer4 == .wait)
        guard case .refuse(let refusal) = state.connectionRequested(by: 5) else {
            Issue.record("a third waiter was accepted")
            return
        }
        #expect(refusal.kind == .poolExhausted)
        let answer5 = state.connectionReturned(1)
        #expect(answer5 == .hand(to: 3))
        let answer6 = state.waitEnded(of: 4)
        #expect(answer6)
        let answer7 = state.waitEnded(of: 3)
        #expect(!answer7)
        let answer8 = state.connectionReturned(1)
        #expect(answer8 == .keep)
        let answer9 = state.connectionReturned(0)
        #expect(answer9 == .keep)
        // The one used last is the one that is surely alive.
        let answer10 = state.connectionRequested(by: 6)
        #expect(answer10 == .use(0))
    }

    @Test func closingRefusesWaitersAndWaitsForUsers() {
        var state = PoolState(connections: 1, maximumWaiters: 2)
        let answer11 = state.connectionRequested(by: 1)
        #expect(answer11 == .use(0))
        let answer12 = state.connectionRequested(by: 2)
        #expect(answer12 == .wait)
        let (refused, isInUse) = state.closed()
        #expect(refused == [2])
        #expect(isInUse)
        let answer13 = state.connectionRequested(by: 3)
        #expect(answer13 == .refuse(PoolState.closedError))
        let answer14 = state.connectionReturned(0)
        #expect(answer14 == .drained)
    }
}

@Suite struct ReconnectBackoffTests {
    private let failure = PostgresError(.unreachable, "refused")

    @Test func oneAttemptAtATimeWhileTheServerIsAway() {
        var backoff = ReconnectBackoff()
        let start = ContinuousClock.now
        let answer15 = backoff.attemptRequested(at: start)
        #expect(answer15 == nil)
        let answer16 = backoff.attemptRequested(at: start)
        #expect(answer16 == nil)
        backoff.attemptFailed(failure, at: start)
        let answer17 = backoff.attemptRequested(at: start)
        #expect(answer17 == failure)
        let later = start + ReconnectBackoff.firstPause
        let answer18 = backoff.attemptRequested(at: later)
        #expect(answer18 == nil)
        let answer19 = backoff.attemptRequested(at: later)
        #expect(answer19 == failure)
        backoff.attemptSucceeded()
        let answer20 = backoff.attemptRequested(at: later)
        #expect(answer20 == nil)
        let answer21 = backoff.attemptRequested(at: later)
        #expect(answer21 == nil)
    }

    @Test func pausesDoubleUpToTheLongest() {
        var backoff = ReconnectBackoff()
        var now = ContinuousClock.now
        var pauses: [Duration] = []
        for _ in 0..<8 {
            backoff.attemptFailed(failure, at: now)
            var pause = Duration.zero
            while backoff.attemptRequested(at: now + pause) != nil { pause += .milliseconds(10) }
            pauses.append(pause)
            now += pause
        }
        #expect(Array(pauses.prefix(5)) == [50, 100, 200, 400, 800].map { Duration.milliseconds($0) })
        #expect(pauses.dropFirst(5).allSatisfy { $0 == ReconnectBackoff.longestPause })
    }
}
