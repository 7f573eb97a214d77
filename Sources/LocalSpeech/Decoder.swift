import CPocketSphinx
import Foundation

/// A word as the decoder gives it: in frames of 10 ms whose origin only `UtteranceClock` knows.
struct DecodedWord: Hashable {
    let text: String
    let firstFrame: Int
    /// Inclusive.
    let lastFrame: Int
    /// 0 to 1; nil unless the utterance has ended.
    let posterior: Double?
}

/// What the decoder makes of the utterance so far.
struct Hypothesis: Hashable {
    /// Never empty.
    let words: [DecodedWord]
    /// The first segment's first frame (that of `<s>`), from which the others count.
    let baseFrame: Int

    var text: String { words.map(\.text).joined(separator: " ") }
}

/// The operations of a decoder that a session needs; a test scripts them.
protocol UtteranceDecoder: AnyObject {
    /// Makes the decoder as it was when new, and begins an utterance.
    func beginSession()
    /// Hears audio ahead of `decode` to learn the voice's mean. See `CepstralMean`.
    func listenAhead(_ piece: UnsafeBufferPointer<Int16>) -> CepstralMean.Heard
    /// Decodes from now on with the mean of what was listened to.
    func adoptMean(_ mean: CepstralMean)
    /// At most `RecognizerSession.pieceLength` samples at 16 kHz.
    func decode(_ piece: UnsafeBufferPointer<Int16>) throws(LocalSpeechError)
    var isInSpeech: Bool { get }
    func hypothesis(isFinal: Bool) -> Hypothesis?
    /// After it `hypothesis(isFinal: true)` may be asked once, then `beginUtterance()` called.
    func endUtterance() throws(LocalSpeechError)
    func beginUtterance() throws(LocalSpeechError)
    /// Leaves the decoder ready for `beginSession()`, whatever state it is in.
    func endSession()
}

/// Owns one `ps_decoder_t` (about 91 MB, ready in half a second) and the front end that listens ahead.
///
/// Not `Sendable`: made, used and freed on one thread.
final class PocketSphinxDecoder: UtteranceDecoder {
    /// Cepstral coefficients per frame in this family of models.
    static let cepstrumLength = 13
    /// More than one piece can yield: the 20 frames kept from before speech began, and its own.
    private static let framesPerPieceMax = 64

    /// Measured over the sample recordings, clean and noisy: fwdflat costs up to a second per final and gains nothing
    /// beyond noise; maxhmmpf is what bounds the cost per frame; without bestpath there are no posteriors.
    private static let settings = [
        "-fwdflat": "no", "-bestpath": "yes", "-maxhmmpf": "3000", "-maxwpf": "20",
        // Silence that ends an utterance, in frames: 0.3 s. The default of 50 is 0.2 s later and no better.
        "-vad_postspeech": "30",
    ]

    private let decoder: OpaquePointer
    private let scout: OpaquePointer
    private let features: UnsafeMutablePointer<feat_t>
    private let cepstralMean: UnsafeMutablePointer<cmn_t>
    private let initialMean: [Float]
    private let frames: UnsafeMutablePointer<Float>
    private let rows: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>
    private var utteranceIsOpen = false

    /// Loads the model: half a second of computing. The caller holds the process's one lock for it, because `ps_init`
    /// writes to static variables of sphinxbase.
    init(model: SpeechModel) throws(LocalSpeechError) {
        try model.checkFiles()
        var settings = Self.settings
        settings["-hmm"] = model.acousticModel
        settings["-lm"] = model.languageModel
        settings["-dict"] = model.dictionary
        let rejected = LocalSpeechError(
            .modelRejected,
            """
            PocketSphinx cannot load the model \(model.acousticModel) with \(model.languageModel) \
            and \(model.dictionary); the files must belong together and be of version 0.8+5prealpha
            """
        )
        guard let configuration = parse(settings) else { throw rejected }
        // ps_init keeps a reference of its own.
        defer { cmd_ln_free_r(configuration) }
        guard let decoder = ps_init(configuration) else { throw rejected }
        // ps_init has merged the model's own front-end settings into this configuration: the scout hears the same.
        guard let scout = fe_init_auto_r(ps_get_config(decoder)), let features = ps_get_feat(decoder),
            let cepstralMean = features.pointee.cmn_struct, cepstralMean.pointee.veclen == Self.cepstrumLength,
            fe_get_output_size(scout) == Self.cepstrumLength, features.pointee.cepsize == Self.cepstrumLength
        else {
            ps_free(decoder)
            throw rejected
        }
        self.decoder = decoder
        self.scout = scout
        self.features = features
        self.cepstralMean = cepstralMean
        initialMean = (0..<Self.cepstrumLength).map { cepstralMean.pointee.cmn_mean[$0] }
        frames = .allocate(capacity: Self.framesPerPieceMax * Self.cepstrumLength)
        rows = .allocate(capacity: Self.framesPerPieceMax)
        for row in 0..<Self.framesPerPieceMax { rows[row] = frames + row * Self.cepstrumLength }
    }

    deinit {
        ps_free(decoder)
        fe_free(scout)
        frames.deallocate()
        rows.deallocate()
    }

    /// Keeps the library from writing to stderr; before the first decoder is made.
    static func silenceLog() { cpocketsphinx_silence() }

