import EventLoops
import Audio
import FoundationEssentials
import Hansard
import Logging
import Synchronization

/// What the sessions of a node share. Everything here may be used from any loop.
struct ListenServices: Sendable {
    /// How long a claim may take before the client is told to try again.
    static let claimDeadline = Duration.seconds(2)
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
    let sessions: LiveSessions
    let node: NodeIdentity
    let sessionLimits: Session.Limits
    let storeHealth: StoreHealth
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]
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

/// Whether the connection store answered when it was last asked: the heartbeat asks every two seconds.
final class StoreHealth: Sendable {
    private let isAway = Atomic<Bool>(false)
    /// What the last call said.
    var isReachable: Bool { !isAway.load(ordering: .relaxed) }
    /// A call answered or failed.
    ///
    /// - Returns: true if this is a change.
    @discardableResult
    func report(isReachable: Bool) -> Bool { isAway.exchange(!isReachable, ordering: .relaxed) == isReachable }
}
