/// What has been heard of one channel, over all the streams that heard parts of it: each word is given once.
struct RelayedChannel {
    let channel: Int
    /// Words before this have been given.
    private(set) var finalThrough = AudioTime.zero
    /// The last partial, if it has words that no final has given.
    private(set) var open: EngineResult?
    /// The same of a stream that is gone, until another one says something.
    private var lost: EngineResult?

    init(channel: Int) { self.channel = channel }

    /// Whether words wait for their final.
    var isOpen: Bool { open != nil }

    /// A result, in the session's time.
    ///
    /// - Returns: the event that it is, if it says something new.
    mutating func take(_ result: EngineResult, isFinal: Bool) -> EngineEvent? {
        let fresh = withoutGivenWords(result)
        lost = nil
        if isFinal { return give(fresh) }
        open = fresh.words.isEmpty ? nil : fresh
        return .partial(fresh)
    }

    /// The last partial's words count as final: the service does not say so in time. It reaches to the last word alone: there
    /// may be others behind it that were not understood yet.
    mutating func promote() -> EngineEvent? {
        guard var result = open, let last = result.words.last else { return nil }
        result.through = last.end
        return give(result)
    }

    /// The stream is gone: what it said that was not final will be said again.
    mutating func lostStream() {
        lost = open ?? lost
        open = nil
    }

    /// There will be no other stream: what the last one said counts as final.
    mutating func promoteLost() -> EngineEvent? {
        open = open ?? lost
        return promote()
    }

    private mutating func give(_ result: EngineResult) -> EngineEvent? {
        open = nil
        // A silence that has been told already.
        if result.words.isEmpty, result.through <= finalThrough { return nil }
        var result = result
        result.through = max(result.through, result.words.last?.end ?? .zero, finalThrough)
        finalThrough = result.through
        return .final(result)
    }

    /// A stream that was asked for its finals too early, or that hears again what another one has heard, repeats words.
    private func withoutGivenWords(_ result: EngineResult) -> EngineResult {
        let count = result.words.prefix { word in
            word.start.microseconds + word.end.microseconds <= 2 * finalThrough.microseconds && finalThrough > .zero
        }.count
        return count > 0 ? result.with(words: Array(result.words.dropFirst(count))) : result
    }
}
