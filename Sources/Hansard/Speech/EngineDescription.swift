/// What an engine can do beyond words and times, if a client asks for it. What it cannot is ignored and listed, or refused
/// where ignoring it would leak something (`ListenParameters`, docs/protocol.md).
public enum EngineFeature: String, Sendable, CaseIterable {
    /// Gives words and text as they are written: `punctuate`, `smart_format`.
    case punctuation
    /// Says who spoke each word: `diarize`.
    case diarization
    /// Says so also within each of several channels: `diarize` with `multichannel`.
    case multichannelDiarization
    /// Takes out what identifies people: `redact=true`, `pci`, `ssn`.
    case redaction
    /// Takes out numbers of any kind: `redact=numbers`, `aggressive_numbers`.
    case numberRedaction
    /// Finds out by itself which languages are spoken: `language=multi`.
    case languageIdentification
    /// Speaks the listen protocol itself: parameters without a field of their own in `SessionOptions` are handed on to it
    /// in `SessionOptions.engineParameters`.
    case listenParameters
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
    /// What it does if asked to.
    public var features: Set<EngineFeature>

    /// Describes an engine.
    public init(
        name: String, modelName: String, modelVersion: String, architecture: String, languages: [String],
        maxMultichannel: Int, features: Set<EngineFeature> = []
    ) {
        self.name = name
        self.modelName = modelName
        self.modelVersion = modelVersion
        self.architecture = architecture
        self.languages = languages
        self.maxMultichannel = maxMultichannel
        self.features = features
    }

    /// The language that asks the engine to find out by itself.
    public static let anyLanguage = "multi"

    /// Whether `language` (a BCP 47 tag, or `multi`) is one that the engine understands: the tag itself, or its primary
    /// language.
    public func understands(_ language: String) -> Bool {
        let tag = language.lowercased()
        if tag == Self.anyLanguage { return features.contains(.languageIdentification) }
        let primary = tag.split(separator: "-").first.map(String.init) ?? tag
        return languages.isEmpty || languages.contains(tag) || languages.contains(primary)
    }

    /// Whether it may take over a session with these options: what would be wrong or leak without it, it does. Everything
    /// else a client asked for may get lost on the way to another engine.
    public func canServe(_ options: SessionOptions) -> Bool {
        understands(options.language) && options.reservedChannels <= max(1, maxMultichannel)
            && options.redactions.allSatisfy { features.contains($0.feature) }
    }
}

/// What a client wants taken out of the text.
public enum Redaction: String, Sendable, CaseIterable {
    /// Everything of the other kinds that the engine knows.
    case all = "true"
    /// What identifies a payment card.
    case paymentCards = "pci"
    /// Social security numbers.
    case socialSecurityNumbers = "ssn"
    /// Numbers of three digits and more.
    case numbers
    /// Every number.
    case aggressiveNumbers = "aggressive_numbers"

    /// What an engine needs to do it.
    public var feature: EngineFeature {
        switch self {
        case .all, .paymentCards, .socialSecurityNumbers: .redaction
        case .numbers, .aggressiveNumbers: .numberRedaction
        }
    }
}

/// A parameter of the listen protocol, decoded.
public struct ListenParameter: Sendable, Equatable {
    /// Its name in the query.
    public var name: String
    /// Its value.
    public var value: String

    /// A name and its value.
    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}
