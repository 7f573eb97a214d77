public import FoundationEssentials

/// Where a session is in its life.
public enum SessionState: String, Sendable, CaseIterable, Codable {
    /// Its client is attached and its slot is held. Leaves to any other state.
    case active
    /// Its client is gone and its slot is held until the resume window ends. Leaves to `active` or an end.
    case detached
    /// Ended; the transcript is durable on the node's disk but not yet in the store; no slot. Leaves to an end.
    case storing
    /// The client ended it and everything is stored.
    case completed
    /// The client went away for good, timed out, or its node died.
    case interrupted
    /// The engine or the client's data failed it.
    case failed
    /// An operator, a revocation, an expiry or a quota ended it.
    case terminated

    /// Whether nothing will change any more.
    public var isEnd: Bool {
        switch self {
        case .active, .detached, .storing: false
        case .completed, .interrupted, .failed, .terminated: true
        }
    }
}

/// What is known of a session after its end, until its time to live is over.
public struct SessionStatus: Sendable, Equatable {
    /// Which session.
    public var session: SessionID
    /// Whose session it was.
    public var tenant: TenantID
    /// The key that opened it.
    public var key: KeyID
    /// `.storing` or an end.
    public var state: SessionState
    /// The end that a `.storing` session will get once its transcript is stored.
    public var endState: SessionState
    /// Why it ended: the close reason, for people.
    public var reason: String
    /// When it began.
    public var startedAt: Date
    /// When it ended.
    public var endedAt: Date
    /// Audio admitted, in milliseconds.
    public var audioMilliseconds: Int64
    /// Audio that the engine's owner is billed for, in milliseconds.
    public var engineMilliseconds: Int64
    /// How many finals the transcript holds.
    public var finals: Int
    /// Where the transcript is, in the transcript store's own terms; nil until it is stored.
    public var transcriptLocation: String?
    /// The region of the node that served it.
    public var region: String

    /// A status as the session's owner or a store describes it.
    ///
    /// - Parameter engineMilliseconds: nil if it is what was admitted.
    public init(
        session: SessionID, tenant: TenantID, key: KeyID, state: SessionState, endState: SessionState, reason: String,
        startedAt: Date, endedAt: Date, audioMilliseconds: Int64, engineMilliseconds: Int64? = nil, finals: Int,
        transcriptLocation: String?, region: String
    ) {
        self.session = session
        self.tenant = tenant
        self.key = key
        self.state = state
        self.endState = endState
        self.reason = reason
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.audioMilliseconds = audioMilliseconds
        self.engineMilliseconds = engineMilliseconds ?? audioMilliseconds
        self.finals = finals
        self.transcriptLocation = transcriptLocation
        self.region = region
    }
}
