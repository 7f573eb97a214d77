import Hansard
import Postgres

extension HansardError {
    /// When to try again while Postgres is away or busy.
    static let postgresRetryAfter: Duration = .seconds(1)

    /// What a failure of Postgres means to the domain: the one place that decides it. Stored values, which `detail` may
    /// quote, are left out.
    init(_ error: PostgresError) {
        switch error.kind {
        case .unreachable, .timeout, .poolExhausted:
            self = .storeUnavailable("\(error)", retryAfter: Self.postgresRetryAfter)
        case .protocol, .migration, .cluster:
            self.init(.internal, "\(error)")
        case .server:
            switch error.sqlState ?? "" {
            case _ where error.isTransactionConflict: self = .contention("\(error)")
            // Out of disk or memory; on a standby that is not yet the primary.
            case let state where state.hasPrefix("53") || state == "25006":
                self = .storeUnavailable("\(error)", retryAfter: Self.postgresRetryAfter)
            case "23505": self.init(.conflict, "it exists already")
            // An exclusion constraint, and what a trigger refuses because others rely on it.
            case "23P01": self.init(.conflict, "it overlaps with another")
            case "23001": self.init(.conflict, "others rely on it as it is")
            case "23503": self.init(.notFound, "what it belongs to does not exist")
            // Data exceptions and checks: a value that the schema does not allow.
            case let state where state.hasPrefix("22") || state == "23514":
                self.init(.invalid, "a value cannot be stored: \(error.message)")
            default: self.init(.internal, "\(error)")
            }
        }
    }

    /// Runs `body` and states a failure of Postgres in the domain's terms.
    @discardableResult static func mapping<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as PostgresError {
            throw HansardError(error)
        }
    }
}

extension String {
    /// The text without U+0000, which Postgres cannot store: what a client sent must not make the record of its session
    /// impossible to write.
    var storable: String {
        utf8.contains(0) ? String(unicodeScalars.map { $0 == "\0" ? "\u{FFFD}" : Character($0) }) : self
    }
}
