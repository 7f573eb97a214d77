import Audio

/// One stream's way through one decoder: pieces, hold-back, pauses, cuts, partials, finals.
///
/// Confined to the decoder's thread. Audio is decoded in pieces of fixed length counted from the stream's start, so the
/// results do not depend on how it was sent.
final class RecognizerSession {
    /// 10 ms at 16 kHz: the decoder's frame, so that pauses are seen where they are.
    static let pieceLength = 160
    /// Partials and progress come every so many pieces: 100 ms of audio.
    private static let piecesPerCheck = 10

    /// The utterance in progress; a new one begins where the last ended.
    private struct Utterance {
        var clock: UtteranceClock
        var hasSpeech = false
        var wasInSpeech = false
        var cut = ForcedCut()
        /// What the last partial was made of.
        var shown: Hypothesis?
    }

    private let decoder: any UtteranceDecoder
    private let resampler: Resampler
    private let deliver: (RecognizerEvent) -> Void

    /// 16 kHz samples that do not make a piece yet.
    private var waiting: [Int16] = []
    /// Pieces of speech that wait for the mean; less than two seconds.
    private var held: [Int16] = []
    private var mean = CepstralMean()
    private var adoptedFrames = 0
    private var decodedSamples = 0
    private var reportedSamples = 0
    private var piecesSinceCheck = 0
    private var utterance = Utterance(clock: UtteranceClock(startSamples: 0))

    /// - Parameters:
    ///   - decoder: free of any other session.
    ///   - sampleRate: of the samples to come, in Hz.
    ///   - deliver: called synchronously by the functions below.
    init(
        decoder: any UtteranceDecoder,
        sampleRate: Int,
        deliver: @escaping (RecognizerEvent) -> Void
    ) throws(LocalSpeechError) {
        self.decoder = decoder
        self.deliver = deliver
        do {
            resampler = try Resampler(from: sampleRate, to: UtteranceClock.sampleRate)
        } catch {
            throw LocalSpeechError(.invalidUse, error.message)
        }
        decoder.beginSession()
    }

    /// Decodes mono samples at the source's rate.
    func decode(_ samples: UnsafeBufferPointer<Int16>) throws(LocalSpeechError) {
        resampler.process(samples, appendingTo: &waiting)
        try takeWholePieces()
    }

    /// Gives finals for everything so far, then `.flushed`. The resampler's last few milliseconds belong to what
    /// follows.
    func flush() throws(LocalSpeechError) {
        try drain()
        deliver(.flushed)
    }

    /// Gives finals for everything. The owner then closes the session and says `.ended`.
    func finish() throws(LocalSpeechError) {
        resampler.flush(appendingTo: &waiting)
        try takeWholePieces()
        try drain()
    }

    /// Frees the decoder for another session.
    func close() { decoder.endSession() }

    private func takeWholePieces() throws(LocalSpeechError) {
        let whole = waiting.count / Self.pieceLength * Self.pieceLength
        guard whole > 0 else { return }
        let pieces = waiting
        for start in stride(from: 0, to: whole, by: Self.pieceLength) {
            try withPiece(of: pieces, from: start, length: Self.pieceLength, take)
        }
        waiting.removeFirst(whole)
    }

    /// Typed throws do not pass through `withUnsafeBufferPointer` and a rebased buffer in one expression.
    private func withPiece(
        of samples: [Int16],
        from start: Int,
        length: Int,
        _ body: (UnsafeBufferPointer<Int16>) throws(LocalSpeechError) -> Void
    ) throws(LocalSpeechError) {
        try samples.withUnsafeBufferPointer { (whole) throws(LocalSpeechError) in
            try body(UnsafeBufferPointer(rebasing: whole[start..<start + length]))
        }
    }

    /// Decodes a piece, or holds it back while the voice's mean is being learnt.
    private func take(_ piece: UnsafeBufferPointer<Int16>) throws(LocalSpeechError) {
        if mean.isSettled {
            try decodePiece(piece)
            return
        }
        let heard = decoder.listenAhead(piece)
        mean.add(heard)
        held.append(contentsOf: piece)
        if mean.isSettled || !heard.isInSpeech { try decodeHeld() }
    }

    private func decodeHeld() throws(LocalSpeechError) {
        if mean.frameCount > adoptedFrames {
            decoder.adoptMean(mean)
            adoptedFrames = mean.frameCount
        }
        let pieces = held
        for start in stride(from: 0, to: pieces.count, by: Self.pieceLength) {
            try withPiece(of: pieces, from: start, length: min(Self.pieceLength, pieces.count - start), decodePiece)
        }
        held.removeAll(keepingCapacity: !mean.isSettled)
    }

    private func drain() throws(LocalSpeechError) {
        try decodeHeld()
        if !waiting.isEmpty {
            let rest = waiting
            waiting.removeAll(keepingCapacity: true)
            try withPiece(of: rest, from: 0, length: rest.count, decodePiece)
        }
        if utterance.hasSpeech { try endUtterance() }
        reportProgress()
    }

    private func decodePiece(_ piece: UnsafeBufferPointer<Int16>) throws(LocalSpeechError) {
        try decoder.decode(piece)
        decodedSamples += piece.count
        let isInSpeech = decoder.isInSpeech
        if isInSpeech && !utterance.hasSpeech {
            utterance.hasSpeech = true
            utterance.clock.speechStarted(fedSamples: decodedSamples)
        }
        // An utterance that goes on after a pause would have its words' times overwritten: always end it there.
        var ends = utterance.wasInSpeech && !isInSpeech
        utterance.wasInSpeech = isInSpeech
        if utterance.hasSpeech && utterance.cut.heard(piece) { ends = true }
        if ends { try endUtterance() }
        piecesSinceCheck += 1
        if piecesSinceCheck >= Self.piecesPerCheck {
            piecesSinceCheck = 0
            showPartial()
            reportProgress()
        }
    }

    private func showPartial() {
        guard utterance.hasSpeech, let hypothesis = decoder.hypothesis(isFinal: false) else { return }
        let isNew = hypothesis.text != utterance.shown?.text
        utterance.shown = hypothesis
        if isNew { deliver(.partial(result(hypothesis))) }
    }

    private func endUtterance() throws(LocalSpeechError) {
        // The final pass can fail and leave nothing where the partial was good ("Failed to find DAG node").
        let last = decoder.hypothesis(isFinal: false) ?? utterance.shown
        try decoder.endUtterance()
        if let hypothesis = decoder.hypothesis(isFinal: true) ?? last { deliver(.final(result(hypothesis))) }
        try decoder.beginUtterance()
        utterance = Utterance(clock: UtteranceClock(startSamples: decodedSamples))
    }

    private func result(_ hypothesis: Hypothesis) -> RecognizerResult {
        let through = duration(ofSamples: decodedSamples)
        return RecognizerResult(
            words: utterance.clock.words(of: hypothesis, through: through),
            start: utterance.clock.start,
            through: through
        )
    }

    private func reportProgress() {
        guard decodedSamples > reportedSamples else { return }
        reportedSamples = decodedSamples
        deliver(.progress(through: duration(ofSamples: decodedSamples)))
    }
}
