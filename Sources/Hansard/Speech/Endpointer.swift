import DequeModule

/// Finds the ends of utterances on one channel and says which final each belongs to.
///
/// An endpoint is a silence of at least `silence` after speech. The audio says where endpoints are; the engine's
/// finals come later, at times of the engine's own. Both meet on the audio clock, so that a client that sends faster
/// than real time gets the same answers.
struct Endpointer {
    /// Endpoints kept while the engine has not reached them. At one each 300 ms this is five minutes of backlog; an
    /// older one is forgotten, and its final is then a plain one.
    static let waitingLimit = 1_000

    /// A final may stop this much before the voice that it covers, since engines round word ends.
    static let slack = AudioTime.milliseconds(150)

    private let silence: AudioTime?
    private var speechEnd: AudioTime?
    private var voiceEnd = AudioTime.zero
    /// Where the voice ended that each endpoint closes.
    private var waiting: Deque<AudioTime> = []

    /// - Parameter silence: how long a silence ends an utterance; nil finds no endpoints.
    init(silence: AudioTime?) { self.silence = silence }

    /// Speech began, or began again before the silence was long enough.
    mutating func speechStarted() { speechEnd = nil }

    /// Speech ended at `end`, after a voice that was last strong at `voiceEnd`.
    mutating func speechStopped(at end: AudioTime, voiceEnd: AudioTime) {
        speechEnd = end
        self.voiceEnd = min(voiceEnd, end)
    }

    /// The audio up to `through` has been looked at.
    ///
    /// - Returns: true if an endpoint was found.
    mutating func heard(through: AudioTime) -> Bool {
        guard let silence, let end = speechEnd, through - end >= silence else { return false }
        speechEnd = nil
        waiting.append(voiceEnd)
        if waiting.count > Self.waitingLimit { waiting.removeFirst() }
        return true
    }

    /// Takes the endpoints that finals through `through` have reached.
    ///
    /// - Returns: true if there was one: the final that brought the channel there ends an utterance.
    mutating func reached(_ through: AudioTime) -> Bool {
        var found = false
        while let first = waiting.first, first <= through + Self.slack {
            waiting.removeFirst()
            found = true
        }
        return found
    }

    /// Takes the endpoints before words that begin at `start`: no final of what they close is still to come.
    ///
    /// - Returns: the last of them.
    mutating func passed(before start: AudioTime) -> AudioTime? {
        var last: AudioTime?
        while let first = waiting.first, first <= start { last = waiting.removeFirst() }
        return last
    }
}

/// Watches the gap after the last finalised word of one channel: the source of `UtteranceEnd`. It looks at words only,
/// so it works where noise keeps voice activity from ending.
struct WordGapDetector {
    private let gap: AudioTime?
    private var lastWordEnd: AudioTime?
    private var interimWordEnd = AudioTime.zero

    /// - Parameter gap: how long a gap ends an utterance; nil finds none.
    init(gap: AudioTime?) { self.gap = gap }

    /// Words that may still change: they keep a gap from ending.
    mutating func interim(_ words: [Word]) { interimWordEnd = words.last?.end ?? .zero }

    /// Words that will not change.
    mutating func finalised(_ words: [Word]) {
        interimWordEnd = .zero
        if let last = words.last { lastWordEnd = last.end }
    }

    /// The engine has heard the audio up to `through`.
    ///
    /// - Returns: the end of the last word if the gap after it has just become long enough; once per gap.
    mutating func heard(through: AudioTime) -> AudioTime? {
        guard let gap, let end = lastWordEnd, interimWordEnd <= end, through - end >= gap else { return nil }
        lastWordEnd = nil
        return end
    }
}
