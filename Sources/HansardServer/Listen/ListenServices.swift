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
    let spool: Spool
    let metrics: Metrics
    let held = HeldTotal()
    let limits: RecentLimits
    let suspects = SuspectTenants()
    let statedLimits = StatedLimits()
    let sessions: LiveSessions
    let node: NodeIdentity
    let sessionLimits: Session.Limits
    let storeHealth: StoreHealth
    /// What becomes of a session that holds no slot any more (`HANSARD_ON_LEASE_LOST`), where its tenant does not say.
    let onLeaseLost: Tenant.LeaseLoss
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]

    /// Whether a session of the tenant ends when it holds no slot any more.
    func closesWithoutLease(_ tenant: TenantID) -> Bool {
        (access.snapshot?.tenants[tenant]?.onLeaseLost ?? onLeaseLost) == .close
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

/// Tenants whose limit this node has just seen to be reached.
final class RecentLimits: Sendable {
    private let seen = Locked<[TenantID: (limit: Int, at: ContinuousClock.Instant)]>([:])

    /// A claim of the tenant was refused.
    func reached(_ tenant: TenantID, limit: Int, now: ContinuousClock.Instant) {
        seen.withLock { seen in
            seen[tenant] = (limit, now)
            seen = seen.filter { $0.value.at.duration(to: now) < ListenServices.limitMemory }
        }
    }

    /// A session of the tenant ended: there is room again.
    func freed(_ tenant: TenantID) { seen.withLock { $0[tenant] = nil } }

    /// The limit, if it was reached within `ListenServices.limitMemory`.
    func recent(_ tenant: TenantID, now: ContinuousClock.Instant) -> Int? {
        seen.withLock { seen in
            guard let entry = seen[tenant], entry.at.duration(to: now) < ListenServices.limitMemory else { return nil }
            return entry.limit
        }
    }
}
