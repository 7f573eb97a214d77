import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Limits that change without a claim.
@Suite(.timeLimit(.minutes(10))) struct StatedLimitsTests {
    let connections = MemoryConnectionStore()
    let tenants = MemoryTenantStore()
    let log = LogRecorder()

    private func tenant(_ id: TenantID, _ sessions: Int?, version: Int64) -> Tenant {
        Tenant(
            id: id, name: "\(id)", quotas: QuotaLimits(maxConcurrentSessions: sessions, version: version),
            createdAt: moment(0))
    }

    private func snapshot(_ sequence: Int64, _ tenants: [Tenant]) -> AccessSnapshot {
        AccessSnapshot(position: Sample.position(sequence), tenants: tenants, keys: [])
    }

    @Test func onlyNewerLimitsOfTenantsThatHaveClaimedAreDue() {
        let limits = StatedLimits()
        let (seen, unseen) = (Sample.tenant, Sample.otherTenant)
        limits.stated(3, of: .tenant(seen))
        limits.stated(2, of: .tenant(seen))
        #expect(limits.due(in: snapshot(1, [tenant(seen, 5, version: 3), tenant(unseen, 5, version: 9)])).isEmpty)
        let changed = snapshot(2, [tenant(seen, 4, version: 4), tenant(unseen, 5, version: 9)])
        for _ in 0..<2 {
            let due = limits.due(in: changed)
            #expect(due.count == 1 && due.first?.owner == .tenant(seen))
            #expect(due.first?.limit == AdmissionLimit(sessions: 4, version: 4), "until it is stated")
        }
        limits.stated(4, of: .tenant(seen))
        #expect(limits.due(in: changed).isEmpty)
        #expect(limits.due(in: snapshot(3, [])).isEmpty, "a tenant that is gone is forgotten")
        #expect(limits.due(in: snapshot(4, [tenant(seen, 1, version: 9)])).isEmpty)
    }

    @Test func limitsOfKeysAreStatedToo() {
        let limits = StatedLimits()
        var (digest, key) = Sample.apiKey(1)
        limits.stated(1, of: .key(key.id))
        key.quotas = QuotaLimits(maxConcurrentSessions: 3, maxNewSessionsPerMinute: 2, version: 2)
        func snapshot(_ sequence: Int64) -> AccessSnapshot {
            AccessSnapshot(position: Sample.position(sequence), tenants: [], keys: [(digest, key)])
        }
        #expect(limits.due(in: snapshot(1)).map(\.owner) == [.key(key.id)])
        #expect(limits.due(in: snapshot(1)).map(\.limit) == [AdmissionLimit(sessions: 3, newPerMinute: 2, version: 2)])
        limits.stated(2, of: .key(key.id))
        #expect(limits.due(in: snapshot(2)).isEmpty)
        // Taken away, they are stated as well: the store would refuse by the old ones.
        key.quotas = QuotaLimits(version: 3)
        #expect(limits.due(in: snapshot(3)).map(\.limit) == [AdmissionLimit(sessions: nil, version: 3)])
    }

    @Test func manyAreStatedOverSeveralLooks() {
        let limits = StatedLimits()
        let ids = (0..<(2 * StatedLimits.perLook + 1)).map { _ in TenantID(UUID()) }
        for id in ids { limits.stated(1, of: .tenant(id)) }
        let changed = snapshot(1, ids.map { tenant($0, 1, version: 2) })
        var looks: [Int] = []
        while case let due = limits.due(in: changed), !due.isEmpty {
            looks.append(due.count)
            for (id, limit) in due { limits.stated(limit.version, of: id) }
        }
        #expect(looks == [StatedLimits.perLook, StatedLimits.perLook, 1])
    }

    /// While the store is away it is tried again.
    @Test func aChangeReachesTheStoreWithoutAClaim() async throws {
        tenants.set(tenants: [tenant(Sample.tenant, 5, version: 1)], keys: [])
        let access = AccessDirectory(store: tenants, logger: log.logger)
        try await access.refresh()
        let limits = StatedLimits()
        limits.stated(1, of: .tenant(Sample.tenant))
        connections.faults.set { name, number in name == "setLimit" && number == 0 ? .away : .works }
        let task = Task { [connections, log] in
            await limits.keepStating(from: access, to: connections, logger: log.logger)
        }
        tenants.set(tenants: [tenant(Sample.tenant, 2, version: 2)], keys: [])
        try await access.refresh()
        try await eventually("it is stated") {
            connections.stored.limits[.tenant(Sample.tenant)] == AdmissionLimit(sessions: 2, version: 2)
        }
        task.cancel()
        await task.value
        #expect(connections.faults.calls == ["setLimit", "setLimit"])
    }
}
