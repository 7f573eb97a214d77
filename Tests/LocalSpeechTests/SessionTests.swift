import Testing

@testable import LocalSpeech

/// The session's decisions, with a decoder that plays a script.
@Suite struct SessionTests {
    /// Hears speech in given pieces, and says what it is told to.
    private final class ScriptedDecoder: UtteranceDecoder {
        var speech: [Range<Int>] = []
        /// Frames the scout finds per piece of speech.
        var partial: Hypothesis?
        var finals: [Hypothesis?] = []
        var failsAt: Int?
        private(set) var calls: [String] = []
        private(set) var pieceLengths: [Int] = []
        private var heard = 0

        private func isSpeech(_ piece: Int) -> Bool { speech.contains { $0.contains(piece) } }

        func beginSession() { calls.append("session") }
        func listenAhead(_ piece: UnsafeBufferPointer<Int16>) -> CepstralMean.Heard {
            defer { heard += 1 }
            let isInSpeech = isSpeech(heard)
            return .init(frames: isInSpeech ? [[1, Float(heard)]] : [], isInSpeech: isInSpeech)
        }
        func adoptMean(_ mean: CepstralMean) { calls.append("mean \(mean.frameCount) at \(pieceLengths.count)") }
        func decode(_ piece: UnsafeBufferPointer<Int16>) throws(LocalSpeechError) {
            if pieceLengths.count == failsAt { throw LocalSpeechError(.decoding, "ps_process_raw returned -1") }
            pieceLengths.append(piece.count)
        }
        var isInSpeech: Bool { isSpeech(pieceLengths.count - 1) }
        func hypothesis(isFinal: Bool) -> Hypothesis? { isFinal ? finals.removeFirst() : partial }
        func endUtterance() throws(LocalSpeechError) { calls.append("end at \(pieceLengths.count)") }
        func beginUtterance() throws(LocalSpeechError) {}
        func endSession() { calls.append("close") }
    }

    private func hypothesis(_ text: String, base: Int = 0, posterior: Double? = nil) -> Hypothesis {
        let words = text.split(separator: " ").enumerated().map { index, word in
            DecodedWord(
                text: String(word),
                firstFrame: base + 10 * index,
                lastFrame: base + 10 * index + 9,
                posterior: posterior
            )
        }
        return Hypothesis(words: words, baseFrame: base)
    }

    private final class Events {
        var all: [RecognizerEvent] = []
        var finals: [RecognizerResult] {
            all.compactMap { if case .final(let result) = $0 { result } else { nil } }
        }
        var partials: [RecognizerResult] {
            all.compactMap { if case .partial(let result) = $0 { result } else { nil } }
        }
    }

    private func run(
        _ decoder: ScriptedDecoder,
        pieces: Int,
        sample: (Int) -> Int16 = { _ in 1_000 },
        extra: Int = 0
    ) throws -> Events {
        let events = Events()
        let session = try RecognizerSession(decoder: decoder, sampleRate: 16_000) { events.all.append($0) }
        let samples = (0..<pieces * 160 + extra).map { sample($0 / 160) }
        try samples.withUnsafeBufferPointer { try session.decode($0) }
        try session.finish()
        session.close()
        return events
    }

