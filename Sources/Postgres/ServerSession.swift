internal import CPostgres
import Glibc

/// The rows of a statement and how many rows it changed.
struct StatementResult {
    var rows: [Row] = []
    var affectedRows = 0
}

/// One libpq connection: the owner of its `PGconn`, used on one thread at a time (`Connection`'s).
///
/// libpq is driven by its non-blocking calls and `poll`, because the blocking ones wait for a silent server without
/// limit. It never raises SIGPIPE: it sends with MSG_NOSIGNAL, and blocks the signal around OpenSSL's writes
/// (fe-secure.c).
final class ServerSession {
    /// Rows that one statement may answer with; more are a mistake in the statement, not something to hold in memory.
    static let maximumRows = 1_000_000

    private let connection: OpaquePointer
    private let url: DatabaseURL
    private let responseTimeout: Duration?

    /// Connects, logs in and sets the session's time-outs.
    init(url: DatabaseURL, options: ConnectionOptions) throws(PostgresError) {
        // Settings before `dbname` are defaults that the URL overrides; those after it override the URL.
        let settings = [
            ("fallback_application_name", options.applicationName),
            ("keepalives_idle", "30"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "15000"),
            ("dbname", url.text), ("client_encoding", "UTF8"),
        ]
        let started = withCStrings(settings.map(\.0)) { keywords in
            withCStrings(settings.map(\.1)) { values in PQconnectStartParams(keywords, values, 1) }
        }
        guard let started else { throw PostgresError(.unreachable, "libpq could not allocate a connection") }
        connection = started
        self.url = url
        responseTimeout = options.statementTimeout.map { $0 + options.responseGrace }
        // Without this, libpq writes the server's notices to standard error.
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
        try finishConnecting(within: options.connectTimeout)
        guard PQsetnonblocking(connection, 1) == 0 else { throw unreachable() }
        let statementTimeout = options.statementTimeout.map(milliseconds) ?? 0
        let idleTimeout = milliseconds(options.idleTransactionTimeout)
        try run(
            script: """
                SET statement_timeout = \(statementTimeout);
                SET idle_in_transaction_session_timeout = \(idleTimeout);
                SET TIME ZONE 'UTC'
                """
        )
    }

    deinit { PQfinish(connection) }

    // MARK: State

    /// Whether the connection is still good as far as can be known without asking the server. Finds out about a server
    /// that went away while the connection was idle, because that makes the socket readable.
    func isUsable() -> Bool {
        while PQstatus(connection) == CONNECTION_OK {
            var descriptor = pollfd(fd: PQsocket(connection), events: Int16(POLLIN), revents: 0)
            guard poll(&descriptor, 1, 0) > 0 else { return true }
            // A notice or a parameter's change is read away; the end of the stream makes the connection bad.
            if PQconsumeInput(connection) == 0 { return false }
            var notification = PQnotifies(connection)
            while let pending = notification {
                PQfreemem(pending)
                notification = PQnotifies(connection)
            }
        }
        return false
    }

    /// Whether the connection broke.
    var isBroken: Bool { PQstatus(connection) != CONNECTION_OK }

    /// Whether no transaction is open.
    var isIdle: Bool { PQtransactionStatus(connection) == PQTRANS_IDLE }

    /// Whether a statement of the open transaction failed, so that all further ones will.
    var hasFailedTransaction: Bool { PQtransactionStatus(connection) == PQTRANS_INERROR }

    // MARK: Statements

    /// Runs one statement with its parameters apart.
    func run(_ query: Query) throws(PostgresError) -> StatementResult {
        guard query.parameters.count <= 65_535 else {
            throw PostgresError(.protocol, "a statement takes at most 65535 parameters, not \(query.parameters.count)")
        }
        guard send(query) == 1 else { throw unreachable() }
        return try receive()
    }

    /// Runs statements without parameters, from a migration's file.
    func run(script: String) throws(PostgresError) {
        guard PQsendQuery(connection, script) == 1 else { throw unreachable() }
        _ = try receive()
    }

    private func send(_ query: Query) -> Int32 {
        var bytes: [UInt8] = []
        var ranges: [Range<Int>?] = []
        for parameter in query.parameters {
            let start = bytes.count
            BinaryFormat.append(parameter, to: &bytes)
            ranges.append(parameter == .null ? nil : start..<bytes.count)
        }
        // An empty value still needs an address, because a null address means null.
        bytes.append(0)
        let types = query.parameters.map(BinaryFormat.oid)
        let lengths = ranges.map { Int32($0?.count ?? 0) }
        let formats = [Int32](repeating: 1, count: ranges.count)
        return bytes.withUnsafeBytes { buffer in
            let values = ranges.map { range in
                range.flatMap { buffer.baseAddress?.advanced(by: $0.lowerBound).assumingMemoryBound(to: CChar.self) }
            }
            return PQsendQueryParams(
                connection,
                query.sql,
                Int32(values.count),
                types,
                values,
                lengths,
                formats,
                1
            )
        }
    }

    private func receive() throws(PostgresError) -> StatementResult {
        let deadline = responseTimeout.map { ContinuousClock.now + $0 }
        try flush(before: deadline)
        var result = StatementResult()
        var failure: PostgresError?
        while let answer = try nextAnswer(before: deadline) {
            defer { PQclear(answer) }
            switch PQresultStatus(answer) {
            case PGRES_TUPLES_OK: do { result.rows = try rows(of: answer) } catch { failure = failure ?? error }
            case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                throw PostgresError(.protocol, "COPY is not supported")
            default: failure = failure ?? error(of: answer)
            }
            result.affectedRows = Int(String(cString: PQcmdTuples(answer))) ?? 0
        }
        if let failure { throw failure }
        return result
    }

