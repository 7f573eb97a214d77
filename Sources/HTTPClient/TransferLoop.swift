internal import CCurl
import EventLoops
import Glibc
import Synchronization

/// A request, with who waits for its response.
struct Submission: Sendable {
    let id: UInt64
    let request: CheckedRequest
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<TransferResponse, any Error>
}

/// The owner of curl's multi handle and of the thread on which all of curl runs.
///
/// `@unchecked Sendable`: `multi` is used by `thread` alone, but for `curl_multi_wakeup`, which any thread may call
/// (https://curl.se/libcurl/c/curl_multi_wakeup.html) and which is called with the lock held that `end` takes before it
/// frees the handle; `underWay` is touched by `thread` alone; the rest is behind locks.
final class TransferLoop: @unchecked Sendable {
    /// How long the thread sleeps when there is nothing to do; it is woken if there is.
    private static let longestSleep = Duration.seconds(600)

    private enum Command {
        case start(Submission)
        case cancel(UInt64)

        var submission: Submission? {
            if case .start(let submission) = self { submission } else { nil }
        }
    }

    private struct Shared {
        var admission: Admission
        /// Bounded by the admission: a start and a cancellation or two for each.
        var inbox: [Command] = []
        var waiting: [UInt64: Submission] = [:]
        /// No later than the first deadline of all there are; it may be that of one that is over.
        var nextDeadline: ContinuousClock.Instant?
        var isClosed = false
        var hasEnded = false
        var closers: [CheckedContinuation<Void, Never>] = []
        var statistics = HTTPClientStatistics()
    }

    private let options: HTTPClient.Options
    private let multi: UnsafeMutableRawPointer
    private let thread: WorkerThread
    private let shared: Locked<Shared>
    private let lastTransfer = Atomic<UInt64>(0)
    private var underWay: [UInt64: EasyTransfer] = [:]

    /// What curl sets up once for a process; this version guards it itself.
    private static let globalCode = curl_global_init(Int(CURL_GLOBAL_DEFAULT))

    /// Starts the thread.
    init(options: HTTPClient.Options) throws(CurlError) {
        precondition(
            options.maximumConnections > 0 && options.maximumConnectionsPerOrigin > 0,
            "a client needs at least one connection")
        if let file = options.authoritiesFile, access(file, R_OK) != 0 {
            let text = "cannot read the file of authorities \(file): \(String(cString: strerror(errno)))"
            throw CurlError(code: Int32(CURLE_SSL_CACERT_BADFILE.rawValue), message: text, wasNotSent: true)
        }
        guard Self.globalCode == CURLE_OK, let multi = curl_multi_init() else {
            throw CurlError(code: Int32(CURLE_FAILED_INIT.rawValue), message: "curl cannot start", wasNotSent: true)
        }
        self.options = options
        self.multi = multi
        shared = Locked(Shared(admission: Admission(options: options)))
        thread = WorkerThread(name: "http-client")
        // `Admission` lets no more transfers run than this, so that curl never has to hold one back; it closes an idle
        // connection to make room.
        for option in [CURLMOPT_MAX_TOTAL_CONNECTIONS, CURLMOPT_MAXCONNECTS] {
            ccurl_multi_set_long(multi, option, options.maximumConnections)
        }
        ccurl_multi_set_long(multi, CURLMOPT_PIPELINING, Int(CURLPIPE_MULTIPLEX))
        thread.execute { [self] in run() }
        thread.stop()  // When `run` returns.
    }

    // MARK: From any thread

    /// A number for a transfer.
    func nextTransfer() -> UInt64 { lastTransfer.add(1, ordering: .relaxed).newValue }

    /// Takes a transfer over: its continuation is resumed once, whatever happens.
    func submit(_ submission: Submission) {
        let refusal = shared.withLock { shared -> CurlError? in
            if shared.isClosed { return Self.closedError(wasNotSent: true) }
            switch shared.admission.transferArrived(submission.id, origin: submission.request.origin) {
            case .run: give(.start(submission), to: &shared)
            case .wait:
                shared.waiting[submission.id] = submission
                // The thread sleeps until the deadline it knows.
                let isFirst = shared.nextDeadline.map { submission.deadline < $0 } ?? true
                if isFirst { wake(shared) }
            case .refuse(let reason):
                shared.statistics.failures += 1
                return CurlError(code: 0, message: reason, wasNotSent: true)
            }
            shared.nextDeadline = min(shared.nextDeadline ?? submission.deadline, submission.deadline)
            return nil
        }
        if let refusal { submission.continuation.resume(throwing: refusal) }
    }

