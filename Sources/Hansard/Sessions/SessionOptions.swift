/// How the client's bytes become PCM.
public enum AudioSource: Sendable, Equatable {
    /// Headerless audio as the client describes it. The encoding's name is the wire protocol's.
    case raw(encoding: String, sampleRate: Int, channels: Int)
    /// The bytes describe themselves (WAV). Before they have, the client may have said how many channels there will be.
    case container(channels: Int?)

    /// How many channels the audio is said to have, if that was said.
    public var announcedChannels: Int? {
        switch self {
        case .raw(_, _, let channels): channels
        case .container(let channels): channels
        }
    }
}

/// What a client asked for when it opened its session.
public struct SessionOptions: Sendable, Equatable {
    /// The model as asked for; engines may serve it by another, and say so.
    public var model = "general"
    /// A BCP 47 tag.
    public var language = "en"
    /// What the client sends.
    public var source = AudioSource.container(channels: nil)
    /// Results for each channel apart.
    public var isMultichannel = false
    /// Interim results are sent.
    public var wantsInterim = false
    /// The silence that ends an utterance; nil finds no ends.
    public var endpointing: AudioTime? = .milliseconds(10)
    /// The gap after a word that is told as `UtteranceEnd`; nil tells none.
    public var utteranceEnd: AudioTime?
    /// Speech onsets are told.
    public var wantsSpeechStarted = false
    /// Text is given as it is written, and words also as `punctuated_word`.
    public var wantsPunctuation = false
    /// Words say who spoke them.
    public var wantsDiarization = false
    /// What is taken out of the text before anyone sees it.
    public var redactions: Set<Redaction> = []
    /// Parameters that the engine reads itself, as they were given.
    public var engineParameters: [ListenParameter] = []
    /// Hansard's own messages are sent.
    public var wantsHansardEvents = false
    /// Labels for usage reports.
    public var tags: [String] = []
    /// Echoed in the metadata of results.
    public var extra: [String: String] = [:]
    /// Parameters that were given, are known and have no effect with this engine.
    public var ignoredParameters: [String] = []
    /// The engine that shall listen.
    public var engine = ""

    /// The defaults of the protocol.
    public init() {}

    /// How many channels an engine must listen to apart. A WAV says how many it has only later: two are kept.
    public var reservedChannels: Int { isMultichannel ? source.announcedChannels ?? 2 : 1 }
}
