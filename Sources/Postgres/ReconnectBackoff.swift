/// When a connection may be attempted again after attempts have failed: the decision for all connections of a pool.
///
/// While the server is reachable every attempt is allowed. After a failure attempts are refused with that failure until
/// a pause is over; then one attempt at a time is allowed, so that callers fail at once and not after a time-out each.
struct ReconnectBackoff {
    /// The pause after the first failure; it doubles with each further one.
    static let firstPause: Duration = .milliseconds(50)
    /// The longest pause.
    static let longestPause: Duration = .seconds(1)

    private enum State {
        /// The last attempt succeeded, or there was none. Leaves to `paused` if one fails.
        case reachable
        /// Attempts are refused until then. Leaves to `probing` when one is allowed.
        case paused(until: ContinuousClock.Instant, PostgresError)
        /// One attempt is being made, the others are refused. Leaves to `reachable` or `paused` by its outcome.
        case probing(PostgresError)
    }

    private var state = State.reachable
    private var failures = 0

    /// Whether an attempt may be made now; the failure to report if not. Whoever is allowed reports the outcome by
    /// `attemptSucceeded` or `attemptFailed`.
    mutating func attemptRequested(at now: ContinuousClock.Instant) -> PostgresError? {
        switch state {
        case .reachable: return nil
        case .probing(let failure): return failure
        case .paused(let end, let failure):
            if now < end { return failure }
            state = .probing(failure)
            return nil
        }
    }

    /// A connection was made.
    mutating func attemptSucceeded() {
        state = .reachable
        failures = 0
    }

    /// An attempt failed.
    mutating func attemptFailed(_ failure: PostgresError, at now: ContinuousClock.Instant) {
        let pause = min(Self.longestPause, Self.firstPause * (1 << min(failures, 10)))
        failures += 1
        state = .paused(until: now + pause, failure)
    }
}
