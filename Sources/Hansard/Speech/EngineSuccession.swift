import DequeModule

/// One session's audio over two engines: the first, and once that is lost the second, from the last final on. Decides what goes
/// to whom, so that no word of a given final is repeated and none after it is lost.
///
/// Pure: its owner tells it everything that happens, one thing after the other, and runs the actions in their order.
///
///     first -> opening -> second -> over
///       '--------'------------------^   (the end, or nobody is left)
public struct EngineSuccession: Sendable {
    /// Audio after the last final that is kept for the second engine. What is older is lost to it: no final for so long
    /// means that hardly anything was said.
    public static let keptLimit = AudioTime.milliseconds(60_000)
    /// An engine that has listened so far beyond some audio, and has told no words of it, heard none there: it says what it
    /// understands while it is spoken, but not at once, and a word has to begin before it is one.
    public static let hearingMargin = AudioTime.milliseconds(5_000)

    /// One of the two.
    public enum Engine: Sendable, Equatable {
        /// The one that was asked first.
        case first
        /// Its substitute.
        case second
    }

    /// What the owner does, in order.
    public enum Action: Sendable, Equatable {
        /// Send the audio, then call `took`.
        case send(Engine, [Int16])
        /// Ask for finals of everything so far.
        case flush(Engine, channel: Int)
        /// Say that no audio follows.
        case finish(Engine)
        /// Drop the stream.
        case cancel(Engine)
        /// Reserve and open the second engine, then call `opened` or `refused`. The reason, and how much audio was lost to it
        /// because it was no longer kept, are for the log.
        case openSecond(reason: String, lost: AudioTime)
        /// Tell the session.
        case deliver(EngineEvent)
    }

    private enum Phase {
        /// The first engine listens. What it has not given finals of is kept.
        case first
        /// The second is being opened. What comes waits behind what is kept.
        case opening
        /// The second engine listens, to what was kept and then to what comes.
        case second
        /// The session has been told the end, or wants no more.
        case over
    }

    /// What was asked of the engines, in order.
    private enum Item {
        case audio([Int16])
        case flush(channel: Int)
        case finish
    }

    private let audio: EngineAudio
    private var phase = Phase.first
    /// Of the first engine, what it was asked and has not answered; of the second, what it is still to be asked.
    private var items: Deque<Item> = []
    /// The frame at which the audio in `items` begins, and the one after all audio so far.
    private var front: Int64 = 0
    private var end: Int64 = 0
    /// Where each channel's last final ended.
    private var finalized: [AudioTime]
    /// How far the first engine has listened to each channel, and up to where it would have told words if there were any.
    private var heard: [AudioTime]
    private var quiet: [AudioTime]
    /// The middle of the last word that it has heard there and given no final of; nil if there is none.
    private var open: [AudioTime?]
    private let hearingMargin: AudioTime
    private var isFinishing = false

    /// A send is being performed.
    private var isSending = false
    /// The engine that listens has no room.
    private var isBlocked = false
    /// The session holds audio back until it is told `.capacity`.
    private var owesCapacity = false

    /// The second engine's 0 on the session's clock.
    private var offset = AudioTime.zero
    /// Flushes that the second engine has been asked for and has not answered.
    private var flushes: [Int]
    private var firstMetered: AudioTime?
    private var secondMetered: AudioTime?
    private var told = AudioTime.zero
    /// What was metered of the first engine.
    private var meteredBefore = AudioTime.zero

    /// The first engine is being asked to listen to this audio.
    ///
    /// - Parameter hearingMargin: 0 believes each word of an engine's at once.
    public init(audio: EngineAudio, hearingMargin: AudioTime = Self.hearingMargin) {
        self.audio = audio
        self.hearingMargin = hearingMargin
        finalized = Array(repeating: .zero, count: audio.resultChannels)
        heard = finalized
        quiet = finalized
        open = Array(repeating: nil, count: audio.resultChannels)
        flushes = Array(repeating: 0, count: audio.resultChannels)
    }

    // MARK: The session

    /// Audio came: whole frames.
    public mutating func audioCame(_ samples: [Int16]) -> [Action] {
        guard phase != .over else { return [] }
        items.append(.audio(samples))
        end += frames(samples)
        switch phase {
        case .first:
            keepNoMoreThanAllowed()
            isSending = true
            return [.send(.first, samples)]
        case .opening, .over: return []
        case .second: return advance()
        }
    }

    /// The answer to audio that was just handed in: `.backpressure` until there is room for more, which is then told by
    /// `.capacity`.
    public mutating func outcome() -> SendOutcome {
        switch phase {
        case .over: return .dropped
        case .first, .opening, .second:
            if hasRoom { return .sent }
            owesCapacity = true
            return .backpressure
        }
    }

