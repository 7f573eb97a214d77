import EventLoops

/// One connection to a server, on a thread of its own, where libpq may block.
///
/// It connects when it is first used and again when it has broken, so that its owner never replaces it. Its owner uses
/// it for one thing at a time.
public actor Connection {
    /// How many times a transaction is run if the server keeps giving it up for others.
    public static let maximumTransactionAttempts = 5

    /// How a transaction sees others' changes.
    public enum Isolation: Sendable {
        /// Each statement sees what is committed when it begins. The server's default.
        case readCommitted
        /// All statements see what was committed when the first began; for reading at one moment.
        case repeatableReadOnly
        /// The same, and it may write. A row that somebody else has changed since cannot be changed: it begins anew.
        case repeatableRead
        /// As if transactions ran one after the other.
        case serializable
    }

    private let thread: WorkerThread
    private let url: DatabaseURL
    private let options: ConnectionOptions
    private let backoff: SharedBackoff
    private var session: ServerSession?
    private var transaction = Transaction.none

    private enum Transaction {
        /// Each statement is its own. Leaves to `beginning`.
        case none
        /// `transaction` was called. Leaves to `open`, or to `none` if it fails.
        case beginning
        /// BEGIN succeeded, and the session is the only one on which the rest may run. Leaves to `none` or `beginning`.
        case open
    }

    /// A connection that will be made when it is first used.
    public init(_ url: DatabaseURL, options: ConnectionOptions = ConnectionOptions()) {
        self.init(url, options: options, backoff: SharedBackoff())
    }

    init(_ url: DatabaseURL, options: ConnectionOptions, backoff: SharedBackoff) {
        thread = ConnectionThreads.take()
        self.url = url
        self.options = options
        self.backoff = backoff
    }

    deinit { ConnectionThreads.giveBack(thread) }

    /// The connection's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    /// Runs one statement.
    ///
    /// - Returns: its rows.
    /// - Throws: `.unreachable` and `.timeout` if the outcome may be unknown, `.server` if the server refused it.
    @discardableResult public func query(_ query: Query) throws(PostgresError) -> [Row] {
        try run(query).rows
    }

    /// Runs one statement.
    ///
    /// - Returns: how many rows it changed.
    @discardableResult public func execute(_ query: Query) throws(PostgresError) -> Int {
        try run(query).affectedRows
    }

    /// Runs `body` between BEGIN and COMMIT, on the connection's thread.
    ///
    /// Any error rolls back and is thrown on, except that a serialization failure or a deadlock runs `body` again, at most
    /// `maximumTransactionAttempts` times in all. If COMMIT itself throws `.unreachable`, the outcome is unknown.
    ///
    /// - Parameters:
    ///   - isolation: how it sees others' changes.
    ///   - role: whose rights it has; nil is those of the login. Taken in BEGIN's round trip.
    ///   - body: what it does.
    @discardableResult public func transaction<Value: Sendable>(
        isolation: Isolation = .readCommitted, as role: StaticString? = nil,
        _ body: @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        guard transaction == .none else {
            throw PostgresError(.protocol, "a transaction was begun within a transaction of the same connection")
        }
        defer { transaction = .none }
        var attempt = 1
        while true {
            transaction = .beginning
            do {
                try begin(isolation, as: role)
                transaction = .open
                let value = try await body(self)
                try commit()
                return value
            } catch {
                rollBack()
                guard let failure = error as? PostgresError, failure.isTransactionConflict,
                    attempt < Self.maximumTransactionAttempts
                else { throw error }
                attempt += 1
            }
        }
    }

    /// Closes the session with the server. The next use makes another.
    public func disconnect() {
        session = nil
    }

    // MARK: For the pool and the migrations

    /// Runs one statement and makes sure that it left no transaction open.
    func runAlone(_ query: Query) throws(PostgresError) -> StatementResult {
        let result = try run(query)
        try settle()
        return result
    }

    /// Makes sure that what used the connection left no transaction open; else closes it, which rolls back.
    func settle() throws(PostgresError) {
        guard let session else { return }
        if session.isBroken {
            self.session = nil
        } else if !session.isIdle {
            self.session = nil
            throw PostgresError(.protocol, "a transaction was left open and has been rolled back; use transaction()")
        }
    }

    /// Runs a migration's statements; the caller has opened a transaction, which they must leave open.
    func run(script: String) throws(PostgresError) {
        let isIdle = try withSession { session throws(PostgresError) in
            try session.run(script: script)
            return session.isIdle
        }
        if isIdle {
            throw PostgresError(.migration, "the file ends its own transaction; leave BEGIN and COMMIT out")
        }
    }

    private func begin(_ isolation: Isolation, as role: StaticString?) throws(PostgresError) {
        let begin =
            switch isolation {
            case .readCommitted: "BEGIN ISOLATION LEVEL READ COMMITTED"
            case .repeatableReadOnly: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            case .repeatableRead: "BEGIN ISOLATION LEVEL REPEATABLE READ"
            case .serializable: "BEGIN ISOLATION LEVEL SERIALIZABLE"
            }
        let script = role.map { "\(begin); SET LOCAL ROLE \($0)" } ?? begin
        try withSession { session throws(PostgresError) in try session.run(script: script) }
    }

    private func commit() throws(PostgresError) {
        // The server answers COMMIT of a failed transaction with a ROLLBACK that looks like success.
        if let session, session.hasFailedTransaction {
            throw PostgresError(.protocol, "a statement of the transaction failed and its error was not thrown on")
        }
        try execute("COMMIT")
    }

    /// After a failure. If it cannot be done the session is closed, and then the server does it.
    private func rollBack() {
        guard let session, !session.isIdle else { return }
        do { _ = try session.run("ROLLBACK") } catch { self.session = nil }
    }

    private func run(_ query: Query) throws(PostgresError) -> StatementResult {
        try withSession { session throws(PostgresError) in try session.run(query) }
    }

    private func withSession<Value>(
        _ body: (ServerSession) throws(PostgresError) -> Value
    ) throws(PostgresError) -> Value {
        let session = try connected()
        do {
            return try body(session)
        } catch {
            droppedIfBroken(error)
            throw error
        }
    }

    /// A session whose answer is still to come cannot be used again.
    private func droppedIfBroken(_ error: PostgresError) {
        let isOutOfStep = error.kind == .timeout && error.sqlState == nil
        if isOutOfStep || error.kind == .unreachable || session?.isBroken == true { session = nil }
    }

    private func connected() throws(PostgresError) -> ServerSession {
        if transaction == .open {
            // A new session would silently run the rest of the transaction outside of it.
            guard let session else { throw PostgresError(.unreachable, "the connection broke within a transaction") }
            return session
        }
        if let session, session.isUsable() { return session }
        session = nil
        if let failure = backoff.attemptRequested() { throw failure }
        do {
            let session = try ServerSession(url: url, options: options)
            backoff.attemptSucceeded()
            self.session = session
            return session
        } catch {
            let failure =
                error.kind == .timeout
                ? PostgresError(.unreachable, "connecting to \(url) took longer than \(options.connectTimeout)") : error
            backoff.attemptFailed(failure)
            throw failure
        }
    }
}

/// A `ReconnectBackoff` that the connections of a pool share, on the monotonic clock.
final class SharedBackoff: Sendable {
    private let decision = Locked(ReconnectBackoff())

    func attemptRequested() -> PostgresError? {
        decision.withLock { $0.attemptRequested(at: .now) }
    }

    func attemptSucceeded() {
        decision.withLock { $0.attemptSucceeded() }
    }

    func attemptFailed(_ failure: PostgresError) {
        decision.withLock { $0.attemptFailed(failure, at: .now) }
    }
}
