/// One continuous stream of audio into an upstream service, whatever becomes of the service's own streams: they are opened
/// again when they end, the audio since the last final is replayed into the next one, and every word is given once, in
/// the session's time. It keeps the service's pace, keeps it awake while the client is silent, and asks for finals where
/// the service knows no such request.
///
/// Pure: events go in, actions come out in the order in which the owner must run them. Time is a parameter. It cannot be
/// copied, for the reason that `Session` has.
///
///     waiting -> opening -> open -> ending -> over
///        '----------'--------'-------'   (the stream ends before its time)
public struct RelayedStream: ~Copyable, Sendable {
    /// What the owner does, in order. All of it concerns the newest upstream stream.
    public enum Action: Sendable, Equatable {
        /// Make a connection; then call `opened` or `upstreamEnded`.
        case open
        /// Send audio: whole frames, 16-bit, interleaved.
        case send(ArraySlice<Int16>)
        /// Send so many frames of silence.
        case sendSilence(frames: Int)
        /// Send the service's message that asks for finals.
        case askForFinals(channel: Int)
        /// Send the service's message that keeps it awake.
        case keepAlive
        /// Tell the service that no more audio comes.
        case endStream
        /// Let go of the stream; nothing that it still says counts.
        case close
        /// The stream was let go of because it does not answer: its owner hears of no other end.
        case report(UpstreamEnd)
        /// Tell the session.
        case deliver(EngineEvent)
    }

    enum Phase: Equatable {
        /// The next attempt is due then.
        case waiting(until: ContinuousClock.Instant)
        case opening
        case open
        /// All has been sent; the service gives the rest until the deadline.
        case ending(deadline: ContinuousClock.Instant)
        case over
    }

    /// A request for finals: everything up to `frame`.
    struct Flush: Equatable {
        var channel: Int
        var frame: Int64
        /// nil is a flush of our own, so that not too much must be kept.
        var isAsked = true
        /// When the last partial counts as final; nil until the service has been asked.
        var deadline: ContinuousClock.Instant?
        /// What the deadline may be put off to.
        var latest: ContinuousClock.Instant?
    }

    /// Audio to which the service has said nothing.
    struct Unanswered: Equatable {
        /// When the first of it was sent.
        var since: ContinuousClock.Instant?
        var frames: Int64 = 0
    }

    /// What is sent.
    public let audio: EngineAudio
    let policy: RelayPolicy
    let random: @Sendable () -> Double

    var phase: Phase
    var buffer: RelayBuffer
    var clock: RelayClock
    var pace: RelayPace
    var channels: [RelayedChannel]
    var flushes: [Flush] = []
    var isFinishing = false
    /// Where the client's audio would be by now if nothing had been held up.
    var live: LivePosition
    /// Audio up to here came before the newest stream was opened.
    var replayedThrough: Int64 = 0
    /// Where silence of ours was last sent to end an utterance.
    var silentAt: Int64?
    var sentAt: ContinuousClock.Instant
    /// What may be speech and has been sent since the service last said something.
    var unanswered = Unanswered()
    var hasReplayedEnd = false
    var blockedSince: ContinuousClock.Instant?
    private var tickedAt: ContinuousClock.Instant
    /// Where the buffer was last cleared.
    var forgottenAt: Int64 = 0
    var isHeldBack = false
    var backoff = ReopenBackoff()
    var outageSince: ContinuousClock.Instant?
    var refusals = 0
    var hasStalled = false
    var metered = AudioTime.zero
    var billedBefore = AudioTime.zero
    var heardThrough: Int64 = 0

