import EventLoops
import Foundation
import HTTPClient
import Hansard
import Logging

/// Tells a meter elsewhere what was used: has events made, and sends them on in their order, each at least once. Of all nodes
/// one does it at a time; no transaction is open meanwhile.
final class UsageEventDelivery: Sendable {
    /// How long after an hour its last records may come.
    static let slack = Duration.seconds(60)

    struct Limits: Sendable {
        /// Between two looks for events.
        var interval = Duration.seconds(2)
        /// Between two looks for hours of which events are to be made.
        var makingInterval = Duration.seconds(10)
        /// Hours of tenants in one transaction, at most.
        var hours = 50
        var slack = UsageEventDelivery.slack
        /// For how long a node delivers alone. Whoever takes over from one that died waits so long.
        var lease = Duration.seconds(30)
        /// What one request may take; well within the lease.
        var requestWait = Duration.seconds(10)
        /// What a stop may take.
        var stopWait = Duration.seconds(2)
        /// A receiver's answer is not read beyond this.
        var answerBytes = 4 << 20
        var pacing = EventPacing.Limits()
        init() {}

        /// As an operator has decided.
        init(_ settings: Settings) {
            interval = min(interval, settings.rollupInterval)
            makingInterval = settings.rollupInterval
            requestWait = settings.eventsTimeout
            lease = settings.eventsTimeout * 3
            pacing.longestPause = settings.eventsRetryMax
        }
    }

    /// Where to, and in whose name.
    struct Receiver: Sendable {
        var destination: EventDestination
        var source: String
        var signing: WebhookSigning
        /// A value for `Authorization`.
        var authorization: Secret?
    }

    private struct State {
        var pacing: EventPacing
        var makeAt = ContinuousClock.now
        /// Hours of tenants in the next transaction.
        var hours: BatchSize
        var trouble: String?
        var pending = 0
        var oldest: Date?
    }

    private let outbox: PostgresUsageEvents
    private let receiver: Receiver
    private let transport: any HTTPTransport
    private let holder: UUID
    private let metrics: Metrics
    private let logger: Logger
    private let limits: Limits
    private let chance: @Sendable () -> Double
    private let close: @Sendable () async -> Void
    private let state: Locked<State>

    /// - Parameters:
    ///   - holder: the life of the node.
    ///   - chance: from 0 up to 1, anew each time.
    ///   - close: what to do when it has stopped.
    init(
        outbox: PostgresUsageEvents, receiver: Receiver, transport: any HTTPTransport, holder: UUID, metrics: Metrics,
        logger: Logger, limits: Limits = Limits(), chance: @escaping @Sendable () -> Double,
        close: @escaping @Sendable () async -> Void = {}
    ) {
        self.outbox = outbox
        self.receiver = receiver
        self.transport = transport
        self.holder = holder
        self.metrics = metrics
        self.logger = logger
        self.limits = limits
        self.chance = chance
        self.close = close
        state = Locked(State(pacing: EventPacing(limits.pacing), hours: BatchSize(most: limits.hours)))
    }

    /// Events that the receiver does not have yet, as far as is known.
    var pending: Int { state.withLock(\.pending) }

    /// For how long the oldest of them has waited.
    func delay(at now: Date = .now) -> Duration {
        .seconds(state.withLock(\.oldest).map { max(0, now.timeIntervalSince($0)) } ?? 0)
    }

    /// Looks until the task is cancelled.
    func run() async {
        await lookRegularly(every: limits.interval, logger, otherwise: "usage events could not be delivered") {
            try await look()
        }
    }

    /// The last call. Lets another node deliver at once.
    func stop() async {
        _ = await firstWithin(limits.stopWait) { [outbox, holder] in try? await outbox.hold(holder, for: .zero) }
        await close()
    }

    /// One look: makes what is due, and sends until there is nothing left or the receiver is to be left alone.
    func look() async throws {
        guard let progress = try await hold() else {
            // The first call there is begins it all.
            _ = try await outbox.make(hours: limits.hours, slack: limits.slack)
            return
        }
        guard progress.isHeld else { return }
        await makeIfDue()
        state.withLock { $0.pacing.forgetRefusals() }
        while !Task.isCancelled, isOpen, try await sendNext() {}
    }

    /// Whether the receiver is not to be left alone.
    private var isOpen: Bool { state.withLock { $0.pacing.notBefore.map { $0 <= .now } ?? true } }

