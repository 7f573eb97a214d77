import DequeModule
import EventLoops
import Hansard
import Web

/// Runs the actions of a session's `RelayedStream` against the service's WebSockets. Confined to one event loop.
final class UpstreamRelay {
    private let request: EngineRequest
    private let engine: RelayEngine
    private let loop: EventLoop
    private let deliver: @Sendable (EngineEvent) -> Void
    private var relay: RelayedStream
    /// What was decided while something was being done.
    private var actions: Deque<RelayedStream.Action> = []
    private var isPerforming = false
    private var timer: LoopTimer?
    private var timerAt: ContinuousClock.Instant?
    private var stream: UpstreamSocket?
    private var buffer: [UInt8] = []

    /// - Parameter streams: how many relays serve the session together.
    init(
        _ request: EngineRequest, streams: Int, engine: RelayEngine, loop: EventLoop,
        deliver: @escaping @Sendable (EngineEvent) -> Void
    ) {
        self.request = request
        self.engine = engine
        self.loop = loop
        self.deliver = deliver
        relay = RelayedStream(
            audio: request.audio, policy: engine.service.policy(for: request).shared(among: streams), now: .now,
            random: { .random(in: 0..<1) })
    }

    // MARK: The session

    func begin() { run(relay.begin(now: .now)) }

    func send(_ samples: [Int16]) -> Hansard.SendOutcome {
        let (outcome, actions) = relay.audioCame(samples, now: .now)
        run(actions)
        return outcome
    }

    func flush(channel: Int) { run(relay.flushAsked(channel: channel, now: .now)) }
    func finish() { run(relay.finishAsked(now: .now)) }

    func cancel() {
        run(relay.cancelled())
        timer?.cancel()
    }

    // MARK: The stream of the moment

    /// The connection is made.
    func opened(_ stream: UpstreamSocket) {
        guard stream === self.stream else { return stream.close() }
        run(relay.opened(now: .now))
    }

    func said(_ saying: UpstreamSaying, on stream: UpstreamSocket) {
        guard stream === self.stream else { return }
        switch saying {
        case .results(let results):
            if !stream.hasSpoken {
                stream.hasSpoken = true
                engine.report(nil)
            }
            run(relay.said(results, now: .now))
        case .end(let end): ended(end, stream)
        case .nothing: break
        }
    }

    func ended(_ end: UpstreamEnd, _ stream: UpstreamSocket) {
        guard stream === self.stream else { return }
        self.stream = nil
        stream.close()
        if end != .clean { engine.report(end) }
        run(relay.upstreamEnded(end, now: .now))
    }

    func drained(_ stream: UpstreamSocket) {
        guard stream === self.stream else { return }
        run(relay.blocked(false, now: .now))
    }

    // MARK: Actions

    /// Sessions answer an event within our own call, and what they want is done after what was decided before.
    private func run(_ more: [RelayedStream.Action]) {
        guard !isPerforming else {
            actions += more
            return
        }
        isPerforming = true
        for action in more { perform(action) }
        while let action = actions.popFirst() { perform(action) }
        isPerforming = false
        setTimer()
    }

    private func perform(_ action: RelayedStream.Action) {
        switch action {
        case .open: open()
        case .send(let samples):
            samples.withUnsafeBytes { send(audio: $0) }
        case .sendSilence(let frames):
            let silence = [Int16](repeating: 0, count: frames * relay.audio.channels)
            silence.withUnsafeBytes { send(audio: $0) }
        case .askForFinals(let channel): send(.askForFinals(channel: channel))
        case .keepAlive: send(.keepAlive)
        case .endStream: send(.endStream)
        case .close:
            stream?.close()
            stream = nil
        case .report(let end): engine.report(end)
        case .deliver(let event): deliver(event)
        }
    }

    private func send(audio: UnsafeRawBufferPointer) {
        guard let stream else { return }
        buffer.removeAll(keepingCapacity: true)
        stream.dialect?.append(audio: audio, to: &buffer)
        note(buffer.withUnsafeBytes { stream.socket?.send(binary: $0) }, stream)
    }

    private func send(_ control: UpstreamControl) {
        guard let stream, let message = stream.dialect?.message(control) else { return }
        switch message {
        case .binary(let bytes): note(stream.socket?.send(binary: bytes), stream)
        case .text(let text): note(stream.socket?.send(text: text), stream)
        }
    }

