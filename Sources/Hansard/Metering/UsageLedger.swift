public import FoundationEssentials

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
    /// - Returns: the ledger's own time.
    func isComplete(_ epoch: NodeEpoch, through: Date, isOver: Bool) async throws -> Date
    /// The ledger has all that the spool's lives before `epoch` left in it.
    func finish(spool: UUID, before epoch: NodeEpoch) async throws
    /// Brings sums by hour and day up to date.
    ///
    /// - Parameter limit: hours of tenants, at most.
    /// - Returns: how many there were; 0 as well if somebody else is at it.
    func rollUp(atMost limit: Int) async throws -> Int
}
