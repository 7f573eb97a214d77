import Hansard
import Logging
import Testing

@testable import HansardServer

/// Whether the connection store answers, as its callers find it.
@Suite struct StoreHealthTests {
    let start = ContinuousClock.now
    let log = LogRecorder()
    private let failure = HansardError(.unavailable, "it is away")

    @Test func anOutageThatAllMeetIsOneLineEach() {
        let health = StoreHealth(logger: log.logger)
        for _ in 0..<3 { StoreReachability.Call.allCases.forEach { health.failed($0, failure) } }
        #expect(!health.isReachable && !health.isWhole)
        #expect(log.entries.count == 1 && log.count(of: "the connection store does not answer", atLeast: .warning) == 1)
        #expect(log.entries[0].metadata["error"] == "unavailable: it is away")
        for call in [StoreReachability.Call.nodes, .release, .heartbeat] {
            #expect(log.entries.count == 1, "\(call)")
            health.answered(call)
        }
        #expect(health.isReachable && health.isWhole)
        #expect(log.entries.count == 2 && log.count(of: "the connection store answers again") == 1)
    }

    /// Peers' slots wait, and statuses; whoever wants to claim may.
    @Test(arguments: [StoreReachability.Call.nodes, .release]) func whatFailsBesideStopsNoAdmission(
        _ call: StoreReachability.Call
    ) {
        var reachability = StoreReachability()
        #expect(reachability.failed(call, now: start) == .wentAway)
        #expect(reachability.admits)
        #expect(reachability.answered(.heartbeat, now: start) == nil, "it still fails")
        #expect(reachability.answered(call, now: start) == .cameBack)
    }

    /// A heartbeat lets the next claim try, but the log does not go to and fro with each.
    @Test func claimsAloneThatFailAreOneOutage() {
        var reachability = StoreReachability()
        var changes: [StoreReachability.Change] = []
        func note(_ change: StoreReachability.Change?) { if let change { changes.append(change) } }
        for second in 0..<30 {
            note(reachability.failed(.claim, now: start + .seconds(2 * second)))
            #expect(!reachability.admits)
            note(reachability.answered(.heartbeat, now: start + .seconds(2 * second + 1)))
            #expect(reachability.admits)
        }
        #expect(changes == [.wentAway])
        #expect(reachability.answered(.claim, now: start + .seconds(60)) == .cameBack)
    }

    @Test func aClaimThatNobodyRepeatsIsForgotten() {
        var reachability = StoreReachability()
        #expect(reachability.failed(.claim, now: start) == .wentAway)
        let end = start + StoreReachability.claimMemory
        #expect(reachability.answered(.heartbeat, now: end - .seconds(1)) == nil)
        #expect(reachability.answered(.heartbeat, now: end) == .cameBack)
    }

    @Test func anAnswerIsRemembered() {
        let health = StoreHealth(logger: log.logger)
        #expect(!health.hasAnswered(since: start))
        health.answered(.release, now: start + .seconds(1))
        health.failed(.claim, failure, now: start + .seconds(2))
        #expect(health.hasAnswered(since: start + .seconds(1)) && !health.hasAnswered(since: start + .seconds(2)))
    }
}
