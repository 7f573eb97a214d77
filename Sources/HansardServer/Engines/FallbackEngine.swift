import DequeModule
import EventLoops
import Hansard
import Logging

/// Two engines as one: the first, and where it has no room, cannot be opened or fails, the second, from the last final on.
/// To its sessions it is the first one.
///
/// `open`, and everything done with the stream, must come from one event loop; events are delivered on it.
final class FallbackEngine: SpeechEngine {
    private let first: any SpeechEngine
    private let second: any SpeechEngine
    private let logger: Logger

    init(first: any SpeechEngine, second: any SpeechEngine, logger: Logger) {
        self.first = first
        self.second = second
        self.logger = logger
    }

    var description: EngineDescription { first.description }
    var load: (capacity: Int?, inUse: Int) { first.load }

    func reserve(channels: Int) throws(HansardError) -> any EngineReservation {
        try reserve({ engine throws(HansardError) in try engine.reserve(channels: channels) }, mayFallBack: true)
    }

    /// A session that asks for what only the first engine does, such as redaction, has no second.
    func reserve(for options: SessionOptions) throws(HansardError) -> any EngineReservation {
        try reserve(
            { engine throws(HansardError) in try engine.reserve(for: options) },
            mayFallBack: second.description.canServe(options))
    }

    fileprivate typealias Reserve = @Sendable (any SpeechEngine) throws(HansardError) -> any EngineReservation

    private func reserve(
        _ reserve: @escaping Reserve, mayFallBack: Bool
    ) throws(HansardError) -> any EngineReservation {
        guard mayFallBack else { return try reserve(first) }
        let second = Second(engine: second, first: first.description.name, logger: logger, reserve: reserve)
        do {
            return Reservation(first: try reserve(first), second: second)
        } catch {
            guard error.code != .invalid, second.reserved(after: error.message, lost: .zero) != nil else {
                throw error
            }
            return Reservation(first: nil, second: second)
        }
    }

    /// The second engine of one session, and the room it has there once that was needed.
    fileprivate final class Second: Sendable {
        let engine: any SpeechEngine
        private let first: String
        private let logger: Logger
        private let reserve: Reserve
        private let reservation = Locked<(any EngineReservation)?>(nil)

        init(engine: any SpeechEngine, first: String, logger: Logger, reserve: @escaping Reserve) {
            self.engine = engine
            self.first = first
            self.logger = logger
            self.reserve = reserve
        }

        /// Room there; nil if there is none.
        func reserved(after reason: String, lost: AudioTime) -> (any EngineReservation)? {
            if let reservation = reservation.withLock({ $0 }) { return reservation }
            var metadata: Logger.Metadata = [
                "engine": "\(first)", "second": "\(engine.description.name)", "error": "\(reason)",
            ]
            if lost > .zero { metadata["lost_ms"] = "\(lost.milliseconds)" }
            do {
                let made = try reserve(engine)
                reservation.withLock { $0 = made }
                logger.warning("an engine failed: its second goes on", metadata: metadata)
                return made
            } catch {
                metadata["second_error"] = "\(error.message)"
                logger.error("an engine failed, and so did its second", metadata: metadata)
                return nil
            }
        }

        func release() { reservation.withLock { $0 }?.release() }
    }

    private final class Reservation: EngineReservation {
        private let first: (any EngineReservation)?
        private let second: Second

        /// - Parameter first: nil if there was no room; `second` then has it.
        init(first: (any EngineReservation)?, second: Second) {
            self.first = first
            self.second = second
        }

        func open(
            _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(HansardError) -> any EngineStream {
            guard let loop = EventLoop.current else {
                throw HansardError(.internal, "an engine with a second one was opened outside of an event loop")
            }
            let stream = FallbackStream(request, second: second, loop: loop, deliver: deliver)
            try stream.open(first)
            return stream
        }

        func release() {
            first?.release()
            second.release()
        }
    }
}

/// Runs the actions of a session's `EngineSuccession` against the streams of its two engines, on one event loop.
private final class FallbackStream: EngineStream {
    private typealias Engine = EngineSuccession.Engine

    /// What may happen. One is taken to its end before the next begins: engines and sessions answer within our own calls.
    private enum Input {
        case audio([Int16])
        case flush(channel: Int)
        case finish
        case cancel
        case said(EngineEvent, by: Engine)
    }

    private final class State {
        var succession: EngineSuccession
        var first: (any EngineStream)?
        var second: (any EngineStream)?
        var inputs: Deque<Input> = []
        var isBusy = false
        /// Nothing has been sent to anyone yet.
        var isBeginning = true

