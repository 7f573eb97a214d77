@testable import Hansard

/// Short names for what a session decides, so that expectations read as a protocol trace.
extension Session.Action {
    var trace: String {
        switch self {
        case .openEngine(let audio): "open \(audio.sampleRate)x\(audio.channels)"
        case .flushEngine(let channel): "flush \(channel)"
        case .finishEngine: "finish"
        case .cancelEngine: "cancel"
        case .keep(let final): "keep \(final.sequence) '\(final.transcript)'"
        case .send(let message): message.trace
        case .settle(let ending): "settle \(ending.state)"
        case .close(let ending): "close \(ending.code)"
        }
    }
}

extension SessionMessage {
    var trace: String {
        switch self {
        case .result(let result):
            (result.isFromFinalize ? "ack" : result.isFinal ? "final" : "interim") + (result.isSpeechFinal ? "!" : "")
                + " \(result.channel)/\(result.channels) \(result.start.seconds)-\(result.end.seconds)"
                + (result.transcript.isEmpty ? "" : " '\(result.transcript)'")
        case .speechStarted(let channel, _, let at): "speech \(channel) \(at.seconds)"
        case .utteranceEnd(let channel, _, let end): "utterance end \(channel) \(end.seconds)"
        case .quotaWarning(let percent, let remaining): "quota \(percent) \(remaining)"
        case .quotaExhausted: "quota exhausted"
        case .metadata(let duration, let channels): "metadata \(duration.seconds) \(channels)"
        }
    }
}

extension [Session.Action] {
    var trace: [String] { map(\.trace) }

    var messages: [SessionMessage] {
        compactMap { if case .send(let message) = $0 { message } else { nil } }
    }

    var results: [SessionResult] {
        messages.compactMap { if case .result(let result) = $0 { result } else { nil } }
    }

    var kept: [FinalResult] {
        compactMap { if case .keep(let final) = $0 { final } else { nil } }
    }
}

/// A session in a test: its own clock, and everything it has decided so far.
struct SessionRun: ~Copyable {
    var session: Session
    private(set) var now: ContinuousClock.Instant
    private(set) var actions: [Session.Action] = []

    /// A claiming session.
    init(_ change: (inout SessionOptions) -> Void = { _ in }, limits: Session.Limits = Session.Limits()) {
        var options = SessionOptions()
        options.engine = "test"
        change(&options)
        now = ContinuousClock().now
        session = Session(options: options, limits: limits, now: now)
    }

    /// A live session with an open engine.
    static func live(
        sampleRate: Int = 16_000,
        channels: Int = 1,
        limits: Session.Limits = Session.Limits(),
        _ change: (inout SessionOptions) -> Void = { _ in }
    ) -> SessionRun {
        var run = SessionRun(change, limits: limits)
        run.claimed()
        run { $0.audioDescribed(sampleRate: sampleRate, channels: channels) }
        run.actions = []
        return run
    }

    mutating func wait(_ duration: Duration) { now += duration }

    /// Runs one event and returns what was decided.
    @discardableResult
    mutating func callAsFunction(_ event: (inout Session) -> [Session.Action]) -> [Session.Action] {
        let decided = event(&session)
        actions += decided
        return decided
    }

    @discardableResult mutating func claimed() -> [Session.Action] { self { [now] in $0.claimed(now: now) } }

    @discardableResult mutating func received(_ message: ClientMessage) -> [Session.Action] {
        self { [now] in $0.received(message, now: now) }
    }

    @discardableResult mutating func engine(_ event: EngineEvent) -> [Session.Action] {
        self { [now] in $0.engineSaid(event, now: now) }
    }

    /// Decides nothing that is to be done: it shows in `isHolding`.
    @discardableResult mutating func engineTook(_ outcome: SendOutcome) -> [Session.Action] {
        session.engineTook(outcome)
        return []
    }

    @discardableResult mutating func end(_ ending: Ending) -> [Session.Action] {
        self { [now] in $0.end(ending, now: now) }
    }

    @discardableResult mutating func tick() -> [Session.Action] { self { [now] in $0.ticked(now: now) } }

    @discardableResult mutating func settled() -> [Session.Action] { self { $0.settled() } }

    /// Audio arrives and is decoded.
    @discardableResult mutating func audio(_ samples: [Int16]) -> [Session.Action] {
        self { [now] session in
            guard case .admit = session.audioArrived(now: now) else { return [] }
            return session.audioAdmitted(samples.span)
        }
    }

    /// Silence arrives, on all channels.
    @discardableResult mutating func silence(milliseconds: Int) -> [Session.Action] {
        let audio = session.audio ?? EngineAudio(sampleRate: 16_000, channels: 1, isMultichannel: false)
        return self.audio([Int16](repeating: 0, count: audio.sampleRate * milliseconds / 1_000 * audio.channels))
    }
}

extension EngineResult {
    /// A result whose words share the span evenly.
    static func said(_ text: String, from start: Int = 0, through end: Int, channel: Int = 0) -> EngineResult {
        let words = text.split(separator: " ").map(String.init)
        let span = (end - start) / max(1, words.count)
        return EngineResult(
            channel: channel,
            through: .milliseconds(end),
            transcript: text,
            words: words.enumerated().map {
                Word(
                    text: $1,
                    start: .milliseconds(start + $0 * span),
                    end: .milliseconds(start + ($0 + 1) * span),
                    confidence: 0.5
                )
            },
            confidence: 0.5
        )
    }
}
