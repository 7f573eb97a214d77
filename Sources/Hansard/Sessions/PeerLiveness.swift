/// Judges which peers are dead: an epoch whose heartbeat has stayed the same for `patience`, as far as this node has
/// looked. Only its own monotonic clock counts. Stored times are never compared, so that clocks that differ between
/// machines do no harm (the rule of AWS's DynamoDB lock client).
public struct PeerLiveness: Sendable {
    /// How long a heartbeat may stay the same. Nodes beat every 2 s.
    public static let patience = Duration.seconds(8)

    /// How long, when most peers are silent at once.
    public static let patienceWithMany = Duration.seconds(24)

    /// What the time between two looks counts at most. Nobody watched in a longer one: the store was away, so that nobody
    /// could beat, or this node slept. What was seen before stays counted, or the dead would never be found in a store that
    /// is merely slow; and so a peer is dead only after at least `patience / longestStep` looks that found nothing new.
    public static let longestStep = Duration.seconds(2)

    private let myself: NodeEpoch
    private var lookedAt: ContinuousClock.Instant?
    private var seen: [NodeEpoch: Seen] = [:]

    private struct Seen {
        var record: NodeRecord
        var silence = Duration.zero
    }

    /// - Parameter myself: never judged.
    public init(myself: NodeEpoch) { self.myself = myself }

    /// Takes what the store lists now.
    ///
    /// - Returns: the epochs to reap. When most of at least two peers look dead at once it is more likely that this node's
    ///   own view is stale: then it waits for `patienceWithMany`.
    public mutating func observed(_ records: [NodeRecord], now: ContinuousClock.Instant) -> [NodeEpoch] {
        let step = min(lookedAt?.duration(to: now) ?? .zero, Self.longestStep)
        lookedAt = now
        let peers = records.filter { $0.epoch != myself }
        let listed = Set(peers.map(\.epoch))
        seen = seen.filter { listed.contains($0.key) }
        for record in peers {
            if let before = seen[record.epoch], before.record.heartbeat == record.heartbeat {
                seen[record.epoch]?.silence += step
            } else {
                seen[record.epoch] = Seen(record: record)
            }
        }
        let dead = silent(peers, for: Self.patience)
        let areMany = peers.count >= 2 && dead.count * 2 > peers.count
        return areMany ? silent(peers, for: Self.patienceWithMany) : dead
    }

    private func silent(_ peers: [NodeRecord], for patience: Duration) -> [NodeEpoch] {
        peers.map(\.epoch).filter { (seen[$0]?.silence ?? .zero) >= patience }
    }
}