    /// The place in the outbox is the database's: whoever delivered before may have got on.
    private func hold() async throws -> PostgresUsageEvents.Progress? {
        let progress = try await outbox.hold(holder, for: limits.lease)
        state.withLock { ($0.pending, $0.oldest) = (progress?.pending ?? 0, progress?.oldest) }
        return progress
    }

    /// As much at once as the database manages in the time that it has for a statement. What is made already is sent whether
    /// or not more can be made.
    private func makeIfDue() async {
        let isDue = state.withLock { state in
            guard state.makeAt <= .now else { return false }
            state.makeAt = .now + limits.makingInterval
            return true
        }
        guard isDue else { return }
        do {
            var asked = state.withLock(\.hours.current)
            while try await outbox.make(hours: asked, slack: limits.slack) == asked, !Task.isCancelled {
                asked = state.withLock { state in
                    state.hours.succeeded()
                    return state.hours.current
                }
            }
        } catch {
            guard !Task.isCancelled else { return }
            state.withLock { $0.hours.failed() }
            logger.warning("usage events are not made; it is tried again with fewer hours at once", error)
        }
    }

    /// - Returns: whether there may be more to send.
    private func sendNext() async throws -> Bool {
        guard let progress = try await hold(), progress.isHeld else { return false }
        var request = state.withLock {
            $0.pacing.next(after: progress.delivered, pending: progress.pending)
        }
        let events = try await outbox.events(after: request.after, atMost: request.count)
        let texts = events.map { $0.event.cloudEvent(source: receiver.source) }
        request.count = state.withLock { $0.pacing.batch(of: texts.map { $0.count + 1 }) }
        guard request.count > 0 else { return false }
        let answer = try await send(texts.prefix(request.count))
        let outcome = state.withLock { [request] in
            $0.pacing.answered(answer, to: request, now: .now, chance: chance())
        }
        let last = events[request.count - 1]
        switch outcome {
        case .delivered:
            report(nil)
            metrics.eventsDelivered.add(request.count)
            return try await outbox.delivered(holder, through: last.position)
        case .divided, .doubted, .witnessed: return true
        case .refused(let status):
            metrics.eventsRefused.add()
            logger.error(
                "the receiver will not take a usage event; it is set aside",
                metadata: ["event": "\(last.event.id)", "tenant_id": "\(last.event.tenant)", "status": "\(status)"])
            return try await outbox.delivered(holder, through: last.position, refusal: status)
        case .failed(let trouble):
            metrics.eventDeliveriesFailed.add()
            report(trouble)
            return false
        }
    }

    private func send(_ texts: ArraySlice<[UInt8]>) async throws -> EventPacing.Answer {
        let body = Array("[".utf8) + Array(texts.joined(separator: Array(",".utf8))) + Array("]".utf8)
        var headers = [
            TransferHeader("content-type", "application/cloudevents-batch+json"),
            TransferHeader("user-agent", "hansard/\(Application.version)"),
        ]
        headers += receiver.signing.headers(of: body, at: .now)
        if let authorization = receiver.authorization {
            headers.append(TransferHeader("authorization", authorization.revealed))
        }
        do {
            let response = try await transport.send(
                TransferRequest(
                    method: "POST", origin: receiver.destination.origin, path: receiver.destination.path,
                    query: receiver.destination.query, headers: headers, body: body, timeout: limits.requestWait,
                    maximumResponseBytes: limits.answerBytes))
            return .status(
                response.status, wish: response.header("retry-after").flatMap { RetryAfter.read($0, now: .now) })
        } catch let error as CurlError {
            return .none("\(error)")
        }
    }

    /// What is wrong is one line in the log, and another when it is something else or nothing any more.
    private func report(_ trouble: String?) {
        let isNews = state.withLock { state in
            defer { state.trouble = trouble }
            return state.trouble != trouble
        }
        guard isNews else { return }
        if let trouble {
            logger.warning("usage events wait: \(trouble)")
        } else {
            logger.notice("the receiver takes usage events again")
        }
    }
}

/// How long a server asks to be left alone (RFC 9110, section 10.2.3): seconds, or a date.
enum RetryAfter {
    static func read(_ text: String, now: Date) -> Duration? {
        if let seconds = Int(text) { return seconds >= 0 ? .seconds(min(seconds, 1 << 31)) : nil }
        let form = DateFormatter()
        form.locale = Locale(identifier: "en_US_POSIX")
        form.timeZone = .gmt
        form.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        guard let date = form.date(from: text) else { return nil }
        return .seconds(max(0, date.timeIntervalSince(now)))
    }
}
