public import FoundationEssentials

/// What a segment of a session used within one hour, as a meter elsewhere is told of it; or, where that was told before and the
/// ledger has learned better since, the difference.
public struct UsageEvent: Sendable, Hashable {
    /// Whose usage it is.
    public var tenant: TenantID
    /// Which session.
    public var session: SessionID
    /// Which part of it; `UsageRecord.surplusSegment` is what is counted of a lost node's session.
    public var segment: Int
    /// The first moment of the UTC hour.
    public var hour: Date
    /// 1 is the first that is told of the hour; each after it is added to those before.
    public var revision: Int
    /// Up to when it was used, within the hour.
    public var usedUntil: Date
    /// How much; below zero where too much was told before.
    public var counters: UsageCounters
    /// 1 where the session began in the hour, and none told of it before; -1 where one told of it that another segment tells of
    /// now; else 0.
    public var sessions: Int
    /// The key that opened the session.
    public var key: KeyID
    /// The engine that listened.
    public var engine: String
    /// The model that the client asked for.
    public var model: String
    /// The language that the client asked for.
    public var language: String
    /// The region of the node that served it.
    public var region: String
    /// The key's labels and the client's.
    public var tags: [String]
    /// Channels of the audio; time is counted once for all of them.
    public var channels: Int

    /// See the members.
    public init(
        tenant: TenantID, session: SessionID, segment: Int, hour: Date, revision: Int, usedUntil: Date,
        counters: UsageCounters, sessions: Int, key: KeyID, engine: String, model: String, language: String,
        region: String, tags: [String], channels: Int
    ) {
        self.tenant = tenant
        self.session = session
        self.segment = segment
        self.hour = hour
        self.revision = revision
        self.usedUntil = usedUntil
        self.counters = counters
        self.sessions = sessions
        self.key = key
        self.engine = engine
        self.model = model
        self.language = language
        self.region = region
        self.tags = tags
        self.channels = channels
    }

    /// The same for the same part, hour and revision whenever it is told, and no other's.
    public var id: String { "\(session).\(segment).\(Self.name(of: hour)).\(revision)" }

    /// The first moment after the hour.
    public var hourEnd: Date { hour + 3_600 }

    /// `20261129T13`.
    private static func name(of hour: Date) -> String {
        let style = Date.ISO8601FormatStyle(dateSeparator: .omitted, timeSeparator: .omitted)
        // The middle of the hour: no rounding leads into another one.
        return String(style.format(hour + 1_800).prefix(11))
    }
}