    @Test func anEmptyFinalIsTheLastPartial() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [10..<60]
        decoder.partial = hypothesis("all of this was heard")
        decoder.finals = [nil]
        let events = try run(decoder, pieces: 200)
        #expect(events.finals.map(\.text) == ["all of this was heard"])
        #expect(events.finals.first?.confidence == nil, "no posteriors were computed, and none is made up")
        #expect(events.finals.first?.words.count == 5)
        #expect(events.partials.count == 1, "a partial comes when the text changes")
    }

    @Test func silenceBetweenGivesNoFinal() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [10..<60]
        decoder.finals = [nil]
        #expect(try run(decoder, pieces: 100).finals.isEmpty)
    }

    @Test func theMeanIsAdoptedBeforeAnythingOfTheSpeechIsDecoded() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [10..<400]
        decoder.finals = [hypothesis("yes", posterior: 1)]
        _ = try run(decoder, pieces: 400)
        #expect(decoder.calls == ["session", "mean 100 at 10", "end at 400", "close"])
        #expect(decoder.pieceLengths == Array(repeating: 160, count: 400))
    }

    @Test func shortUtterancesSettleTheMeanTogether() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [10..<60, 100..<140, 200..<300]
        decoder.finals = [hypothesis("one"), hypothesis("two"), hypothesis("three")]
        let events = try run(decoder, pieces: 300)
        #expect(
            decoder.calls.filter { $0.hasPrefix("mean") } == ["mean 50 at 10", "mean 90 at 100", "mean 100 at 200"]
        )
        #expect(events.finals.map(\.text) == ["one", "two", "three"])
    }

    @Test func aPieceThatIsNotWholeIsDecodedAtTheEnd() throws {
        let decoder = ScriptedDecoder()
        let events = try run(decoder, pieces: 3, extra: 33)
        #expect(decoder.pieceLengths == [160, 160, 160, 33])
        #expect(events.all == [.progress(through: .nanoseconds(513 * 62_500))])
    }

    @Test func whoDoesNotPauseIsCutAtFifteenSeconds() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [0..<4_000]
        decoder.partial = hypothesis("on and on")
        decoder.finals = [hypothesis("first"), nil, hypothesis("last")]
        let events = try run(decoder, pieces: 4_000)
        #expect(decoder.calls.filter { $0.hasPrefix("end") } == ["end at 1500", "end at 3000", "end at 4000"])
        #expect(events.finals.map(\.text) == ["first", "on and on", "last"])
    }

    @Test func aDipAfterTwelveSecondsIsABetterPlace() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [0..<2_000]
        decoder.finals = [hypothesis("first"), hypothesis("second")]
        // The dip at 5 s is too early, that at 13 s is taken after 60 ms.
        _ = try run(decoder, pieces: 2_000) { (500..<520).contains($0) || (1_300..<1_320).contains($0) ? 10 : 1_000 }
        #expect(decoder.calls.filter { $0.hasPrefix("end") } == ["end at 1306", "end at 2000"])
    }

    @Test func timesAreThoseOfTheSubmittedAudio() throws {
        let decoder = ScriptedDecoder()
        decoder.speech = [100..<200, 300..<400]
        // The library's own offset is taken out, whatever it is.
        decoder.finals = [
            hypothesis("one two", base: 77, posterior: 1), hypothesis("three", base: 5_000, posterior: 0),
        ]
        let finals = try run(decoder, pieces: 450).finals
        // Speech is seen after piece 101: 16160 samples are 99 whole frames, of which the last 21 are kept.
        #expect(finals[0].start == .milliseconds(780))
        #expect(finals[0].words[1].start == .milliseconds(880))
        #expect(finals[0].words[1].end == .milliseconds(980))
        #expect(finals[0].words[0].confidence == 0.92)
        #expect(finals[0].through == .milliseconds(2_010))
        // The second utterance counts from where the first ended, after piece 201.
        #expect(finals[1].start == .milliseconds(2_010 + 770))
        #expect(finals[1].words[0].confidence == 0.30)
    }

    @Test func anUtteranceThatStartsInSpeechHasNoTimeBeforeIt() {
        var clock = UtteranceClock(startSamples: 240_000)
        clock.speechStarted(fedSamples: 240_000 + 12 * 160)
        #expect(clock.start == .seconds(15))
    }

    @Test func aFailingDecoderIsTold() throws {
        let decoder = ScriptedDecoder()
        decoder.failsAt = 5
        let error = #expect(throws: LocalSpeechError.self) { _ = try run(decoder, pieces: 10) }
        #expect(error?.code == .decoding)
    }

    @Test func markersAreNoWords() {
        #expect(spokenWord("the(2)") == "the")
        #expect(spokenWord("o'clock") == "o'clock")
        for marker in ["<s>", "</s>", "<sil>", "[NOISE]", "[SPEECH]", "++UM++"] { #expect(spokenWord(marker) == nil) }
    }

    @Test func confidenceRisesWithThePosterior() {
        let values = stride(from: 0.0, through: 1.0, by: 0.01).map { confidence(ofPosterior: $0) }
        for (lower, higher) in zip(values, values.dropFirst()) { #expect(lower < higher) }
        #expect(values.first == 0.30 && values.last == 0.92)
        #expect(confidence(ofPosterior: 1.01) == 0.92)
    }

    @Test func confidenceOfAResultIsWeightedByDuration() {
        let words = [
            RecognizedWord(text: "a", start: .seconds(0), end: .seconds(1), confidence: 0.2),
            RecognizedWord(text: "b", start: .seconds(1), end: .seconds(4), confidence: 0.6),
        ]
        let result = RecognizerResult(words: words, start: .zero, through: .seconds(4))
        #expect(abs((result.confidence ?? 0) - 0.5) < 1e-9)
        #expect(result.text == "a b")
    }
}
