/// A session's decisions: what is admitted, what is said, what is kept, and when it ends. It owns the finals, the clock
/// and the results; a socket is one attachment of it, an engine stream another.
///
/// Pure: events go in, actions come out in the order in which their owner must run them. Time is a parameter. It cannot be
/// copied, since asking it anything would copy it otherwise, with a retain for all that it holds, for each message.
///
///     claiming -> live -> finishing -> settling -> ended
///         '----------------------------------------^   (claim refused, or the client left before it)
public struct Session: ~Copyable, Sendable {
    /// The limits of one session. They are generous to clients that behave and final to those that do not.
    public struct Limits: Sendable {
        /// A client that says nothing for so long is gone.
        public var idle = Duration.seconds(10)
        /// Text messages that are not of the protocol, before the session is closed.
        public var unknownMessages = 10
        /// `Finalize` messages without their answer, before more is held back.
        public var pendingFinalizes = 16
        /// How long an engine may have no room, or leave a `Finalize` without its answer, before it counts as failed.
        public var enginePause = Duration.seconds(60)
        /// How long an engine may say nothing while it gives the rest after the last audio. One that hears audio at its own
        /// pace tells how far it has come.
        public var engineSilence = Duration.seconds(30)
        /// How long an engine may take for the rest in all.
        public var engineDrain = Duration.seconds(300)
        /// The same when nobody waits for the rest: the client did not say `CloseStream`.
        public var engineDrainUnasked = Duration.seconds(30)
        /// The same when the node, or the slot, is needed for something else.
        public var engineDrainHurried = Duration.seconds(4)
        /// The limits of the protocol and the design.
        public init() {}
    }

    /// What the owner does, in order.
    public enum Action: Sendable, Equatable {
        /// Begin the engine's stream on the reservation.
        case openEngine(EngineAudio)
        /// Ask the engine for finals of everything so far.
        case flushEngine(channel: Int)
        /// Tell the engine that no audio follows.
        case finishEngine
        /// Drop the engine's stream.
        case cancelEngine
        /// Make the final durable; what follows in the list, and after it, is sent only then.
        case keep(FinalResult)
        /// Send to the client, if it is still there.
        case send(SessionMessage)
        /// Store the transcript, record the usage, give the slot back; then call `settled()`.
        case settle(Ending)
        /// Close the connection.
        case close(Ending)
    }

    /// What happens to audio that arrives.
    public enum AudioDecision: Sendable {
        /// Decode it, then call `audioAdmitted`.
        case admit
        /// Keep it until the claim is decided, or until the engine has room again. It is neither forwarded nor metered.
        case hold
        /// The session is ending: it is not heard any more.
        case ignore
    }

    enum Phase: Equatable {
        /// The slot is being claimed; what arrives is held.
        case claiming
        /// Audio goes to the engine, results come back.
        case live
        /// The engine gives the rest. It was last heard of at `heard`, and `deadline` is the last moment for it.
        case finishing(Ending, heard: ContinuousClock.Instant, deadline: ContinuousClock.Instant)
        /// The owner stores, records and releases.
        case settling(Ending)
        /// Nothing happens any more.
        case ended
    }

    /// What the client asked for.
    public let options: SessionOptions
    /// Frames admitted: decoded after the claim. The only measure of audio that is ever billed.
    public private(set) var frames: Int64 = 0
    /// The audio's shape, once known.
    public private(set) var audio: EngineAudio?
    /// Finals with words, in order: the transcript.
    public private(set) var finals: [FinalResult] = []

    var phase = Phase.claiming
    var channels: [ChannelTimeline] = []
    private let limits: Limits
    private var lastHeard: ContinuousClock.Instant
    private var unknownMessages = 0
    private var isEngineOpen = false
    private var speaker: EngineDescription?
    private var metered: AudioTime?
    private var pauses: Pauses = []
    /// What could not wait for the rest.
    private var hurriedBy: Ending?
    /// When time first passed while the client was held back.
    private var pausedAt: ContinuousClock.Instant?

    /// Why what the client sends is held back.
    struct Pauses: OptionSet {
        let rawValue: Int
        static let engine = Pauses(rawValue: 1)
        static let finalizes = Pauses(rawValue: 2)
        static let minutes = Pauses(rawValue: 4)
    }

    /// A session whose slot is being claimed.
    public init(options: SessionOptions, limits: Limits = Limits(), now: ContinuousClock.Instant) {
        self.options = options
        self.limits = limits
        lastHeard = now
    }

    /// The audio admitted so far.
    public var duration: AudioTime {
        audio.map { AudioTime(frames: frames, sampleRate: $0.sampleRate) } ?? .zero
    }

    /// The audio that the engine's owner is billed for: what the engine says, or else what was admitted.
    public var engineTime: AudioTime { metered ?? duration }

    /// The name of the engine that listened: the first that spoke, or that will.
    public var engine: String { finals.first?.engine ?? speaker?.name ?? options.engine }
    /// The name of the engine that listens now.
    public var listener: String { speaker?.name ?? options.engine }

