import EventLoops
import Audio
import FoundationEssentials
import Hansard
import Logging

/// What the sessions of a node share. Everything here may be used from any loop.
struct ListenServices: Sendable {
    /// A limit that was reached is believed to be so for this long: handshakes are then refused without asking.
    static let limitMemory = Duration.seconds(1)

    let authenticator: Authenticator
    let access: AccessDirectory
    let engines: EngineRegistry
    let connections: any ConnectionStore
    let settlement: Settlement
    let usage: UsageDelivery
    let spool: Spool
    let metrics: Metrics
    let held = HeldTotal()
    let minutes: NodeMinutes
    let keyUse = KeyUse()
    let limits: RecentLimits
    let suspects = SuspectOwners()
    let statedLimits = StatedLimits()
    let sessions: LiveSessions
    let node: NodeIdentity
    let sessionLimits: Session.Limits
    let storeHealth: StoreHealth
    /// What becomes of a session that holds no slot any more (`HANSARD_ON_LEASE_LOST`), where its tenant does not say.
    let onLeaseLost: Tenant.LeaseLoss
    /// What becomes of new sessions while the store is away (`HANSARD_ADMIT_UNCLAIMED`), where their tenant does not say.
    let admitUnclaimed: Tenant.UnclaimedAdmission
    /// What becomes of sessions that need more minutes then (`HANSARD_QUOTA_UNAVAILABLE`), where their tenant does not say.
    let quotaUnavailable: Tenant.QuotaOutage?
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]

    /// Whether a session of the tenant ends when it holds no slot any more.
    func closesWithoutLease(_ tenant: TenantID) -> Bool {
        (access.snapshot?.tenant(tenant)?.onLeaseLost ?? onLeaseLost) == .close
    }

    /// Whether a session of the tenant begins without a slot when nobody can be asked for one.
    func admitsUnclaimed(_ tenant: TenantID) -> Bool {
        (access.snapshot?.tenant(tenant)?.admitUnclaimed ?? admitUnclaimed) == .allow
    }

    var claim: SlotClaim {
        SlotClaim(
            connections: connections, health: storeHealth, suspects: suspects, statedLimits: statedLimits,
            logger: logger)
    }
}

/// Who this node is to others.
struct NodeIdentity: Sendable {
    var epoch: NodeEpoch
    var address: String
    var region: String
    var version: String
}

/// Limits of tenants and keys that this node has just seen to be reached.
final class RecentLimits: Sendable {
    private struct Subject: Hashable {
        var owner: QuotaOwner
        var kind: LimitReached.Kind
    }

    private let seen = Locked<[Subject: (limit: LimitReached, at: ContinuousClock.Instant)]>([:])

    /// A claim was refused.
    func reached(_ limit: LimitReached, now: ContinuousClock.Instant) {
        seen.withLock { seen in
            seen[Subject(owner: limit.owner, kind: limit.kind)] = (limit, now)
            seen = seen.filter { $0.value.at.duration(to: now) < ListenServices.limitMemory }
        }
    }

    /// A session ended: there is room again among those that there may be at once. As many have begun as before.
    func freed(by lease: Lease) {
        seen.withLock { seen in
            for owner in [QuotaOwner.tenant(lease.tenant), .key(lease.key)] {
                seen[Subject(owner: owner, kind: .concurrentSessions)] = nil
            }
        }
    }

    /// A limit of the tenant or the key, if one was reached within `ListenServices.limitMemory`.
    func recent(tenant: TenantID, key: KeyID, now: ContinuousClock.Instant) -> LimitReached? {
        seen.withLock { seen in
            for owner in [QuotaOwner.tenant(tenant), .key(key)] {
                for kind in LimitReached.Kind.allCases {
                    guard let entry = seen[Subject(owner: owner, kind: kind)],
                        entry.at.duration(to: now) < ListenServices.limitMemory
                    else { continue }
                    return entry.limit
                }
            }
            return nil
        }
    }
}
