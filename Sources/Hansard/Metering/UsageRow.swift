public import FoundationEssentials

/// How a session ended, beside what it used.
public struct SessionOutcome: Sendable, Equatable, Codable {
    /// An end, or `.storing` while the transcript waits for its store.
    public var state: SessionState
    /// Why it ended: the close reason, for people.
    public var reason: String
    /// How many finals the transcript holds.
    public var finals: Int
    /// Whether it left a transcript: one that heard no audio leaves none. The transcript may have been deleted since.
    public var hasTranscript: Bool

    /// An outcome as the session's owner or a store describes it.
    public init(state: SessionState, reason: String, finals: Int, hasTranscript: Bool) {
        self.state = state
        self.reason = reason
        self.finals = finals
        self.hasTranscript = hasTranscript
    }
}

/// What a session used, as it is billed and reported: one row per session, written once it has ended.
public struct UsageRow: Sendable, Equatable, Codable {
    /// Which session; the row's key, so that writing it twice changes nothing.
    public var session: SessionID
    /// Whose usage it is.
    public var tenant: TenantID
    /// The key that opened the session.
    public var key: KeyID
    /// The engine that listened.
    public var engine: String
    /// The model that the client asked for.
    public var model: String
    /// The language that the client asked for.
    public var language: String
    /// The client's labels.
    public var tags: [String]
    /// The region of the node that served it.
    public var region: String
    /// Channels of the audio; time is counted once for all of them.
    public var channels: Int
    /// floor(admitted frames x 1000 / sample rate).
    public var audioMilliseconds: Int64
    /// Audio that the engine's owner is billed for. It may be more than was admitted, by what an engine bills at least and
    /// by what it had to be told again.
    public var engineMilliseconds: Int64
    /// From the handshake to the end of the connection.
    public var connectedMilliseconds: Int64
    /// When the session began.
    public var startedAt: Date
    /// When it ended.
    public var endedAt: Date
    /// How it ended; nil in rows that do not say, which were written before this was kept.
    public var outcome: SessionOutcome?

    /// A row as the session's owner or the spool describes it.
    ///
    /// - Parameter engineMilliseconds: nil if it is what was admitted.
    public init(
        session: SessionID, tenant: TenantID, key: KeyID, engine: String, model: String, language: String,
        tags: [String], region: String, channels: Int, audioMilliseconds: Int64, engineMilliseconds: Int64? = nil,
        connectedMilliseconds: Int64, startedAt: Date, endedAt: Date, outcome: SessionOutcome? = nil
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
        self.audioMilliseconds = audioMilliseconds
        self.engineMilliseconds = engineMilliseconds ?? audioMilliseconds
        self.connectedMilliseconds = connectedMilliseconds
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.outcome = outcome
    }

    /// Reads what `encode` writes, and what was written before engine time and outcomes were kept.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            session: try values.decode(SessionID.self, forKey: .session),
            tenant: try values.decode(TenantID.self, forKey: .tenant),
            key: try values.decode(KeyID.self, forKey: .key),
            engine: try values.decode(String.self, forKey: .engine),
            model: try values.decode(String.self, forKey: .model),
            language: try values.decode(String.self, forKey: .language),
            tags: try values.decode([String].self, forKey: .tags),
            region: try values.decode(String.self, forKey: .region),
            channels: try values.decode(Int.self, forKey: .channels),
            audioMilliseconds: try values.decode(Int64.self, forKey: .audioMilliseconds),
            engineMilliseconds: try values.decodeIfPresent(Int64.self, forKey: .engineMilliseconds),
            connectedMilliseconds: try values.decode(Int64.self, forKey: .connectedMilliseconds),
            startedAt: try values.decode(Date.self, forKey: .startedAt),
            endedAt: try values.decode(Date.self, forKey: .endedAt),
            outcome: try values.decodeIfPresent(SessionOutcome.self, forKey: .outcome))
    }

    /// Takes what another row of the same session knows more: counters, end and outcome only ever go forward, so that rows
    /// may come in any order.
    public mutating func advance(to other: UsageRow) {
        audioMilliseconds = max(audioMilliseconds, other.audioMilliseconds)
        engineMilliseconds = max(engineMilliseconds, other.engineMilliseconds)
        connectedMilliseconds = max(connectedMilliseconds, other.connectedMilliseconds)
        endedAt = max(endedAt, other.endedAt)
        if outcome?.state.isEnd != true, let next = other.outcome { outcome = next }
    }
}

/// Where usage rows are kept.
///
/// Conformers may be called from any task; they throw `HansardError` with code `.unavailable` if the store is away.
public protocol UsageStore: Sendable {
    /// Stores rows in one step. A row whose session is already there only ever takes it forward (`UsageRow.advance`), so that
    /// any batch may be repeated in any order.
    func record(_ rows: [UsageRow]) async throws
    /// The row of a session, if it has been recorded.
    func usage(of session: SessionID, tenant: TenantID) async throws -> UsageRow?
}
