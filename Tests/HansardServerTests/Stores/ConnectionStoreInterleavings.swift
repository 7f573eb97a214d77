import Foundation
import Hansard
import Testing

/// What a `ConnectionStore` should answer: the contract in a few lines, for one caller at a time.
private struct Model {
    struct Slots {
        var limit: AdmissionLimit?
        var leases: [SessionID: Lease] = [:]
    }

    var tenants: [TenantID: Slots] = [:]
    var buried: Set<SessionID> = []
    /// The nonces of leases that a reaper took.
    var reaped: [SessionID: UUID] = [:]
    var status: [SessionID: SessionStatus] = [:]

    mutating func setLimit(_ limit: AdmissionLimit, tenant: TenantID) {
        let version = tenants[tenant, default: Slots()].limit?.version ?? .min
        if limit.version > version { tenants[tenant, default: Slots()].limit = limit }
    }

    mutating func claim(_ lease: Lease, limit: AdmissionLimit) -> ClaimOutcome {
        setLimit(limit, tenant: lease.tenant)
        let slots = tenants[lease.tenant, default: Slots()]
        if let held = slots.leases[lease.session] { return held.nonce == lease.nonce ? .claimed : .superseded }
        if buried.contains(lease.session) { return .superseded }
        if let most = slots.limit?.sessions, slots.leases.count >= most { return .full(most, lease.tenant) }
        tenants[lease.tenant, default: Slots()].leases[lease.session] = lease
        return .claimed
    }

    mutating func release(_ lease: Lease, status: SessionStatus) -> ReleaseOutcome {
        let held = tenants[lease.tenant]?.leases[lease.session]
        if let held, held.nonce != lease.nonce { return .alreadyGone }
        tenants[lease.tenant]?.leases[lease.session] = nil
        buried.insert(lease.session)
        let corrects = held == nil && reaped[lease.session] == lease.nonce
        if corrects { reaped[lease.session] = nil }
        if held != nil || corrects || self.status[lease.session] == nil { self.status[lease.session] = status }
        return held == nil ? .alreadyGone : .released
    }

    mutating func reap(_ lease: Lease, status: SessionStatus) -> Bool {
        guard let held = tenants[lease.tenant]?.leases[lease.session], held.holder == lease.holder else { return false }
        reaped[lease.session] = held.nonce
        tenants[lease.tenant]?.leases[lease.session] = nil
        buried.insert(lease.session)
        self.status[lease.session] = status
        return true
    }

    func visibleStatus(of lease: Lease) -> SessionStatus? {
        tenants[lease.tenant]?.leases[lease.session] == nil ? status[lease.session] : nil
    }
}

/// Long random sequences against a model, and random callers at once against the invariant.
@Suite struct ConnectionStoreInterleavings {
    @Test(arguments: ConnectionStoreConformer.allCases, [UInt64(1), 2])
    func aThousandStepsAnswerAsTheModelDoes(of conformer: ConnectionStoreConformer, seed: UInt64) async throws {
        try await conformer.run { subject async throws in
            var random = SeededGenerator(seed: seed)
            var model = Model()
            let tenants = (0..<3).map { _ in TenantID(UUID()) }
            let epochs = [NodeEpoch.new("a"), .new("b")]
            // Several claims of the same session, by one holder or two.
            var claims: [Lease] = []
            for step in 0..<1_000 {
                if claims.isEmpty || Int.random(in: 0..<4, using: &random) == 0 {
                    let tenant = tenants[Int.random(in: 0..<3, using: &random)]
                    claims.append(.new(tenant, holder: epochs[Int.random(in: 0..<2, using: &random)]))
                }
                var lease = claims[Int.random(in: max(0, claims.count - 12)..<claims.count, using: &random)]
                if Int.random(in: 0..<6, using: &random) == 0 {
                    lease = lease.reclaimed()
                    lease.holder = epochs[Int.random(in: 0..<2, using: &random)]
                    claims.append(lease)
                }
                let store = Bool.random(using: &random) ? subject.store : subject.peer
                let limit = AdmissionLimit(
                    sessions: Int.random(in: 0..<7, using: &random),
                    version: Int64(step / 50) + Int64.random(in: -1...1, using: &random)
                )
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<4:
                    let expected = model.claim(lease, limit: limit)
                    let outcome = try await store.claim(lease, limit: limit)
                    #expect(outcome == expected, "step \(step)")
                case 4..<7:
                    let expected = model.release(lease, status: .new(lease))
                    #expect(try await store.release(lease, status: .new(lease)) == expected, "step \(step)")
                case 7:
                    let status = SessionStatus.new(lease, .interrupted)
                    let expected = model.reap(lease, status: status)
                    #expect(try await store.reap(lease, status: status) == expected, "step \(step)")
                case 8:
                    model.setLimit(limit, tenant: lease.tenant)
                    try await store.setLimit(limit, tenant: lease.tenant)
                default:
                    #expect(try await store.status(of: lease.session) == model.visibleStatus(of: lease), "step \(step)")
                }
                if step.isMultiple(of: 20) {
                    let held = try await store.leases(of: lease.tenant).map(\.nonce)
                    let expected = model.tenants[lease.tenant]?.leases.values.map(\.nonce) ?? []
                    #expect(Set(held) == Set(expected), "step \(step)")
                    #expect(try await store.repairCount(of: lease.tenant) == 0, "step \(step)")
                }
            }
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func atOnceTheCounterIsRightAndTheLimitHolds(of conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let tenants = (0..<2).map { _ in TenantID(UUID()) }
            let limit = AdmissionLimit(sessions: 4, version: 1)
            let overshoots = try await withThrowingTaskGroup(of: Int.self) { group in
                for caller in 0..<12 {
                    group.addTask {
                        var random = SeededGenerator(seed: UInt64(caller))
                        let store = caller.isMultiple(of: 2) ? subject.store : subject.peer
                        var overshoots = 0
                        for _ in 0..<20 {
                            let lease = Lease.new(tenants[Int.random(in: 0..<2, using: &random)])
                            let outcome = try await store.claim(lease, limit: limit)
                            if try await store.leases(of: lease.tenant).count > 4 { overshoots += 1 }
                            if outcome == .claimed || Bool.random(using: &random) {
                                let isReaped = Int.random(in: 0..<3, using: &random) == 0
                                if isReaped { _ = try await store.reap(lease, status: .new(lease, .interrupted)) }
                                _ = try await store.release(lease, status: .new(lease))
                            }
                        }
                        return overshoots
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(overshoots == 0)
            for tenant in tenants {
                #expect(try await subject.store.leases(of: tenant).isEmpty)
                #expect(try await subject.store.repairCount(of: tenant) == 0)
            }
        }
    }
}
