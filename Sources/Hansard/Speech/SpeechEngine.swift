/// What an engine's stream tells its session. Events of one stream come one after the other, in this sense of order:
/// a channel's finals tile its time line, a partial speaks of the time after the last final.
public enum EngineEvent: Sendable, Equatable {
    /// What has been heard since the last final, so far; it replaces the partial before it.
    case partial(EngineResult)
    /// What will not change any more.
    case final(EngineResult)
    /// The channel's audio up to here has been listened to, whether or not words were in it.
    case progress(channel: Int, through: AudioTime)
    /// Every final of the audio that came before one `flush` of this channel has been given.
    case flushed(channel: Int)
    /// After `.backpressure`: there is room again.
    case capacity
    /// What follows comes from this engine, not from the one that was opened.
    case spokenBy(EngineDescription)
    /// So much audio of this session has been sent to whoever bills for it, in all: it replaces what was said before and
    /// never shrinks. An engine that never says so has used what it was sent.
    case metered(AudioTime)
    /// After `finish`: everything has been given, the stream is over.
    case ended
    /// The stream is over, beyond the engine's own retries. The text is for the log.
    case failed(String)
}

/// What a send to an engine, or to a client, came to.
public enum SendOutcome: Sendable, Equatable {
    /// Taken.
    case sent
    /// Taken, but hold the next until there is room: whoever said so tells when.
    case backpressure
    /// Not taken; the stream is over.
    case dropped
}

/// The audio that a stream will carry: 16-bit PCM, channels interleaved.
public struct EngineAudio: Sendable, Equatable {
    /// Frames per second, 8,000...48,000.
    public var sampleRate: Int
    /// Interleaved channels.
    public var channels: Int
    /// True asks for results of each channel apart; false for one result of all of them mixed.
    public var isMultichannel: Bool

    /// Describes PCM audio.
    public init(sampleRate: Int, channels: Int, isMultichannel: Bool) {
        self.sampleRate = sampleRate
        self.channels = channels
        self.isMultichannel = isMultichannel
    }

    /// How many channels have results of their own.
    public var resultChannels: Int { isMultichannel ? channels : 1 }
}

/// What a stream is asked to do.
public struct EngineRequest: Sendable, Equatable {
    /// What will be sent; its channels are at most those reserved.
    public var audio: EngineAudio
    /// One that the engine's description understands.
    public var language: String
    /// What the client asked for, of which the engine does what its features say.
    public var options: SessionOptions
    /// Another engine goes on if this one fails: better to fail soon than to try for long.
    public var hasSubstitute: Bool
    /// Another engine has failed with the first audio, which is late therefore.
    public var takesOver: Bool

    /// A request as a session's owner makes it.
    public init(
        audio: EngineAudio, language: String, options: SessionOptions, hasSubstitute: Bool = false,
        takesOver: Bool = false
    ) {
        self.audio = audio
        self.language = language
        self.options = options
        self.hasSubstitute = hasSubstitute
        self.takesOver = takesOver
    }
}

/// What turns audio into text. Engines know no WebSocket, no wall clock and no pace.
public protocol SpeechEngine: Sendable {
    /// What it is and can do.
    var description: EngineDescription { get }

    /// Keeps room for one stream, so that a session is refused before it begins and not in the middle. Any thread; it
    /// does not wait.
    ///
    /// - Throws: `.unavailable` if it is full.
    func reserve(channels: Int) throws(HansardError) -> any EngineReservation

    /// Keeps room for one session with these options, as `reserve(channels:)` does. Engines made of others choose by them;
    /// any other engine is content with the number of channels, which is what it gets unless it says otherwise.
    func reserve(for options: SessionOptions) throws(HansardError) -> any EngineReservation

    /// How many streams (or decoders, for a local engine) it can carry and carries now; nil capacity is no limit.
    var load: (capacity: Int?, inUse: Int) { get }
}

extension SpeechEngine {
    /// See the requirement.
    public func reserve(for options: SessionOptions) throws(HansardError) -> any EngineReservation {
        try reserve(channels: options.reservedChannels)
    }
}

/// Room for one stream. Either `open` or `release` ends it.
public protocol EngineReservation: Sendable {
    /// Begins the stream.
    ///
    /// - Parameters:
    ///   - request: what the stream shall do.
    ///   - deliver: takes the stream's events one after the other; it may be called on any thread, `open`'s own included.
    /// - Throws: `.unavailable` if the engine cannot be had now; `.invalid` if it does not take such audio, which no retry and
    ///   no other engine would.
    func open(
        _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
    ) throws(HansardError) -> any EngineStream

    /// Gives the room back unused. Harmless when repeated or after `open`.
    func release()
}

/// A stream of audio into an engine. One caller at a time; nothing here waits.
public protocol EngineStream: AnyObject, Sendable {
    /// Hands over whole frames of interleaved PCM.
    func send(_ samples: [Int16]) -> SendOutcome
    /// Asks for finals of everything sent so far on a channel; answered by one `.flushed`, after those finals.
    func flush(channel: Int)
    /// No more audio will come: the rest as finals, then `.ended`.
    func finish()
    /// Drops everything as soon as possible. No events follow but those already under way.
    func cancel()
}
