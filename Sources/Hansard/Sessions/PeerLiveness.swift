/// Judges which peers are dead: an epoch whose heartbeat has not changed for `patience` on this node's own monotonic
/// clock. Stored times are never compared, so that clocks that differ between machines do no harm (the rule of AWS's
/// DynamoDB lock client).
public struct PeerLiveness: Sendable {
    /// How long a heartbeat may stay the same. Nodes beat every 2 s.
    public static let patience = Duration.seconds(8)

    /// How long, when most peers are silent at once.
    public static let patienceWithMany = Duration.seconds(24)

    /// After a longer gap between two looks, silence counts from anew: the store was away, or this node slept.
    public static let blindness = Duration.seconds(3)

    private let myself: NodeEpoch
    private var lookedAt: ContinuousClock.Instant?
    private var seen: [NodeEpoch: Seen] = [:]

    private struct Seen {
        var record: NodeRecord
        var changedAt: ContinuousClock.Instant
    }

    /// - Parameter myself: never judged.
    public init(myself: NodeEpoch) { self.myself = myself }

    /// Takes what the store lists now.
    ///
    /// - Returns: the epochs to reap. When most of at least two peers look dead at once it is more likely that this node's
    ///   own view is stale: then it waits for `patienceWithMany`.
    public mutating func observed(_ records: [NodeRecord], now: ContinuousClock.Instant) -> [NodeEpoch] {
        let peers = records.filter { $0.epoch != myself }
        let listed = Set(peers.map(\.epoch))
        seen = seen.filter { listed.contains($0.key) }
        if let lookedAt, lookedAt.duration(to: now) > Self.blindness {
            for epoch in seen.keys { seen[epoch]?.changedAt = now }
        }
        lookedAt = now
        for record in peers where seen[record.epoch]?.record.heartbeat != record.heartbeat {
            seen[record.epoch] = Seen(record: record, changedAt: now)
        }
        let dead = silent(peers, for: Self.patience, now: now)
        let areMany = peers.count >= 2 && dead.count * 2 > peers.count
        return areMany ? silent(peers, for: Self.patienceWithMany, now: now) : dead
    }

    private func silent(_ peers: [NodeRecord], for patience: Duration, now: ContinuousClock.Instant) -> [NodeEpoch] {
        peers.map(\.epoch).filter { epoch in
            seen[epoch].map { $0.changedAt.duration(to: now) >= patience } ?? false
        }
    }
}
