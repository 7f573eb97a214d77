/// What went wrong between us and Postgres: libpq's or the server's own words, with any password taken out.
public struct PostgresError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of failure it is, and so what a caller may conclude.
    public enum Kind: String, Sendable, CaseIterable {
        /// No connection could be made, or it broke. If a statement had been sent, its outcome is unknown.
        case unreachable
        /// The server refused the statement; `sqlState` says why. Nothing was changed by it.
        case server
        /// An answer or a use that does not fit: an unknown column, another type than was asked for, an invalid URL.
        case `protocol`
        /// All connections are in use and too many callers wait already, or the wait took too long. Nothing was sent.
        case poolExhausted
        /// The statement took too long. If the server itself said so (`sqlState`), nothing was changed by it; if not,
        /// its outcome is unknown.
        case timeout
        /// The migrations' files do not fit the database, or each other.
        case migration
        /// A private cluster could not be made, started or stopped.
        case cluster
    }

    /// The kind of failure.
    public var kind: Kind
    /// In words. Holds no password and no parameter.
    public var message: String
    /// The server's `DETAIL`, which may quote stored values: for logs, never for an API's callers.
    public var detail: String?
    /// The five characters of https://www.postgresql.org/docs/15/errcodes-appendix.html, if the server answered.
    public var sqlState: String?
    /// The constraint that was violated, if one was.
    public var constraint: String?

    /// Describes a failure.
    public init(
        _ kind: Kind,
        _ message: String,
        detail: String? = nil,
        sqlState: String? = nil,
        constraint: String? = nil
    ) {
        self.kind = kind
        self.message = message
        self.detail = detail
        self.sqlState = sqlState
        self.constraint = constraint
    }

    /// Whether the server gave the transaction up for the sake of another one, so that the same statements may succeed
    /// if they are repeated: a serialization failure or a deadlock.
    public var isTransactionConflict: Bool { sqlState == "40001" || sqlState == "40P01" }

    /// For logs: kind, SQLSTATE and message, without the detail.
    public var description: String {
        sqlState.map { "Postgres \(kind.rawValue) \($0): \(message)" } ?? "Postgres \(kind.rawValue): \(message)"
    }

    /// The kind that a SQLSTATE stands for.
    static func kind(ofState state: String) -> Kind {
        switch state {
        case "57P01", "57P02", "57P03", "57P05", "53300": .unreachable
        case "57014", "55P03", "25P03": .timeout
        default: state.hasPrefix("08") ? .unreachable : .server
        }
    }
}
