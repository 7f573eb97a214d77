/// How events are sent on: what becomes of a batch by its answer, how large the next one may be, and when it is tried.
///
/// Nothing is left out but what the receiver says it will never take, one event at a time.
struct EventPacing {
    /// What is waited for and sent at most.
    struct Limits: Sendable {
        /// Events of one request.
        var events = 200
        /// Bytes of one request; a single event may be longer.
        var bytes = 256 << 10
        /// After the first failure; twice as long after each that follows.
        var firstPause = Duration.seconds(1)
        /// After however many failures.
        var longestPause = Duration.seconds(300)
        /// For as long as this a receiver may ask to be left alone.
        var longestWish = Duration.seconds(3_600)
        /// Events that are set aside one after the other without a pause. A receiver that takes none at all is set up wrong,
        /// and then most of them are spared.
        var refusalsAtOnce = 10
        init() {}
    }

    /// What came of a request.
    enum Answer: Equatable {
        /// A status, and how long the receiver asks to be left alone.
        case status(Int, wish: Duration? = nil)
        /// There is none: nobody knows whether the events have arrived.
        case none(String)
    }

    /// What that means for its events.
    enum Outcome: Equatable {
        /// The receiver has them.
        case delivered
        /// Fewer are tried.
        case divided
        /// The only one there was is set aside, with the status.
        case refused(Int)
        /// They are tried again; what is wrong, for people.
        case failed(String)
    }

    /// What says that the events themselves are the matter.
    private static let refusals: Set = [400, 413, 422]

    let limits: Limits
    /// Events of the next request.
    private(set) var atMost: Int
    /// Until when nothing is sent.
    private(set) var notBefore: ContinuousClock.Instant?
    private var failures = 0
    private var refusedAtOnce = 0

    init(_ limits: Limits = Limits()) {
        self.limits = limits
        atMost = limits.events
    }

    /// How many of the events, which are so long, the next request has: one at least.
    func batch(of lengths: [Int]) -> Int {
        var bytes = 0
        for (index, length) in lengths.prefix(atMost).enumerated() {
            bytes += length
            if bytes > limits.bytes { return max(1, index) }
        }
        return min(lengths.count, atMost)
    }

    /// - Parameters:
    ///   - count: events of the request.
    ///   - chance: from 0 up to 1: nodes that wait for one receiver do not all come back at once.
    mutating func answered(
        _ answer: Answer, to count: Int, now: ContinuousClock.Instant, chance: Double
    ) -> Outcome {
        notBefore = nil
        switch answer {
        case .status(200...299, _):
            (failures, refusedAtOnce) = (0, 0)
            atMost = min(limits.events, atMost * 2)
            return .delivered
        case .status(let status, _) where Self.refusals.contains(status):
            failures = 0
            guard count <= 1 else {
                atMost = count / 2
                return .divided
            }
            refusedAtOnce += 1
            if refusedAtOnce > limits.refusalsAtOnce {
                notBefore = now + pause(refusedAtOnce - limits.refusalsAtOnce, chance)
            }
            return .refused(status)
        case .status(let status, let wish):
            failures += 1
            notBefore = now + (wish.map { min(max($0, .zero), limits.longestWish) } ?? pause(failures, chance))
            return .failed(Self.meaning(of: status))
        case .none(let reason):
            failures += 1
            notBefore = now + pause(failures, chance)
            return .failed(reason)
        }
    }

    /// Twice as long each time, of which a half is left to chance.
    private func pause(_ number: Int, _ chance: Double) -> Duration {
        let doubled = limits.firstPause * (1 << min(number - 1, 30))
        return min(doubled, limits.longestPause) * (0.5 + chance / 2)
    }

    /// What an operator can do about it.
    private static func meaning(of status: Int) -> String {
        let advice =
            switch status {
            case 300...399:
                ": it is somewhere else; HANSARD_EVENTS_URL must say where, since redirects are not followed"
            case 401, 403, 407:
                ": it does not accept HANSARD_EVENTS_AUTHORIZATION or the signature of HANSARD_EVENTS_SECRET"
            case 404, 405, 410: ": nothing takes events at HANSARD_EVENTS_URL"
            case 415: ": it takes no batches of CloudEvents (application/cloudevents-batch+json)"
            case 429, 503: ": it asks to be left alone for a while"
            default: ""
            }
        return "the receiver answers \(status)\(advice)"
    }
}
