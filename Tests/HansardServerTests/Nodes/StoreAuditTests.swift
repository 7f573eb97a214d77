import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// What the audit repairs, and what it leaves alone.
@Suite(.timeLimit(.minutes(10))) struct StoreAuditTests {
    /// An audit among stores in memory, of a node that serves sessions by name only.
    private final class Fixture: Sendable {
        let parts: SettlementFixture
        let settlement: Settlement
        let spool: Spool
        let live = Locked<Set<SessionID>>([])
        let unclaimed = Locked<Set<SessionID>>([])
        let ended = Locked<[SessionID]>([])
        let epoch: NodeEpoch
        let suspects = SuspectOwners()
        let start = ContinuousClock.now
        /// When the next comparison would come.
        var later: ContinuousClock.Instant { start + StoreAudit.leaseInterval }
        var connections: MemoryConnectionStore { parts.connections }

        init() throws {
            parts = try SettlementFixture()
            epoch = parts.holder
            spool = try parts.disk.open().0
            settlement = parts.settlement(spool)
        }

        deinit { spool.close() }

        func audit(endsUnheld: Bool = true) -> StoreAudit {
            StoreAudit(
                node: NodeIdentity(epoch: epoch, address: "127.0.0.1:1", region: "local", version: "1"),
                connections: connections, liveSessions: { [live] in live.withLock { $0 } },
                unclaimedSessions: { [unclaimed] in unclaimed.withLock { $0 } }, settlement: settlement,
                suspects: suspects,
                reaper: LeaseReaper(
                    connections: connections, transcripts: parts.transcripts, metrics: parts.metrics,
                    logger: parts.log.logger),
                metrics: parts.metrics, logger: parts.log.logger,
                endUnheld: { [ended] id in if endsUnheld { ended.withLock { $0.append(id) } } })
        }

        func hold(_ number: Int, _ holder: NodeEpoch? = nil, tenant: TenantID = Sample.tenant) {
            let lease = Sample.lease(Sample.session(number), holder: holder ?? epoch, tenant: tenant)
            connections.change { $0.leases[tenant, default: [:]][lease.session] = lease }
        }

        func isHeld(_ number: Int, tenant: TenantID = Sample.tenant) -> Bool {
            connections.stored.leases[tenant]?[Sample.session(number)] != nil
        }

        func register(_ epoch: NodeEpoch) {
            let record = NodeRecord(epoch: epoch, heartbeat: UUID(), address: "", region: "", version: "")
            connections.change { $0.nodes.append(record) }
        }
    }

    private func compare(_ fixture: Fixture, _ state: inout LeaseAudit, endsUnheld: Bool = true) async throws {
        let stored = try await fixture.connections.leases(heldBy: fixture.epoch)
        try await fixture.audit(endsUnheld: endsUnheld).compare(stored, with: &state)
    }

    @Test func aSlotThatNobodyHoldsIsGivenBackTheSecondTime() async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        fixture.hold(1)
        fixture.hold(2, Sample.epoch("node-2", 2))
        try await compare(fixture, &state)
        #expect(fixture.isHeld(1) && fixture.parts.metrics.auditRepairs.value == 0)
        fixture.hold(3)
        try await compare(fixture, &state)
        #expect(!fixture.isHeld(1) && fixture.isHeld(2) && fixture.isHeld(3))
        let status = try #require(fixture.parts.status(1))
        #expect(status.state == .interrupted && status.tenant == Sample.tenant)
        #expect(fixture.parts.metrics.auditRepairs.value == 1 && fixture.parts.metrics.leasesLost.value == 0)
        #expect(fixture.parts.log.count(of: "a slot that no session held was given back", atLeast: .warning) == 1)
        try await compare(fixture, &state)
        try await compare(fixture, &state)
        #expect(!fixture.isHeld(3) && fixture.parts.metrics.auditRepairs.value == 2)
    }

    @Test func aSlotThatIsGoneWhenItIsToBeGivenBackIsNotCounted() async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        fixture.hold(1)
        let stored = try await fixture.connections.leases(heldBy: fixture.epoch)
        for _ in 0..<2 {
            try await fixture.audit().compare(stored, with: &state)
            fixture.connections.change { $0.leases = [:] }
        }
        #expect(fixture.parts.metrics.auditRepairs.value == 0 && fixture.parts.status(1) == nil)
        #expect(fixture.connections.faults.calls.count { $0 == "reap" } == 1)
    }

    @Test func aStoreThatIsAwayIsToldAndTheSlotGivenBackLater() async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        fixture.hold(1)
        try await compare(fixture, &state)
        fixture.connections.faults.set(.away, for: ["reap"])
        let stored = try await fixture.connections.leases(heldBy: fixture.epoch)
        await #expect(throws: HansardError.self) { try await fixture.audit().compare(stored, with: &state) }
        #expect(fixture.isHeld(1) && fixture.parts.metrics.auditRepairs.value == 0)
        fixture.connections.faults.clear()
        try await compare(fixture, &state)
        #expect(!fixture.isHeld(1) && fixture.parts.metrics.auditRepairs.value == 1)
    }

    /// Its release is still being tried.
    @Test func aSlotWhoseSessionIsBeingSettledIsLeftAlone() async throws {
        let fixture = try Fixture()
        fixture.connections.faults.set(.away, for: ["release"])
        await fixture.settlement.settle(try await fixture.parts.live(1, spool: fixture.spool, hasAudio: false))
        var state = LeaseAudit()
        for _ in 0..<3 { try await compare(fixture, &state) }
        #expect(fixture.isHeld(1) && fixture.parts.metrics.auditRepairs.value == 0)
        fixture.connections.faults.clear()
        try await eventually("it is released") {
            await fixture.settlement.workOnce()
            return !fixture.isHeld(1)
        }
        try await compare(fixture, &state)
        #expect(fixture.parts.metrics.auditRepairs.value == 0 && fixture.parts.status(1)?.state == .completed)
    }

    @Test(arguments: [true, false])
    func aSessionWithoutASlotIsReportedOnceAndEndedIfThatIsWanted(endsUnheld: Bool) async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        let session = Sample.session(1)
        fixture.live.withLock { _ = $0.insert(session) }
        for round in 0..<4 {
            try await compare(fixture, &state, endsUnheld: endsUnheld)
            #expect(fixture.parts.metrics.leasesLost.value == (round == 0 ? 0 : 1), "comparison \(round)")
        }
        #expect(fixture.ended.withLock { $0 } == (endsUnheld ? [session] : []))
        #expect(fixture.parts.log.count(of: "a session holds no slot any more", atLeast: .warning) == 1)
        #expect(fixture.parts.metrics.auditRepairs.value == 0)
    }

    /// It is in order that it has none, and an orphan is none of its business: what it claims late is its own.
    @Test func aSessionThatBeganWithoutASlotIsInOrder() async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        fixture.live.withLock { _ = $0.insert(Sample.session(1)) }
        fixture.unclaimed.withLock { _ = $0.insert(Sample.session(1)) }
        for _ in 0..<3 { try await compare(fixture, &state) }
        fixture.hold(1)
        for _ in 0..<3 { try await compare(fixture, &state) }
        #expect(fixture.isHeld(1) && fixture.parts.log.entries.isEmpty && fixture.ended.withLock(\.isEmpty))
        #expect(fixture.parts.metrics.leasesLost.value == 0)
    }

    @Test func aSessionThatHoldsItsSlotIsInOrder() async throws {
        let fixture = try Fixture()
        var state = LeaseAudit()
        fixture.live.withLock { _ = $0.insert(Sample.session(1)) }
        fixture.hold(1)
        for _ in 0..<3 { try await compare(fixture, &state) }
        #expect(fixture.isHeld(1) && fixture.parts.log.entries.isEmpty)
    }

    // MARK: Counters

    @Test func slotsOfNodesThatAreNoMoreAreGivenBackTheSecondTime() async throws {
        let fixture = try Fixture()
        let living = Sample.epoch("node-2", 2)
        for epoch in [fixture.epoch, living] { fixture.register(epoch) }
        fixture.hold(1)
        fixture.hold(2, living)
        fixture.hold(3, Sample.epoch("node-3", 3))
        var strangers = Strangers()
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.start)
        #expect(fixture.isHeld(3) && strangers.tenants == [Sample.tenant])
        try await fixture.audit().count(
            [.tenant(Sample.tenant)], strangers: &strangers, now: fixture.start + .seconds(1))
        #expect(fixture.isHeld(3), "not for long enough")
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.later)
        #expect(fixture.isHeld(1) && fixture.isHeld(2) && !fixture.isHeld(3))
        #expect(fixture.parts.status(3)?.state == .interrupted && fixture.parts.metrics.auditRepairs.value == 1)
        #expect(fixture.parts.log.count(of: "a slot of a node that is no more", atLeast: .warning) == 1)
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers)
        #expect(strangers.tenants.isEmpty && fixture.parts.metrics.auditRepairs.value == 1)
    }

    /// A node that registers between two counts was only starting.
    @Test func aStrangerThatBecomesKnownIsLeftAlone() async throws {
        let fixture = try Fixture()
        let starting = Sample.epoch("node-3", 3)
        fixture.hold(3, starting)
        var strangers = Strangers()
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.start)
        fixture.register(starting)
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.later)
        #expect(fixture.isHeld(3) && strangers.tenants.isEmpty)
    }

    @Test func aStoreThatIsAwayDuringACountIsToldAndNothingIsForgotten() async throws {
        let fixture = try Fixture()
        fixture.hold(3, Sample.epoch("node-3", 3))
        var strangers = Strangers()
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.start)
        for operation in ["nodes", "leases", "reap"] {
            fixture.connections.faults.set(.away, for: [operation])
            await #expect(throws: HansardError.self) {
                try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.later)
            }
            #expect(fixture.isHeld(3) && strangers.tenants == [Sample.tenant], "\(operation)")
        }
        fixture.connections.faults.set(.away, for: ["repairCount"])
        await #expect(throws: HansardError.self) {
            try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.later)
        }
        #expect(!fixture.isHeld(3))
    }

    /// Only that the store is away ends a comparison.
    @Test(arguments: [StoreFaults.Fate.refuses, .contended]) func oneTenantsTroubleIsNotTheOthers(
        _ fate: StoreFaults.Fate
    ) async throws {
        let fixture = try Fixture()
        fixture.connections.faults.set { name, _ in
            let isFirst = fixture.connections.faults.calls.count { $0 == "repairCount" } == 1
            return name == "repairCount" && isFirst ? fate : .works
        }
        var strangers = Strangers()
        try await fixture.audit().count([.tenant(Sample.tenant), .tenant(Sample.otherTenant)], strangers: &strangers)
        #expect(fixture.connections.faults.calls.count { $0 == "repairCount" } == 2)
    }

    /// A lease that nobody can find by its node shuts its tenant out. The tenant's being refused leads to it.
    @Test func aSlotThatShutsATenantOutIsGivenBackByTheSecondComparison() async throws {
        let fixture = try Fixture()
        fixture.register(fixture.epoch)
        fixture.hold(3, Sample.epoch("nobody", 3))
        var (audit, plan, strangers) = (LeaseAudit(), CountPlan(), Strangers())
        try await fixture.audit().runOnce(&audit, &plan, &strangers, now: fixture.start)
        #expect(!fixture.connections.faults.calls.contains("repairCount"), "nothing leads there")
        fixture.suspects.add(.tenant(Sample.tenant))
        try await fixture.audit().runOnce(&audit, &plan, &strangers, now: fixture.start)
        #expect(fixture.connections.faults.calls.contains("repairCount"), "the counter is compared at once")
        #expect(fixture.isHeld(3))
        try await fixture.audit().runOnce(&audit, &plan, &strangers, now: fixture.later)
        #expect(!fixture.isHeld(3) && fixture.parts.metrics.auditRepairs.value == 1)
        #expect(fixture.parts.log.count(of: "a slot of a node that is no more", atLeast: .warning) == 1)
    }

    @Test func theTranscriptOfANodeThatIsNoMoreIsFound() async throws {
        let fixture = try Fixture()
        fixture.hold(3, Sample.epoch("nobody", 3))
        let location = try await fixture.parts.transcripts.put(Sample.transcript(Sample.session(3)))
        var strangers = Strangers()
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.start)
        try await fixture.audit().count([.tenant(Sample.tenant)], strangers: &strangers, now: fixture.later)
        let status = try #require(fixture.parts.status(3))
        #expect(status.state == .completed && status.transcriptLocation == location)
    }
}

