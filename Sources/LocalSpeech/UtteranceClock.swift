/// Turns the decoder's frame numbers into times since the stream's first sample.
///
/// The library's own numbers are 20 ms late from the second utterance on, and 90 ms early for an utterance that starts
/// in the middle of speech; counting samples from outside is exact.
struct UtteranceClock {
    static let sampleRate = 16_000
    private static let frameLength: Duration = .milliseconds(10)
    /// Samples of one analysis window (25.6 ms).
    private static let windowSamples = 410
    private static let frameSamples = 160
    /// vad_prespeech frames, and the one that tipped the balance.
    private static let framesKeptMax = 21

    private let startSamples: Int
    private var speechFrame: Int?

    /// - Parameter startSamples: 16 kHz samples decoded before the utterance was begun.
    init(startSamples: Int) { self.startSamples = startSamples }

    /// The decoder said for the first time that it hears speech.
    ///
    /// - Parameter fedSamples: 16 kHz samples decoded so far, with the piece after which it said so.
    mutating func speechStarted(fedSamples: Int) {
        let frame = (fedSamples - startSamples - Self.windowSamples) / Self.frameSamples + 1
        if speechFrame == nil { speechFrame = max(frame, 0) }
    }

    /// When the utterance's first frame begins.
    var start: Duration {
        let frame = speechFrame ?? 0
        return duration(ofSamples: startSamples) + Self.frameLength * (frame - min(frame, Self.framesKeptMax))
    }

    /// Places the words.
    ///
    /// - Parameter through: audio decoded; no word ends later.
    func words(of hypothesis: Hypothesis, through: Duration) -> [RecognizedWord] {
        hypothesis.words.map { word in
            let start = start + Self.frameLength * (word.firstFrame - hypothesis.baseFrame)
            let end = self.start + Self.frameLength * (word.lastFrame + 1 - hypothesis.baseFrame)
            return RecognizedWord(
                text: word.text,
                start: min(start, through),
                end: min(end, through),
                confidence: word.posterior.map(confidence(ofPosterior:))
            )
        }
    }
}

/// How long `samples` samples at 16 kHz last.
func duration(ofSamples samples: Int) -> Duration {
    .nanoseconds(Int64(samples) * 62_500)
}
