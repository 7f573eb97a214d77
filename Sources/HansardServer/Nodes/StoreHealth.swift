import EventLoops
import Hansard
import Logging

/// What the calls of a node say about its connection store.
struct StoreReachability {
    /// Who asks, each again and again as long as there is need.
    enum Call: Hashable, CaseIterable {
        case heartbeat, nodes, claim, release
    }

    /// What is worth a line in the log.
    enum Change: Equatable {
        case wentAway, cameBack
    }

    /// A claim that failed while heartbeats went through is held against the store for so long, unless one works: nobody may
    /// claim again.
    static let claimMemory = Duration.seconds(10)

    /// The calls that failed last time.
    private(set) var failing: Set<Call> = []
    /// When a call was answered last.
    private(set) var answeredAt: ContinuousClock.Instant?
    private var claimFailedAt: ContinuousClock.Instant?
    private var hasClaimFailed = false

    /// Whether new sessions may try to claim. A heartbeat that works lets the next one try.
    var admits: Bool { !failing.contains(.heartbeat) && !hasClaimFailed }

    /// A call was answered, be it with a refusal.
    mutating func answered(_ call: Call, now: ContinuousClock.Instant) -> Change? {
        let before = failing
        answeredAt = now
        failing.remove(call)
        if call == .heartbeat {
            // An outage that both met is over for both.
            let isForgotten = claimFailedAt.map { $0.duration(to: now) >= Self.claimMemory } ?? true
            if before.contains(.heartbeat) || isForgotten { failing.remove(.claim) }
        }
        if call == .heartbeat || call == .claim { hasClaimFailed = false }
        return before.isEmpty || !failing.isEmpty ? nil : .cameBack
    }

    /// A call was not answered.
    mutating func failed(_ call: Call, now: ContinuousClock.Instant) -> Change? {
        let wasWhole = failing.isEmpty
        failing.insert(call)
        if call == .claim {
            claimFailedAt = now
            hasClaimFailed = true
        }
        return wasWhole ? .wentAway : nil
    }
}

/// Whether the connection store answers. All who call it report here, so that its going away is one line in the log, and
/// its coming back another.
final class StoreHealth: Sendable {
    private let state = Locked(StoreReachability())
    private let logger: Logger

    /// Nothing has been asked yet.
    init(logger: Logger) { self.logger = logger }

    /// Whether new sessions may try to claim.
    var isReachable: Bool { state.withLock { $0.admits } }

    /// Whether every kind of call was answered when it was last made.
    var isWhole: Bool { state.withLock { $0.failing.isEmpty } }

    /// Whether any call was answered since then.
    func hasAnswered(since then: ContinuousClock.Instant) -> Bool {
        state.withLock { $0.answeredAt.map { $0 >= then } ?? false }
    }

    /// A call was answered, be it with a refusal. Any thread.
    func answered(_ call: StoreReachability.Call, now: ContinuousClock.Instant = .now) {
        guard state.withLock({ $0.answered(call, now: now) }) == .cameBack else { return }
        logger.notice("the connection store answers again")
    }

    /// A call was not answered. Any thread.
    func failed(_ call: StoreReachability.Call, _ error: any Error, now: ContinuousClock.Instant = .now) {
        guard state.withLock({ $0.failed(call, now: now) }) == .wentAway else { return }
        logger.warning("the connection store does not answer", error)
    }
}
