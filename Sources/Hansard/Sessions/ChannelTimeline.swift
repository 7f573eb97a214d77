/// One channel's time line within a session: its voice activity and endpoints from the audio, its results from the
/// engine, brought together on the audio clock so that finals tile it without gap or overlap.
struct ChannelTimeline: Sendable {
    /// An onset of speech is told only after so much silence, so that a pause for breath is not a new start. A longer
    /// `endpointing` takes its place.
    static let onsetGap = AudioTime.milliseconds(300)

    private let channel: Int
    private let channels: Int
    private let options: SessionOptions
    /// From one sample of the channel to its next in interleaved audio.
    private let stride: Int
    private var voice: VoiceActivity
    private var endpointer: Endpointer
    private var wordGap: WordGapDetector
    private var speechEnd: AudioTime?
    /// The end of the last final.
    private(set) var finalizedThrough = AudioTime.zero
    /// What the engine has listened to.
    private var heardThrough = AudioTime.zero
    private var hasInterimWords = false
    /// `Finalize` messages that the engine has not answered yet.
    private(set) var pendingFinalizes = 0
    /// The engine's last final while a `Finalize` is pending: it may turn out to be the one that acknowledges it.
    private var heldFinal: EngineResult?

    typealias Say = (Session.Action) -> Void

    /// - Parameters:
    ///   - channel: which of the channels that have results of their own.
    ///   - audio: what the session carries.
    init(channel: Int, audio: EngineAudio, options: SessionOptions) {
        self.channel = channel
        channels = audio.resultChannels
        self.options = options
        voice = VoiceActivity(sampleRate: audio.sampleRate, mixing: audio.isMultichannel ? 1 : audio.channels)
        stride = audio.isMultichannel ? audio.channels : 1
        endpointer = Endpointer(silence: options.endpointing)
        wordGap = WordGapDetector(gap: options.utteranceEnd)
    }

    // MARK: Audio

    /// Looks at the channel's samples in interleaved audio.
    mutating func heard(_ samples: Span<Int16>, say: Say) {
        voice.heard(samples, from: channel, by: stride) { change in
            switch change {
            case .started(let onset):
                endpointer.speechStarted()
                let gap = max(Self.onsetGap, options.endpointing ?? .zero)
                if options.wantsSpeechStarted, speechEnd.map({ onset - $0 >= gap }) ?? true {
                    say(.send(.speechStarted(channel: channel, channels: channels, at: onset)))
                }
                speechEnd = nil
            case .stopped(let end):
                speechEnd = end
                endpointer.speechStopped(at: end)
            }
        }
        if endpointer.heard(through: voice.heardThrough), endpointer.reached(finalizedThrough) {
            // The engine had given its final before the silence was long enough to be an end.
            let end = hasInterimWords ? finalizedThrough : max(heardThrough, finalizedThrough)
            send(.emptyFinal(channel: channel, of: channels, at: finalizedThrough, through: end, isSpeechFinal: true), say)
        }
    }

    // MARK: Results

    mutating func partial(_ result: EngineResult, say: Say) {
        releaseHeld(say)
        heardThrough = max(heardThrough, result.through)
        hasInterimWords = !result.words.isEmpty
        wordGap.interim(result.words)
        guard options.wantsInterim, !result.transcript.isEmpty else { return }
        let end = max(result.through, finalizedThrough)
        say(.send(.result(sessionResult(result, end: end, isFinal: false))))
    }

    mutating func final(_ result: EngineResult, say: Say) {
        releaseHeld(say)
        if pendingFinalizes > 0 { heldFinal = result } else { give(result, isFromFinalize: false, say) }
    }

    mutating func progressed(_ through: AudioTime, say: Say) {
        heardThrough = max(heardThrough, through)
        guard heldFinal == nil, let end = wordGap.heard(through: heardThrough) else { return }
        say(.send(.utteranceEnd(channel: channel, channels: channels, lastWordEnd: end)))
    }

    mutating func finalizeAsked() { pendingFinalizes += 1 }

    /// The engine answered one flush: exactly one result says so to the client, an empty one if there was nothing left.
    mutating func flushed(say: Say) {
        guard pendingFinalizes > 0 else { return }
        pendingFinalizes -= 1
        let end = max(heardThrough, finalizedThrough)
        let rest = heldFinal ?? EngineResult(channel: channel, through: end, transcript: "", words: [])
        heldFinal = nil
        give(rest, isFromFinalize: true, say)
    }

    /// The stream is over at `end`: whatever the finals have not covered is covered now.
    mutating func ended(at end: AudioTime, say: Say) {
        while pendingFinalizes > 0 { flushed(say: say) }
        releaseHeld(say)
        guard finalizedThrough < end else { return }
        let isSpeechFinal = endpointer.reached(end)
        send(.emptyFinal(channel: channel, of: channels, at: finalizedThrough, through: end, isSpeechFinal: isSpeechFinal), say)
    }

    private mutating func releaseHeld(_ say: Say) {
        guard let held = heldFinal else { return }
        heldFinal = nil
        give(held, isFromFinalize: false, say)
    }

    private mutating func give(_ result: EngineResult, isFromFinalize: Bool, _ say: Say) {
        hasInterimWords = false
        heardThrough = max(heardThrough, result.through)
        wordGap.finalised(result.words)
        let end = max(result.through, finalizedThrough)
        var final = sessionResult(result, end: end, isFinal: true)
        final.isSpeechFinal = endpointer.reached(end)
        final.isFromFinalize = isFromFinalize
        send(final, say)
    }

    private mutating func send(_ final: SessionResult, _ say: Say) {
        if !final.transcript.isEmpty {
            say(
                .keep(
                    FinalResult(
                        sequence: 0, channel: channel, start: final.start, end: final.end,
                        transcript: final.transcript, words: final.words, confidence: final.confidence,
                        isSpeechFinal: final.isSpeechFinal, engine: options.engine)))
        }
        finalizedThrough = final.end
        say(.send(.result(final)))
    }

    private func sessionResult(_ result: EngineResult, end: AudioTime, isFinal: Bool) -> SessionResult {
        SessionResult(
            channel: channel, channels: channels, start: finalizedThrough, end: end, isFinal: isFinal,
            isSpeechFinal: false, isFromFinalize: false, transcript: result.transcript, words: result.words,
            confidence: result.confidence)
    }
}