    func beginSession() {
        ps_start_stream(decoder)
        forgetFrames()
        // ps_start_stream leaves the mean of the voice before in place, and cmn_live_set would give the initial mean a
        // weight of 500 frames; a new decoder's has none. So the three fields are set by hand.
        for index in 0..<Self.cepstrumLength {
            cepstralMean.pointee.cmn_mean[index] = initialMean[index]
            cepstralMean.pointee.sum[index] = 0
        }
        cepstralMean.pointee.nframe = 0
        fe_start_stream(scout)
        fe_start_utt(scout)
        utteranceIsOpen = ps_start_utt(decoder) >= 0
    }

    /// Clears the window of frames that deltas are taken over. The library means to fill it with the utterance's first
    /// frame, but counts a call that yields no frame (silence) as the first, and so takes the first deltas over the
    /// last frames of whoever spoke before: posteriors, and at times words, would depend on them. A new decoder's
    /// window is all 0.
    private func forgetFrames() {
        let buffer = features.pointee.cepbuf[0]
        buffer?.update(repeating: 0, count: Int(LIVEBUFBLOCKSIZE) * Self.cepstrumLength)
        features.pointee.bufpos = 0
        features.pointee.curpos = 0
    }

    func listenAhead(_ piece: UnsafeBufferPointer<Int16>) -> CepstralMean.Heard {
        var heard = CepstralMean.Heard()
        var next = piece.baseAddress
        var left = piece.count
        while left > 0 {
            var count = Int32(Self.framesPerPieceMax)
            let before = left
            guard fe_process_frames(scout, &next, &left, rows, &count, nil) >= 0 else { break }
            for row in 0..<Int(count) {
                heard.frames.append(Array(UnsafeBufferPointer(start: rows[row], count: Self.cepstrumLength)))
            }
            if left == before && count == 0 { break }
        }
        heard.isInSpeech = fe_get_vad_state(scout) != 0
        return heard
    }

    func adoptMean(_ mean: CepstralMean) {
        guard let values = mean.values(initial: initialMean) else { return }
        cmn_live_set(cepstralMean, values)
    }

    func decode(_ piece: UnsafeBufferPointer<Int16>) throws(LocalSpeechError) {
        try check(ps_process_raw(decoder, piece.baseAddress, piece.count, 0, 0), "ps_process_raw")
    }

    var isInSpeech: Bool { ps_get_in_speech(decoder) != 0 }

    func endUtterance() throws(LocalSpeechError) {
        utteranceIsOpen = false
        try check(ps_end_utt(decoder), "ps_end_utt")
        // The scout has heard exactly as much, if it still listens, and must stand where the decoder stands.
        var count: Int32 = 0
        fe_end_utt(scout, frames, &count)
        fe_start_utt(scout)
    }

    func beginUtterance() throws(LocalSpeechError) {
        try check(ps_start_utt(decoder), "ps_start_utt")
        utteranceIsOpen = true
    }

    func endSession() {
        if utteranceIsOpen { ps_end_utt(decoder) }
        utteranceIsOpen = false
    }

    func hypothesis(isFinal: Bool) -> Hypothesis? {
        // The string belongs to the decoder; only whether there is one matters, the words come with their times below.
        guard let text = ps_get_hyp(decoder, nil), text.pointee != 0 else { return nil }
        let logarithms = isFinal ? ps_get_logmath(decoder) : nil
        var words: [DecodedWord] = []
        var baseFrame: Int?
        var segment = ps_seg_iter(decoder)
        while let current = segment {
            var first: Int32 = 0
            var last: Int32 = 0
            ps_seg_frames(current, &first, &last)
            if baseFrame == nil { baseFrame = Int(first) }
            if let word = spokenWord(String(cString: ps_seg_word(current))) {
                let posterior = logarithms.map {
                    min(1, max(0, logmath_exp($0, ps_seg_prob(current, nil, nil, nil))))
                }
                words.append(
                    DecodedWord(text: word, firstFrame: Int(first), lastFrame: Int(last), posterior: posterior)
                )
            }
            segment = ps_seg_next(current)
        }
        guard let baseFrame, !words.isEmpty else { return nil }
        return Hypothesis(words: words, baseFrame: baseFrame)
    }

    private func check(_ result: Int32, _ call: String) throws(LocalSpeechError) {
        guard result >= 0 else { throw LocalSpeechError(.decoding, "\(call) returned \(result)") }
    }
}

/// The word a segment stands for: nil for `<s>`, `<sil>`, `[NOISE]` and the like; "the(2)" is "the".
func spokenWord(_ segment: String) -> String? {
    guard let first = segment.first, first != "<", first != "[", first != "+" else { return nil }
    guard segment.hasSuffix(")"), let open = segment.lastIndex(of: "(") else { return segment }
    let word = segment[..<open]
    return word.isEmpty ? segment : String(word)
}

/// cmd_ln_init is variadic; this is its sister that takes an argument vector, and copies it.
private func parse(_ settings: [String: String]) -> OpaquePointer? {
    let words = settings.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
    var vector = words.map { strdup($0) }
    defer { for word in vector { free(word) } }
    return cmd_ln_parse_r(nil, ps_args(), Int32(vector.count), &vector, 1)
}
