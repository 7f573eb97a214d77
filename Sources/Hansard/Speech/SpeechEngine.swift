/// A recognised word.
public struct Word: Sendable, Equatable, Codable {
    /// Lower case, without punctuation.
    public var text: String
    /// Where it begins.
    public var start: AudioTime
    /// Where it ends.
    public var end: AudioTime
    /// 0...1; nil if the engine does not say, as for interim words.
    public var confidence: Double?

    /// A word as an engine heard it.
    public init(text: String, start: AudioTime, end: AudioTime, confidence: Double? = nil) {
        self.text = text
        self.start = start
        self.end = end
        self.confidence = confidence
    }
}

/// What an engine heard on one channel since its last final there.
public struct EngineResult: Sendable, Equatable {
    /// From 0; always 0 unless the stream is multichannel.
    public var channel: Int
    /// The audio up to here is accounted for by this result and those before it. Never beyond what was sent.
    public var through: AudioTime
    /// May be empty.
    public var transcript: String
    /// In order of time.
    public var words: [Word]
    /// 0...1 for a final, if the engine says.
    public var confidence: Double?

    /// A result as an engine gives it.
    public init(
        channel: Int = 0, through: AudioTime, transcript: String, words: [Word], confidence: Double? = nil
    ) {
        self.channel = channel
        self.through = through
        self.transcript = transcript
        self.words = words
        self.confidence = confidence
    }
}

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

/// What an engine is and what it can do.
public struct EngineDescription: Sendable, Equatable {
    /// The name in settings, transcripts and usage rows: `pocketsphinx`, `synthetic`, ...
    public var name: String
    /// `model_info.name` of its results.
    public var modelName: String
    /// `model_info.version` of its results.
    public var modelVersion: String
    /// `model_info.arch` of its results.
    public var architecture: String
    /// Language tags that it understands, lower case; a bare `en` stands for all its regions. Empty is any language.
    public var languages: [String]
    /// The most channels it listens to apart.
    public var maxMultichannel: Int

    /// Describes an engine.
    public init(
        name: String, modelName: String, modelVersion: String, architecture: String, languages: [String],
        maxMultichannel: Int
    ) {
        self.name = name
        self.modelName = modelName
        self.modelVersion = modelVersion
        self.architecture = architecture
        self.languages = languages
        self.maxMultichannel = maxMultichannel
    }

    /// Whether `language` (a BCP 47 tag) is one that the engine understands: the tag itself, or its primary language.
    public func understands(_ language: String) -> Bool {
        let tag = language.lowercased()
        let primary = tag.split(separator: "-").first.map(String.init) ?? tag
        return languages.isEmpty || languages.contains(tag) || languages.contains(primary)
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

    /// How many streams (or decoders, for a local engine) it can carry and carries now; nil capacity is no limit.
    var load: (capacity: Int?, inUse: Int) { get }
}

/// Room for one stream. Either `open` or `release` ends it.
public protocol EngineReservation: Sendable {
    /// Begins the stream.
    ///
    /// - Parameters:
    ///   - audio: what will be sent; its channels are at most those reserved.
    ///   - language: one that the engine's description understands.
    ///   - deliver: takes the stream's events one after the other; it may be called on any thread, `open`'s own included.
    func open(
        audio: EngineAudio, language: String, deliver: @escaping @Sendable (EngineEvent) -> Void
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
