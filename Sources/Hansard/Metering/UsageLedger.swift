public import FoundationEssentials

/// A session whose node died, and its audio as far as anybody else knows.
public struct ReapedUsage: Sendable, Hashable {
    /// Which session.
    public var session: SessionID
    /// Whose session it was.
    public var tenant: TenantID
    /// The key that opened it.
    public var key: KeyID
    /// The life of the node that served it.
    public var holder: NodeEpoch
    /// The region of that node.
    public var region: String
    /// When it began.
    public var startedAt: Date
    /// When the node was found dead.
    public var foundAt: Date
    /// Milliseconds of admitted audio, at least.
    public var audio: Int64

    /// What a lease tells.
    ///
    /// - Parameter audio: milliseconds that are known of otherwise.
    public init(_ lease: Lease, audio: Int64, foundAt: Date) {
        session = lease.session
        tenant = lease.tenant
        key = lease.key
        holder = lease.holder
        region = lease.region
        startedAt = lease.claimedAt
        self.foundAt = foundAt
        self.audio = max(lease.usedMilliseconds, audio)
    }
}

/// Where usage is kept for good, record by record, and exactly once.
///
/// Conformers may be called from any task; they throw `HansardError` with code `.unavailable` if the ledger is away.
public protocol UsageLedger: Sendable {
    /// Takes records in one step, in any order and any number of times.
    ///
    /// - Returns: how many of them it did not have.
    func ingest(_ records: [UsageRecord]) async throws -> Int
    /// A life of a node is about to make records; comes before its first.
    ///
    /// - Parameter spool: which spool it writes to.
    func register(_ epoch: NodeEpoch, spool: UUID) async throws
    /// The ledger has all records that a life of a node has made up to a moment, by the node's clock.
    ///
    /// - Parameter isOver: whether it will make no more.
    /// - Returns: the ledger's own time; nil if it does not know that life.
    func isComplete(_ epoch: NodeEpoch, through: Date, isOver: Bool) async throws -> Date?
    /// The ledger has all that the spool's lives before `epoch` left in it. Those that have told of themselves a moment ago are
    /// left out: they may live, with a copy of the spool.
    ///
    /// - Returns: how many were left out.
    func finish(spool: UUID, before epoch: NodeEpoch) async throws -> Int
    /// Keeps what is known of sessions of dead nodes. It counts once such a node is given up, as far as its own records have not
    /// come.
    func note(_ reaped: [ReapedUsage]) async throws
    /// Brings sums by hour and day up to date.
    ///
    /// - Parameter limit: hours of tenants, at most.
    /// - Returns: how many there were; 0 as well if somebody else is at it.
    func rollUp(atMost limit: Int) async throws -> Int
}
