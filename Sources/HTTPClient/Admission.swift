/// Which transfers run, which wait for their turn and which are refused: the decisions of `TransferLoop`.
///
/// Each origin has a share, so that a server that hangs keeps neither the connections nor the queue from the others.
/// libcurl could hold transfers back itself (CURLMOPT_MAX_HOST_CONNECTIONS), but it wakes them in the order of their
/// arrival (7.88: `process_pending_handles`): the end of one server's transfer then wakes one that still has to wait for
/// another's, and the one that could run sleeps on. Nor do those that it holds back ever time out.
struct Admission {
    /// What to do with a transfer.
    enum Arrival: Equatable {
        /// Start it.
        case run
        /// Keep it until `transferEnded` names it.
        case wait
        /// Tell its caller why not.
        case refuse(String)
    }

    private struct Origin {
        var running = 0
        var waiting: [UInt64] = []
    }

    private let options: HTTPClient.Options
    private var origins: [String: Origin] = [:]
    /// Transfers under way.
    private(set) var running = 0
    /// Transfers that wait.
    private(set) var waiting = 0

    /// Nothing under way.
    init(options: HTTPClient.Options) { self.options = options }

    /// A transfer wants to begin. Numbers grow.
    mutating func transferArrived(_ id: UInt64, origin name: String) -> Arrival {
        var origin = origins[name] ?? Origin()
        if origin.waiting.isEmpty, mayRun(origin) {
            origin.running += 1
            running += 1
            origins[name] = origin
            return .run
        }
        if waiting >= options.maximumWaiting {
            return .refuse("\(options.maximumWaiting) requests wait already (maximumWaiting)")
        }
        if origin.waiting.count >= options.maximumWaitingPerOrigin {
            return .refuse(
                "\(options.maximumWaitingPerOrigin) requests to \(name) wait already (maximumWaitingPerOrigin)")
        }
        origin.waiting.append(id)
        waiting += 1
        origins[name] = origin
        return .wait
    }

    /// A transfer that ran is over.
    ///
    /// - Returns: who runs now, having waited longest of those that may.
    mutating func transferEnded(origin name: String) -> UInt64? {
        origins[name]?.running -= 1
        running -= 1
        let ready = origins.filter { mayRun($0.value) && !$0.value.waiting.isEmpty }
        let next = ready.min { ($0.value.waiting.first ?? 0) < ($1.value.waiting.first ?? 0) }?.key
        let id = next.flatMap { origins[$0]?.waiting.removeFirst() }
        if let next, id != nil {
            origins[next]?.running += 1
            running += 1
            waiting -= 1
        }
        forgetIfIdle(name)
        return id
    }

    /// A transfer that waited no longer does: it was cancelled, or its time is over.
    mutating func transferWithdrew(_ id: UInt64, origin name: String) {
        guard let index = origins[name]?.waiting.firstIndex(of: id) else { return }
        origins[name]?.waiting.remove(at: index)
        waiting -= 1
        forgetIfIdle(name)
    }

    private func mayRun(_ origin: Origin) -> Bool {
        running < options.maximumConnections && origin.running < options.maximumConnectionsPerOrigin
    }

    private mutating func forgetIfIdle(_ name: String) {
        if let origin = origins[name], origin.running == 0, origin.waiting.isEmpty { origins[name] = nil }
    }
}

/// How often a request is handed to a connection: once.
struct SingleSend {
    /// Whether it has been handed to one, and so may have reached the server.
    private(set) var wasHandedOver = false
    /// Whether curl wanted to send it again.
    private(set) var wasRepetitionRefused = false

    /// A connection could take the request.
    ///
    /// - Returns: whether it may.
    mutating func connectionBecameReady() -> Bool {
        if wasHandedOver {
            wasRepetitionRefused = true
            return false
        }
        wasHandedOver = true
        return true
    }
}
