/// What happens at the end of a quota of minutes.
public enum QuotaPolicy: String, Sendable, CaseIterable, Codable {
    /// Nothing is forwarded beyond it: sessions end.
    case hard
    /// Sessions go on, and what is beyond it is marked.
    case soft
}

/// The limits of a tenant, or of one of its keys. Postgres owns them; connection stores are told of them with their version.
public struct QuotaLimits: Sendable, Equatable {
    /// Sessions at once over all nodes; nil is no limit.
    public var maxConcurrentSessions: Int?
    /// Sessions that may begin within one UTC minute, over all nodes; nil is no limit.
    public var maxNewSessionsPerMinute: Int?
    /// Minutes of audio within one UTC month, over all nodes; nil is no limit.
    public var maxMinutesPerMonth: Int?
    /// Seconds of audio of one session; nil is no limit.
    public var maxSecondsPerSession: Int?
    /// What happens at the end of `maxMinutesPerMonth`. A key's limits follow its tenant's policy.
    public var policy: QuotaPolicy
    /// Grows with every change, so that stores never go back to an older one.
    public var version: Int64

    /// Limits as an operator or a test sets them; none by default.
    public init(
        maxConcurrentSessions: Int? = nil, maxNewSessionsPerMinute: Int? = nil, maxMinutesPerMonth: Int? = nil,
        maxSecondsPerSession: Int? = nil, policy: QuotaPolicy = .hard, version: Int64 = 1
    ) {
        self.maxConcurrentSessions = maxConcurrentSessions
        self.maxNewSessionsPerMinute = maxNewSessionsPerMinute
        self.maxMinutesPerMonth = maxMinutesPerMonth
        self.maxSecondsPerSession = maxSecondsPerSession
        self.policy = policy
        self.version = version
    }
}