        init(_ audio: EngineAudio) { succession = EngineSuccession(audio: audio) }
    }

    private let request: EngineRequest
    private let reservation: FallbackEngine.Second
    private let loop: EventLoop
    private let deliver: @Sendable (EngineEvent) -> Void
    private let state: LoopBound<State>

    init(
        _ request: EngineRequest, second: FallbackEngine.Second, loop: EventLoop,
        deliver: @escaping @Sendable (EngineEvent) -> Void
    ) {
        self.request = request
        self.reservation = second
        self.loop = loop
        self.deliver = deliver
        state = LoopBound(State(request.audio), on: loop)
    }

    /// Begins, with the first engine if there was room there.
    func open(_ first: (any EngineReservation)?) throws(HansardError) {
        let state = state.value
        state.isBusy = true
        defer { state.isBusy = false }
        var refusal = "there was no room"
        do {
            state.first = try first?.open(request(hasSubstitute: true, takesOver: false), deliver: listener(to: .first))
        } catch {
            // What it says of the audio itself no other engine would take otherwise.
            if error.code == .invalid { throw error }
            refusal = error.message
        }
        if state.first == nil { perform(state.succession.firstRefused(refusal), state) }
        state.isBeginning = false
        work(state)
    }

    func send(_ samples: [Int16]) -> SendOutcome {
        let state = state.value
        guard take(.audio(samples), state) else {
            state.succession.audioWaits()
            return .backpressure
        }
        return state.succession.outcome()
    }

    func flush(channel: Int) { _ = take(.flush(channel: channel), state.value) }
    func finish() { _ = take(.finish, state.value) }
    func cancel() { _ = take(.cancel, state.value) }

    private func request(hasSubstitute: Bool, takesOver: Bool) -> EngineRequest {
        var request = request
        request.hasSubstitute = hasSubstitute
        request.takesOver = takesOver
        return request
    }

    /// An engine's events on the loop, in their order. A stream that nobody holds any more hears nothing.
    private func listener(to engine: Engine) -> @Sendable (EngineEvent) -> Void {
        let loop = loop
        return { [weak self] event in
            if loop.isCurrent {
                guard let self else { return }
                _ = self.take(.said(event, by: engine), self.state.value)
            } else {
                loop.execute { [weak self] in
                    guard let self else { return }
                    _ = self.take(.said(event, by: engine), self.state.value)
                }
            }
        }
    }

    /// - Returns: false if something else is being done: this is done after it.
    private func take(_ input: Input, _ state: State) -> Bool {
        state.inputs.append(input)
        guard !state.isBusy else { return false }
        state.isBusy = true
        defer { state.isBusy = false }
        work(state)
        return true
    }

    private func work(_ state: State) {
        while let input = state.inputs.popFirst() {
            switch input {
            case .audio(let samples): perform(state.succession.audioCame(samples), state)
            case .flush(let channel): perform(state.succession.flushAsked(channel: channel), state)
            case .finish: perform(state.succession.finishAsked(), state)
            case .cancel: perform(state.succession.cancelAsked(), state)
            case .said(let event, let engine): perform(state.succession.said(event, by: engine), state)
            }
        }
    }

    private func perform(_ actions: [EngineSuccession.Action], _ state: State) {
        var actions = Deque(actions)
        while let action = actions.popFirst() {
            switch action {
            case .send(let engine, let samples):
                let outcome = (engine == .first ? state.first : state.second)?.send(samples) ?? .dropped
                actions.append(contentsOf: state.succession.took(outcome, by: engine))
            case .flush(let engine, let channel):
                (engine == .first ? state.first : state.second)?.flush(channel: channel)
            case .finish(let engine): (engine == .first ? state.first : state.second)?.finish()
            case .cancel(.first):
                state.first?.cancel()
                state.first = nil
            case .cancel(.second):
                state.second?.cancel()
                state.second = nil
            case .openSecond(let reason, let lost):
                actions.append(contentsOf: openSecond(after: reason, lost: lost, state))
            case .deliver(let event): deliver(event)
            }
        }
    }

    private func openSecond(
        after reason: String, lost: AudioTime, _ state: State
    ) -> [EngineSuccession.Action] {
        guard let room = reservation.reserved(after: reason, lost: lost) else {
            return state.succession.refused("\(reason); and there is no room in its second")
        }
        do {
            state.second = try room.open(
                request(hasSubstitute: false, takesOver: !state.isBeginning), deliver: listener(to: .second))
            return state.succession.opened(reservation.engine.description)
        } catch {
            return state.succession.refused("\(reason); its second: \(error.message)")
        }
    }
}
