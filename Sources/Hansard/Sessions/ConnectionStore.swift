public import FoundationEssentials

/// A slot that a session holds against its tenant's limit of concurrent sessions, and its key's if that has limits. It
/// exists exactly while the slot is held, and it is the idempotency marker of its own claim.
public struct Lease: Sendable, Equatable {
    /// Whose limit it counts against.
    public var tenant: TenantID
    /// Who holds it.
    public var session: SessionID
    /// The attachment that serves the session now.
    public var connection: ConnectionID
    /// The key that opened the session.
    public var key: KeyID
    /// The node that serves the session; its death frees the lease.
    public var holder: NodeEpoch
    /// Made by the claimer: "the lease exists" means "my claim worked" only if the nonce is mine.
    public var nonce: UUID
    /// The node's address for other nodes, `host:port`.
    public var address: String
    /// The node's region.
    public var region: String
    /// When it was claimed.
    public var claimedAt: Date
    /// Audio admitted so far in milliseconds, written every minute of audio, so that usage survives a lost disk.
    public var usedMilliseconds: Int64
    /// Whether the key's counter counts it as well: the key had limits when it was claimed. What a store says of it
    /// counts, not what a holder remembers.
    public var countsKey: Bool

    /// A lease as a claimer or a store describes it.
    public init(
        tenant: TenantID, session: SessionID, connection: ConnectionID, key: KeyID, holder: NodeEpoch, nonce: UUID,
        address: String, region: String, claimedAt: Date, usedMilliseconds: Int64 = 0, countsKey: Bool = false
    ) {
        self.tenant = tenant
        self.session = session
        self.connection = connection
        self.key = key
        self.holder = holder
        self.nonce = nonce
        self.address = address
        self.region = region
        self.claimedAt = claimedAt
        self.usedMilliseconds = usedMilliseconds
        self.countsKey = countsKey
    }
}

/// How a claim ended. A failure to reach the store is not among them: that is thrown, and then the outcome is unknown.
public enum ClaimOutcome: Sendable, Equatable {
    /// The session holds its slot, by this claim or by an earlier attempt with the same nonce.
    case claimed
    /// As many sessions are there, or have begun, as a limit allows. The claim counts nowhere.
    case limitReached(LimitReached)
    /// The session has a lease with another nonce, or a tombstone: this claim came too late.
    case superseded
}

/// How a release ended.
public enum ReleaseOutcome: Sendable, Equatable {
    /// The slot is free and the status is set.
    case released
    /// The lease was gone already. The status that an earlier attempt stored stays; one that a reaper stored, who could not
    /// know how the session ended, is replaced by its holder's once, and a missing one is set.
    case alreadyGone
}

/// A node as its peers see it.
public struct NodeRecord: Sendable, Equatable {
    /// Which life of which node.
    public var epoch: NodeEpoch
    /// A new value at every heartbeat. Peers judge life by its changing on their own clock, never by stored times.
    public var heartbeat: UUID
    /// For other nodes, `host:port`.
    public var address: String
    /// Where it runs.
    public var region: String
    /// What it runs.
    public var version: String
    /// It admits nothing new.
    public var isDraining: Bool

    /// A node as it registers itself or a store lists it.
    public init(
        epoch: NodeEpoch, heartbeat: UUID, address: String, region: String, version: String, isDraining: Bool = false
    ) {
        self.epoch = epoch
        self.heartbeat = heartbeat
        self.address = address
        self.region = region
        self.version = version
        self.isDraining = isDraining
    }
}

/// Where connections, sessions, leases and nodes live: the state that all nodes share.
///
/// Every operation is atomic and may be repeated after an unknown outcome without harm. Conformers may be called from
/// any task. Every method throws `HansardError` with code `.unavailable` if the store cannot be reached or did not
/// answer; then the outcome is unknown and the caller repeats the call, or releases.
/// The contract suite in `Tests/HansardServerTests` says in code what follows in words; every conformer passes it.
public protocol ConnectionStore: Sendable {
    /// Takes a slot: stores the lease if the tenant, and its key if that has limits, have fewer leases and have begun
    /// fewer sessions in the UTC minute of `lease.claimedAt` than their limits allow. The limits that count are those
    /// of highest version ever given to the store, by this call or another. The lease is stored as one that its key
    /// counts if and only if there are limits of the key.
    func claim(_ lease: Lease, limits: ClaimLimits) async throws -> ClaimOutcome

    /// Brings the lease's connection and `usedMilliseconds` (which never goes back) up to date.
    ///
    /// - Returns: false if the lease is no longer held with this nonce.
    func renew(_ lease: Lease) async throws -> Bool

    /// Gives the slot back and stores the session's status, in one step.
    ///
    /// A release of a claim whose outcome is unknown leaves a tombstone in place of the lease that was not there, so
    /// that a delayed claim cannot take the slot later (`ClaimOutcome.superseded`).
    func release(_ lease: Lease, status: SessionStatus) async throws -> ReleaseOutcome

    /// Moves a session on from `.storing` to its end, conditioned on that state alone, so that a restarted node can
    /// finish it.
    ///
    /// - Returns: false if the session is not in state `.storing`.
    func finishStoring(_ session: SessionID, transcriptLocation: String) async throws -> Bool

    /// The status of a session that has ended; nil if it is unknown or still holds its lease.
    func status(of session: SessionID) async throws -> SessionStatus?

    /// Raises the store's idea of the owner's limit to this one, if its version is higher.
    func setLimit(_ limit: AdmissionLimit, owner: QuotaOwner) async throws

    /// How many sessions the owner has begun in the UTC minute of a moment. They are counted while their number is limited.
    func newSessions(of owner: QuotaOwner, inMinuteOf moment: Date) async throws -> Int

    /// The tenant's leases, oldest first.
    func leases(of tenant: TenantID) async throws -> [Lease]

    /// The leases that an epoch holds.
    func leases(heldBy epoch: NodeEpoch) async throws -> [Lease]

    /// How many leases of each tenant an epoch holds; tenants of which it holds none are not there.
    func sessions(heldBy epoch: NodeEpoch) async throws -> [TenantID: Int]

    /// Stores or refreshes a node's record. The first call comes before the node's first claim.
    func heartbeat(_ node: NodeRecord) async throws

    /// All nodes that have neither been removed nor reaped, in the order in which they first registered.
    func nodes() async throws -> [NodeRecord]

    /// Frees one lease of a dead epoch and stores the session's status, conditioned on the epoch still holding the
    /// lease: any peer may do it, twice is harmless.
    ///
    /// - Returns: false if the epoch no longer holds it.
    func reap(_ lease: Lease, status: SessionStatus) async throws -> Bool

    /// Removes a node that has shut down or whose leases have all been reaped.
    func remove(_ epoch: NodeEpoch) async throws

    /// Compares the owner's counter with the leases that it counts and repairs the counter. A key counts those that
    /// were claimed while it had limits.
    ///
    /// - Returns: by how much the counter was wrong; 0 is the healthy answer.
    func repairCount(of owner: QuotaOwner) async throws -> Int
}
