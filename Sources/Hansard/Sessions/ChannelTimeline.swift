import DequeModule

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
    /// Where voices ended that no final has reached yet, and when the audio told so.
    private var voiceEnds: Deque<(voiceEnd: AudioTime, toldAt: AudioTime)> = []
    /// An engine's last word of an utterance is believed to end where the voice does, if both are this close.
    private static let wordEndSlack = AudioTime.milliseconds(300)
    /// The end of the last final.
    private(set) var finalizedThrough = AudioTime.zero
    /// What the engine has listened to.
    private var heardThrough = AudioTime.zero
    private var hasInterimWords = false
    /// The engine that speaks, if it is not the one that the session began with.
    private var speaker: EngineDescription?
    /// Whether speech began, or words were given, since the last `speech_final`.
    private var hasOpenUtterance = false
    /// Whether words were given in finals since the last `speech_final`.
    private var hasUnclosedWords = false
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
        voice.heard(samples, from: channel, by: stride) { event in
            switch event {
            case .started(let onset):
                endpointer.speechStarted()
                let gap = max(Self.onsetGap, options.endpointing ?? .zero)
                if speechEnd.map({ onset - $0 >= gap }) ?? true {
                    hasOpenUtterance = true
                    if options.wantsSpeechStarted {
                        say(.send(.speechStarted(channel: channel, channels: channels, at: onset)))
                    }
                }
                speechEnd = nil
            case .stopped(let end, let voiceEnd, let toldAt):
                speechEnd = end
                voiceEnds.append((voiceEnd: voiceEnd, toldAt: toldAt))
                if voiceEnds.count > Endpointer.waitingLimit { voiceEnds.removeFirst() }
                endpointer.speechStopped(at: end, voiceEnd: voiceEnd)
            case .quiet(let through):
                guard endpointer.heard(through: through), heldFinal == nil, endpointer.reached(finalizedThrough) else {
                    return
                }
                // The engine had given its final before the silence was long enough to be an end. A silence after
                // which nothing was said (a breath) is none.
                guard hasOpenUtterance else { return }
                let end = hasInterimWords ? finalizedThrough : max(heardThrough, finalizedThrough)
                var mark = SessionResult.emptyFinal(
                    channel: channel, of: channels, at: finalizedThrough, through: end, isSpeechFinal: true)
                mark.spokenBy = speaker
                say(.send(.result(mark)))
                (hasOpenUtterance, hasUnclosedWords) = (false, false)
                finalizedThrough = end
            }
        }
    }

    // MARK: Results

    mutating func partial(_ result: EngineResult, say: Say) {
        releaseHeld(say)
        let result = result.inForm(punctuated: options.wantsPunctuation)
        if let first = result.words.first { leaveUtterances(before: first.start, say) }
        heardThrough = max(heardThrough, result.through)
        hasInterimWords = !result.words.isEmpty
        wordGap.interim(result.words)
        guard options.wantsInterim, !result.transcript.isEmpty else { return }
        let end = max(result.through, finalizedThrough)
        say(.send(.result(sessionResult(result, end: end, isFinal: false))))
    }

    mutating func final(_ result: EngineResult, say: Say) {
        releaseHeld(say)
        let result = result.inForm(punctuated: options.wantsPunctuation)
        guard pendingFinalizes > 0 else { return give(result, isFromFinalize: false, say) }
        heldFinal = result
        // They are in the final now: what the engine hears after it belongs to the acknowledgement.
        hasInterimWords = false
    }

    mutating func progressed(_ through: AudioTime, say: Say) {
        heardThrough = max(heardThrough, through)
        guard heldFinal == nil else { return }
        if !hasInterimWords { leaveUtterances(before: through, say) }
        guard let end = wordGap.heard(through: heardThrough) else { return }
        say(.send(.utteranceEnd(channel: channel, channels: channels, lastWordEnd: end)))
    }

    /// Another engine speaks from now on: what its predecessor heard beyond its finals is heard again.
    mutating func spokenBy(_ engine: EngineDescription, say: Say) {
        releaseHeld(say)
        hasInterimWords = false
        heardThrough = finalizedThrough
        wordGap.interim([])
        speaker = engine
    }

    mutating func finalizeAsked() { pendingFinalizes += 1 }

    /// The engine answered one flush: exactly one result says so to the client, an empty one if there was nothing left.
    mutating func flushed(say: Say) {
        guard pendingFinalizes > 0 else { return }
        pendingFinalizes -= 1
        // Words that are still open were heard after the flush: their time is theirs.
        let end = hasInterimWords ? finalizedThrough : max(heardThrough, finalizedThrough)
        var rest = heldFinal ?? EngineResult(channel: channel, through: end, transcript: "", words: [])
        rest.through = max(rest.through, end)
        heldFinal = nil
        give(rest, isFromFinalize: true, say)
    }

    /// The stream is over at `end`: whatever the finals have not covered is covered now.
    mutating func ended(at end: AudioTime, say: Say) {
        while pendingFinalizes > 0 { flushed(say: say) }
        releaseHeld(say)
        guard finalizedThrough < end else { return }
        let isSpeechFinal = endpointer.reached(end)
        send(
            .emptyFinal(
                channel: channel, of: channels, at: finalizedThrough, through: end, isSpeechFinal: isSpeechFinal), say)
    }

    /// The stream is over before its time: the rest of the time line stays open.
    mutating func lost(say: Say) { releaseHeld(say) }

    private mutating func releaseHeld(_ say: Say) {
        guard let held = heldFinal else { return }
        heldFinal = nil
        give(held, isFromFinalize: false, say)
    }

    private mutating func give(_ result: EngineResult, isFromFinalize: Bool, _ say: Say) {
        hasInterimWords = false
        heardThrough = max(heardThrough, result.through)
        if let first = result.words.first { leaveUtterances(before: first.start, say) }
        let result = endingWithTheVoice(result)
        wordGap.finalised(result.words)
        let end = max(result.through, finalizedThrough)
        var final = sessionResult(result, end: end, isFinal: true)
        final.isSpeechFinal = endpointer.reached(end)
        final.isFromFinalize = isFromFinalize
        send(final, say)
    }

    /// The engine has gone on to `time` and said nothing new before it: utterances whose end the audio told by then are
    /// over, although the engine's final stopped short of where the voice did.
    private mutating func leaveUtterances(before time: AudioTime, _ say: Say) {
        guard let end = endpointer.passed(before: time), hasUnclosedWords else { return }
        send(
            .emptyFinal(
                channel: channel, of: channels, at: finalizedThrough, through: max(end, finalizedThrough),
                isSpeechFinal: true), say)
    }

    /// Engines place the end of an utterance's last word loosely: some count the pause in, some leave the last sound out.
    /// Only what the audio told before the result's own end counts, so that the answer does not depend on the pace.
    private mutating func endingWithTheVoice(_ result: EngineResult) -> EngineResult {
        guard let last = result.words.indices.last else { return result }
        var result = result
        while let (voiceEnd, toldAt) = voiceEnds.first, toldAt <= result.through {
            voiceEnds.removeFirst()
            let word = result.words[last]
            let distance = max(voiceEnd, word.end) - min(voiceEnd, word.end)
            guard distance <= Self.wordEndSlack, voiceEnd > word.start else { continue }
            result.words[last].end = voiceEnd
            break
        }
        return result
    }

    private mutating func send(_ final: SessionResult, _ say: Say) {
        if !final.transcript.isEmpty {
            say(
                .keep(
                    FinalResult(
                        sequence: 0, channel: channel, start: final.start, end: final.end,
                        transcript: final.transcript, words: final.words, confidence: final.confidence,
                        isSpeechFinal: final.isSpeechFinal, engine: speaker?.name ?? options.engine)))
        }
        if final.isSpeechFinal {
            (hasOpenUtterance, hasUnclosedWords) = (false, false)
        } else if !final.transcript.isEmpty {
            (hasOpenUtterance, hasUnclosedWords) = (true, true)
        }
        finalizedThrough = final.end
        var final = final
        final.spokenBy = speaker
        say(.send(.result(final)))
    }

    private func sessionResult(_ result: EngineResult, end: AudioTime, isFinal: Bool) -> SessionResult {
        SessionResult(
            channel: channel, channels: channels, start: finalizedThrough, end: end, isFinal: isFinal,
            isSpeechFinal: false, isFromFinalize: false, transcript: result.transcript, words: result.words,
            confidence: result.confidence, spokenBy: speaker)
    }
}
