/// A word with its place on the clock of the submitted audio.
public struct RecognizedWord: Sendable, Hashable {
    /// As in the dictionary, lower case, without markers of pronunciation variants.
    public let text: String
    /// When it begins, since the stream's first sample.
    public let start: Duration
    /// When it ends. PocketSphinx often counts the pause after a word in.
    public let end: Duration
    /// The share of words with such a posterior that were right in a small measurement, 0 to 1; nil in partials.
    public let confidence: Double?

    /// Makes a word; for engines' tests and stand-ins.
    public init(text: String, start: Duration, end: Duration, confidence: Double?) {
        self.text = text
        self.start = start
        self.end = end
        self.confidence = confidence
    }
}

/// What was heard between two pauses, so far or for good.
public struct RecognizerResult: Sendable, Hashable {
    /// The words, joined by spaces.
    public let text: String
    /// The words in order; never empty.
    public let words: [RecognizedWord]
    /// When the utterance begins on the submitted audio's clock, up to 0.2 s before its first word.
    public let start: Duration
    /// The audio heard when the result was made, since the stream's first sample.
    public let through: Duration

    /// The words' confidences, weighted by their durations; nil if they have none.
    public var confidence: Double? {
        var sum = 0.0
        var weight = 0.0
        for word in words {
            guard let confidence = word.confidence else { return nil }
            let length = max((word.end - word.start) / .seconds(1), 0.01)
            sum += confidence * length
            weight += length
        }
        return weight > 0 ? sum / weight : nil
    }

    /// Makes a result of words; for engines' tests and stand-ins.
    public init(words: [RecognizedWord], start: Duration, through: Duration) {
        text = words.map(\.text).joined(separator: " ")
        self.words = words
        self.start = start
        self.through = through
    }
}

/// What a `RecognizerStream` tells its owner, in the order of the audio, on the decoder's thread.
public enum RecognizerEvent: Sendable, Hashable {
    /// The audio up to this point has been decoded; at least every 100 ms of audio, and before `flushed` and `ended`.
    case progress(through: Duration)
    /// The utterance in progress as it looks now; replaces the partial before. Comes when its text has changed.
    case partial(RecognizerResult)
    /// An utterance for good: the text since the final before. Ends the partials of that utterance.
    case final(RecognizerResult)
    /// Everything sent before `flush()` has been given as finals.
    case flushed
    /// A `send` answered `.backpressure`; the queue has since drained, send on.
    case capacity
    /// Everything sent before `finish()` has been given as finals. The last event; the decoder is free.
    case ended
    /// The stream cannot go on. The last event; the decoder is free.
    case failed(LocalSpeechError)
}

/// What became of samples given to a stream.
public enum RecognizerSend: Sendable, Hashable {
    /// Queued.
    case sent
    /// Queued, but the queue is above its mark: wait for `.capacity` before sending more.
    case backpressure
    /// Not queued: the stream has ended, failed or been cancelled.
    case dropped
}