/// Whose counters are due.
@Suite struct CountPlanTests {
    private let one = QuotaOwner.tenant(Sample.tenant)
    private let other = QuotaOwner.tenant(Sample.otherTenant)

    @Test func whoHoldsLeasesHereIsCountedOnceInARound() {
        var plan = CountPlan()
        for round in 0..<3 {
            for comparison in 1...CountPlan.comparisonsPerRound {
                let due = plan.due(holding: [one], suspects: [], withStrangers: [])
                #expect(due == (comparison == CountPlan.comparisonsPerRound ? [one] : []), "\(round) \(comparison)")
            }
        }
    }

    /// At the next comparison, and not in each: a tenant may be at its limit for hours.
    @Test func whoIsRefusedIsCountedAtOnceAndOnceInARound() {
        var plan = CountPlan()
        for _ in 0..<3 {
            var counts = 0
            for _ in 1...CountPlan.comparisonsPerRound {
                counts += plan.due(holding: [], suspects: [one], withStrangers: []).count
            }
            #expect(1...2 ~= counts)
        }
        #expect(plan.due(holding: [], suspects: [other], withStrangers: []) == [other])
    }

    @Test func whatFailedOrIsBeingWatchedComesAgain() {
        var plan = CountPlan()
        #expect(plan.due(holding: [], suspects: [one], withStrangers: []) == [one])
        plan.failed([one])
        #expect(plan.due(holding: [], suspects: [], withStrangers: []) == [one])
        #expect(plan.due(holding: [], suspects: [], withStrangers: [one]) == [one])
        #expect(plan.due(holding: [], suspects: [], withStrangers: []) == [])
    }

    @Test func moreThanFitIsForTheNext() {
        var plan = CountPlan()
        let many = Set((0...CountPlan.ownerLimit).map { _ in QuotaOwner.tenant(TenantID(UUID())) })
        let first = plan.due(holding: [], suspects: many, withStrangers: [])
        let second = plan.due(holding: [], suspects: [], withStrangers: [])
        #expect(first.count == CountPlan.ownerLimit && second.count == 1 && Set(first + second) == many)
    }
}