    /// Ends a transfer, if there is one of that number, with `CancellationError`.
    func cancel(_ id: UInt64) {
        let waiter = shared.withLock { shared -> Submission? in
            guard let waiter = shared.waiting.removeValue(forKey: id) else {
                if !shared.isClosed { give(.cancel(id), to: &shared) }
                return nil
            }
            shared.admission.transferWithdrew(id, origin: waiter.request.origin)
            shared.statistics.cancellations += 1
            return waiter
        }
        waiter?.continuation.resume(throwing: CancellationError())
    }

    /// Ends everything, and returns when it has ended.
    func close() async {
        await withCheckedContinuation { continuation in
            let hasEnded = shared.withLock { shared in
                if !shared.hasEnded { shared.closers.append(continuation) }
                beginClosing(&shared)
                return shared.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
    }

    /// Ends everything soon.
    func requestClosing() { shared.withLock { beginClosing(&$0) } }

    /// A reading.
    var statistics: HTTPClientStatistics {
        shared.withLock { shared in
            var statistics = shared.statistics
            statistics.underWay = shared.admission.running
            statistics.waiting = shared.admission.waiting
            return statistics
        }
    }

    private func give(_ command: Command, to shared: inout Shared) {
        shared.inbox.append(command)
        if shared.inbox.count == 1 { wake(shared) }
    }

    private func beginClosing(_ shared: inout Shared) {
        shared.isClosed = true
        wake(shared)
    }

    /// With the lock held.
    private func wake(_ shared: Shared) { if !shared.hasEnded { curl_multi_wakeup(multi) } }

    private static func closedError(wasNotSent: Bool) -> CurlError {
        CurlError(code: 0, message: "the HTTP client has been closed", wasNotSent: wasNotSent)
    }

    // MARK: On the thread

    private func run() {
        blockBrokenPipeSignal()
        while let commands = takeCommands() {
            for command in commands {
                switch command {
                case .start(let submission): start(submission)
                case .cancel(let id): finish(id, .failure(CancellationError()))
                }
            }
            var count: Int32 = 0
            let code = curl_multi_perform(multi, &count)
            readResults()
            endLateTransfers()
            let pollCode = curl_multi_poll(multi, nil, 0, Int32(sleep().wholeMilliseconds), nil)
            // Out of memory, or the system refuses to poll: without progress nothing would ever end.
            for failure in [code, pollCode] where failure != CURLM_OK { failAll(failure) }
        }
        end()
    }

    /// curl sends with MSG_NOSIGNAL; this is for what it may have overlooked, as CURLOPT_NOSIGNAL leaves it to us.
    private func blockBrokenPipeSignal() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// - Returns: nil if the client has been closed.
    private func takeCommands() -> [Command]? {
        shared.withLock { shared in
            if shared.isClosed { return nil }
            defer { shared.inbox.removeAll(keepingCapacity: true) }
            return shared.inbox
        }
    }

    private func start(_ first: Submission) {
        var next: Submission? = first
        while let submission = next {
            next = nil
            guard let transfer = EasyTransfer(submission, options: options) else {
                let code = Int32(CURLE_OUT_OF_MEMORY.rawValue)
                let error = CurlError(code: code, message: "curl could not allocate a transfer", wasNotSent: true)
                next = conclude(submission, nil, .failure(error))
                continue
            }
            if let error = transfer.start(in: multi) {
                next = conclude(submission, nil, .failure(error))
            } else {
                underWay[submission.id] = transfer
            }
        }
    }

    private func readResults() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle else { continue }
            var context: UnsafeMutablePointer<CChar>?
            ccurl_get_pointer(handle, CURLINFO_PRIVATE, &context)
            let id = UInt64(UInt(bitPattern: context))
            guard let transfer = underWay[id] else { continue }
            // The message does not outlive the handle's removal.
            let outcome = transfer.outcome(ccurl_message_result(message))
            finish(id, outcome.mapError { $0 })
        }
    }

