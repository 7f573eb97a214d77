/// What Amazon Transcribe has understood of one segment so far.
///
/// Whatever the service writes, times are finite seconds within 0 ... `longestTime` and confidences are within 0 ... 1: what
/// is outside becomes the nearest of them, so that no arithmetic on them can overflow.
/// Source: https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_Result.html
public struct TranscribeResult: Sendable, Equatable {
    /// Longer than any stream may be, in seconds: the service ends them after four hours.
    public static let longestTime: Double = 100_000

    /// The same for all partial results of a segment and for its final one; empty if the service gave none.
    public var resultID = ""
    /// Seconds since the stream's first audio; 0 if the service gave none.
    public var startTime: Double = 0
    /// Seconds since the stream's first audio; 0 if the service gave none.
    public var endTime: Double = 0
    /// Whether more results of this segment come; false if the service does not say.
    public var isPartial = false
    /// `ch_0` or `ch_1`, if channels are identified.
    public var channelID: String?
    /// `en-US`, if the language is identified.
    public var languageCode: String?
    /// The languages it may be, if the language is identified.
    public var languageIdentification: [TranscribeLanguageScore] = []
    /// Almost always one; may be none.
    public var alternatives: [TranscribeAlternative] = []

    /// A result without content.
    public init() {}
}

/// How sure the service is of a language.
public struct TranscribeLanguageScore: Sendable, Equatable {
    /// `en-US`.
    public var languageCode = ""
    /// 0 ... 1.
    public var score: Double = 0

    /// A score of no language.
    public init() {}
}

/// One way to understand a segment.
public struct TranscribeAlternative: Sendable, Equatable {
    /// The whole text, with punctuation.
    public var transcript = ""
    /// Its words and punctuation marks in order.
    public var items: [TranscribeItem] = []
    /// Personal information, if it is identified; only of complete segments.
    public var entities: [TranscribeEntity] = []

    /// An alternative without content.
    public init() {}
}

/// A word or a punctuation mark.
public struct TranscribeItem: Sendable, Equatable {
    /// What an item is.
    public enum Kind: Sendable, Equatable {
        /// A word; also what the service may come to send besides.
        case pronunciation
        /// A mark, to be written after the word before it.
        case punctuation
    }

    /// What it is.
    public var kind = Kind.pronunciation
    /// The word or mark, never empty in what was received.
    public var content = ""
    /// Seconds since the stream's first audio; nil if the service gave none.
    public var startTime: Double?
    /// Seconds since the stream's first audio; nil if the service gave none.
    public var endTime: Double?
    /// 0 ... 1; given for complete segments alone.
    public var confidence: Double?
    /// Whether it stays as it is, if partial results are stabilized.
    public var isStable: Bool?
    /// Who spoke, if speakers are told apart: `0`, `1` and so on.
    public var speaker: String?
    /// Whether it is in the vocabulary filter.
    public var matchesVocabularyFilter = false

    /// An item without content.
    public init() {}
}

/// Personal information that was found in a segment.
public struct TranscribeEntity: Sendable, Equatable {
    /// `PII`.
    public var category = ""
    /// `NAME`, `EMAIL` and so on; empty if the service gave none.
    public var type = ""
    /// What was said.
    public var content = ""
    /// Seconds since the stream's first audio; nil if the service gave none.
    public var startTime: Double?
    /// Seconds since the stream's first audio; nil if the service gave none.
    public var endTime: Double?
    /// 0 ... 1; nil if the service gave none.
    public var confidence: Double?

    /// An entity without content.
    public init() {}
}

// MARK: - Reading

extension TranscribeResult {
    /// The results of a TranscriptEvent's payload.
    static func results(in payload: UnsafeRawBufferPointer) throws(JSONReader.Failure) -> [TranscribeResult] {
        var json = JSONReader(payload)
        var results: [TranscribeResult] = []
        if try json.enterObject() {
            while let key = try json.nextKey() {
                guard "Transcript" ~= key, try json.enterObject() else {
                    if !("Transcript" ~= key) { try json.skip() }
                    continue
                }
                while let key = try json.nextKey() {
                    if "Results" ~= key {
                        results = try json.elements { reader throws(JSONReader.Failure) in
                            try TranscribeResult(&reader)
                        }
                    } else {
                        try json.skip()
                    }
                }
            }
        }
        try json.finish()
        return results
    }

