/// A result as the client gets it: a span of one channel's time line and the words in it.
public struct SessionResult: Sendable, Equatable {
    /// From 0.
    public var channel: Int
    /// How many channels have results.
    public var channels: Int
    /// The end of the channel's last final: results of a channel tile its time line.
    public var start: AudioTime
    /// Where the span ends.
    public var end: AudioTime
    /// The span will not change.
    public var isFinal: Bool
    /// An utterance ended here.
    public var isSpeechFinal: Bool
    /// The answer to one `Finalize`.
    public var isFromFinalize: Bool
    /// In the form that the client asked for; may be empty.
    public var transcript: String
    /// In order of time.
    public var words: [Word]
    /// 0...1; nil if the engine does not say.
    public var confidence: Double?
    /// Who spoke, if it is not the engine that the session began with.
    public var spokenBy: EngineDescription?
}

extension SessionResult {
    /// A final without words at one point of a channel's time line.
    static func emptyFinal(
        channel: Int, of channels: Int, at start: AudioTime, through end: AudioTime? = nil, isSpeechFinal: Bool = false,
        isFromFinalize: Bool = false
    ) -> SessionResult {
        SessionResult(
            channel: channel, channels: channels, start: start, end: end ?? start, isFinal: true,
            isSpeechFinal: isSpeechFinal, isFromFinalize: isFromFinalize, transcript: "", words: [], confidence: nil)
    }
}

/// A final as it is kept: in the spool before it is sent, in the transcript at the end.
public struct FinalResult: Sendable, Equatable, Codable {
    /// Counts a session's kept finals from 0.
    public var sequence: Int
    /// From 0.
    public var channel: Int
    /// Where its span begins.
    public var start: AudioTime
    /// Where its span ends.
    public var end: AudioTime
    /// In the form that the client asked for. Not empty: a final without words is sent but not kept.
    public var transcript: String
    /// In order of time.
    public var words: [Word]
    /// 0...1; nil if the engine does not say.
    public var confidence: Double?
    /// An utterance ended here.
    public var isSpeechFinal: Bool
    /// The engine that spoke.
    public var engine: String

    /// A final as a session or the spool describes it.
    public init(
        sequence: Int, channel: Int, start: AudioTime, end: AudioTime, transcript: String, words: [Word],
        confidence: Double?, isSpeechFinal: Bool, engine: String
    ) {
        self.sequence = sequence
        self.channel = channel
        self.start = start
        self.end = end
        self.transcript = transcript
        self.words = words
        self.confidence = confidence
        self.isSpeechFinal = isSpeechFinal
        self.engine = engine
    }
}

/// What a session tells its client.
public enum SessionMessage: Sendable, Equatable {
    /// Text.
    case result(SessionResult)
    /// An onset of speech.
    case speechStarted(channel: Int, channels: Int, at: AudioTime)
    /// A gap after a word.
    case utteranceEnd(channel: Int, channels: Int, lastWordEnd: AudioTime)
    /// So much of a month's minutes is used, in percent, and so many milliseconds are left. Clients ask for it.
    case quotaWarning(percent: Int, remainingMilliseconds: Int64)
    /// The month's minutes are used up: the session ends. Clients ask for it.
    case quotaExhausted
    /// The last message of every session: how much audio it was. Zero channels if there was none.
    case metadata(duration: AudioTime, channels: Int)
}

/// What a client says in text.
public enum ClientMessage: Sendable, Equatable {
    /// The client is there though it sends no audio.
    case keepAlive
    /// Everything sent so far shall become final, on one channel or on all.
    case finalize(channel: Int?)
    /// No more audio will come.
    case closeStream
    /// Anything else.
    case unknown
}