    /// Time is looked at so often at least.
    static let tickInterval = Duration.seconds(1)
    /// Refusals in a row that are believed: the first may be a matter of credentials that have just changed.
    static let refusalsBelieved = 2
    /// Between reports of how much audio the service got.
    static let meteringStep = AudioTime.milliseconds(10_000)
    /// Quiet audio sent so long ago without a word in answer has been listened to.
    static let hearingDelay = AudioTime.milliseconds(1_000)
    /// Between reports of what has been listened to.
    static let progressStep = AudioTime.milliseconds(250)
    /// A stream that hears so much after what was replayed works. One that only says again what was said before may fail
    /// at the same place for ever.
    static let recovery = AudioTime.milliseconds(1_000)
    /// The same of a stream that says nothing: nobody may be speaking.
    static let silentRecovery = AudioTime.milliseconds(5_000)
    /// So far behind nothing has to be made good.
    static let lateness = AudioTime.milliseconds(200)
    /// Part of the stream's limit at whose end a pause is used to change streams.
    static let changeoverPart: Int64 = 50

    /// A relay; `begin` opens the first stream.
    ///
    /// - Parameters:
    ///   - audio: what will be sent.
    ///   - policy: how the service is.
    ///   - now: the time.
    ///   - random: 0 ..< 1, for pauses between attempts.
    public init(
        audio: EngineAudio, policy: RelayPolicy, now: ContinuousClock.Instant,
        random: @escaping @Sendable () -> Double
    ) {
        self.audio = audio
        self.policy = policy
        self.random = random
        phase = .waiting(until: now)
        buffer = RelayBuffer(audio, policy: policy)
        clock = RelayClock(sampleRate: audio.sampleRate, start: 0)
        pace = RelayPace(sampleRate: audio.sampleRate, speed: policy.speed)
        live = LivePosition(
            pace: RelayPace(
                sampleRate: audio.sampleRate, speed: policy.speed,
                overdue: policy.beginsLate ? policy.replayLimit : .zero))
        channels = (0..<audio.resultChannels).map { RelayedChannel(channel: $0) }
        sentAt = now
        tickedAt = now
    }

    /// Whether nothing will happen any more.
    public var isOver: Bool { phase == .over }

    // MARK: The session

    /// Opens the first stream.
    public mutating func begin(now: ContinuousClock.Instant) -> [Action] {
        // Nothing is billed before a stream is open.
        [.deliver(.metered(.zero))] + ticked(now: now)
    }

    /// Audio came: whole frames.
    ///
    /// - Returns: `.dropped` if the relay is over, `.backpressure` if enough waits; `.capacity` follows then.
    public mutating func audioCame(
        _ samples: [Int16], now: ContinuousClock.Instant
    ) -> (outcome: SendOutcome, actions: [Action]) {
        guard phase != .over, !isFinishing else { return (.dropped, []) }
        buffer.append(samples)
        var actions: [Action] = []
        pump(now: now, &actions)
        if phase == .over { return (.dropped, actions) }
        if buffer.isFull { isHeldBack = true }
        return (isHeldBack ? .backpressure : .sent, actions)
    }

    /// The session wants finals of everything so far on a channel.
    public mutating func flushAsked(channel: Int, now: ContinuousClock.Instant) -> [Action] {
        guard phase != .over, channels.indices.contains(channel) else { return [] }
        flushes.append(Flush(channel: channel, frame: buffer.end))
        var actions: [Action] = []
        pump(now: now, &actions)
        return actions
    }

    /// No more audio will come.
    public mutating func finishAsked(now: ContinuousClock.Instant) -> [Action] {
        guard phase != .over else { return [] }
        isFinishing = true
        var actions: [Action] = []
        pump(now: now, &actions)
        return actions
    }

    /// The session does not want anything any more.
    public mutating func cancelled() -> [Action] {
        guard phase != .over else { return [] }
        var actions: [Action] = []
        meterStream(&actions)
        let hasStream = hasStream
        phase = .over
        return actions + (hasStream ? [.close] : [])
    }

    // MARK: The upstream stream

    /// The connection is made.
    public mutating func opened(now: ContinuousClock.Instant) -> [Action] {
        guard phase == .opening else { return [] }
        phase = .open
        sentAt = now
        var actions: [Action] = []
        meter(&actions)
        pump(now: now, &actions)
        return actions
    }

