import Foundation
import Hansard
import Testing

@testable import HansardServer

/// New sessions in a minute, and limits of keys: what every `ConnectionStore` must do.
@Suite struct ConnectionStoreQuotaContract {
    private let tenant = TenantID(UUID())
    private let key = KeyID("key_\(UUID())")

    private func limits(
        sessions: Int? = nil, perMinute: Int? = nil, version: Int64 = 1, key: AdmissionLimit? = nil
    ) -> ClaimLimits {
        ClaimLimits(tenant: AdmissionLimit(sessions: sessions, newPerMinute: perMinute, version: version), key: key)
    }

    private func lease(_ second: Int = 0, key: KeyID? = nil) -> Lease {
        var lease = Lease.new(tenant, claimedAt: moment(second))
        lease.key = key ?? self.key
        return lease
    }

    private func begun(_ limit: Int, key: KeyID? = nil) -> ClaimOutcome {
        .limitReached(
            LimitReached(owner: key.map { .key($0) } ?? .tenant(tenant), kind: .newSessionsPerMinute, limit: limit))
    }

    private func full(_ limit: Int, key: KeyID) -> ClaimOutcome {
        .limitReached(LimitReached(owner: .key(key), kind: .concurrentSessions, limit: limit))
    }

    /// Claims at once on two nodes.
    private func claim(
        _ leases: [Lease], _ limits: ClaimLimits, _ subject: ConnectionStoreSubject
    ) async throws -> [ClaimOutcome] {
        try await withThrowingTaskGroup(of: ClaimOutcome.self) { group in
            for (number, lease) in leases.enumerated() {
                let store = number.isMultiple(of: 2) ? subject.store : subject.peer
                group.addTask {
                    for _ in 0..<20 {
                        do {
                            return try await store.claim(lease, limits: limits)
                        } catch let error as HansardError where error.isContention {}
                    }
                    return try await store.claim(lease, limits: limits)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    // MARK: Minutes

    @Test(arguments: ConnectionStoreConformer.allCases)
    func ofTwoHundredAtOnceExactlyAsManyBeginAsTheMinuteAllows(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let outcomes = try await claim((0..<200).map { _ in lease() }, limits(perMinute: 50), subject)
            #expect(outcomes.count { $0 == .claimed } == 50)
            #expect(outcomes.count { $0 == begun(50) } == 150)
            #expect(try await subject.peer.newSessions(of: .tenant(tenant), inMinuteOf: moment(0)) == 50)
            #expect(try await subject.store.leases(of: tenant).count == 50)
            #expect(try await subject.peer.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func eachMinuteHasItsOwnCountAndNothingGivesItBack(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            let two = limits(perMinute: 2)
            // The first moment of a minute is its own.
            let start = Int(60 - moment(0).timeIntervalSince1970.truncatingRemainder(dividingBy: 60)) % 60
            let first = lease(start)
            #expect(try await store.claim(first, limits: two) == .claimed)
            #expect(try await store.claim(lease(start + 59), limits: two) == .claimed)
            #expect(try await store.claim(lease(start + 30), limits: two) == begun(2))
            #expect(try await store.release(first, status: .new(first)) == .released)
            #expect(try await subject.peer.claim(lease(start + 1), limits: two) == begun(2))
            #expect(try await store.claim(lease(start + 60), limits: two) == .claimed)
            #expect(try await store.claim(lease(start - 1), limits: two) == .claimed)
            #expect(try await store.repairCount(of: tenant) == 0)
            for (second, count) in [
                (start - 61, 0), (start - 60, 1), (start - 1, 1), (start, 2), (start + 59, 2), (start + 60, 1),
            ] {
                #expect(try await store.newSessions(of: .tenant(tenant), inMinuteOf: moment(second)) == count)
            }
            #expect(try await store.newSessions(of: .key(key), inMinuteOf: moment(start)) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRepeatedClaimBeginsOnceAndARefusedOneNever(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let lease = lease()
            let three = limits(sessions: 1, perMinute: 3)
            for _ in 0..<4 { #expect(try await subject.store.claim(lease, limits: three) == .claimed) }
            // Refused for want of room, they have not begun.
            for _ in 0..<4 { #expect(try await subject.peer.claim(self.lease(), limits: three) == .full(1, tenant)) }
            #expect(try await subject.peer.claim(lease.reclaimed(), limits: three) == .superseded)
            let more = limits(sessions: 9, perMinute: 3, version: 2)
            for _ in 0..<2 { #expect(try await subject.store.claim(self.lease(), limits: more) == .claimed) }
            #expect(try await subject.store.claim(self.lease(), limits: more) == begun(3))
            // Refused for the minute, it holds no slot, and may be claimed in the next.
            #expect(try await subject.store.leases(of: tenant).count == 3)
            #expect(try await subject.store.repairCount(of: tenant) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func theMinutesLimitOfHighestVersionCounts(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            #expect(try await store.claim(lease(), limits: limits(perMinute: 1, version: 5)) == .claimed)
            #expect(try await store.claim(lease(), limits: limits(perMinute: 9, version: 4)) == begun(1))
            #expect(try await store.claim(lease(), limits: limits(version: 4)) == begun(1))
            #expect(try await store.claim(lease(), limits: limits(perMinute: 2, version: 6)) == .claimed)
            // A refused claim has stated its limit as well.
            #expect(try await store.claim(lease(), limits: limits(perMinute: 0, version: 7)) == begun(0))
            #expect(try await subject.peer.claim(lease(), limits: limits(perMinute: 9, version: 6)) == begun(0))
            try await store.setLimit(AdmissionLimit(sessions: nil, version: 8), tenant: tenant)
            for _ in 0..<3 {
                #expect(try await subject.peer.claim(lease(), limits: limits(perMinute: 0, version: 7)) == .claimed)
            }
            try await store.setLimit(AdmissionLimit(sessions: nil, newPerMinute: 0, version: 9), tenant: tenant)
            #expect(try await subject.peer.claim(lease(), limits: limits(version: 8)) == begun(0))
        }
    }

    // MARK: Keys

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aKeysLimitIsItsOwn(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            let ofKey = limits(sessions: 9, key: AdmissionLimit(sessions: 2, version: 1))
            let leases = [lease(), lease()]
            for lease in leases { #expect(try await store.claim(lease, limits: ofKey) == .claimed) }
            #expect(try await subject.peer.claim(lease(), limits: ofKey) == full(2, key: key))
            let other = KeyID("key_\(UUID())")
            #expect(try await store.claim(lease(key: other), limits: ofKey) == .claimed)
            // A key without limits, beside.
            #expect(try await store.claim(lease(key: KeyID("key_\(UUID())")), limits: limits(sessions: 9)) == .claimed)
            #expect(try await store.leases(of: tenant).count == 4)
            // What the store has says that the key counts it; the holder need not remember.
            #expect(Set(try await store.leases(of: tenant).map(\.countsKey)) == [true, false])
            #expect(try await store.release(leases[0], status: .new(leases[0])) == .released)
            #expect(try await store.claim(lease(), limits: ofKey) == .claimed)
            #expect(try await subject.peer.reap(leases[1], status: .new(leases[1], .interrupted)))
            #expect(try await store.claim(lease(), limits: ofKey) == .claimed)
            #expect(try await store.claim(lease(), limits: ofKey) == full(2, key: key))
            for owner in [QuotaOwner.tenant(tenant), .key(key), .key(other), .key(KeyID("key_none"))] {
                #expect(try await subject.peer.repairCount(of: owner) == 0)
            }
        }
    }

    /// What counts in neither, or in both.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRefusalCountsNowhere(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            let key1 = AdmissionLimit(sessions: 5, newPerMinute: 2, version: 1)
            #expect(try await store.claim(lease(), limits: limits(sessions: 1, perMinute: 3, key: key1)) == .claimed)
            for _ in 0..<3 {
                let outcome = try await store.claim(lease(), limits: limits(sessions: 1, perMinute: 3, key: key1))
                #expect(outcome == .full(1, tenant))
            }
            let wide = limits(sessions: 9, perMinute: 3, version: 2, key: key1)
            #expect(try await store.claim(lease(), limits: wide) == .claimed)
            for _ in 0..<3 { #expect(try await store.claim(lease(), limits: wide) == begun(2, key: key)) }
            // The key's refusals have not begun for the tenant.
            #expect(try await store.claim(lease(key: KeyID("key_\(UUID())")), limits: limits(version: 1)) == .claimed)
            #expect(try await store.claim(lease(key: KeyID("key_\(UUID())")), limits: limits(version: 1)) == begun(3))
            for owner in [QuotaOwner.tenant(tenant), .key(key)] {
                #expect(try await subject.peer.repairCount(of: owner) == 0)
            }
        }
    }

    /// They count what begins from then on, and give back what they counted.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func limitsOfAKeyThatComeAndGo(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            let (before, counted, after) = (lease(), lease(), lease())
            #expect(try await store.claim(before, limits: limits()) == .claimed)
            let one = limits(key: AdmissionLimit(sessions: 1, version: 2))
            #expect(try await store.claim(counted, limits: one) == .claimed)
            #expect(try await store.claim(after, limits: one) == full(1, key: key))
            #expect(try await store.claim(after, limits: limits()) == .claimed)
            for lease in [before, after] { #expect(try await store.release(lease, status: .new(lease)) == .released) }
            #expect(try await store.claim(lease(), limits: one) == full(1, key: key))
            #expect(try await store.release(counted, status: .new(counted)) == .released)
            #expect(try await store.repairCount(of: .key(key)) == 0)
            // Versions are the key's own.
            try await store.setLimit(AdmissionLimit(sessions: 0, version: 3), owner: .key(key))
            try await store.setLimit(AdmissionLimit(sessions: 9, version: 2), owner: .key(key))
            #expect(try await subject.peer.claim(lease(), limits: one) == full(0, key: key))
            let raised = limits(key: AdmissionLimit(sessions: nil, newPerMinute: 1, version: 4))
            #expect(try await store.claim(lease(), limits: raised) == .claimed)
            #expect(try await store.claim(lease(), limits: one) == begun(1, key: key))
            #expect(try await subject.peer.repairCount(of: .key(key)) == 0)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aWrongCounterOfAKeyIsRepaired(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let two = limits(key: AdmissionLimit(sessions: 2, version: 1))
            let held = lease()
            #expect(try await subject.store.claim(held, limits: two) == .claimed)
            // Not counted by the key.
            #expect(try await subject.store.claim(lease(), limits: limits()) == .claimed)
            try await subject.breakCounter(.key(key), 3)
            #expect(try await subject.store.claim(lease(), limits: two) == full(2, key: key))
            #expect(try await subject.peer.repairCount(of: .key(key)) == 3)
            #expect(try await subject.store.claim(lease(), limits: two) == .claimed)
            try await subject.breakCounter(.key(key), -1)
            #expect(try await subject.peer.repairCount(of: .key(key)) == -1)
            #expect(try await subject.store.repairCount(of: .tenant(tenant)) == 0)
        }
    }

    /// Claims of several keys with and without limits, and their ends, at once.
    @Test(arguments: ConnectionStoreConformer.allCases)
    func keysAtOnceCountEachTheirOwn(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let keys = (0..<3).map { _ in KeyID("key_\(UUID())") }
            let three = AdmissionLimit(sessions: 3, newPerMinute: 40, version: 1)
            let held = try await withThrowingTaskGroup(of: Lease?.self) { group in
                for number in 0..<60 {
                    let lease = lease(key: keys[number % 3])
                    let limits = limits(sessions: 50, perMinute: 55, key: number % 3 == 0 ? nil : three)
                    group.addTask {
                        let store = number.isMultiple(of: 2) ? subject.store : subject.peer
                        return try await store.claim(lease, limits: limits) == .claimed ? lease : nil
                    }
                }
                return try await group.reduce(into: [Lease]()) { if let lease = $1 { $0.append(lease) } }
            }
            #expect(keys.map { key in held.count { $0.key == key } } == [20, 3, 3])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for lease in held {
                    group.addTask {
                        let outcome = try await subject.store.release(lease, status: .new(lease))
                        #expect(outcome == .released)
                    }
                }
                try await group.waitForAll()
            }
            for owner in [QuotaOwner.tenant(tenant)] + keys.map({ .key($0) }) {
                #expect(try await subject.peer.repairCount(of: owner) == 0)
            }
        }
    }
}