    /// Whether the claim is not decided yet.
    public var isClaiming: Bool { phase == .claiming }
    /// Whether what the client sends must be held: the claim is not decided, or the engine has no room. The owner looks
    /// after each event, and hands over what it held, in order, as soon as this is false.
    public var isHolding: Bool { phase == .claiming || phase == .live && !pauses.isEmpty }
    /// Whether the session takes audio and messages.
    public var isLive: Bool { phase == .live }
    /// Whether nothing will happen any more.
    public var isEnded: Bool { phase == .ended }

    // MARK: The claim

    /// The slot is taken.
    public mutating func claimed(now: ContinuousClock.Instant) -> [Action] {
        guard phase == .claiming else { return [] }
        phase = .live
        lastHeard = now
        return []
    }

    /// There is no slot: the session never began, and nothing of it is stored.
    public mutating func claimRefused(_ ending: Ending) -> [Action] {
        guard phase == .claiming else { return [] }
        phase = .ended
        return [.close(ending)]
    }

    // MARK: The client

    /// Bytes of audio came from the client.
    public mutating func audioArrived(now: ContinuousClock.Instant) -> AudioDecision {
        lastHeard = now
        switch phase {
        case .claiming, .live: return isHolding ? .hold : .admit
        case .finishing, .settling, .ended: return .ignore
        }
    }

    /// The decoder knows the audio's shape. Comes once, before the first `audioAdmitted`.
    public mutating func audioDescribed(sampleRate: Int, channels count: Int) -> [Action] {
        guard phase == .live, audio == nil else { return [] }
        let audio = EngineAudio(
            sampleRate: sampleRate, channels: count, isMultichannel: options.isMultichannel && count > 1)
        self.audio = audio
        channels = (0..<audio.resultChannels).map {
            ChannelTimeline(channel: $0, audio: audio, options: options)
        }
        isEngineOpen = true
        return [.openEngine(audio)]
    }

    /// The engine would not take the audio that `openEngine` offered it.
    public mutating func engineRefused(_ ending: Ending) -> [Action] {
        guard phase == .live else { return [] }
        isEngineOpen = false
        return settle(ending)
    }

    /// Whole frames were decoded and go to the engine.
    public mutating func audioAdmitted(_ samples: Span<Int16>) -> [Action] {
        guard phase == .live, let audio else { return [] }
        frames += Int64(samples.count / audio.channels)
        var actions: [Action] = []
        for index in channels.indices {
            channels[index].heard(samples, say: { actions.append($0) })
        }
        return numbered(actions)
    }

    /// The engine's answer to a send.
    public mutating func engineTook(_ outcome: SendOutcome) {
        if outcome == .backpressure, phase == .live { pauses.insert(.engine) }
    }

    /// Audio waits for more of a quota of minutes, or does not wait any more. How long is the owner's to decide.
    public mutating func awaitsMinutes(_ isWaiting: Bool) {
        guard phase == .live else { return }
        if isWaiting { pauses.insert(.minutes) } else { resume(.minutes) }
    }

    /// Audio waits for more of a quota of minutes.
    public var isAwaitingMinutes: Bool { phase == .live && pauses.contains(.minutes) }

    /// Says what became of a quota, to clients that wanted to know.
    public func quotaSaid(_ message: SessionMessage) -> [Action] { phase == .live ? [.send(message)] : [] }

    /// A text message came from the client.
    public mutating func received(_ message: ClientMessage, now: ContinuousClock.Instant) -> [Action] {
        guard phase == .live else { return [] }
        lastHeard = now
        switch message {
        case .keepAlive: return []
        case .finalize(let channel): return finalize(channel)
        case .closeStream: return end(.closeStream, now: now)
        case .unknown:
            unknownMessages += 1
            return unknownMessages > limits.unknownMessages ? end(.badMessages, now: now) : []
        }
    }

    /// The connection is gone.
    public mutating func clientGone(_ ending: Ending = .clientGone, now: ContinuousClock.Instant) -> [Action] {
        end(ending, now: now)
    }

    // MARK: The end

    /// Something ends the session: the engine is asked for the rest, then everything is stored, then the client is told.
    /// The first cause counts.
    public mutating func end(_ ending: Ending, now: ContinuousClock.Instant) -> [Action] {
        switch phase {
        case .claiming:
            phase = .ended
            return [.close(ending)]
        case .live where isEngineOpen:
            phase = .finishing(ending, heard: now, deadline: now + drain(ending))
            return [.finishEngine]
        case .live:
            return settle(ending)
        case .finishing(let first, let heard, let deadline):
            if ending.isHurried {
                hurriedBy = ending
                phase = .finishing(first, heard: heard, deadline: min(deadline, now + drain(ending)))
            }
            return []
        case .settling, .ended:
            return []
        }
    }

    private func drain(_ ending: Ending) -> Duration {
        if ending.isHurried { return limits.engineDrainHurried }
        return ending.state == .completed ? limits.engineDrain : limits.engineDrainUnasked
    }