    /// The socket has no room, or has room again.
    public mutating func blocked(_ isBlocked: Bool, now: ContinuousClock.Instant) -> [Action] {
        blockedSince = isBlocked ? blockedSince ?? now : nil
        var actions: [Action] = []
        if !isBlocked { pump(now: now, &actions) }
        return actions
    }

    /// The service said something.
    public mutating func said(_ results: [UpstreamResult], now: ContinuousClock.Instant) -> [Action] {
        guard isListening else { return [] }
        var actions: [Action] = []
        let given = finalTotal
        hasStalled = false
        if results.isEmpty {
            // A sign of life, and of nothing that was heard.
            unanswered.since = unanswered.since.map { _ in now }
        } else {
            unanswered = Unanswered()
        }
        for result in results where channels.indices.contains(result.result.channel) { take(result, now, &actions) }
        if finalTotal > given || buffer.position >= replayedThrough + frames(Self.recovery) { outageIsOver() }
        if case .ending = phase { phase = .ending(deadline: now + policy.endWait) }
        pump(now: now, &actions)
        return actions
    }

    /// The stream is over, or was never made.
    public mutating func upstreamEnded(_ end: UpstreamEnd, now: ContinuousClock.Instant) -> [Action] {
        guard hasStream else { return [] }
        var actions: [Action] = []
        meterStream(&actions)
        if case .ending = phase, end == .clean, hasReplayedEnd || !hasUnheardAudio {
            finish(&actions)
        } else {
            if case .ending = phase { hasReplayedEnd = true }
            // The service's clean close is not the client's end.
            reopen(after: end, now: now, &actions)
        }
        return actions
    }

    /// Time has passed.
    public mutating func ticked(now: ContinuousClock.Instant) -> [Action] {
        tickedAt = now
        var actions: [Action] = []
        switch phase {
        case .waiting(let until) where now >= until:
            phase = .opening
            actions.append(.open)
            // The session must not take an outage for silence.
            actions.append(.deliver(.progress(channel: 0, through: time(heardThrough))))
        case .ending(let deadline) where now >= deadline:
            if hasReplayedEnd || !hasUnheardAudio {
                actions.append(.close)
                meterStream(&actions)
                finish(&actions)
            } else {
                hasReplayedEnd = true
                leaveSilentStream(now, &actions)
            }
        case .open, .ending:
            if isStalled(now) {
                hasStalled = true
                leaveSilentStream(now, &actions)
            } else {
                pump(now: now, &actions)
            }
        case .waiting, .opening, .over: break
        }
        return actions
    }

    /// When `ticked` should be called next; nil is never.
    public func nextTick(now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        switch phase {
        case .over, .opening: return nil
        case .waiting(let until): return until
        case .open, .ending:
            var next = min(tickedAt + Self.tickInterval, max(now, sentAt + policy.keepAliveInterval))
            if buffer.waiting > 0, blockedSince == nil {
                let isWhole = buffer.waiting >= frames(policy.shortestMessage)
                let remainder = isWhole ? now : max(now, sentAt + Self.remainderWait)
                next = min(next, max(remainder, pace.opens(isCatchingUp: isCatchingUp) ?? now))
            }
            for case let deadline? in flushes.map(\.deadline) { next = min(next, deadline) }
            if case .ending(let deadline) = phase { next = min(next, deadline) }
            return max(next, now + .milliseconds(1))
        }
    }

    // MARK: Measures

    /// Grows with each final that says something new.
    private var finalTotal: Int64 { channels.reduce(0) { $0 + $1.finalThrough.microseconds } }

    func frames(_ time: AudioTime) -> Int64 { time.microseconds * Int64(audio.sampleRate) / 1_000_000 }

    func time(_ frames: Int64) -> AudioTime { AudioTime(frames: frames, sampleRate: audio.sampleRate) }

    func frameOf(_ time: AudioTime) -> Int64 { time.firstFrame(sampleRate: audio.sampleRate) }
}
