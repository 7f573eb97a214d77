import EventLoops
import Foundation
import Hansard

/// What a `GrantStore` should do, in memory: the contract in a few lines.
struct GrantLedger {
    private struct Place: Hashable {
        var owner: QuotaOwner
        var period: QuotaPeriod
    }

    private var quotas: [Place: QuotaUse] = [:]
    private var grants: [Place: [NodeEpoch: Grant]] = [:]
    private var retired: [Place: Set<NodeEpoch>] = [:]

    func use(_ owner: QuotaOwner, _ period: QuotaPeriod) -> QuotaUse? { quotas[Place(owner: owner, period: period)] }

    func grants(heldBy epoch: NodeEpoch) -> [Grant] { grants.values.compactMap { $0[epoch] } }

    mutating func state(_ limit: MinuteLimit, _ owner: QuotaOwner, _ period: QuotaPeriod) {
        let place = Place(owner: owner, period: period)
        if limit.version > quotas[place]?.limit.version ?? -1 {
            quotas[place] = QuotaUse(granted: quotas[place]?.granted ?? 0, limit: limit)
        }
    }

    mutating func change(_ request: GrantRequest, isGrowth: Bool) -> GrantAnswer {
        state(request.limit, request.owner, request.period)
        let place = Place(owner: request.owner, period: request.period)
        guard var quota = quotas[place], !(retired[place]?.contains(request.holder) ?? false) else { return .retired }
        let grant = grants[place]?[request.holder]
        if grant == nil, request.sequence > 1 { return .retired }
        if let grant, request.sequence != grant.sequence + 1 { return .held(grant, quota) }
        let amount = isGrowth ? min(request.milliseconds, quota.remaining ?? .max) : -request.milliseconds
        if isGrowth, amount <= 0 { return .exhausted(quota) }
        quota.granted += amount
        quotas[place] = quota
        let changed = Grant(
            owner: request.owner, period: request.period, holder: request.holder,
            milliseconds: (grant?.milliseconds ?? 0) + amount, sequence: request.sequence)
        grants[place, default: [:]][request.holder] = changed
        return .held(changed, quota)
    }

    mutating func retire(_ grant: Grant, used: Int64) -> Bool {
        let place = Place(owner: grant.owner, period: grant.period)
        guard let held = grants[place]?.removeValue(forKey: grant.holder) else { return false }
        retired[place, default: []].insert(grant.holder)
        quotas[place]?.granted -= held.milliseconds - used
        return true
    }
}

/// One node's way to a ledger that nodes share.
final class MemoryGrants: GrantStore {
    let faults = StoreFaults()
    private let ledger: Locked<GrantLedger>

    init(_ ledger: Locked<GrantLedger>) { self.ledger = ledger }

    func grow(_ request: GrantRequest) async throws -> GrantAnswer {
        try await faults.call("grow") { ledger.withLock { $0.change(request, isGrowth: true) } }
    }
    func giveBack(_ request: GrantRequest) async throws -> GrantAnswer {
        try await faults.call("giveBack") { ledger.withLock { $0.change(request, isGrowth: false) } }
    }
    func use(of owner: QuotaOwner, in period: QuotaPeriod) async throws -> QuotaUse? {
        try await faults.call("use") { ledger.withLock { $0.use(owner, period) } }
    }
    func setMinutes(_ limit: MinuteLimit, owner: QuotaOwner, period: QuotaPeriod) async throws {
        try await faults.call("setMinutes") { ledger.withLock { $0.state(limit, owner, period) } }
    }
    func grants(heldBy epoch: NodeEpoch) async throws -> [Grant] {
        try await faults.call("grants") { ledger.withLock { $0.grants(heldBy: epoch) } }
    }
    func retire(_ grant: Grant, used: Int64) async throws -> Bool {
        try await faults.call("retire") { ledger.withLock { $0.retire(grant, used: used) } }
    }
}
