/// Who uses which connection of a pool and who waits for one: the decisions of `ConnectionPool`, without their effects.
struct PoolState {
    /// What to do for a caller that wants a connection.
    enum Request: Equatable {
        /// Use this connection.
        case use(Int)
        /// Wait until `connectionReturned` or `closed` names the caller.
        case wait
        /// Tell the caller that there are too many already.
        case refuse(PostgresError)
    }

    /// What to do with a connection that its user gave back.
    enum Return: Equatable {
        /// Give it to this caller, which has waited longest.
        case hand(to: Int)
        /// Nothing; it is kept for the next caller.
        case keep
        /// It was the last one in use of a closed pool: whoever closes the pool may go on.
        case drained
    }

    private let connections: Int
    private let maximumWaiters: Int
    /// Connections that have been used, most recently used last, so that few are kept busy and the others stay idle.
    private var idle: [Int] = []
    private var opened = 0
    private var inUse = 0
    private var waiting: [Int] = []
    private var nextCaller = 0
    private var isClosed = false

    /// Nothing in use.
    init(connections: Int, maximumWaiters: Int) {
        self.connections = connections
        self.maximumWaiters = maximumWaiters
    }

    /// A name for a caller.
    mutating func callerArrived() -> Int {
        nextCaller += 1
        return nextCaller
    }

    /// A caller wants a connection.
    mutating func connectionRequested(by caller: Int) -> Request {
        if isClosed { return .refuse(Self.closedError) }
        if let connection = idle.popLast() {
            inUse += 1
            return .use(connection)
        }
        if opened < connections {
            opened += 1
            inUse += 1
            return .use(opened - 1)
        }
        if waiting.count >= maximumWaiters {
            let message = "all \(connections) connections are in use and \(maximumWaiters) callers wait already"
            return .refuse(PostgresError(.poolExhausted, message))
        }
        waiting.append(caller)
        return .wait
    }

    /// A caller has waited for as long as it may.
    ///
    /// - Returns: false if it has been handed a connection meanwhile.
    mutating func waitEnded(of caller: Int) -> Bool {
        guard let index = waiting.firstIndex(of: caller) else { return false }
        waiting.remove(at: index)
        return true
    }

    /// A connection is no longer used.
    mutating func connectionReturned(_ connection: Int) -> Return {
        if !waiting.isEmpty { return .hand(to: waiting.removeFirst()) }
        idle.append(connection)
        inUse -= 1
        return isClosed && inUse == 0 ? .drained : .keep
    }

    /// No caller gets a connection any more.
    ///
    /// - Returns: the callers that waited, and whether connections are still in use, so that `.drained` will come.
    mutating func closed() -> (refused: [Int], isInUse: Bool) {
        isClosed = true
        defer { waiting = [] }
        return (waiting, inUse > 0)
    }

    /// What callers of a closed pool are told.
    static var closedError: PostgresError { PostgresError(.unreachable, "the connection pool has been closed") }
}