    private func flush(before deadline: ContinuousClock.Instant?) throws(PostgresError) {
        while true {
            switch PQflush(connection) {
            case 0: return
            case 1: break
            default: throw unreachable()
            }
            // The server may be unable to read before it has written: both directions, as PQflush's page says.
            let ready = try wait(for: POLLIN | POLLOUT, before: deadline)
            if ready & POLLIN != 0, PQconsumeInput(connection) == 0 { throw unreachable() }
        }
    }

    private func nextAnswer(before deadline: ContinuousClock.Instant?) throws(PostgresError) -> OpaquePointer? {
        while PQisBusy(connection) == 1 {
            _ = try wait(for: POLLIN, before: deadline)
            if PQconsumeInput(connection) == 0 { throw unreachable() }
        }
        return PQgetResult(connection)
    }

    private func rows(of answer: OpaquePointer) throws(PostgresError) -> [Row] {
        let count = Int(PQntuples(answer))
        guard count <= Self.maximumRows else {
            throw PostgresError(.protocol, "a statement answered \(count) rows; the limit is \(Self.maximumRows)")
        }
        let fields = 0..<PQnfields(answer)
        let columns = Row.Columns(fields.map { String(cString: PQfname(answer, $0)) })
        let types = fields.map { PQftype(answer, $0) }
        var rows: [Row] = []
        rows.reserveCapacity(count)
        for row in 0..<Int32(count) {
            var values: [PostgresValue] = []
            values.reserveCapacity(types.count)
            for field in fields {
                if PQgetisnull(answer, row, field) == 1 {
                    values.append(.null)
                } else {
                    let length = Int(PQgetlength(answer, row, field))
                    let bytes = UnsafeRawBufferPointer(start: PQgetvalue(answer, row, field), count: length)
                    values.append(try BinaryFormat.value(bytes, oid: types[Int(field)]))
                }
            }
            rows.append(Row(columns: columns, values: values))
        }
        return rows
    }

    // MARK: Notifications

    /// What has been notified, or will be within a time, to the channels that the session listens to.
    ///
    /// - Throws: `.unreachable` if the connection broke.
    func notifications(within limit: Duration) throws(PostgresError) -> [String] {
        var descriptor = pollfd(fd: PQsocket(connection), events: Int16(POLLIN), revents: 0)
        if poll(&descriptor, 1, Int32(clamping: milliseconds(limit))) > 0, PQconsumeInput(connection) == 0 {
            throw unreachable()
        }
        var payloads: [String] = []
        while let notification = PQnotifies(connection) {
            payloads.append(notification.pointee.extra.map { String(cString: $0) } ?? "")
            PQfreemem(notification)
        }
        return payloads
    }

    // MARK: Waiting

    private func finishConnecting(within timeout: Duration) throws(PostgresError) {
        let deadline = ContinuousClock.now + timeout
        // libpq's page: behave as if the last PQconnectPoll had returned PGRES_POLLING_WRITING.
        var status = PGRES_POLLING_WRITING
        while true {
            if PQstatus(connection) == CONNECTION_BAD { throw unreachable() }
            switch status {
            case PGRES_POLLING_OK: return
            case PGRES_POLLING_READING: _ = try wait(for: POLLIN, before: deadline)
            case PGRES_POLLING_WRITING: _ = try wait(for: POLLOUT, before: deadline)
            default: throw unreachable()
            }
            status = PQconnectPoll(connection)
        }
    }

    /// Waits until the socket is ready for one of the events, or has failed, which libpq's next call reports.
    private func wait(
        for events: Int32,
        before deadline: ContinuousClock.Instant?
    ) throws(PostgresError) -> Int32 {
        while true {
            var descriptor = pollfd(fd: PQsocket(connection), events: Int16(events), revents: 0)
            let limit = deadline.map { Int32(clamping: milliseconds(ContinuousClock.now.duration(to: $0))) } ?? -1
            if deadline != nil, limit <= 0 {
                throw PostgresError(.timeout, "the server at \(url) did not answer in time; the outcome is unknown")
            }
            let count = poll(&descriptor, 1, limit)
            if count > 0 { return Int32(descriptor.revents) }
            if count < 0, errno != EINTR { throw unreachable() }
        }
    }

    // MARK: Errors

    private func unreachable() -> PostgresError {
        let words = url.redacted(String(cString: PQerrorMessage(connection)))
        return PostgresError(.unreachable, words.isEmpty ? "the connection to \(url) broke" : words)
    }

    private func error(of answer: OpaquePointer) -> PostgresError {
        // The codes are characters in C: PG_DIAG_SQLSTATE 'C', _MESSAGE_PRIMARY 'M', _MESSAGE_DETAIL 'D',
        // _CONSTRAINT_NAME 'n' (postgres_ext.h).
        func field(_ code: Character) -> String? {
            guard let value = code.asciiValue, let text = PQresultErrorField(answer, Int32(value)) else { return nil }
            return url.redacted(String(cString: text))
        }
        guard let state = field("C") else { return unreachable() }
        return PostgresError(
            PostgresError.kind(ofState: state),
            field("M") ?? "no message",
            detail: field("D"),
            sqlState: state,
            constraint: field("n")
        )
    }
}

/// Rounded up, so that a wait never ends before its time and a limit of less than 1 ms is not "no limit".
private func milliseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    return Int(seconds) * 1_000 + Int((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
}

/// Calls `body` with a null-terminated array of C strings, valid during the call.
func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
    let copies = strings.map { strdup($0) }
    defer { copies.forEach { free($0) } }
    let pointers = copies.map { $0.map { UnsafePointer($0) } } + [nil]
    return pointers.withUnsafeBufferPointer { buffer in
        guard let start = buffer.baseAddress else { preconditionFailure("the array holds at least its terminator") }
        return body(start)
    }
}
