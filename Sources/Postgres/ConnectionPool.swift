import EventLoops

/// A bounded number of connections to one database, shared by any number of callers.
///
/// Connections are made when they are first needed. One that has broken is made anew at its next use; while the server
/// is away, calls fail at once with the last failure, and one attempt at a time finds out whether it is back.
/// Any task may call it. A caller's cancellation is not looked at, because every wait is short and bounded.
public final class ConnectionPool: Sendable {
    /// The sizes and waits of a pool.
    public struct Options: Sendable, Equatable {
        /// Connections at most, each with a thread.
        public var connections = 8
        /// Callers that may wait for a connection; the next is refused.
        public var maximumWaiters = 1_000
        /// How long a caller waits for a connection, give or take a quarter.
        public var waitTimeout: Duration = .seconds(2)
        /// The limits of each connection.
        public var connection = ConnectionOptions()

        /// The defaults.
        public init() {}
    }

    private typealias Handover = CheckedContinuation<Result<Int, PostgresError>, Never>

    private struct Waiter {
        let handover: Handover
        let deadline: ContinuousClock.Instant
    }

    private struct Shared {
        var decision: PoolState
        var connections: [Connection?]
        var waiters: [Int: Waiter] = [:]
        var isWatchingWaiters = false
        var closing: [CheckedContinuation<Void, Never>] = []
    }

    /// Where the database is.
    public let url: DatabaseURL
    private let options: Options
    private let backoff = SharedBackoff()
    private let shared: Locked<Shared>

    /// A pool without a connection yet.
    public init(_ url: DatabaseURL, options: Options = Options()) {
        precondition(options.connections > 0, "a pool needs at least one connection")
        self.url = url
        self.options = options
        shared = Locked(
            Shared(
                decision: PoolState(connections: options.connections, maximumWaiters: options.maximumWaiters),
                connections: Array(repeating: nil, count: options.connections)
            )
        )
    }

    /// Runs one statement on any connection.
    ///
    /// - Returns: its rows.
    /// - Throws: see `PostgresError.Kind`.
    @discardableResult public func query(_ query: Query) async throws(PostgresError) -> [Row] {
        try await run(query).rows
    }

    /// Runs one statement on any connection.
    ///
    /// - Returns: how many rows it changed.
    @discardableResult public func execute(_ query: Query) async throws(PostgresError) -> Int {
        try await run(query).affectedRows
    }

    /// Lends a connection to `body` alone. A transaction that `body` leaves open is rolled back, and that is an error.
    @discardableResult public func withConnection<Value: Sendable>(
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        let index = try await acquire()
        let connection = connection(at: index)
        let result: Result<Value, any Error>
        do {
            let value = try await body(connection)
            try await connection.settle()
            result = .success(value)
        } catch {
            // The body's own error says more than the one about what it left behind.
            try? await connection.settle()
            result = .failure(error)
        }
        release(index)
        return try result.get()
    }

    /// Runs `body` in a transaction, again if the server gave it up for another; see `Connection.transaction`.
    @discardableResult public func transaction<Value: Sendable>(
        isolation: Connection.Isolation = .readCommitted, as role: StaticString? = nil,
        _ body: @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        try await withConnection { try await $0.transaction(isolation: isolation, as: role, body) }
    }

    /// Refuses new calls, waits for those under way, and closes all connections.
    public func close() async {
        await withCheckedContinuation { continuation in
            let (refused, isDrained) = shared.withLock { shared in
                let (refused, isInUse) = shared.decision.closed()
                let waiters = refused.compactMap { shared.waiters.removeValue(forKey: $0) }
                if isInUse { shared.closing.append(continuation) }
                return (waiters, !isInUse)
            }
            for waiter in refused { waiter.handover.resume(returning: .failure(PoolState.closedError)) }
            if isDrained { continuation.resume() }
        }
        let connections = shared.withLock { shared in
            defer { shared.connections = [] }
            return shared.connections
        }
        for connection in connections { await connection?.disconnect() }
    }

    private func run(_ query: Query) async throws(PostgresError) -> StatementResult {
        let index = try await acquire()
        defer { release(index) }
        return try await connection(at: index).runAlone(query)
    }

    // MARK: Lending

    private func acquire() async throws(PostgresError) -> Int {
        let handed = await withCheckedContinuation { (continuation: Handover) in
            let request = shared.withLock { shared in
                let caller = shared.decision.callerArrived()
                let request = shared.decision.connectionRequested(by: caller)
                if request == .wait {
                    shared.waiters[caller] = Waiter(handover: continuation, deadline: .now + options.waitTimeout)
                }
                return request
            }
            switch request {
            case .use(let index): continuation.resume(returning: .success(index))
            case .refuse(let failure): continuation.resume(returning: .failure(failure))
            case .wait: watchWaiters()
            }
        }
        return try handed.get()
    }

    /// Ends waits that have lasted too long; one task for all waiters, which ends when there are none.
    private func watchWaiters() {
        let isWatched = shared.withLock { shared in
            defer { shared.isWatchingWaiters = true }
            return shared.isWatchingWaiters
        }
        if isWatched { return }
        let pause = options.waitTimeout / 4
        Task { [weak self] in
            repeat { try? await Task.sleep(for: pause) } while self?.endLongWaits() == true
        }
    }

    /// - Returns: whether anyone still waits.
    private func endLongWaits() -> Bool {
        let (ended, isWatching) = shared.withLock { shared -> ([Handover], Bool) in
            let now = ContinuousClock.now
            let late = shared.waiters.filter { $0.value.deadline <= now }.keys
            let ended = late.filter { shared.decision.waitEnded(of: $0) }
            let handovers = ended.compactMap { shared.waiters.removeValue(forKey: $0)?.handover }
            shared.isWatchingWaiters = !shared.waiters.isEmpty
            return (handovers, shared.isWatchingWaiters)
        }
        let failure = PostgresError(.poolExhausted, "no connection became free within \(options.waitTimeout)")
        for handover in ended { handover.resume(returning: .failure(failure)) }
        return isWatching
    }

    private func release(_ index: Int) {
        let (waiter, closing) = shared.withLock { shared -> (Waiter?, [CheckedContinuation<Void, Never>]) in
            switch shared.decision.connectionReturned(index) {
            case .hand(let caller): return (shared.waiters.removeValue(forKey: caller), [])
            case .keep: return (nil, [])
            case .drained:
                defer { shared.closing = [] }
                return (nil, shared.closing)
            }
        }
        waiter?.handover.resume(returning: .success(index))
        for continuation in closing { continuation.resume() }
    }

    private func connection(at index: Int) -> Connection {
        shared.withLock { shared in
            if let connection = shared.connections[index] { return connection }
            let connection = Connection(url, options: options.connection, backoff: backoff)
            shared.connections[index] = connection
            return connection
        }
    }
}
