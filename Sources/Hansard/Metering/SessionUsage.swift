public import FoundationEssentials

/// A part of a session at one engine within one month, as it stands in the ledger.
public struct UsageSegment: Sendable, Equatable {
    /// Of which session.
    public var session: SessionID
    /// When the session began.
    public var sessionStartedAt: Date
    /// The month in which it is billed.
    public var period: QuotaPeriod
    /// Who and what it was; `tag` is in `tags`.
    public var group: UsageGroup
    /// The session's labels.
    public var tags: [String]
    /// Channels of the audio.
    public var channels: Int
    /// All that it used.
    public var amounts: UsageCounters
    /// Whether nothing more comes.
    public var isFinal: Bool
    /// Whether it is what the report is limited to.
    public var fits: Bool

    /// A segment as a store has it.
    public init(
        session: SessionID, sessionStartedAt: Date, period: QuotaPeriod, group: UsageGroup, tags: [String],
        channels: Int, amounts: UsageCounters, isFinal: Bool, fits: Bool
    ) {
        self.session = session
        self.sessionStartedAt = sessionStartedAt
        self.period = period
        self.group = group
        self.tags = tags
        self.channels = channels
        self.amounts = amounts
        self.isFinal = isFinal
        self.fits = fits
    }
}

/// What one session used.
public struct SessionUsage: Sendable, Equatable {
    /// Its first part that fits: who opened it, and the engine, model, language, labels and region it began with.
    public var first: UsageSegment
    /// Parts that fit.
    public var segments: Int
    /// What these used.
    public var amounts: UsageCounters
    /// The most channels that it had.
    public var channels: Int
    /// Whether the session is over and all of it is here.
    public var isFinal: Bool
    /// The months in which these parts are billed, in order.
    public var periods: [QuotaPeriod]

    /// - Parameter segments: all of one session, in order.
    /// - Returns: nil if none fits.
    public init?(_ segments: some Collection<UsageSegment>) {
        let fitting = segments.filter(\.fits)
        guard let first = fitting.first else { return nil }
        self.first = first
        self.segments = fitting.count
        amounts = fitting.reduce(UsageCounters()) { $0 + $1.amounts }
        channels = fitting.map(\.channels).max() ?? first.channels
        isFinal = segments.reduce(false) { $1.isFinal }
        periods = Set(fitting.map(\.period)).sorted()
    }

    /// The sessions of segments that are together by session and in order.
    public static func sessions(of segments: [UsageSegment]) -> [SessionUsage] {
        var sessions: [SessionUsage] = []
        var rest = segments[...]
        while let id = rest.first?.session {
            let own = rest.prefix { $0.session == id }
            if let session = SessionUsage(own) { sessions.append(session) }
            rest = rest.dropFirst(own.count)
        }
        return sessions
    }
}
