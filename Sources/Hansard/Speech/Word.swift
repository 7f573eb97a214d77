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
    /// As it is written: with its case and with the punctuation that follows it. nil is the same as `text`.
    public var punctuated: String?
    /// Who said it, from 0, if the engine tells speakers apart.
    public var speaker: Int?
    /// The language it was said in, a BCP 47 tag, if the engine says.
    public var language: String?

    /// A word as an engine heard it.
    public init(
        text: String, start: AudioTime, end: AudioTime, confidence: Double? = nil, punctuated: String? = nil,
        speaker: Int? = nil, language: String? = nil
    ) {
        self.text = text
        self.start = start
        self.end = end
        self.confidence = confidence
        self.punctuated = punctuated
        self.speaker = speaker
        self.language = language
    }

    /// The word as people read it.
    public var written: String { punctuated ?? text }
}

/// What an engine heard on one channel since its last final there.
public struct EngineResult: Sendable, Equatable {
    /// From 0; always 0 unless the stream is multichannel.
    public var channel: Int
    /// The audio up to here is accounted for by this result and those before it. Never beyond what was sent.
    public var through: AudioTime
    /// Lower-case words without punctuation; may be empty.
    public var transcript: String
    /// The text as it is written; nil is the same as `transcript`.
    public var punctuatedTranscript: String?
    /// In order of time.
    public var words: [Word]
    /// 0...1 for a final, if the engine says.
    public var confidence: Double?

    /// A result as an engine gives it.
    public init(
        channel: Int = 0, through: AudioTime, transcript: String, words: [Word], confidence: Double? = nil,
        punctuatedTranscript: String? = nil
    ) {
        self.channel = channel
        self.through = through
        self.transcript = transcript
        self.words = words
        self.confidence = confidence
        self.punctuatedTranscript = punctuatedTranscript
    }

    /// The same with these words alone, and their text.
    func with(words: [Word]) -> EngineResult {
        var result = self
        result.words = words
        result.transcript = words.map(\.text).joined(separator: " ")
        if punctuatedTranscript != nil {
            result.punctuatedTranscript = words.map(\.written).joined(separator: " ")
        }
        return result
    }

    /// The result in the form that was asked for: as written, or in bare words alone.
    func inForm(punctuated: Bool) -> EngineResult {
        var result = self
        if punctuated {
            result.transcript = punctuatedTranscript ?? transcript
        } else {
            for index in result.words.indices where result.words[index].punctuated != nil {
                result.words[index].punctuated = nil
            }
        }
        return result
    }
}
