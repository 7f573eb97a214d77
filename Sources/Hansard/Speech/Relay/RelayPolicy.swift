/// How a relay behaves towards one kind of upstream service.
public struct RelayPolicy: Sendable {
    /// How the service is made to give its finals.
    public enum Flush: Sendable, Equatable {
        /// It knows a message for it, and answers it.
        case message
        /// It does not: so much silence is an end of an utterance to it.
        case silence(AudioTime)
    }

    /// How the service is told that the client is still there.
    public enum KeepAlive: Sendable, Equatable {
        /// By a message.
        case message
        /// By so much silence.
        case silence(AudioTime)
    }

    /// How finals are asked for.
    public var flush: Flush
    /// What a service that hears nothing gets.
    public var keepAlive: KeepAlive
    /// How long it hears nothing before it gets that.
    public var keepAliveInterval = Duration.seconds(5)
    /// How much audio one stream may have; nil is any. A new one takes over before that.
    public var streamLimit: AudioTime?
    /// What the service bills for each stream at least.
    public var minimumBilled = AudioTime.zero
    /// Seconds of audio that it takes in a second.
    public var speed = 1.0
    /// How long it may be away, or limit us, before the relay gives up.
    public var patience = Duration.seconds(60)
    /// The same if there is another engine to go on with.
    public static let patienceWithSubstitute = Duration.seconds(5)
    /// Whether the words of the last partials are given as finals when it gives up: not if another engine hears them again.
    public var givesLastPartials = true
    /// Whether the first audio is overdue: another engine has failed with it.
    public var beginsLate = false

    /// A message of audio has at least so much, but the last before a pause.
    public var shortestMessage = AudioTime.milliseconds(50)
    /// A message of audio has at most so much.
    public var longestMessage = AudioTime.milliseconds(200)
    /// Audio that waits to be sent, before the client is held back.
    public var queueLimit = AudioTime.milliseconds(60_000)
    /// The same in bytes: many channels at a high rate reach it first. Of all streams of a session together.
    public var queueBytes = 16 << 20
    /// Once it was held back it may go on when so much less waits, or when half of the limit does.
    public var queueStep = AudioTime.milliseconds(5_000)
    /// Audio that was sent and is not final is kept for replay up to this.
    public var replayLimit = AudioTime.milliseconds(60_000)
    /// When so much of it is kept, a final is asked for.
    public var finalInterval = AudioTime.milliseconds(45_000)
    /// Words of audio that was sent so long ago would have been told: if there are none, quiet is not replayed.
    public var quietMargin = AudioTime.milliseconds(10_000)
    /// How long the finals that were asked for may take; the last partials count as final then.
    public var flushWait = Duration.seconds(2)
    /// How long to wait for them when there was nothing to hear.
    public var quietFlushWait = Duration.milliseconds(500)
    /// Words that follow a final within this are of the same flush.
    public var flushGrace = Duration.milliseconds(200)
    /// How long the service may say nothing after the end of the stream.
    public var endWait = Duration.seconds(10)
    /// How long it may take nothing, or say nothing to what may be speech, before it counts as stalled.
    public var stallWait = Duration.seconds(15)

    /// So much of what may be speech should bring some answer.
    public var answerable = AudioTime.milliseconds(2_000)
    /// What may be speech and is shorter is no word.
    public var shortestWord = AudioTime.milliseconds(100)

    /// The policy for one session: with another engine to go on with, or after another one has failed.
    public func serving(_ request: EngineRequest) -> RelayPolicy {
        var policy = self
        if request.hasSubstitute {
            policy.patience = Self.patienceWithSubstitute
            policy.givesLastPartials = false
        }
        policy.beginsLate = request.takesOver
        return policy
    }

    /// The policy for one of several streams that serve one session: what it may hold in memory is shared.
    public func shared(among streams: Int) -> RelayPolicy {
        var policy = self
        policy.queueBytes /= max(1, streams)
        return policy
    }

    /// A policy with the usual limits.
    public init(flush: Flush, keepAlive: KeepAlive) {
        self.flush = flush
        self.keepAlive = keepAlive
    }
}

/// The pauses between attempts to open a stream.
struct ReopenBackoff {
    /// The pauses: none before the first attempt.
    static let pauses: [Duration] = [
        .zero, .milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2), .seconds(4), .seconds(8),
    ]
    /// The most that the pauses are lengthened by, as a part of them.
    static let jitter = 0.25

    private(set) var attempts = 0

    /// - Parameter random: 0 ..< 1.
    mutating func pause(random: Double) -> Duration {
        let pause = Self.pauses[min(attempts, Self.pauses.count - 1)]
        attempts += 1
        return pause * (1 + Self.jitter * random)
    }

    /// We are too many or too fast: no quick attempts.
    mutating func slowDown() { attempts = max(attempts, 3) }

    /// It works again.
    mutating func worked() { attempts = 0 }
}