    /// Time has passed. Called about once a second.
    public mutating func ticked(now: ContinuousClock.Instant) -> [Action] {
        switch phase {
        case .live where pauses == .minutes:
            lastHeard = now
            // The engine's patience begins anew when it has no room again.
            pausedAt = nil
            return []
        case .live where !pauses.isEmpty:
            lastHeard = now
            let since = pausedAt ?? now
            pausedAt = since
            return since.duration(to: now) >= limits.enginePause ? end(.engineFailed, now: now) : []
        case .live where now - lastHeard >= limits.idle:
            return end(.idle, now: now)
        case .finishing(_, let heard, let deadline) where now >= min(deadline, heard + limits.engineSilence):
            if let hurriedBy { phase = .finishing(hurriedBy, heard: heard, deadline: deadline) }
            return [.cancelEngine] + engineLost()
        default:
            return []
        }
    }

    /// Transcript, usage and slot are taken care of: the client may know.
    public mutating func settled() -> [Action] {
        guard case .settling(let ending) = phase else { return [] }
        phase = .ended
        let count = frames == 0 ? 0 : audio?.channels ?? 0
        return [.send(.metadata(duration: duration, channels: count)), .close(ending)]
    }

    private mutating func settle(_ ending: Ending) -> [Action] {
        phase = .settling(ending)
        return [.settle(ending)]
    }

    // MARK: The engine

    /// The engine's stream said something.
    public mutating func engineSaid(_ event: EngineEvent, now: ContinuousClock.Instant) -> [Action] {
        guard isEngineOpen else { return [] }
        if case .finishing(let ending, _, let deadline) = phase {
            phase = .finishing(ending, heard: now, deadline: deadline)
        }
        switch event {
        case .partial(let result):
            return onChannel(result.channel) { $0.partial(result, say: $1) }
        case .final(let result):
            return onChannel(result.channel) { $0.final(result, say: $1) }
        case .progress(let channel, let through):
            return onChannel(channel) { $0.progressed(through, say: $1) }
        case .flushed(let channel):
            let actions = onChannel(channel) { $0.flushed(say: $1) }
            if waitingFinalizes < limits.pendingFinalizes { resume(.finalizes) }
            return actions
        case .capacity:
            resume(.engine)
            return []
        case .spokenBy(let engine):
            speaker = engine
            var actions: [Action] = []
            for index in channels.indices { channels[index].spokenBy(engine, say: { actions.append($0) }) }
            return numbered(actions)
        case .metered(let time):
            metered = max(metered ?? .zero, time)
            return []
        case .ended:
            return engineEnded()
        case .failed:
            return engineLost()
        }
    }

    /// The engine's stream is over before it gave the rest: what it had called final stays final.
    private mutating func engineLost() -> [Action] {
        isEngineOpen = false
        var actions: [Action] = []
        for index in channels.indices { channels[index].lost(say: { actions.append($0) }) }
        let finals = numbered(actions)
        guard case .finishing(let ending, _, _) = phase, ending.state != .completed else {
            return finals + settle(.engineFailed)
        }
        return finals + settle(ending)
    }

    private mutating func engineEnded() -> [Action] {
        guard case .finishing(let ending, _, _) = phase else { return engineLost() }
        isEngineOpen = false
        var actions: [Action] = []
        let duration = self.duration
        for index in channels.indices { channels[index].ended(at: duration, say: { actions.append($0) }) }
        return numbered(actions) + settle(ending)
    }

    private mutating func finalize(_ channel: Int?) -> [Action] {
        guard isEngineOpen else {
            // Nothing was sent yet, so nothing is buffered: the acknowledgement is empty and immediate.
            let count = options.isMultichannel ? options.source.announcedChannels ?? 1 : 1
            return (0..<count).filter { channel == nil || channel == $0 }.map { index in
                .send(.result(.emptyFinal(channel: index, of: count, at: .zero, isFromFinalize: true)))
            }
        }
        var actions: [Action] = []
        for index in channels.indices where channel == nil || channel == index {
            channels[index].finalizeAsked()
            actions.append(.flushEngine(channel: index))
        }
        if waitingFinalizes >= limits.pendingFinalizes { pauses.insert(.finalizes) }
        return actions
    }

    private var waitingFinalizes: Int { channels.map(\.pendingFinalizes).max() ?? 0 }

    private mutating func onChannel(
        _ channel: Int, _ event: (inout ChannelTimeline, (Action) -> Void) -> Void
    ) -> [Action] {
        guard channels.indices.contains(channel) else { return [] }
        var actions: [Action] = []
        event(&channels[channel], { actions.append($0) })
        return numbered(actions)
    }

    /// Gives the kept finals their numbers and remembers them for the transcript.
    private mutating func numbered(_ actions: [Action]) -> [Action] {
        actions.map { action in
            guard case .keep(var final) = action else { return action }
            final.sequence = finals.count
            finals.append(final)
            return .keep(final)
        }
    }

    // MARK: Back-pressure

    private mutating func resume(_ reason: Pauses) {
        pauses.remove(reason)
        if pauses.isEmpty { pausedAt = nil }
    }
}
