/// How long a connection may take for what it does, and how it names itself.
public struct ConnectionOptions: Sendable, Equatable {
    /// From the first packet to a session that is ready for statements.
    public var connectTimeout: Duration = .seconds(5)
    /// The server ends a statement after this time; nil is no limit, which only migrations want.
    public var statementTimeout: Duration? = .seconds(10)
    /// How much longer than `statementTimeout` to wait for a server that does not answer at all.
    public var responseGrace: Duration = .seconds(2)
    /// The server ends a transaction whose owner has been silent for this long.
    public var idleTransactionTimeout: Duration = .seconds(30)
    /// Shown in `pg_stat_activity`, unless the URL says otherwise.
    public var applicationName = "hansard"

    /// The defaults.
    public init() {}
}