    private func endLateTransfers() {
        let now = ContinuousClock.now
        let late = shared.withLock { shared -> [Submission]? in
            guard let next = shared.nextDeadline, next <= now else { return nil }
            let late = shared.waiting.values.filter { $0.deadline <= now }
            for submission in late {
                shared.waiting[submission.id] = nil
                shared.admission.transferWithdrew(submission.id, origin: submission.request.origin)
                shared.statistics.failures += 1
            }
            return late
        }
        guard let late else { return }
        for submission in late {
            let request = submission.request
            let seconds = Double(request.timeout.wholeMilliseconds) / 1_000
            let text = "\(request.authority): no turn within \(seconds) s, all connections are in use"
            let code = Int32(CURLE_OPERATION_TIMEDOUT.rawValue)
            submission.continuation.resume(throwing: CurlError(code: code, message: text, wasNotSent: true))
        }
        for transfer in underWay.values where transfer.submission.deadline <= now {
            finish(transfer.submission.id, .failure(transfer.timeoutError()))
        }
        let first = underWay.values.map(\.submission.deadline).min()
        shared.withLock { shared in
            let others = shared.waiting.values.map(\.deadline) + shared.inbox.compactMap { $0.submission?.deadline }
            shared.nextDeadline = ([first].compactMap { $0 } + others).min()
        }
    }

    /// Until the next deadline; curl knows of its own.
    private func sleep() -> Duration {
        let next = shared.withLock { $0.nextDeadline }
        guard let next else { return Self.longestSleep }
        return min(max(.zero, ContinuousClock.now.duration(to: next)), Self.longestSleep)
    }

    private func failAll(_ failure: CURLMcode) {
        for (id, transfer) in underWay {
            let text = String(cString: curl_multi_strerror(failure))
            finish(id, .failure(transfer.error(code: Int32(CURLE_FAILED_INIT.rawValue), text)))
        }
    }

    /// Ends a transfer that is under way, if it still is, and starts the next.
    private func finish(_ id: UInt64, _ result: Result<TransferResponse, any Error>) {
        guard let transfer = underWay.removeValue(forKey: id) else { return }
        curl_multi_remove_handle(multi, transfer.handle)
        if let next = conclude(transfer.submission, transfer, result) { start(next) }
    }

    /// Counts a transfer that was running, resumes who waits for it, and gives its place on.
    private func conclude(
        _ submission: Submission, _ transfer: EasyTransfer?, _ result: Result<TransferResponse, any Error>
    ) -> Submission? {
        let next = shared.withLock { shared -> Submission? in
            transfer?.addTraffic(to: &shared.statistics)
            switch result {
            case .success: shared.statistics.responses += 1
            case .failure(let error) where error is CancellationError: shared.statistics.cancellations += 1
            case .failure: shared.statistics.failures += 1
            }
            let next = shared.admission.transferEnded(origin: submission.request.origin)
            return next.flatMap { shared.waiting.removeValue(forKey: $0) }
        }
        submission.continuation.resume(with: result)
        return next
    }

    private func end() {
        let (waiting, unstarted) = shared.withLock { shared in
            defer {
                shared.waiting = [:]
                shared.inbox = []
                shared.admission = Admission(options: options)
            }
            let unstarted = shared.inbox.compactMap(\.submission)
            shared.statistics.failures += shared.waiting.count + unstarted.count + underWay.count
            for transfer in underWay.values { transfer.addTraffic(to: &shared.statistics) }
            return (Array(shared.waiting.values), unstarted)
        }
        for submission in waiting + unstarted {
            submission.continuation.resume(throwing: Self.closedError(wasNotSent: true))
        }
        for transfer in underWay.values {
            curl_multi_remove_handle(multi, transfer.handle)
            let error = Self.closedError(wasNotSent: !transfer.wasHandedOver)
            transfer.submission.continuation.resume(throwing: error)
        }
        underWay = [:]
        let closers = shared.withLock { shared in
            shared.hasEnded = true
            defer { shared.closers = [] }
            // Within the lock: nobody wakes a handle that is gone.
            curl_multi_cleanup(multi)
            return shared.closers
        }
        for closer in closers { closer.resume() }
    }
}