    /// Audio was handed in while something else was still being done: it will be told by `.capacity` that there is room.
    public mutating func audioWaits() { owesCapacity = true }

    /// Finals are wanted of everything so far on a channel.
    public mutating func flushAsked(channel: Int) -> [Action] { asked(.flush(channel: channel)) }

    /// No more audio will come.
    public mutating func finishAsked() -> [Action] {
        isFinishing = true
        return asked(.finish)
    }

    /// The session wants nothing more.
    public mutating func cancelAsked() -> [Action] {
        defer { phase = .over }
        switch phase {
        case .first: return [.cancel(.first)]
        case .second: return [.cancel(.second)]
        case .opening, .over: return []
        }
    }

    private mutating func asked(_ item: Item) -> [Action] {
        guard phase != .over else { return [] }
        items.append(item)
        switch (phase, item) {
        case (.first, .flush(let channel)): return [.flush(.first, channel: channel)]
        case (.first, .finish): return [.finish(.first)]
        case (.second, _): return advance()
        default: return []
        }
    }

    // MARK: The engines

    /// An engine's answer to a send.
    public mutating func took(_ outcome: SendOutcome, by engine: Engine) -> [Action] {
        guard listens(engine) else { return [] }
        isSending = false
        if outcome == .dropped { return lose(engine, "it takes no more audio") }
        if outcome == .backpressure { isBlocked = true }
        return advance()
    }

    /// The first engine could not be opened.
    public mutating func firstRefused(_ reason: String) -> [Action] {
        guard phase == .first else { return [] }
        firstMetered = firstMetered ?? .zero
        return lose(.first, reason)
    }

    /// The second engine is open: it speaks from now on.
    public mutating func opened(_ engine: EngineDescription) -> [Action] {
        guard phase == .opening else { return [.cancel(.second)] }
        phase = .second
        offset = time(front)
        return [.deliver(.spokenBy(engine))] + meter() + advance()
    }

    /// There is no second engine to go on with.
    public mutating func refused(_ reason: String) -> [Action] {
        guard phase == .opening else { return [] }
        phase = .over
        return [.deliver(.failed(reason))]
    }

    /// An engine's stream said something. What a stream that is over says is not heard.
    public mutating func said(_ event: EngineEvent, by engine: Engine) -> [Action] {
        guard listens(engine) else { return [] }
        switch event {
        case .capacity:
            isBlocked = false
            return advance()
        case .failed(let reason): return lose(engine, reason)
        case .ended where !isFinishing: return lose(engine, "it ended too early")
        case .ended:
            phase = .over
            return (engine == .second ? meter() : []) + [.deliver(.ended)]
        default: return engine == .first ? firstSaid(event) : secondSaid(event)
        }
    }

    private mutating func firstSaid(_ event: EngineEvent) -> [Action] {
        switch event {
        case .final(let result) where finalized.indices.contains(result.channel):
            let channel = result.channel
            finalized[channel] = max(finalized[channel], min(result.through, time(end)))
            if let middle = open[channel], middle < finalized[channel] { open[channel] = nil }
            listened(channel, through: result.through)
        case .partial(let result) where finalized.indices.contains(result.channel):
            let channel = result.channel
            let start = result.words.last?.start ?? finalized[channel]
            let end = result.words.last?.end ?? result.through
            let isEmpty = result.words.isEmpty && result.transcript.isEmpty
            open[channel] = isEmpty ? nil : middle(start, end)
            listened(channel, through: result.through)
        case .progress(let channel, let through) where finalized.indices.contains(channel):
            listened(channel, through: through)
        case .flushed(let channel):
            let index = items.firstIndex { if case .flush(channel) = $0 { true } else { false } }
            if let index { items.remove(at: index) }
            forgetSettled()
        case .metered(let time): firstMetered = max(firstMetered ?? .zero, time)
        default: break
        }
        return [.deliver(event)]
    }

    private mutating func secondSaid(_ event: EngineEvent) -> [Action] {
        switch event {
        case .partial(let result): return meter() + (rest(of: result).map { [.deliver(.partial($0))] } ?? [])
        case .final(let result): return meter() + (rest(of: result).map { [.deliver(.final($0))] } ?? [])
        case .progress(let channel, let through):
            return meter() + [.deliver(.progress(channel: channel, through: offset + through))]
        case .flushed(let channel):
            guard flushes.indices.contains(channel), flushes[channel] > 0 else { return [] }
            flushes[channel] -= 1
            return [.deliver(event)]
        case .metered(let time):
            secondMetered = max(secondMetered ?? .zero, time)
            return meter()
        default: return [.deliver(event)]
        }
    }

    // MARK: From one to the other

