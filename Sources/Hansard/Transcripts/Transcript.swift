public import FoundationEssentials

/// Everything final of a session, as it is stored: the JSON document behind `GET /v1/transcripts/{session_id}`.
public struct Transcript: Sendable, Equatable, Codable {
    /// The version of the document's form.
    public var schema = 1
    /// Whose transcript it is.
    public var session: SessionID
    /// Whose session it was.
    public var tenant: TenantID
    /// The key that opened it.
    public var key: KeyID
    /// When the session began.
    public var startedAt: Date
    /// When it ended.
    public var endedAt: Date
    /// True only if the client ended the session and all of its audio was heard.
    public var isComplete: Bool
    /// The end state: `completed`, `interrupted`, `failed` or `terminated`.
    public var state: SessionState
    /// Audio admitted: floor(frames x 1000 / sample rate).
    public var audioMilliseconds: Int64
    /// Audio that the engine's owner is billed for, in milliseconds; nil in documents that do not say.
    public var engineMilliseconds: Int64?
    /// Frames per second.
    public var sampleRate: Int
    /// Channels of the audio.
    public var channels: Int
    /// The model as asked for.
    public var model: String
    /// The language as asked for.
    public var language: String
    /// The engine that listened.
    public var engine: String
    /// The client's labels.
    public var tags: [String]
    /// Parameters that were asked for and had no effect.
    public var ignoredParameters: [String]
    /// The region of the node that served it.
    public var region: String
    /// The finals, in order.
    public var results: [FinalResult]

    /// A transcript as a session's owner or the spool describes it.
    ///
    /// - Parameter engineMilliseconds: nil if it is what was admitted.
    public init(
        session: SessionID, tenant: TenantID, key: KeyID, startedAt: Date, endedAt: Date, state: SessionState,
        audioMilliseconds: Int64, engineMilliseconds: Int64? = nil, sampleRate: Int, channels: Int,
        options: SessionOptions, region: String, results: [FinalResult]
    ) {
        self.session = session
        self.tenant = tenant
        self.key = key
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.isComplete = state == .completed
        self.state = state
        self.audioMilliseconds = audioMilliseconds
        self.engineMilliseconds = engineMilliseconds ?? audioMilliseconds
        self.sampleRate = sampleRate
        self.channels = channels
        self.model = options.model
        self.language = options.language
        self.engine = options.engine
        self.tags = options.tags
        self.ignoredParameters = options.ignoredParameters
        self.region = region
        self.results = results
    }

    enum CodingKeys: String, CodingKey {
        case schema, session = "session_id", tenant = "tenant_id", key = "key_id", startedAt = "started_at"
        case endedAt = "ended_at", isComplete = "complete", state, audioMilliseconds = "audio_ms"
        case engineMilliseconds = "engine_ms"
        case sampleRate = "sample_rate", channels, model, language, engine, tags
        case ignoredParameters = "ignored_parameters", region, results
    }
}

extension FinalResult {
    enum CodingKeys: String, CodingKey {
        case sequence, channel, start, end, transcript, words, confidence, isSpeechFinal = "speech_final", engine
    }

    /// Reads the form that `encode` writes; times are seconds.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            sequence: try values.decode(Int.self, forKey: .sequence),
            channel: try values.decode(Int.self, forKey: .channel),
            start: .seconds(try values.decode(Double.self, forKey: .start)),
            end: .seconds(try values.decode(Double.self, forKey: .end)),
            transcript: try values.decode(String.self, forKey: .transcript),
            words: try values.decode([Word].self, forKey: .words),
            confidence: try values.decodeIfPresent(Double.self, forKey: .confidence),
            isSpeechFinal: try values.decode(Bool.self, forKey: .isSpeechFinal),
            engine: try values.decode(String.self, forKey: .engine))
    }

    /// Times are written as seconds, rounded to the millisecond.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(sequence, forKey: .sequence)
        try values.encode(channel, forKey: .channel)
        try values.encode(start.seconds, forKey: .start)
        try values.encode(end.seconds, forKey: .end)
        try values.encode(transcript, forKey: .transcript)
        try values.encode(words, forKey: .words)
        try values.encodeIfPresent(confidence, forKey: .confidence)
        try values.encode(isSpeechFinal, forKey: .isSpeechFinal)
        try values.encode(engine, forKey: .engine)
    }
}

extension Word {
    enum CodingKeys: String, CodingKey {
        case text = "word", start, end, confidence, punctuated = "punctuated_word", speaker, language
    }

    /// Reads the form that `encode` writes; times are seconds.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            text: try values.decode(String.self, forKey: .text),
            start: .seconds(try values.decode(Double.self, forKey: .start)),
            end: .seconds(try values.decode(Double.self, forKey: .end)),
            confidence: try values.decodeIfPresent(Double.self, forKey: .confidence),
            punctuated: try values.decodeIfPresent(String.self, forKey: .punctuated),
            speaker: try values.decodeIfPresent(Int.self, forKey: .speaker),
            language: try values.decodeIfPresent(String.self, forKey: .language))
    }

    /// Times are written as seconds, rounded to the millisecond.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(text, forKey: .text)
        try values.encode(start.seconds, forKey: .start)
        try values.encode(end.seconds, forKey: .end)
        try values.encodeIfPresent(confidence, forKey: .confidence)
        try values.encodeIfPresent(punctuated, forKey: .punctuated)
        try values.encodeIfPresent(speaker, forKey: .speaker)
        try values.encodeIfPresent(language, forKey: .language)
    }
}
