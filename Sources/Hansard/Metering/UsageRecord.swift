public import FoundationEssentials

/// What a session, or a part of it, has used. In milliseconds; each only ever grows.
public struct UsageCounters: Sendable, Hashable, Codable {
    /// floor(admitted frames x 1000 / sample rate); several channels count once.
    public var audio: Int64
    /// From the handshake on, by the clock.
    public var connected: Int64
    /// Audio that the engine's owner is billed for.
    public var engine: Int64

    /// See the members.
    public init(audio: Int64 = 0, connected: Int64 = 0, engine: Int64 = 0) {
        self.audio = audio
        self.connected = connected
        self.engine = engine
    }

    /// What came after `earlier`; never negative.
    public func since(_ earlier: UsageCounters) -> UsageCounters {
        UsageCounters(
            audio: max(0, audio - earlier.audio), connected: max(0, connected - earlier.connected),
            engine: max(0, engine - earlier.engine))
    }

    /// What both have together.
    public static func + (one: UsageCounters, other: UsageCounters) -> UsageCounters {
        UsageCounters(
            audio: one.audio + other.audio, connected: one.connected + other.connected,
            engine: one.engine + other.engine)
    }

    /// Of each counter the higher one.
    public func maximum(_ other: UsageCounters) -> UsageCounters {
        UsageCounters(
            audio: max(audio, other.audio), connected: max(connected, other.connected),
            engine: max(engine, other.engine))
    }
}

/// What a part of a session has used by some moment: cumulative, so that a record that comes twice, or after a later one,
/// changes nothing.
///
/// A part, a segment, is at one engine and in one month, so that each has one price.
public struct UsageRecord: Sendable, Hashable, Codable {
    /// Who made it.
    public enum Source: String, Sendable, Hashable, Codable {
        /// The session's node.
        case node
        /// Whoever found that node dead. The ledger itself makes these, of a session's surplus.
        case reaper
    }

    /// The number of a session's surplus among its segments: what others knew of it when its node was lost, beyond what the
    /// node's own records have. No node gives it.
    public static let surplusSegment = Int(Int32.max)
    /// What the engine and the language of a surplus are called of which nothing else is known.
    public static let unknown = "unknown"

    /// Which session.
    public var session: SessionID
    /// Whose session it is.
    public var tenant: TenantID
    /// The key that opened it.
    public var key: KeyID
    /// The engine that listens in this segment.
    public var engine: String
    /// The model that the client asked for.
    public var model: String
    /// The language that the client asked for.
    public var language: String
    /// The client's labels.
    public var tags: [String]
    /// The region of the node.
    public var region: String
    /// Channels of the audio, as far as they are known; at least 1.
    public var channels: Int
    /// When the session began.
    public var sessionStartedAt: Date
    /// The segment's place in the session, from 0.
    public var segment: Int
    /// When the segment began.
    public var startedAt: Date
    /// What the session had used before the segment.
    public var before: UsageCounters
    /// Who made the record.
    public var source: Source
    /// The record's place among those of its segment and source: higher is later.
    public var sequence: Int
    /// The month in which it is billed: it never goes back within a session, whatever clocks do.
    public var period: QuotaPeriod
    /// When it was made; within `period`.
    public var madeAt: Date
    /// What the segment has used by then.
    public var counters: UsageCounters
    /// Whether the segment is over.
    public var isFinal: Bool

    /// The first record of a session, which has used nothing yet.
    public init(
        session: SessionID, tenant: TenantID, key: KeyID, engine: String, model: String, language: String,
        tags: [String], region: String, channels: Int, startedAt: Date
    ) {
        self.session = session
        self.tenant = tenant
        self.key = key
        self.engine = engine
        self.model = model
        self.language = language
        self.tags = tags
        self.region = region
        self.channels = channels
        sessionStartedAt = startedAt
        segment = 0
        self.startedAt = startedAt
        before = UsageCounters()
        source = .node
        sequence = 0
        period = QuotaPeriod(startedAt)
        madeAt = startedAt
        counters = UsageCounters()
        isFinal = false
    }

    /// Whether it is a session's first.
    public var isFirst: Bool { segment == 0 && sequence == 0 && source == .node }

    /// What the whole session has used by then.
    public var total: UsageCounters { before + counters }
}
