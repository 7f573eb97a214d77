/// Compares what the store says that this node holds with what the node knows. Only what differs in two comparisons in a
/// row counts: a session may just be starting or ending, and an index may lag behind its table.
public struct LeaseAudit: Sendable {
    /// What two comparisons agree on.
    public enum Finding: Sendable, Equatable {
        /// The store holds a slot for a session that this node does not serve: it is to be given back.
        case orphan(Lease)
        /// The node serves a session that holds no slot.
        case unheld(SessionID)
    }

    private var orphans: Set<SessionID> = []
    private var unheld: Set<SessionID> = []
    private var reported: Set<SessionID> = []

    /// Nothing has been compared yet.
    public init() {}

    /// Takes one comparison.
    ///
    /// - Parameters:
    ///   - stored: the leases of this node's epoch.
    ///   - live: the sessions that this node serves.
    ///   - unclaimed: those of them that never held a slot, as far as it knows.
    ///   - settling: the sessions that have ended here and whose slot is being given back.
    /// - Returns: each orphan in every comparison until it is gone, each session without a slot once.
    public mutating func compared(
        stored: [Lease], live: Set<SessionID>, unclaimed: Set<SessionID> = [], settling: Set<SessionID>
    ) -> [Finding] {
        let held = Set(stored.map(\.session))
        let strangers = stored.filter { !live.contains($0.session) && !settling.contains($0.session) }
        let missing = live.subtracting(held).subtracting(unclaimed)
        defer {
            orphans = Set(strangers.map(\.session))
            unheld = missing
            reported.formIntersection(live)
        }
        let bare = missing.intersection(unheld).subtracting(reported)
        reported.formUnion(bare)
        return strangers.filter { orphans.contains($0.session) }.map(Finding.orphan)
            + bare.sorted { $0.description < $1.description }.map(Finding.unheld)
    }
}