    private func note(_ outcome: Web.SendOutcome?, _ stream: UpstreamSocket) {
        switch outcome {
        case .sent: break
        case .backpressure: actions += relay.blocked(true, now: .now)
        // Its end is on its way; what was dropped is kept for the next stream.
        case .dropped, nil: stream.fail("it takes no more")
        }
    }

    private func open() {
        let stream = UpstreamSocket(relay: self, service: engine.service)
        self.stream = stream
        let (bound, service, request) = (LoopBound(stream, on: loop), engine.service, request)
        let task = Task {
            do throws(HansardError) {
                let call = try await service.call(for: request)
                bound.loop.execute { bound.value.connect(call, on: bound.loop) }
            } catch {
                let isFinal = error.code == .invalid || error.code == .forbidden
                let end: UpstreamEnd = isFinal ? .refused(error.message) : .failed(error.message)
                bound.loop.execute { bound.value.relay?.ended(end, bound.value) }
            }
        }
        stream.awaitCall(task, for: service.callTimeout, on: loop)
    }

    private func setTimer() {
        let now = ContinuousClock.now
        guard let next = relay.nextTick(now: now) else { return }
        // One that comes too early does no harm, and costs less than setting it anew for each message.
        if let timerAt, timerAt > now, timerAt <= next { return }
        timer?.cancel()
        timerAt = next
        timer = loop.schedule(after: max(.zero, next - now)) { [weak self] in
            guard let self else { return }
            timerAt = nil
            run(relay.ticked(now: .now))
        }
    }
}

/// One WebSocket to the service, from the wish for it to its end.
final class UpstreamSocket: WebSocketClientHandler {
    private(set) weak var relay: UpstreamRelay?
    private let service: any UpstreamService
    var dialect: (any UpstreamDialect)?
    private(set) var socket: WebSocket?
    private var connecting: WebSocketConnecting?
    /// Until it is known where to connect to.
    private var call: (task: Task<Void, Never>, timer: LoopTimer)?
    private var pieces: [UInt8] = []
    private var isClosed = false
    var hasSpoken = false

    init(relay: UpstreamRelay, service: any UpstreamService) {
        self.relay = relay
        self.service = service
    }

    /// Bounds the wait for `connect`: credentials may come from a server, or a file system, that hangs.
    func awaitCall(_ task: Task<Void, Never>, for limit: Duration, on loop: EventLoop) {
        let timer = loop.schedule(after: limit) { [weak self] in
            guard let self else { return }
            relay?.ended(.failed("its credentials, or its address, were not there after \(limit)"), self)
        }
        call = (task, timer)
    }

    private func endCall() {
        call?.timer.cancel()
        call?.task.cancel()
        call = nil
    }

    func connect(_ call: UpstreamCall, on loop: EventLoop) {
        endCall()
        guard !isClosed, relay != nil else { return }
        dialect = call.dialect
        connecting = WebSocketClient.connect(call.request, on: loop, handler: self)
    }

    /// Lets go of it, whatever it is doing.
    func close() {
        isClosed = true
        endCall()
        connecting?.cancel()
        connecting = nil
        socket?.close(code: 1000, reason: "")
        socket = nil
    }

    /// It is of no use any more: told in a later turn, as its own end would be.
    func fail(_ why: String) {
        guard let loop = socket?.loop, !isClosed else { return }
        loop.schedule(after: .zero) { [weak self] in
            guard let self else { return }
            relay?.ended(.failed(why), self)
        }
    }

    func opened(_ socket: WebSocket) {
        connecting = nil
        self.socket = socket
        guard let relay, !isClosed else { return socket.close(code: 1000, reason: "") }
        relay.opened(self)
    }

    func connectFailed(_ error: WebSocketConnectError) {
        connecting = nil
        relay?.ended(service.end(after: error), self)
    }

    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        guard !isClosed, let dialect else { return }
        if isFirst, isLast {
            relay?.said(dialect.read(binary: bytes), on: self)
            return
        }
        pieces += bytes
        if isLast {
            let message = pieces
            pieces = []
            message.withUnsafeBytes { relay?.said(dialect.read(binary: $0), on: self) }
        }
    }

    func receivedText(_ text: UnsafeRawBufferPointer) {
        guard !isClosed, let dialect else { return }
        relay?.said(dialect.read(text: text), on: self)
    }

    func drained() { relay?.drained(self) }

    func closed(_ reason: WebSocketClosure) {
        socket = nil
        relay?.ended(service.end(after: reason), self)
    }
}
