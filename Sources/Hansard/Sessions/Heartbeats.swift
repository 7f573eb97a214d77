/// A node's own heartbeats: when one is due, and for how long the node may believe that its peers take it for alive.
public struct Heartbeats: Sendable {
    /// Between two heartbeats.
    public static let interval = Duration.seconds(2)

    /// After one that failed.
    public static let retryInterval = Duration.seconds(1)

    /// Heartbeats without an answer at once. The next does not wait for the one before: in a store that is slow a node
    /// would otherwise beat too seldom.
    public static let outstandingLimit = 3

    /// How much earlier than its peers may free what it holds a node counts as cut off.
    public static let margin = Duration.seconds(2)

    /// How long after a heartbeat that was answered a node counts as cut off. Peers wait for `PeerLiveness.patience` from
    /// when they saw it, which is not before it was sent.
    public static let isolation = PeerLiveness.patience - margin

    private var dueAt: ContinuousClock.Instant
    private var answeredAt: ContinuousClock.Instant
    private var outstanding = 0

    /// - Parameter began: when the node has made itself known.
    public init(began: ContinuousClock.Instant) {
        dueAt = began
        answeredAt = began
    }

    /// Whether to send one now.
    public mutating func isDue(now: ContinuousClock.Instant) -> Bool {
        guard now >= dueAt, outstanding < Self.outstandingLimit else { return false }
        outstanding += 1
        dueAt = now + Self.interval
        return true
    }

    /// One that was sent then is in the store.
    public mutating func answered(sentAt: ContinuousClock.Instant) {
        outstanding -= 1
        answeredAt = max(answeredAt, sentAt)
    }

    /// One that was sent then failed, as far as is known.
    ///
    /// - Returns: false if a later one has been answered: then it says nothing about now.
    public mutating func failed(sentAt: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Bool {
        outstanding -= 1
        guard sentAt > answeredAt else { return false }
        dueAt = min(dueAt, now + Self.retryInterval)
        return true
    }

    /// Whether peers may soon free what this node holds.
    public func isIsolated(now: ContinuousClock.Instant) -> Bool {
        answeredAt.duration(to: now) >= Self.isolation
    }
}
