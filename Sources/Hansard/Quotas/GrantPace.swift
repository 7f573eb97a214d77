/// How fast a node's sessions use an owner's minutes.
struct GrantPace: Sendable {
    /// Over how long it is measured.
    static let window = Duration.seconds(5)

    private var began: ContinuousClock.Instant
    private var taken: Int64 = 0
    private var before: Int64 = 0

    /// Nothing has been used.
    init(now: ContinuousClock.Instant) { began = now }

    /// So many milliseconds of audio were used.
    mutating func took(_ milliseconds: Int64, now: ContinuousClock.Instant) {
        let elapsed = began.duration(to: now)
        if elapsed >= Self.window {
            before = elapsed < Self.window * 2 ? Self.rate(taken, elapsed) : 0
            began = now
            taken = 0
        }
        taken += milliseconds
    }

    /// Milliseconds of audio in a second: of the last full window, or of this one if that is more.
    func perSecond(now: ContinuousClock.Instant) -> Int64 {
        let elapsed = began.duration(to: now)
        return max(elapsed < Self.window * 2 ? before : 0, Self.rate(taken, elapsed))
    }

    /// A pace is not made out of an instant: one piece of audio may hold many seconds.
    private static func rate(_ taken: Int64, _ elapsed: Duration) -> Int64 {
        taken / max(window, elapsed).components.seconds
    }
}