    private init(_ json: inout JSONReader) throws(JSONReader.Failure) {
        while let key = try json.nextKey() {
            switch key {
            case "ResultId": resultID = try json.string() ?? ""
            case "StartTime": startTime = try json.seconds() ?? 0
            case "EndTime": endTime = try json.seconds() ?? 0
            case "IsPartial": isPartial = try json.bool() ?? false
            case "ChannelId": channelID = try json.string()
            case "LanguageCode": languageCode = try json.string()
            case "LanguageIdentification":
                languageIdentification = try json.elements { reader throws(JSONReader.Failure) in
                    try TranscribeLanguageScore(&reader)
                }
            case "Alternatives":
                alternatives = try json.elements { reader throws(JSONReader.Failure) in
                    try TranscribeAlternative(&reader)
                }
            default: try json.skip()
            }
        }
    }
}

extension TranscribeLanguageScore {
    fileprivate init(_ json: inout JSONReader) throws(JSONReader.Failure) {
        while let key = try json.nextKey() {
            switch key {
            case "LanguageCode": languageCode = try json.string() ?? ""
            case "Score": score = try json.share() ?? 0
            default: try json.skip()
            }
        }
    }
}

extension TranscribeAlternative {
    fileprivate init(_ json: inout JSONReader) throws(JSONReader.Failure) {
        while let key = try json.nextKey() {
            switch key {
            case "Transcript": transcript = try json.string() ?? ""
            case "Items":
                items = try json.elements { reader throws(JSONReader.Failure) in
                    let item = try TranscribeItem(&reader)
                    return item.content.isEmpty ? nil : item
                }
            case "Entities":
                entities = try json.elements { reader throws(JSONReader.Failure) in try TranscribeEntity(&reader) }
            default: try json.skip()
            }
        }
    }
}

extension TranscribeItem {
    fileprivate init(_ json: inout JSONReader) throws(JSONReader.Failure) {
        while let key = try json.nextKey() {
            switch key {
            case "Type": kind = try json.string() == "punctuation" ? .punctuation : .pronunciation
            case "Content": content = try json.string() ?? ""
            case "StartTime": startTime = try json.seconds()
            case "EndTime": endTime = try json.seconds()
            case "Confidence": confidence = try json.share()
            case "Stable": isStable = try json.bool()
            case "Speaker": speaker = try json.string()
            case "VocabularyFilterMatch": matchesVocabularyFilter = try json.bool() ?? false
            default: try json.skip()
            }
        }
    }
}

extension TranscribeEntity {
    fileprivate init(_ json: inout JSONReader) throws(JSONReader.Failure) {
        while let key = try json.nextKey() {
            switch key {
            case "Category": category = try json.string() ?? ""
            case "Type": type = try json.string() ?? ""
            case "Content": content = try json.string() ?? ""
            case "StartTime": startTime = try json.seconds()
            case "EndTime": endTime = try json.seconds()
            case "Confidence": confidence = try json.share()
            default: try json.skip()
            }
        }
    }
}

extension JSONReader {
    /// The objects of an array, as far as they are wanted; other elements are passed over.
    fileprivate mutating func elements<Element>(
        _ read: (inout JSONReader) throws(Failure) -> Element?
    ) throws(Failure) -> [Element] {
        var elements: [Element] = []
        guard try enterArray() else { return [] }
        while try nextElement() {
            guard try enterObject() else { continue }
            if let element = try read(&self) { elements.append(element) }
        }
        return elements
    }

    fileprivate mutating func seconds() throws(Failure) -> Double? {
        try number().map { min(max($0, 0), TranscribeResult.longestTime) }
    }

    fileprivate mutating func share() throws(Failure) -> Double? { try number().map { min(max($0, 0), 1) } }
}
