import AWS
import EventLoops
import Foundation
import HTTPClient
import Hansard
import Testing

@testable import HansardServer

/// Many rounds on two nodes while requests fail in every way, and how many requests there are when none does.
@Suite(.timeLimit(.minutes(10))) struct DynamoDBStormTests {
    private typealias Fate = FaultyTransport.Fate

    private static let fates: [Fate] = [
        .notSent, .answerLost, .late, .answers(500, "InternalServerError"), .answers(503, "ServiceUnavailable"),
        .answers(400, "ThrottlingException"), .answers(400, "TransactionInProgressException"),
        .answers(400, "ExpiredTokenException"),
    ]

    /// Another fate for every fourth request, the same in each run.
    private static func storm(seed: UInt64) -> @Sendable (String, Int) -> Fate {
        { operation, number in
            var random = SeededGenerator(seed: seed &* 0x1_0000_0001 &+ UInt64(number))
            guard Int.random(in: 0..<4, using: &random) == 0 else { return .works }
            if operation == "TransactWriteItems", Int.random(in: 0..<4, using: &random) == 0 {
                return .cancels("TransactionConflict")
            }
            return fates[Int.random(in: 0..<fates.count, using: &random)]
        }
    }

    private struct Tally {
        var rounds = 0
        var claimed = 0
        var refused: Set<UUID> = []
        var unanswered = 0
        var mostHeld = 0
    }

    @Test func aThousandRoundsInAStormLeaveTheCounterExact() async throws {
        let one = try await FaultFixture.make(attempts: 2)
        let other = try one.node(attempts: 3)
        one.faults.set(Self.storm(seed: 1))
        other.faults.set(Self.storm(seed: 2))
        let tenants = (0..<2).map { _ in TenantID(UUID()) }
        let limit = AdmissionLimit(sessions: 4, version: 1)
        let tally = Locked(Tally())
        try await withThrowingTaskGroup { group in
            for caller in 0..<10 {
                let node = caller.isMultiple(of: 2) ? one : other
                group.addTask {
                    var random = SeededGenerator(seed: UInt64(caller) + 100)
                    for _ in 0..<100 {
                        let lease = Lease.new(tenants[Int.random(in: 0..<2, using: &random)])
                        let isPatient = Bool.random(using: &random)
                        let outcome = try await Self.claim(lease, limit, node.store, attempts: isPatient ? 3 : 1)
                        let isWatched = Int.random(in: 0..<10, using: &random) == 0
                        let held = isWatched ? try await one.peer.leases(of: lease.tenant).count : 0
                        if Int.random(in: 0..<8, using: &random) == 0 { try await node.faults.deliverLate() }
                        tally.withLock { tally in
                            tally.rounds += 1
                            tally.mostHeld = max(tally.mostHeld, held)
                            switch outcome {
                            case .claimed: tally.claimed += 1
                            case nil: tally.unanswered += 1
                            default: tally.refused.insert(lease.nonce)
                            }
                        }
                        guard outcome == .claimed || outcome == nil else { continue }
                        if Int.random(in: 0..<5, using: &random) == 0 {
                            _ = try? await one.peer.reap(lease, status: .new(lease, .interrupted))
                        }
                        try await Self.release(lease, node.store)
                    }
                }
            }
            try await group.waitForAll()
        }
        for node in [one, other] { try await node.faults.deliverLate() }
        let seen = tally.withLock { $0 }
        #expect(seen.rounds == 1_000 && seen.claimed > 200 && seen.unanswered > 0 && !seen.refused.isEmpty)
        #expect(seen.mostHeld <= 4)
        for tenant in tenants {
            let left = try await one.peer.leases(of: tenant)
            // Only what was refused and arrived later: that is for the audit.
            #expect(left.allSatisfy { seen.refused.contains($0.nonce) } && left.count <= 4)
            #expect(try await one.peer.repairCount(of: tenant) == 0)
            for lease in left { #expect(try await one.peer.reap(lease, status: .abandoned(lease, now: moment(0)))) }
            let counter = try await one.table.get(DynamoDBItems.counterKey(tenant))
            #expect(counter?["n"] == 0)
        }
    }

    private static func claim(
        _ lease: Lease, _ limit: AdmissionLimit, _ store: DynamoDBConnectionStore, attempts: Int
    ) async throws -> ClaimOutcome? {
        for _ in 0..<attempts {
            do {
                return try await store.claim(lease, limit: limit)
            } catch let error as HansardError where error.code == .unavailable {}
        }
        return nil
    }

    /// As the node does: until it is done.
    private static func release(_ lease: Lease, _ store: DynamoDBConnectionStore) async throws {
        for _ in 0..<100 {
            do {
                _ = try await store.release(lease, status: .new(lease))
                return
            } catch let error as HansardError where error.code == .unavailable {}
        }
        Issue.record("a release that failed a hundred times")
    }

    // MARK: Requests

    @Test func claimAndReleaseAreOneRequestEach() async throws {
        let fixture = try await FaultFixture.make()
        let limit = AdmissionLimit(sessions: 100, version: 1)
        let first = Lease.new(TenantID(UUID()))
        #expect(try await fixture.store.claim(first, limit: limit) == .claimed)
        #expect(fixture.faults.operations == ["TransactWriteItems", "TransactWriteItems"], "a tenant's first")
        for round in 0..<3 {
            fixture.faults.forget()
            let lease = Lease.new(first.tenant)
            #expect(try await fixture.store.claim(lease, limit: limit) == .claimed)
            #expect(try await fixture.store.renew(lease))
            #expect(try await fixture.store.release(lease, status: .new(lease)) == .released)
            #expect(
                fixture.faults.operations == ["TransactWriteItems", "UpdateItem", "TransactWriteItems"], "\(round)")
            let bytes = fixture.faults.sent.map(\.bytes)
            #expect(bytes[0] < 1_900 && bytes[1] < 1_300 && bytes[2] < 2_300, "\(bytes)")
        }
        fixture.faults.forget()
        #expect(try await fixture.store.reap(first, status: .new(first, .interrupted)))
        try await fixture.store.heartbeat(
            NodeRecord(epoch: first.holder, heartbeat: UUID(), address: "", region: "", version: ""))
        #expect(fixture.faults.operations == ["TransactWriteItems", "UpdateItem"])
    }

    @Test func claimsThatWaitAreOneRequest() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let limit = AdmissionLimit(sessions: 60, version: 1)
        for (round, expected) in [(0, ["GetItem", "TransactWriteItems"]), (1, ["TransactWriteItems"])] {
            // The first has the lane, and 25 wait behind it.
            let gate = Locked<[CheckedContinuation<Void, Never>]>([])
            fixture.faults.forget()
            fixture.faults.beforeSending = { _, number in
                guard number == 0 else { return }
                await withCheckedContinuation { continuation in gate.withLock { $0.append(continuation) } }
            }
            let first = Task { try await fixture.store.claim(.new(tenant), limit: limit) }
            try await eventually("the first is sent") { gate.withLock { !$0.isEmpty } }
            let waiting = (0..<25).map { _ in Task { try await fixture.store.claim(.new(tenant), limit: limit) } }
            try await eventually("they wait") { await fixture.store.lanes.waitingCount(tenant) == 25 }
            for continuation in gate.withLock({ $0 }) { continuation.resume() }
            for task in [first] + waiting { #expect(try await task.value == .claimed) }
            let firsts = round == 0 ? 2 : 1
            #expect(Array(fixture.faults.operations.dropFirst(firsts)) == expected, "round \(round)")
            let bytes = try #require(fixture.faults.sent.map(\.bytes).max())
            #expect(bytes < 700 * 25 + 1_000, "\(bytes)")
        }
        #expect(try await fixture.store.claim(.new(tenant), limit: limit) == .claimed)
        #expect(try await fixture.peer.leases(of: tenant).count == 53)
        #expect(try await fixture.peer.repairCount(of: tenant) == 0)
    }

    @Test func aRefusalIsOneRequestAndARaiseTwo() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let one = AdmissionLimit(sessions: 1, version: 1)
        #expect(try await fixture.store.claim(.new(tenant), limit: one) == .claimed)
        fixture.faults.forget()
        #expect(try await fixture.store.claim(.new(tenant), limit: one) == .full(1, tenant))
        #expect(fixture.faults.sent.count == 1)
        let two = AdmissionLimit(sessions: 2, version: 2)
        #expect(try await fixture.store.claim(.new(tenant), limit: two) == .claimed)
        #expect(fixture.faults.sent.count <= 3)
        #expect(try await fixture.store.claim(.new(tenant), limit: two) == .full(2, tenant))
    }

    // MARK: Hands

    /// What a hand has done to a counter, the audit puts right, and no claim goes wrong until then.
    @Test(
        arguments: [
            nil, [:], ["n": 1], ["n": 1, "lim": 9, "version": 1], ["lim": 9, "version": 1, "changes": 4],
            ["n": -7, "lim": 9, "version": 1, "changes": 4], ["n": 900, "lim": 9, "version": 1, "changes": 4],
        ] as [DynamoDBItem?])
    func theAuditPutsABrokenCounterRight(_ broken: DynamoDBItem?) async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let limit = AdmissionLimit(sessions: 3, version: 1)
        for _ in 0..<2 { #expect(try await fixture.peer.claim(.new(tenant), limit: limit) == .claimed) }
        let key = DynamoDBItems.counterKey(tenant)
        let change = broken.map { DynamoDBWrite(.put(key.merging($0) { $1 })) } ?? DynamoDBWrite(.delete(key: key))
        _ = try await fixture.table.write(change)
        let counted = broken?["n"]?.integer ?? 0
        #expect(try await fixture.peer.repairCount(of: tenant) == Int(counted) - 2)
        #expect(try await fixture.peer.repairCount(of: tenant) == 0)
        let newer = AdmissionLimit(sessions: 3, version: 2)
        #expect(try await fixture.store.claim(.new(tenant), limit: newer) == .claimed)
        #expect(try await fixture.store.claim(.new(tenant), limit: newer) == .full(3, tenant))
        #expect(try await fixture.miscount(tenant) == 0)
    }
}

extension TransferRequest {
    /// About what goes over the wire.
    fileprivate var bytes: Int {
        headers.reduce(body.count + 60) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
    }
}
