import Audio
import Crypto
import DequeModule
import EventLoops
import FoundationEssentials
import Hansard
import Logging
import Web

/// One client's connection and the session that it serves: runs the session's actions against the socket, the engine,
/// the spool and the stores. Lives on one event loop; nothing here waits, and audio never leaves the loop's thread
/// before the engine takes it.
final class ListenConnection: WebSocketHandler {
    let id: SessionID
    let loop: EventLoop
    let services: ListenServices
    private let reservation: any EngineReservation
    private let messages: ListenMessages
    let records: SessionRecords
    let allowance: AudioAllowance
    let openedAt: ContinuousClock.Instant
    let logger: Logger

    var session: Session
    private var socket: WebSocket?
    private var timer: LoopTimer?
    var stream: (any EngineStream)?
    private var decoder: AudioDecoder
    private let digest = SHA256()
    var samples: [Int16] = []
    private var text = JSONText()
    private var isSocketFull = false
    private var isFinished = false
    var hasBegun = false
    /// Set while the session holds no slot although it has begun.
    var unclaimed: Unclaimed?
    var audioMeter = AudioMeter()
    /// Set from the session's beginning to its end.
    var usage: UsageMeter?
    private var firstAudioAt: ContinuousClock.Instant?
    private var hasResult = false
    private var closeAskedAt: ContinuousClock.Instant?

    private var held: HeldInput
    private var isMessageEmpty = true
    private var isReleasing = false
    private var reading = ReadingPause()
    /// How the client left while something of it was still held.
    var departure: Ending?

    /// What a session without a slot does about it.
    enum Unclaimed {
        /// It asks for one, not before that.
        case asks(at: ContinuousClock.Instant)
        /// It has asked.
        case awaitsAnswer
    }

    private enum Outgoing {
        case message(SessionMessage)
        case settle(Ending)
        case close(Ending)
    }
    private var outbox = Outbox<Outgoing>()

    private var events: Deque<EngineEvent> = []
    private var isRunning = false

    init(
        id: SessionID, caller: Caller, options: SessionOptions, decoder: AudioDecoder, engine: EngineDescription,
        reservation: any EngineReservation, loop: EventLoop, services: ListenServices, startedAt: Date
    ) {
        self.id = id
        self.loop = loop
        self.services = services
        self.reservation = reservation
        self.decoder = decoder
        held = HeldInput(total: services.held)
        openedAt = .now
        records = SessionRecords(
            id: id, caller: caller, engine: engine, options: options, startedAt: startedAt, node: services.node)
        allowance = AudioAllowance(caller: caller, minutes: services.minutes)
        session = Session(options: options, limits: services.sessionLimits, now: openedAt)
        messages = ListenMessages(session: id, startedAt: startedAt, engine: engine, options: options)
        logger = services.logger(of: id, caller: caller)
    }

    var myself: LoopBound<ListenConnection> { LoopBound(self, on: loop) }

    // MARK: WebSocketHandler