    private mutating func lose(_ engine: Engine, _ reason: String) -> [Action] {
        guard engine == .first else {
            phase = .over
            return meter() + [.cancel(.second), .deliver(.failed(reason))]
        }
        phase = .opening
        isSending = false
        isBlocked = false
        meteredBefore = firstMetered ?? time(end)
        let settled = settled
        cut(to: frame(settled))
        return [.cancel(.first), .openSecond(reason: reason, lost: max(.zero, time(front) - settled))]
    }

    /// Gives the second engine what it is still to be asked, as far as it has room.
    private mutating func advance() -> [Action] {
        var actions: [Action] = []
        while phase == .second, !isSending, !isBlocked, let item = items.popFirst() {
            switch item {
            case .audio(let samples):
                front += frames(samples)
                isSending = true
                actions.append(.send(.second, samples))
            case .flush(let channel):
                if flushes.indices.contains(channel) { flushes[channel] += 1 }
                actions.append(.flush(.second, channel: channel))
            case .finish: actions.append(.finish(.second))
            }
        }
        if owesCapacity, hasRoom {
            owesCapacity = false
            actions.append(.deliver(.capacity))
        }
        return actions
    }

    private var hasRoom: Bool {
        switch phase {
        case .first: !isSending && !isBlocked
        case .second: !isSending && !isBlocked && items.isEmpty
        case .opening, .over: false
        }
    }

    private func listens(_ engine: Engine) -> Bool { phase == (engine == .first ? .first : .second) }

    /// What both engines' owners are billed for, if that has changed.
    private mutating func meter() -> [Action] {
        let sent = time(front) - offset
        let total = meteredBefore + (secondMetered ?? sent)
        guard phase != .first, total != told else { return [] }
        told = total
        return [.deliver(.metered(total))]
    }

    /// Where the finals of the first engine ended on a channel.
    private func given(_ channel: Int) -> AudioTime {
        finalized.indices.contains(channel) ? finalized[channel] : .zero
    }

    /// The second engine's result on the session's clock, without the words that a final of the first had; nil if that leaves
    /// nothing. A word that lies across the end of that final belongs to where its middle is.
    private func rest(of result: EngineResult) -> EngineResult? {
        var moved = result
        let given = given(result.channel)
        moved.through = max(offset + result.through, given)
        for index in moved.words.indices {
            moved.words[index].start = moved.words[index].start + offset
            moved.words[index].end = moved.words[index].end + offset
        }
        moved.words.removeAll { middle($0.start, $0.end) < given }
        if moved.words.count < result.words.count { moved = moved.with(words: moved.words) }
        return moved.words.isEmpty && offset + result.through <= given ? nil : moved
    }

    private func middle(_ start: AudioTime, _ end: AudioTime) -> AudioTime {
        AudioTime(microseconds: (start.microseconds + end.microseconds) / 2)
    }

    // MARK: What is kept

    private func frames(_ samples: [Int16]) -> Int64 { Int64(samples.count / audio.channels) }

    private func time(_ frame: Int64) -> AudioTime { AudioTime(frames: frame, sampleRate: audio.sampleRate) }

    private func frame(_ time: AudioTime) -> Int64 { time.firstFrame(sampleRate: audio.sampleRate) }

    private var oldestAudio: (index: Int, frames: Int64)? {
        for (index, item) in items.enumerated() {
            if case .audio(let samples) = item { return (index, frames(samples)) }
        }
        return nil
    }

    private mutating func listened(_ channel: Int, through: AudioTime) {
        heard[channel] = max(heard[channel], min(through, time(end)))
        if open[channel] == nil { quiet[channel] = max(quiet[channel], heard[channel] - hearingMargin) }
        forgetSettled()
    }

    /// Up to where the second engine need not listen: what is behind it on any channel is final, or has no words.
    private var settled: AudioTime { zip(finalized, quiet).map { max($0, $1) }.min() ?? .zero }

    /// Forgets the audio that no channel needs again.
    private mutating func forgetSettled() {
        let settled = frame(settled)
        while let (index, count) = oldestAudio, front + count <= settled {
            items.remove(at: index)
            front += count
        }
    }

    private mutating func keepNoMoreThanAllowed() {
        let limit = frame(Self.keptLimit)
        while end - front > limit, let (index, count) = oldestAudio {
            guard count < end - front else { return cut(to: end - limit) }
            items.remove(at: index)
            front += count
        }
    }

    /// Forgets the oldest audio up to a frame that lies within it.
    private mutating func cut(to frame: Int64) {
        guard front < frame, let (index, count) = oldestAudio, case .audio(let samples) = items[index],
            frame - front < count
        else { return }
        items[index] = .audio(Array(samples.dropFirst(Int(frame - front) * audio.channels)))
        front = frame
    }
}
