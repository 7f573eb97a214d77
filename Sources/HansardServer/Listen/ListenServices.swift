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
    /// Whether a session that holds no slot any more is to end (`HANSARD_ON_LEASE_LOST=close`).
    let closesWithoutLease: Bool
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]

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

/// The engines of this node by name.
struct EngineRegistry: Sendable {
    /// The one for tenants that name none.
    var defaultEngine: String
    var engines: [String: any SpeechEngine]

    /// The engine for a tenant.
    ///
    /// - Throws: `.unavailable` if the tenant's engine is not one of this node's.
    func engine(for tenant: Tenant) throws(HansardError) -> any SpeechEngine {
        let name = tenant.defaultEngine ?? defaultEngine
        guard let engine = engines[name] else {
            throw HansardError(.unavailable, "the engine '\(name)' is not available on this node")
        }
        return engine
    }
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
