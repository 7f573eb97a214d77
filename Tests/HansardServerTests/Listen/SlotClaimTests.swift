import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

@Suite struct SlotClaimTests {
    private let store = MemoryConnectionStore()
    private let log = LogRecorder()
    private let suspects = SuspectOwners()
    private let health: StoreHealth

    init() { health = StoreHealth(logger: log.logger) }

    private var claim: SlotClaim {
        var claim = SlotClaim(
            connections: store, health: health, suspects: suspects, statedLimits: StatedLimits(), logger: log.logger)
        claim.deadline = .seconds(300)
        return claim
    }

    private let lease = Sample.lease(Sample.session(1), holder: Sample.epoch())
    private let other = Sample.lease(Sample.session(2), holder: Sample.epoch())
    private let one = ClaimLimits(tenant: AdmissionLimit(sessions: 1, version: 1))

    @Test func aPromptAnswerLeavesNothingBehind() async {
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: .claimed, mayHoldSlot: false))
        let second = await claim.decide(other, limits: one)
        #expect(second == ClaimDecision(outcome: .full(1), mayHoldSlot: false))
        #expect(log.entries.isEmpty)
        #expect(suspects.take() == [.tenant(Sample.tenant)], "its counter may be wrong")
        #expect(suspects.take().isEmpty)
    }

    @Test func aKeysLimitMakesTheKeySuspect() async {
        let limits = ClaimLimits(
            tenant: AdmissionLimit(sessions: nil, version: 1), key: AdmissionLimit(sessions: 1, version: 1))
        #expect(await claim.decide(lease, limits: limits).outcome == .claimed)
        let reached = LimitReached(owner: .key(lease.key), kind: .concurrentSessions, limit: 1)
        #expect(await claim.decide(other, limits: limits).outcome == .limitReached(reached))
        #expect(suspects.take() == [.tenant(Sample.tenant), .key(lease.key)])
        // A busy minute makes nobody's counter suspect.
        var minute = limits
        minute.key = AdmissionLimit(sessions: 9, newPerMinute: 1, version: 2)
        var late = other
        late.claimedAt = lease.claimedAt
        guard case .limitReached(let begun)? = await claim.decide(late, limits: minute).outcome else {
            Issue.record("it is not refused")
            return
        }
        #expect(begun.kind == .newSessionsPerMinute && suspects.take().isEmpty)
    }

    /// The question whose answer was lost may arrive after the one that was refused, when there is room again.
    @Test func aRefusalAfterALostAnswerMayStillHoldASlot() async {
        _ = await claim.decide(other, limits: one)
        store.faults.forgetCalls()
        store.faults.set { name, number in name == "claim" && number == 0 ? .away : .works }
        let decision = await claim.decide(lease, limits: one)
        #expect(decision == ClaimDecision(outcome: .full(1), mayHoldSlot: true))
        #expect(store.faults.calls == ["claim", "claim"])
    }

    @Test func aSlotThatWasGrantedInTheEndIsSimplyHeld() async {
        store.faults.set { name, number in name == "claim" && number < 2 ? .answerLost : .works }
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: .claimed, mayHoldSlot: false))
        #expect(health.isReachable)
    }

    @Test func anUnknownOutcomeMayHoldASlotAndShowsThatTheStoreIsAway() async {
        store.faults.set(.hangs, for: ["claim"])
        var claim = claim
        claim.deadline = .milliseconds(20)
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: nil, mayHoldSlot: true))
        #expect(!health.isReachable)
        #expect(log.count(of: "the connection store does not answer", atLeast: .warning) == 1)
        store.faults.clear()
    }

    /// One tenant's crowd must not shut out the others.
    @Test func othersInTheWayAreNotTheStoresAbsence() async {
        store.faults.set(.contended, for: ["claim"])
        var claim = claim
        claim.deadline = .milliseconds(20)
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: nil, mayHoldSlot: true))
        #expect(health.isReachable && health.isWhole)
        #expect(log.count(of: "does not answer") == 0)
        store.faults.clear()
    }

    /// It may have waited for its turn all the time.
    @Test func aSilenceDuringWhichTheStoreAnswersOtherCallsIsNotItsAbsence() async {
        let health = health
        store.faults.set { name, _ in
            if name == "claim" { health.answered(.nodes) }
            return name == "claim" ? .hangs : .works
        }
        var claim = claim
        claim.deadline = .milliseconds(20)
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: nil, mayHoldSlot: true))
        #expect(health.isReachable && log.entries.isEmpty)
        store.faults.clear()
    }

    @Test func anOutageThatFollowsAConflictIsOne() async {
        store.faults.set { _, number in number == 0 ? .contended : .away }
        var claim = claim
        claim.deadline = .milliseconds(500)
        _ = await claim.decide(lease, limits: one)
        #expect(!health.isReachable)
        store.faults.clear()
        #expect(await claim.decide(lease, limits: one).outcome == .claimed)
        #expect(health.isReachable && log.count(of: "answers again") == 1)
    }

    @Test func whatTheStoreRefusesForGoodIsNotItsAbsence() async {
        store.faults.set(.refuses, for: ["claim"])
        #expect(await claim.decide(lease, limits: one) == ClaimDecision(outcome: nil, mayHoldSlot: true))
        #expect(health.isReachable)
        #expect(store.faults.calls == ["claim"])
        #expect(suspects.take() == [.tenant(Sample.tenant)])
    }
}
