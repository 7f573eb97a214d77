import Foundation
import Hansard

/// What a `GrantStore` should do: the contract in a few lines.
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
        guard var quota = quotas[place] else { return .retired }
        var grant = grants[place]?[request.holder]
        if retired[place]?.contains(request.holder) ?? false || grant == nil && request.sequence > 1 { return .retired }
        if let grant, request.sequence != grant.sequence + 1 { return .held(grant, quota) }
        let amount = isGrowth ? min(request.milliseconds, quota.remaining ?? .max) : -request.milliseconds
        if isGrowth, amount <= 0 { return .exhausted(quota) }
        quota.granted += amount
        quotas[place] = quota
        grant = Grant(
            owner: request.owner, period: request.period, holder: request.holder,
            milliseconds: (grant?.milliseconds ?? 0) + amount, sequence: request.sequence)
        grants[place, default: [:]][request.holder] = grant
        return grant.map { .held($0, quota) } ?? .retired
    }

    mutating func retire(_ grant: Grant, used: Int64) -> Bool {
        let place = Place(owner: grant.owner, period: grant.period)
        guard let held = grants[place]?.removeValue(forKey: grant.holder) else { return false }
        retired[place, default: []].insert(grant.holder)
        quotas[place]?.granted -= held.milliseconds - used
        return true
    }

    /// Does what a node asks for.
    mutating func answer(_ action: MinuteGrant.Action) -> GrantAnswer? {
        switch action {
        case .grow(let request): change(request, isGrowth: true)
        case .giveBack(let request): change(request, isGrowth: false)
        case .warn: nil
        }
    }
}
