import Foundation
import Hansard
import Testing

/// Releases, reaps, status and nodes: what every `ConnectionStore` must do.
@Suite struct ConnectionStoreReleaseContract {
    private let tenant = TenantID(UUID())
    private let one = AdmissionLimit(sessions: 1, version: 1)

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aReleaseFreesTheSlotOnceAndKeepsTheStatus(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            #expect(try await subject.store.status(of: lease.session) == nil)
            let outcomes = try await withThrowingTaskGroup(of: ReleaseOutcome.self) { group in
                for _ in 0..<8 { group.addTask { try await subject.store.release(lease, status: .new(lease)) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count { $0 == .released } == 1)
            #expect(outcomes.count { $0 == .alreadyGone } == 7)
            // What another says later does not replace it.
            #expect(try await subject.peer.release(lease, status: .new(lease, .interrupted)) == .alreadyGone)
            #expect(try await subject.peer.status(of: lease.session) == .new(lease))
            #expect(try await subject.store.leases(of: tenant).isEmpty)
            #expect(try await subject.store.claim(.new(tenant), limit: one) == .claimed)
            #expect(try await subject.store.claim(.new(tenant), limit: one) == .full(1, tenant))
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    /// A store may end leases that wait together in one call: each still ends as it would have alone.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func releasesThatComeTogetherEndEachItsOwn(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let limit = AdmissionLimit(sessions: 60, version: 1)
            let leases = (0..<60).map { _ in Lease.new(tenant) }
            for lease in leases { #expect(try await subject.store.claim(lease, limit: limit) == .claimed) }
            let (reaped, claimedAnew) = (Set(leases[..<5].map(\.session)), leases[5])
            for lease in leases[..<5] { #expect(try await subject.peer.reap(lease, status: .new(lease, .interrupted))) }
            let outcomes = try await withThrowingTaskGroup(of: (SessionID, ReleaseOutcome).self) { group in
                for lease in leases {
                    // Who holds it under another nonce keeps it.
                    let mine = lease == claimedAnew ? lease.reclaimed() : lease
                    group.addTask { (lease.session, try await subject.store.release(mine, status: .new(mine))) }
                }
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            for lease in leases {
                let isGone = reaped.contains(lease.session) || lease == claimedAnew
                #expect(outcomes[lease.session] == (isGone ? .alreadyGone : .released))
                #expect(try await subject.peer.status(of: lease.session) == (lease == claimedAnew ? nil : .new(lease)))
            }
            #expect(try await subject.store.leases(of: tenant) == [claimedAnew])
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    /// A node that was taken for dead and lives, or comes back, knows how its session ended; the reaper could not.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func aHolderCorrectsItsReaperOnce(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            #expect(try await subject.peer.reap(lease, status: .new(lease, .interrupted)))
            #expect(try await subject.store.release(lease.reclaimed(), status: .new(lease, .failed)) == .alreadyGone)
            #expect(try await subject.store.status(of: lease.session) == .new(lease, .interrupted), "another claim's")
            #expect(try await subject.store.release(lease, status: .new(lease)) == .alreadyGone)
            #expect(try await subject.store.status(of: lease.session) == .new(lease))
            #expect(try await subject.store.release(lease, status: .new(lease, .failed)) == .alreadyGone)
            #expect(try await subject.store.status(of: lease.session) == .new(lease))
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aClaimThatArrivesAfterItsReleaseTakesNoSlot(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.release(lease, status: .new(lease, .failed)) == .alreadyGone)
            #expect(try await subject.store.claim(lease, limit: one) == .superseded)
            #expect(try await subject.peer.claim(lease.reclaimed(), limit: one) == .superseded)
            #expect(try await subject.store.status(of: lease.session) == .new(lease, .failed))
            #expect(try await subject.store.leases(of: tenant).isEmpty)
            #expect(try await subject.store.claim(.new(tenant), limit: one) == .claimed)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRepeatedClaimThatArrivesAfterTheReleaseTakesNoSlot(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            #expect(try await subject.store.release(lease, status: .new(lease)) == .released)
            #expect(try await subject.store.claim(lease, limit: one) == .superseded)
            #expect(try await subject.store.leases(of: tenant).isEmpty)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func claimAndReleaseAtOnceNeverLeaveASlotBehind(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let limit = AdmissionLimit(sessions: 100, version: 1)
            for _ in 0..<25 {
                // A tenant that the store has not seen yet, so that nothing is there to wait on.
                let lease = Lease.new(TenantID(UUID()))
                async let claimed = subject.store.claim(lease, limit: limit)
                async let released = subject.peer.release(lease, status: .new(lease, .failed))
                let outcomes = try await (claimed, released)
                let isExpected =
                    outcomes == (.claimed, .released) || outcomes == (.superseded, .alreadyGone)
                #expect(isExpected, "\(outcomes)")
                #expect(try await subject.store.leases(of: lease.tenant).isEmpty)
                #expect(try await subject.store.repairCount(of: lease.tenant) == 0)
            }
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aReleaseOfAnotherClaimChangesNothing(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            let stale = lease.reclaimed()
            #expect(try await subject.store.release(stale, status: .new(stale, .failed)) == .alreadyGone)
            #expect(try await subject.store.leases(of: tenant) == [lease])
            #expect(try await subject.store.status(of: lease.session) == nil)
            #expect(try await subject.store.release(lease, status: .new(lease)) == .released)
            #expect(try await subject.store.status(of: lease.session) == .new(lease))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func ofTwoPeersThatReapOneSucceeds(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            async let first = subject.store.reap(lease, status: .new(lease, .interrupted))
            async let second = subject.peer.reap(lease, status: .new(lease, .interrupted))
            let outcomes = try await [first, second]
            #expect(outcomes.count { $0 } == 1)
            #expect(try await subject.store.status(of: lease.session) == .new(lease, .interrupted))
            // The node was not dead but slow: its claim still on the way, and its release, free nothing a second time.
            #expect(try await subject.store.claim(lease, limit: one) == .superseded)
            #expect(try await subject.store.release(lease, status: .new(lease)) == .alreadyGone)
            #expect(try await subject.store.claim(.new(tenant), limit: one) == .claimed)
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aReapIsConditionedOnTheEpoch(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            var elsewhere = lease
            elsewhere.holder = NodeEpoch(node: lease.holder.node, epoch: UUID())
            #expect(try await subject.store.reap(elsewhere, status: .new(lease, .interrupted)) == false)
            elsewhere.holder = NodeEpoch(node: "other", epoch: lease.holder.epoch)
            #expect(try await subject.store.reap(elsewhere, status: .new(lease, .interrupted)) == false)
            #expect(try await subject.store.leases(of: tenant) == [lease])
            #expect(try await subject.store.status(of: lease.session) == nil)
            #expect(try await subject.store.release(lease, status: .new(lease)) == .released)
            #expect(try await subject.store.reap(lease, status: .new(lease, .interrupted)) == false)
            #expect(try await subject.store.status(of: lease.session) == .new(lease))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func storingEndsOnce(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            let location = "s3://bucket/it's.json"
            #expect(try await subject.store.finishStoring(lease.session, transcriptLocation: location) == false)
            #expect(try await subject.store.claim(lease, limit: one) == .claimed)
            #expect(try await subject.store.finishStoring(lease.session, transcriptLocation: location) == false)
            let status = SessionStatus.new(lease, .storing, end: .terminated)
            #expect(try await subject.store.release(lease, status: status) == .released)
            #expect(try await subject.store.status(of: lease.session) == status)
            #expect(try await subject.peer.finishStoring(lease.session, transcriptLocation: location))
            var ended = status
            ended.state = .terminated
            ended.transcriptLocation = location
            #expect(try await subject.store.status(of: lease.session) == ended)
            #expect(try await subject.store.finishStoring(lease.session, transcriptLocation: "elsewhere") == false)
            #expect(try await subject.store.status(of: lease.session) == ended)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func nodesComeAndGo(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            var node = NodeRecord(
                epoch: .new("rack-1#a"),
                heartbeat: UUID(),
                address: "10.0.0.1:8080",
                region: "eu",
                version: "1.0"
            )
            let other = NodeRecord(
                epoch: .new("rack-1#a"),
                heartbeat: UUID(),
                address: "10.0.0.1:8080",
                region: "eu",
                version: "1.1"
            )
            try await subject.store.heartbeat(node)
            try await subject.store.heartbeat(other)
            #expect(try await subject.peer.nodes().count == 2)
            node.heartbeat = UUID()
            node.isDraining = true
            try await subject.store.heartbeat(node)
            let nodes = try await subject.peer.nodes()
            #expect(nodes.count == 2)
            #expect(nodes.contains(node) && nodes.contains(other))
            try await subject.peer.remove(node.epoch)
            try await subject.peer.remove(node.epoch)
            #expect(try await subject.store.nodes() == [other])
        }
    }
}
