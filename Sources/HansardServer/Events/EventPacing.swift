/// How events are sent on: what becomes of a batch by its answer, what the next one has, and when it is tried.
///
/// Nothing is left out but what the receiver will not take though it takes others, one event at a time: it has refused the event,
/// then has taken another, and then has refused the event alone. Who takes nothing at all is wrong itself, by its address, its
/// secret or some fault, and loses nothing.
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
        init() {}
    }

    /// What is sent.
    struct Request: Equatable {
        /// The receiver has everything up to this position.
        var delivered: Int64
        /// Events that it does not have.
        var pending: Int
        /// The first one that is sent is the next one after this position. That is further on than `delivered` where a later
        /// event is to show whether the receiver takes any: a witness.
        var after: Int64
        /// Events, at most or as they are.
        var count: Int

        /// Whether a later event is sent before its turn.
        var isWitness: Bool { after != delivered }
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
        /// Another one is tried first, alone.
        case doubted
        /// It takes others. This one comes again in its turn.
        case witnessed
        /// The only one there was is set aside, with the status.
        case refused(Int)
        /// They are tried again; what is wrong, for people.
        case failed(String)
    }

    /// Events that were refused, until it is known what is wrong with them.
    private struct Doubt {
        /// What was delivered when they were sent, and has been since.
        var delivered: Int64
        /// Those up to this position were refused together.
        var through: Int64
        /// Whether the receiver has taken another one since.
        var hasTakenOther = false
        /// The witness that is sent next.
        var witness: Int64?
        /// How far on it was looked for; 0 is where one was found before.
        var step = 0
        /// Whether there are none further on.
        var isLastWitness = false
    }

    /// What says that the events themselves may be the matter.
    private static let refusals: Set = [400, 413, 422]

    let limits: Limits
    /// Events of the next request.
    private(set) var atMost: Int
    /// Until when nothing is sent.
    private(set) var notBefore: ContinuousClock.Instant?
    private var failures = 0
    private var doubt: Doubt?
    /// The position of the last event that the receiver took out of turn.
    private var witness: Int64?
    /// How often no witness was found: each time others are asked for.
    private var searches = 0

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

    /// What to send next, of so many events after what is delivered.
    func next(after delivered: Int64, pending: Int) -> Request {
        guard let doubt, doubt.delivered == delivered else {
            return Request(delivered: delivered, pending: pending, after: delivered, count: atMost)
        }
        if let witness = doubt.witness {
            return Request(delivered: delivered, pending: pending, after: witness - 1, count: 1)
        }
        // Only of those that were refused together it is known what was taken since.
        let count = min(atMost, Int(doubt.through - delivered))
        return Request(delivered: delivered, pending: pending, after: delivered, count: count)
    }

    /// What was refused before is no ground to set anything aside: too much may have happened since.
    mutating func forgetRefusals() { doubt = nil }

    /// - Parameters:
    ///   - request: as it was sent.
    ///   - chance: from 0 up to 1: nodes that wait for one receiver do not all come back at once.
    mutating func answered(
        _ answer: Answer, to request: Request, now: ContinuousClock.Instant, chance: Double
    ) -> Outcome {
        notBefore = nil
        // Another node may have got on meanwhile.
        if doubt?.delivered != request.delivered { doubt = nil }
        switch answer {
        case .status(200...299, _): return taken(request)
        case .status(let status, _) where Self.refusals.contains(status):
            return refused(status, request, now: now, chance: chance)
        case .status(let status, let wish):
            failures += 1
            doubt = nil
            notBefore = now + (wish.map { min(max($0, .zero), limits.longestWish) } ?? pause(failures, chance))
            return .failed(Self.meaning(of: status))
        case .none(let reason):
            failures += 1
            doubt = nil
            notBefore = now + pause(failures, chance)
            return .failed(reason)
        }
    }

    private mutating func taken(_ request: Request) -> Outcome {
        (failures, searches) = (0, 0)
        guard !request.isWitness else {
            witness = request.after + 1
            doubt?.hasTakenOther = true
            doubt?.witness = nil
            doubt?.isLastWitness = false
            return .witnessed
        }
        atMost = min(limits.events, atMost * 2)
        goOn(by: request.count, hasTakenOther: true)
        return .delivered
    }

    private mutating func refused(
        _ status: Int, _ request: Request, now: ContinuousClock.Instant, chance: Double
    ) -> Outcome {
        var doubt =
            self.doubt ?? Doubt(delivered: request.delivered, through: request.delivered + Int64(request.count))
        guard request.count <= 1 else {
            self.doubt = doubt
            atMost = request.count / 2
            return .divided
        }
        if !request.isWitness, doubt.hasTakenOther {
            // Of the next one it is to be shown anew: a receiver that fails just now costs one event at most.
            goOn(by: 1, hasTakenOther: false)
            return .refused(status)
        }
        if findWitness(for: &doubt, request) {
            self.doubt = doubt
            return .doubted
        }
        self.doubt = nil
        searches += 1
        failures += 1
        notBefore = now + pause(failures, chance)
        return .failed(Self.meaning(of: status, toAllOf: request.pending))
    }

    /// The first events of those in doubt are dealt with.
    private mutating func goOn(by count: Int, hasTakenOther: Bool) {
        guard var doubt else { return }
        doubt.delivered += Int64(count)
        doubt.hasTakenOther = hasTakenOther
        self.doubt = doubt.delivered < doubt.through ? doubt : nil
    }

    /// Chooses a later event to ask about: the one that was taken before, then others at distances that double, since many in a
    /// row may be alike, and the last. Each time that none is taken it is others: in the end all have been asked about.
    ///
    /// - Returns: false if there are no more.
    private func findWitness(for doubt: inout Doubt, _ request: Request) -> Bool {
        let first = request.delivered + 1
        guard request.pending > 1, !doubt.isLastWitness else { return false }
        if doubt.witness == nil {
            doubt.step = 0
            if let witness, witness > first, witness - first < Int64(request.pending) {
                doubt.witness = witness
                return true
            }
        }
        doubt.step = max(1, doubt.step * 2)
        let distance = searches % (request.pending - 1) + doubt.step
        doubt.isLastWitness = distance >= request.pending - 1
        doubt.witness = first + Int64(min(distance, request.pending - 1))
        return true
    }

    /// Twice as long each time, of which a half is left to chance.
    private func pause(_ number: Int, _ chance: Double) -> Duration {
        let doubled = limits.firstPause * (1 << min(number - 1, 30))
        return min(doubled, limits.longestPause) * (0.5 + chance / 2)
    }

    /// What refuses everything is no matter of one event.
    private static func meaning(of status: Int, toAllOf count: Int) -> String {
        count > 1
            ? "the receiver answers \(status) to whatever it is sent: it may not accept the signature of "
                + "HANSARD_EVENTS_SECRET, or HANSARD_EVENTS_URL is not what takes batches of CloudEvents"
            : "the receiver answers \(status) to the only event that waits; it is set aside once another one is taken"
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
