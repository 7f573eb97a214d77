import AWS
import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// Items that a hand has damaged, and what the others are made of.
@Suite(.timeLimit(.minutes(10))) struct DynamoDBItemTests {
    private let unlimited = AdmissionLimit(sessions: nil, version: 1)

    private func put(_ item: DynamoDBItem, _ fixture: FaultFixture) async throws {
        #expect(try await fixture.table.write(DynamoDBWrite(.put(item))) == .done)
    }

    private func watched(_ store: DynamoDBConnectionStore) -> (DynamoDBConnectionStore, Locked<[String: String]>) {
        let found = Locked<[String: String]>([:])
        var store = store
        store.unreadable = { key, error in found.withLock { $0[key] = describe(error) } }
        return (store, found)
    }

    // MARK: Damage

    /// What is needed to free it is there.
    @Test(arguments: ["address", "region", "key_id", "connection_id", "claimed_at", "used_ms"])
    func aDamagedLeaseIsFreedLikeAnother(_ attribute: String) async throws {
        let fixture = try await FaultFixture.make()
        let (store, found) = watched(fixture.store)
        let (tenant, dead) = (TenantID(UUID()), NodeEpoch.new())
        let (damaged, good) = (Lease.new(tenant, holder: dead), Lease.new(tenant, holder: dead))
        for lease in [damaged, good] { #expect(try await store.claim(lease, limit: unlimited) == .claimed) }
        var item = damaged.item
        item[attribute] = .bool(true)
        try await put(item, fixture)
        let metrics = Metrics()
        var reaper = LeaseReaper(
            connections: store, transcripts: MemoryTranscriptStore(), metrics: metrics, logger: LogRecorder().logger)
        reaper.lookInterval = .milliseconds(1)
        await reaper.reap(dead)
        #expect(metrics.leasesReaped.value == 2)
        #expect(try await fixture.peer.leases(of: tenant).isEmpty)
        #expect(try await fixture.miscount(tenant) == 0)
        #expect(try await store.status(of: damaged.session)?.state == .interrupted)
        let key = "T#\(tenant) / L#\(damaged.session)"
        #expect(found.withLock { $0 } == [key: "internal: a lease item has no readable \(attribute)"])
    }

    /// Nobody can give it back, so it holds no slot.
    @Test(arguments: [("nonce", true), ("nonce", "x"), ("node_epoch", "x")] as [(String, AttributeValue)])
    func whatIsNoLeaseIsLeftOut(_ attribute: String, _ value: AttributeValue) async throws {
        let fixture = try await FaultFixture.make()
        let (store, found) = watched(fixture.store)
        let (tenant, dead) = (TenantID(UUID()), NodeEpoch.new())
        let good = Lease.new(tenant, holder: dead)
        #expect(try await store.claim(good, limit: unlimited) == .claimed)
        var item = Lease.new(tenant, holder: dead).item
        item[attribute] = value
        try await put(item, fixture)
        #expect(try await store.leases(of: tenant) == [good])
        #expect(try await store.leases(heldBy: dead) == [good])
        #expect(try await store.repairCount(of: tenant) == 0)
        #expect(found.withLock { $0.count } == 1)
    }

    @Test func aDamagedNodeIsKnownAndHidesNoOther() async throws {
        let fixture = try await FaultFixture.make()
        let (store, found) = watched(fixture.store)
        let good = NodeRecord(epoch: .new("good"), heartbeat: UUID(), address: "a", region: "r", version: "1")
        try await store.heartbeat(good)
        let damaged = NodeEpoch.new("damaged")
        func beat(_ value: AttributeValue?) async throws -> UUID? {
            var item = DynamoDBItems.nodeKey(damaged)
            item["rvn"] = value
            try await put(item, fixture)
            let records = try await store.nodes()
            #expect(records.contains(good) && records.count == 2)
            return records.first { $0.epoch == damaged }?.heartbeat
        }
        let beats = [try await beat("not-a-uuid"), try await beat("another"), try await beat(7), try await beat(nil)]
        #expect(Set(beats.compactMap(\.self)).count == 4, "a change shows, whatever its form")
        #expect(try await beat("another") == beats[1], "and so does silence")
        try await put(["pk": DynamoDBItems.nodesKey, "sk": "no epoch"], fixture)
        #expect(try await store.nodes().count == 2)
        #expect(Set(found.withLock { $0.keys }) == ["NODES / \(damaged)", "NODES / no epoch"])
    }

    @Test func aCounterThatIsNoNumberIsPutRight() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        #expect(try await fixture.peer.claim(.new(tenant), limit: unlimited) == .claimed)
        for damage in [["n": "one"], ["changes": "one"], ["n": "one", "changes": true]] as [DynamoDBItem] {
            let counter = try #require(try await fixture.table.get(DynamoDBItems.counterKey(tenant)))
            try await put(counter.merging(damage) { $1 }, fixture)
            _ = try await fixture.store.repairCount(of: tenant)
            if damage["n"] != nil { #expect(try await fixture.miscount(tenant) == 0) }
        }
        #expect(try await fixture.store.claim(.new(tenant), limit: unlimited) == .claimed)
        #expect(try await fixture.miscount(tenant) == 0)
    }

    @Test func eachUnreadableItemIsCountedAndToldOnce() {
        let (metrics, log) = (Metrics(), LogRecorder())
        let items = UnreadableItems(metrics: metrics, logger: log.logger)
        for _ in 0..<3 {
            for key in ["a", "b"] { items.found(key, HansardError(.internal, "no readable rvn")) }
        }
        #expect(metrics.unreadableItems.value == 2)
        #expect(log.count(of: "an item of the connection store cannot be read", atLeast: .error) == 2)
        #expect(metrics.page([]).contains("hansard_unreadable_items_total 2"))
        for number in 0..<(2 * UnreadableItems.limit) { items.found("\(number)", HansardError(.internal, "")) }
        #expect(metrics.unreadableItems.value == UnreadableItems.limit)
    }

    // MARK: The audit's exactness

    /// A claim before the leases are read and a release after leave the count as it was, and the leases one fewer than
    /// were read: only `changes` shows it.
    @Test func aRepairSeesAClaimAndAReleaseThatCancelOut() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        let held = (0..<2).map { _ in Lease.new(tenant) }
        for lease in held { #expect(try await fixture.peer.claim(lease, limit: unlimited) == .claimed) }
        let change = DynamoDBExpression("ADD n :d", ["d": 3])
        _ = try await fixture.table.write(DynamoDBWrite(.update(key: DynamoDBItems.counterKey(tenant), change)))
        fixture.faults.forget()
        fixture.faults.beforeSending = { [unlimited] operation, number in
            if operation == "Query", number == 1 { _ = try await fixture.peer.claim(.new(tenant), limit: unlimited) }
            if operation == "UpdateItem", number == 2 {
                _ = try await fixture.peer.release(held[0], status: .new(held[0]))
            }
        }
        #expect(try await fixture.store.repairCount(of: tenant) == 3)
        #expect(fixture.faults.operations == ["GetItem", "Query", "UpdateItem", "GetItem", "Query", "UpdateItem"])
        #expect(try await fixture.miscount(tenant) == 0)
        #expect(try await fixture.peer.leases(of: tenant).count == 2)
    }

    @Test func everyChangeOfACounterMovesChanges() async throws {
        let fixture = try await FaultFixture.make()
        let tenant = TenantID(UUID())
        var seen: Int64 = 0
        func expectMoved(_ what: String) async throws {
            let changes = try await fixture.table.get(DynamoDBItems.counterKey(tenant))?["changes"]?.integer ?? 0
            #expect(changes == seen + 1, "\(what)")
            seen = changes
        }
        let leases = (0..<4).map { _ in Lease.new(tenant) }
        #expect(try await fixture.store.claim(leases[0], limit: unlimited) == .claimed)
        try await expectMoved("a tenant's first claim")
        #expect(try await fixture.store.claim(leases[1], limit: unlimited) == .claimed)
        try await expectMoved("a claim")
        let newer = AdmissionLimit(sessions: 4, version: 2)
        #expect(try await fixture.store.claim(leases[2], limit: newer) == .claimed)
        try await expectMoved("a claim that raises the limit")
        #expect(try await fixture.store.release(leases[0], status: .new(leases[0])) == .released)
        try await expectMoved("a release")
        #expect(try await fixture.store.reap(leases[1], status: .new(leases[1], .interrupted)))
        try await expectMoved("a reaping")
        let change = DynamoDBExpression("ADD n :d", ["d": 3])
        _ = try await fixture.table.write(DynamoDBWrite(.update(key: DynamoDBItems.counterKey(tenant), change)))
        #expect(try await fixture.store.repairCount(of: tenant) == 3)
        try await expectMoved("a repair")
    }

    /// DynamoDB removes it after that; until then no claim that was delayed may land.
    @Test func aTombstoneLiesForTenMinutes() async throws {
        let fixture = try await FaultFixture.make()
        var surroundings = DynamoDBConnectionStore.Surroundings()
        surroundings.date = { moment(0) }
        let store = DynamoDBConnectionStore(table: fixture.table, surroundings: surroundings)
        let tenant = TenantID(UUID())
        let (released, reaped, never) = (Lease.new(tenant), Lease.new(tenant), Lease.new(tenant))
        for lease in [released, reaped] { #expect(try await store.claim(lease, limit: unlimited) == .claimed) }
        #expect(try await store.release(released, status: .new(released)) == .released)
        #expect(try await store.reap(reaped, status: .new(reaped, .interrupted)))
        #expect(try await store.release(never, status: .new(never)) == .alreadyGone)
        for lease in [released, reaped, never] {
            let grave = try await fixture.table.get(DynamoDBItems.leaseKey(tenant, lease.session))
            #expect(grave?["ttl"]?.integer == Int64(moment(600).timeIntervalSince1970) && grave?["nonce"] == nil)
        }
    }
}
