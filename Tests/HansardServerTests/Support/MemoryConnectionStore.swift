import EventLoops
import Foundation
import Hansard

@testable import HansardServer

/// A connection store in memory that keeps the contract of `ConnectionStore` and can be made to fail.
final class MemoryConnectionStore: ConnectionStore {
    struct State {
        var leases: [TenantID: [SessionID: Lease]] = [:]
        var limits: [QuotaOwner: AdmissionLimit] = [:]
        /// Sessions that began in a minute, where that is limited.
        var begun: [QuotaOwner: [Int: Int]] = [:]
        var buried: Set<SessionID> = []
        var reaped: [SessionID: UUID] = [:]
        var statuses: [SessionID: SessionStatus] = [:]
        var nodes: [NodeRecord] = []
        /// Sessions whose leases the next look by epoch does not show.
        var unindexed: Set<SessionID> = []
    }

    let faults = StoreFaults()
    private let state = Locked(State())

    /// What is stored, past all faults.
    var stored: State { state.withLock { $0 } }
    func change(_ body: @Sendable (inout State) -> Void) { state.withLock { body(&$0) } }

    func claim(_ lease: Lease, limits: ClaimLimits) async throws -> ClaimOutcome {
        try await faults.call("claim") {
            state.withLock { state in
                var lease = lease
                lease.countsKey = limits.key != nil
                raise(&state, limits.tenant, .tenant(lease.tenant))
                if let limit = limits.key { raise(&state, limit, .key(lease.key)) }
                let held = state.leases[lease.tenant, default: [:]]
                if let present = held[lease.session] { return present.nonce == lease.nonce ? .claimed : .superseded }
                if state.buried.contains(lease.session) { return .superseded }
                let minute = Int(lease.claimedAt.timeIntervalSince1970 / 60)
                for owner in lease.owners {
                    if let reached = state.reached(owner, minute) { return .limitReached(reached) }
                }
                for owner in lease.owners { state.begun[owner, default: [:]][minute, default: 0] += 1 }
                state.leases[lease.tenant, default: [:]][lease.session] = lease
                return .claimed
            }
        }
    }

    func renew(_ lease: Lease) async throws -> Bool {
        try await faults.call("renew") {
            state.withLock { state in
                guard let present = state.leases[lease.tenant]?[lease.session], present.nonce == lease.nonce else {
                    return false
                }
                var next = present
                next.connection = lease.connection
                next.usedMilliseconds = max(present.usedMilliseconds, lease.usedMilliseconds)
                state.leases[lease.tenant]?[lease.session] = next
                return true
            }
        }
    }

    func release(_ lease: Lease, status: SessionStatus) async throws -> ReleaseOutcome {
        try await faults.call("release") {
            state.withLock { state in
                let present = state.leases[lease.tenant]?[lease.session]
                guard present == nil || present?.nonce == lease.nonce else { return .alreadyGone }
                state.leases[lease.tenant]?[lease.session] = nil
                state.buried.insert(lease.session)
                let wasReaped = state.reaped.removeValue(forKey: lease.session) == lease.nonce
                if present == nil, state.statuses[lease.session] != nil, !wasReaped { return .alreadyGone }
                state.statuses[lease.session] = status
                return present == nil ? .alreadyGone : .released
            }
        }
    }

    func finishStoring(_ session: SessionID, transcriptLocation: String) async throws -> Bool {
        try await faults.call("finishStoring") {
            state.withLock { state in
                guard var status = state.statuses[session], status.state == .storing else { return false }
                status.state = status.endState
                status.transcriptLocation = transcriptLocation
                state.statuses[session] = status
                return true
            }
        }
    }

    func status(of session: SessionID) async throws -> SessionStatus? {
        try await faults.call("status") { state.withLock { $0.statuses[session] } }
    }

    func setLimit(_ limit: AdmissionLimit, owner: QuotaOwner) async throws {
        try await faults.call("setLimit") { state.withLock { raise(&$0, limit, owner) } }
    }

    func newSessions(of owner: QuotaOwner, inMinuteOf moment: Date) async throws -> Int {
        try await faults.call("newSessions") {
            state.withLock { $0.begun[owner]?[Int(moment.timeIntervalSince1970 / 60)] ?? 0 }
        }
    }

    func leases(of tenant: TenantID) async throws -> [Lease] {
        try await faults.call("leases") {
            state.withLock { Array($0.leases[tenant, default: [:]].values) }.sorted { $0.claimedAt < $1.claimedAt }
        }
    }

    func sessions(heldBy epoch: NodeEpoch) async throws -> [TenantID: Int] {
        try await leases(heldBy: epoch).reduce(into: [:]) { $0[$1.tenant, default: 0] += 1 }
    }

    func leases(heldBy epoch: NodeEpoch) async throws -> [Lease] {
        try await faults.call("leases") {
            state.withLock { state in
                defer { state.unindexed = [] }
                let held = state.leases.values.flatMap(\.values).filter { $0.holder == epoch }
                return held.filter { [hidden = state.unindexed] in !hidden.contains($0.session) }
            }
        }
    }

    func heartbeat(_ node: NodeRecord) async throws {
        try await faults.call("heartbeat") {
            state.withLock { state in
                state.nodes.removeAll { $0.epoch == node.epoch }
                state.nodes.append(node)
            }
        }
    }

    func nodes() async throws -> [NodeRecord] { try await faults.call("nodes") { state.withLock(\.nodes) } }

    func reap(_ lease: Lease, status: SessionStatus) async throws -> Bool {
        try await faults.call("reap") {
            state.withLock { state in
                guard let held = state.leases[lease.tenant]?[lease.session], held.holder == lease.holder else {
                    return false
                }
                state.reaped[lease.session] = held.nonce
                state.leases[lease.tenant]?[lease.session] = nil
                state.buried.insert(lease.session)
                state.statuses[lease.session] = status
                return true
            }
        }
    }

    func remove(_ epoch: NodeEpoch) async throws {
        try await faults.call("remove") { state.withLock { $0.nodes.removeAll { $0.epoch == epoch } } }
    }

    func repairCount(of owner: QuotaOwner) async throws -> Int { try await faults.call("repairCount") { 0 } }

    private func raise(_ state: inout State, _ limit: AdmissionLimit, _ owner: QuotaOwner) {
        if limit.version > state.limits[owner]?.version ?? -1 { state.limits[owner] = limit }
    }
}

extension MemoryConnectionStore.State {
    fileprivate func reached(_ owner: QuotaOwner, _ minute: Int) -> LimitReached? {
        let held = leases.values.joined().count { $0.value.owners.contains(owner) }
        if let limit = limits[owner]?.sessions, held >= limit {
            return LimitReached(owner: owner, kind: .concurrentSessions, limit: limit)
        }
        guard let limit = limits[owner]?.newPerMinute, begun[owner]?[minute] ?? 0 >= limit else { return nil }
        return LimitReached(owner: owner, kind: .newSessionsPerMinute, limit: limit)
    }
}
