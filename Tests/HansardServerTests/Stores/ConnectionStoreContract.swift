import AWS
import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// A store under test: two clients of the same data, and what the protocol itself does not offer.
struct ConnectionStoreSubject: Sendable {
    var store: any ConnectionStore & GrantStore
    /// Another node's.
    var peer: any ConnectionStore & GrantStore
    /// Makes an owner's counter wrong by so much.
    var breakCounter: @Sendable (QuotaOwner, Int) async throws -> Void
    /// Gives the store's connections back.
    var close: @Sendable () async -> Void
}

/// The conformers of `ConnectionStore`, all of which the contract's suites run against.
enum ConnectionStoreConformer: String, CaseIterable, Sendable {
    case postgres
    case dynamodb

    func make() async throws -> ConnectionStoreSubject {
        switch self {
        case .postgres:
            let fixture = try await StoreFixture.make()
            return ConnectionStoreSubject(
                store: PostgresConnectionStore(pool: fixture.pool),
                peer: PostgresConnectionStore(pool: fixture.peerPool),
                breakCounter: { owner, difference in
                    try await fixture.ownerPool.query(
                        "UPDATE slots SET held = held + \(difference) WHERE owner = \(owner.description)"
                    )
                },
                close: { await fixture.close() }
            )
        case .dynamodb:
            let (table, name) = try await TestDynamoDB.table()
            return ConnectionStoreSubject(
                store: DynamoDBConnectionStore(table: table),
                peer: DynamoDBConnectionStore(table: try TestDynamoDB.table(named: name)),
                breakCounter: { owner, difference in
                    let change = DynamoDBExpression("ADD n :d", ["d": .number(difference)])
                    _ = try await table.write(
                        DynamoDBWrite(.update(key: DynamoDBItems.counterKey(owner), change)))
                },
                close: {}
            )
        }
    }

    /// Runs a test's body and gives the connections back on every path.
    func run(_ body: (ConnectionStoreSubject) async throws -> Void) async throws {
        let subject = try await make()
        do {
            try await body(subject)
        } catch {
            await subject.close()
            throw error
        }
        await subject.close()
    }
}

extension NodeEpoch {
    static func new(_ node: String = "node-a") -> NodeEpoch { NodeEpoch(node: node, epoch: UUID()) }
}

extension Lease {
    static func new(
        _ tenant: TenantID,
        session: SessionID = SessionID(UUID()),
        holder: NodeEpoch = NodeEpoch(node: "n", epoch: UUID()),
        claimedAt: Date = moment(0)
    ) -> Lease {
        Lease(
            tenant: tenant,
            session: session,
            connection: ConnectionID(UUID()),
            key: KeyID("key_contract"),
            holder: holder,
            nonce: UUID(),
            address: "10.0.0.1:8080",
            region: "eu-central-1",
            claimedAt: claimedAt
        )
    }

    /// The same session claimed anew.
    func reclaimed() -> Lease {
        var lease = self
        lease.nonce = UUID()
        return lease
    }
}

extension SessionStatus {
    static func new(_ lease: Lease, _ state: SessionState = .completed, end: SessionState = .completed) -> SessionStatus
    {
        SessionStatus(
            session: lease.session,
            tenant: lease.tenant,
            key: lease.key,
            state: state,
            endState: end,
            reason: "client closed \"now\" — é",
            startedAt: moment(1),
            endedAt: moment(61),
            audioMilliseconds: 59_999,
            engineMilliseconds: 75_000,
            finals: 7,
            transcriptLocation: state == .storing ? nil : "transcripts/x.json",
            region: lease.region
        )
    }
}

/// Claims, renewals and limits: what every `ConnectionStore` must do.
@Suite struct ConnectionStoreClaimContract {
    private let tenant = TenantID(UUID())
    private let unlimited = AdmissionLimit(sessions: nil, version: 1)