    func opened(_ socket: WebSocket) {
        self.socket = socket
        services.sessions.add(myself, id: id, tenant: records.lease.tenant, key: records.lease.key)
        // As the node's list of sessions does, it keeps this until `finish`.
        timer = loop.schedule(after: .seconds(1), repeating: .seconds(1)) { [self] in ticked() }
        claim()
    }

    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        isMessageEmpty = bytes.isEmpty && (isFirst || isMessageEmpty)
        let endsStream = isMessageEmpty && isLast
        if isLast { services.metrics.audioMessages.add() }
        switch session.audioArrived(now: .now) {
        case .ignore: break
        case .hold: hold(.audio([UInt8](bytes), endsStream: endsStream), bytes: bytes.count)
        case .admit:
            admit(bytes)
            if endsStream { received(.closeStream) }
        }
    }

    func receivedText(_ text: UnsafeRawBufferPointer) {
        let message = ClientMessage(json: text)
        if message == .unknown { services.metrics.unknownMessages.add() }
        if session.isHolding { hold(.message(message), bytes: text.count) } else { received(message) }
    }

    func drained() { isSocketFull = false }

    func closed(_ reason: WebSocketClosure) {
        socket = nil
        let ending: Ending =
            switch (reason.cause, reason.code) {
            case (.violation, 1009): .messageTooLarge
            case (.violation, 1007): .invalidUTF8
            default: .clientGone
            }
        departure = ending
        // Who says everything and leaves is heard to the end.
        if !held.isEmpty || allowance.isHolding, session.isHolding { return }
        run(session.clientGone(ending, now: .now))
        if session.isEnded { finish() }
    }

    /// Something outside ends the session: a drain, an operator.
    func end(_ ending: Ending) {
        if session.isClaiming { departure = departure ?? ending }
        run(session.end(ending, now: .now))
    }

    // MARK: The client

    /// Reading goes on while something is held, because pings and closes come behind the audio; it stops, and the client's
    /// own TCP slows it down, when too much is, but for a piece now and then.
    private func hold(_ piece: HeldInput.Piece, bytes: Int) {
        held.add(piece, bytes: bytes)
        if reading.held(isFull: held.isFull, now: .now) { socket?.pauseReading() }
    }

    /// Hands over what was held, in order, as long as the session takes it.
    func releaseHeld() {
        guard !isReleasing else { return }
        isReleasing = true
        defer { isReleasing = false }
        while !session.isHolding, let piece = held.next() {
            switch piece {
            case .audio(let bytes, let endsStream):
                if session.audioArrived(now: .now) == .admit { bytes.withUnsafeBytes(admit) }
                if endsStream { received(.closeStream) }
            case .message(let message): received(message)
            }
        }
        if reading.released(hasRoom: held.hasRoom) { socket?.resumeReading() }
        if let departure, held.isEmpty, !allowance.isHolding, !session.isHolding {
            run(session.clientGone(departure, now: .now))
        }
    }

    /// The way of an audio chunk: digest, decode, decide, hand to the engine. No task, no hop, no allocation in the
    /// steady state beyond the samples that an engine keeps.
    private func admit(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        digest.update(bytes)
        if firstAudioAt == nil { firstAudioAt = .now }
        samples.removeAll(keepingCapacity: true)
        do {
            _ = try decoder.decode(bytes, appendingTo: &samples)
        } catch {
            return end(.badAudio(error.message))
        }
        if session.audio == nil, let format = decoder.format {
            run(session.audioDescribed(sampleRate: format.sampleRate, channels: format.channels))
        }
        forward()
    }

    /// Hands `samples` on, which are admitted.
    func hear() {
        guard !samples.isEmpty, let stream else { return }
        meterBefore()
        run(session.audioAdmitted(samples.span))
        meterAudio()
        session.engineTook(stream.send(samples))
    }

    private func received(_ message: ClientMessage) {
        if message == .closeStream {
            closeAskedAt = .now
            do {
                if firstAudioAt != nil { try decoder.finish() }
            } catch {
                return end(.badAudio(error.message))
            }
        }
        run(session.received(message, now: .now))
    }

    private func ticked() {
        if reading.ticked(now: .now) { socket?.resumeReading() }
        meter()
        run(session.ticked(now: .now))
        claimLate()
        minutesMoved()
        checkAccess()
    }

    /// Ends the session if its key, or its tenant, is not what it was, or if the key's time has come; else the limits that
    /// they have now hold for it.
    func checkAccess() {
        guard session.isLive else { return }
        switch services.standing(of: records.caller, now: .now) {
        case .refused(let ending): end(ending)
        case .good(let caller): limitsAre(of: caller)
        case nil: break
        }
    }

    // MARK: Actions

    func run(_ actions: [Session.Action]) {
        let isOutermost = !isRunning
        isRunning = true
        for action in actions { perform(action) }
        guard isOutermost else { return }
        while let event = events.popFirst() {
            for action in session.engineSaid(event, now: .now) { perform(action) }
            if case .spokenBy = event { meter() }
        }
        isRunning = false
        releaseHeld()
    }

    private func engineSaid(_ event: EngineEvent) {
        services.note(event, logger: logger)
        events.append(event)
        if !isRunning { run([]) }
    }

    private func perform(_ action: Session.Action) {
        switch action {
        case .openEngine(let audio): openEngine(audio)
        case .flushEngine(let channel): stream?.flush(channel: channel)
        case .finishEngine: stream?.finish()
        case .cancelEngine: stream?.cancel()
        case .keep(let final): keep(final)
        case .send(let message): put(.message(message))
        case .settle(let ending): put(.settle(ending))
        case .close(let ending): put(.close(ending))
        }
    }

    private func openEngine(_ audio: EngineAudio) {
        services.spool.append(records.began(audio))
        let (loop, myself) = (loop, myself)
        do {
            stream = try reservation.open(records.request(audio)) { event in
                if loop.isCurrent {
                    myself.value.engineSaid(event)
                } else {
                    loop.execute { myself.value.engineSaid(event) }
                }
            }
        } catch {
            logger.warning("the engine could not be opened", error)
            let ending: Ending = error.code == .invalid ? .badAudio(error.message) : .engineFailed
            for action in session.engineRefused(ending) { perform(action) }
        }
    }

    private func keep(_ final: FinalResult) {
        let number = outbox.keeping()
        let (loop, myself, metrics) = (loop, myself, services.metrics)
        let given = ContinuousClock.now
        services.spool.append(.final(id, final)) { _ in
            // A final that the disk refused is sent all the same: memory still holds it for the transcript.
            metrics.spoolLatency.observe(given.duration(to: .now))
            loop.execute { myself.value.kept(number) }
        }
    }

    private func kept(_ number: Int) {
        outbox.durable(number)
        while let item = outbox.next() { give(item) }
    }

    private func put(_ item: Outgoing) {
        if case .message(.result(let result)) = item, !result.isFinal, isSocketFull || outbox.isFull {
            services.metrics.interimResultsSkipped.add()
            return
        }
        if let ready = outbox.put(item) { give(ready) }
    }

    private func give(_ item: Outgoing) {
        switch item {
        case .message(let message): send(message)
        case .settle(let ending): settle(ending)
        case .close(let ending): close(ending)
        }
    }

    private func send(_ message: SessionMessage) {
        guard let socket else { return }
        text.clear()
        messages.write(message, sha256: { self.digest.finalize().hexadecimal }, into: &text)
        let outcome = text.bytes.withUnsafeBytes { socket.send(text: $0) }
        if case .result(let result) = message {
            (result.isFinal ? services.metrics.finalResults : services.metrics.interimResults).add()
            if !hasResult, let firstAudioAt {
                hasResult = true
                services.metrics.firstResultLatency.observe(firstAudioAt.duration(to: .now))
            }
        }
        switch outcome {
        case .sent: break
        case .backpressure: isSocketFull = true
        case .dropped:
            isSocketFull = true
            run(session.end(.clientTooSlow, now: .now))
        }
    }

    // MARK: The end

    private func settle(_ ending: Ending) {
        if let closeAskedAt { services.metrics.closeLatency.observe(closeAskedAt.duration(to: .now)) }
        stream = nil
        reservation.release()
        let (now, total) = (Date.now, counters)
        meterEnds(total, at: now)
        let end = records.end(ending, session: session, endedAt: now, total: total)
        let (settlement, loop, myself) = (services.settlement, loop, myself)
        Task {
            await settlement.settle(end)
            loop.execute { myself.value.run(myself.value.session.settled()) }
        }
    }

    private func close(_ ending: Ending) {
        socket?.close(code: ending.code, reason: ending.reason)
        if session.frames > 0 || ending.state == .completed {
            logger.info(
                "session ended",
                metadata: [
                    "state": "\(ending.state.rawValue)", "reason": "\(ending.reason)",
                    "audio_ms": "\(session.duration.milliseconds)", "finals": "\(session.finals.count)",
                ])
        }
        // A session that was refused its slot never began: what began less what ended is what is live.
        if hasBegun { services.metrics.ended(ending.state) }
        finish()
    }

    /// The session is over: nothing of it stays with the node.
    private func finish() {
        guard !isFinished else { return }
        isFinished = true
        timer?.cancel()
        timer = nil
        stream?.cancel()
        stream = nil
        reservation.release()
        held.drop()
        leaveMinutes()
        services.sessions.remove(id)
        // A session that was refused its slot frees none.
        if hasBegun { services.limits.freed(by: records.lease) }
    }
}