    private func limit(_ sessions: Int?, _ version: Int64 = 1) -> AdmissionLimit {
        AdmissionLimit(sessions: sessions, version: version)
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func fiftyClaimsAtOnceGetExactlyTheLimit(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let outcomes = try await withThrowingTaskGroup(of: ClaimOutcome.self) { group in
                for number in 0..<50 {
                    let store = number.isMultiple(of: 2) ? subject.store : subject.peer
                    group.addTask { try await store.claim(.new(tenant), limit: limit(10)) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count { $0 == .claimed } == 10)
            #expect(outcomes.count { $0 == .full(10, tenant) } == 40)
            #expect(try await subject.store.leases(of: tenant).count == 10)
            #expect(try await subject.peer.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRepeatedClaimIsTheSameClaim(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = Lease.new(tenant)
            let outcomes = try await withThrowingTaskGroup(of: ClaimOutcome.self) { group in
                for _ in 0..<10 { group.addTask { try await subject.store.claim(lease, limit: limit(1)) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes == Array(repeating: .claimed, count: 10))
            #expect(try await subject.store.leases(of: tenant) == [lease])
            #expect(try await subject.store.claim(lease.reclaimed(), limit: limit(5, 2)) == .superseded)
            #expect(try await subject.store.leases(of: tenant) == [lease])
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func tenantsDoNotShareALimit(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let other = TenantID(UUID())
            #expect(try await subject.store.claim(.new(tenant), limit: limit(1)) == .claimed)
            #expect(try await subject.store.claim(.new(other), limit: limit(1)) == .claimed)
            #expect(try await subject.store.claim(.new(other), limit: limit(1)) == .full(1, other))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func theLimitOfHighestVersionCounts(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            // A newer limit in a claim, then an older one in another claim.
            #expect(try await store.claim(.new(tenant), limit: limit(1, 5)) == .claimed)
            #expect(try await store.claim(.new(tenant), limit: limit(9, 4)) == .full(1, tenant))
            #expect(try await store.claim(.new(tenant), limit: limit(9, 5)) == .full(1, tenant))
            #expect(try await store.claim(.new(tenant), limit: limit(2, 6)) == .claimed)
            // Set apart from claims, in both orders.
            try await store.setLimit(limit(3, 8), tenant: tenant)
            try await store.setLimit(limit(0, 7), tenant: tenant)
            #expect(try await subject.peer.claim(.new(tenant), limit: limit(2, 6)) == .claimed)
            #expect(try await subject.peer.claim(.new(tenant), limit: limit(2, 6)) == .full(3, tenant))
            // A refused claim has stated its limit as well.
            #expect(try await store.claim(.new(tenant), limit: limit(2, 9)) == .full(2, tenant))
            #expect(try await store.claim(.new(tenant), limit: limit(50, 8)) == .full(2, tenant))
            // For a tenant that has never been seen.
            let fresh = TenantID(UUID())
            try await store.setLimit(limit(0, 3), tenant: fresh)
            #expect(try await store.claim(.new(fresh), limit: limit(9, 2)) == .full(0, fresh))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aLimitBelowTheUseRefusesUntilEnoughAreReleased(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let leases = (0..<3).map { _ in Lease.new(tenant) }
            for lease in leases { #expect(try await subject.store.claim(lease, limit: limit(3)) == .claimed) }
            try await subject.peer.setLimit(limit(1, 2), tenant: tenant)
            for lease in leases {
                #expect(try await subject.store.claim(.new(tenant), limit: limit(3)) == .full(1, tenant))
                #expect(try await subject.store.release(lease, status: .new(lease)) == .released)
            }
            #expect(try await subject.store.claim(.new(tenant), limit: limit(3)) == .claimed)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func noLimitIsNoLimit(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            for _ in 0..<30 { #expect(try await subject.store.claim(.new(tenant), limit: unlimited) == .claimed) }
            #expect(try await subject.store.claim(.new(tenant), limit: limit(5, 2)) == .full(5, tenant))
            #expect(try await subject.store.claim(.new(tenant), limit: limit(nil, 3)) == .claimed)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func renewingRaisesTheUseAndNeverLowersIt(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            var lease = Lease.new(tenant)
            #expect(try await subject.store.renew(lease) == false)
            #expect(try await subject.store.claim(lease, limit: unlimited) == .claimed)
            lease.usedMilliseconds = 60_000
            lease.connection = ConnectionID(UUID())
            #expect(try await subject.store.renew(lease))
            #expect(try await subject.peer.leases(of: tenant) == [lease])
            var late = lease
            late.usedMilliseconds = 59_000
            #expect(try await subject.store.renew(late))
            #expect(try await subject.peer.leases(of: tenant) == [lease])
            #expect(try await subject.store.renew(lease.reclaimed()) == false)
            _ = try await subject.store.release(lease, status: .new(lease))
            #expect(try await subject.store.renew(lease) == false)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func leasesAreListedByTenantAndByEpoch(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (mine, others) = (NodeEpoch.new("a"), NodeEpoch.new("a"))
            let leases = [3, 1, 2].map { Lease.new(tenant, holder: $0 == 2 ? others : mine, claimedAt: moment($0)) }
            let elsewhere = Lease.new(TenantID(UUID()), holder: mine, claimedAt: moment(9))
            for lease in leases + [elsewhere] { _ = try await subject.store.claim(lease, limit: unlimited) }
            #expect(try await subject.peer.leases(of: tenant) == [leases[1], leases[2], leases[0]])
            let held = try await subject.peer.leases(heldBy: mine)
            #expect(Set(held.map(\.session)) == Set([leases[0], leases[1], elsewhere].map(\.session)))
            #expect(try await subject.peer.leases(heldBy: others) == [leases[2]])
            #expect(try await subject.peer.leases(heldBy: .new("a")).isEmpty)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aNodesUseIsCountedByTenant(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (mine, others, elsewhere) = (NodeEpoch.new("a"), NodeEpoch.new("a"), TenantID(UUID()))
            let leases = (0..<3).map { _ in Lease.new(tenant, holder: mine) }
            for lease in leases + [.new(elsewhere, holder: mine), .new(tenant, holder: others)] {
                _ = try await subject.store.claim(lease, limit: unlimited)
            }
            #expect(try await subject.peer.sessions(heldBy: mine) == [tenant: 3, elsewhere: 1])
            #expect(try await subject.peer.sessions(heldBy: others) == [tenant: 1])
            #expect(try await subject.peer.sessions(heldBy: .new("a")) == [:])
            for lease in leases.dropLast() { _ = try await subject.store.release(lease, status: .new(lease)) }
            #expect(try await subject.peer.sessions(heldBy: mine) == [tenant: 1, elsewhere: 1])
        }
    }

    /// A node that has started again is there twice until what it held before is free: the last one is the one that serves.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func nodesAreListedInTheOrderOfTheirStarts(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let epochs = [NodeEpoch.new("a"), .new("b"), .new("a")]
            func beat(_ epoch: NodeEpoch) async throws {
                try await subject.store.heartbeat(
                    NodeRecord(epoch: epoch, heartbeat: UUID(), address: "", region: "", version: ""))
            }
            for epoch in epochs {
                try await beat(epoch)
                // A store may know its starts to the millisecond.
                try await Task.sleep(for: .milliseconds(5))
            }
            try await beat(epochs[0])
            #expect(try await subject.peer.nodes().map(\.epoch) == epochs)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aWrongCounterIsRepaired(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            #expect(try await subject.store.repairCount(of: tenant) == 0)
            for _ in 0..<3 { _ = try await subject.store.claim(.new(tenant), limit: limit(5)) }
            try await subject.breakCounter(.tenant(tenant), 2)
            #expect(try await subject.store.claim(.new(tenant), limit: limit(5)) == .full(5, tenant))
            #expect(try await subject.store.repairCount(of: tenant) == 2)
            #expect(try await subject.store.repairCount(of: tenant) == 0)
            #expect(try await subject.store.claim(.new(tenant), limit: limit(5)) == .claimed)
            try await subject.breakCounter(.tenant(tenant), -3)
            #expect(try await subject.peer.repairCount(of: tenant) == -3)
            #expect(try await subject.store.claim(.new(tenant), limit: limit(5)) == .claimed)
            #expect(try await subject.store.claim(.new(tenant), limit: limit(5)) == .full(5, tenant))
        }
    }
}
