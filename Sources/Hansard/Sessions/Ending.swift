/// Why a session ends, what its client is told, and what its state becomes: the close table of the listen protocol.
public struct Ending: Sendable, Equatable {
    /// Bytes of a close frame that are left for the reason (RFC 6455 section 5.5).
    public static let maximumReason = 123

    /// The WebSocket close code (RFC 6455 section 7.4).
    public var code: UInt16
    /// The close reason, at most `maximumReason` bytes.
    public var reason: String
    /// The state that the session ends in.
    public var state: SessionState

    /// Describes an end.
    public init(code: UInt16, reason: String, state: SessionState) {
        self.code = code
        self.reason = reason
        self.state = state
    }

    /// The client said `CloseStream`.
    public static let closeStream = Ending(code: 1000, reason: "", state: .completed)
    /// The connection is gone.
    public static let clientGone = Ending(code: 1006, reason: "client gone", state: .interrupted)
    /// Nothing came for `Session.Limits.idle`. The text is Deepgram's, because clients match on it.
    public static let idle = Ending(
        code: 1011,
        reason: "Deepgram did not receive audio data or a text message within the timeout window. "
            + "See https://dpgr.am/net0001",
        state: .interrupted)
    /// The client does not read what it is sent.
    public static let clientTooSlow = Ending(code: 1008, reason: "client too slow", state: .interrupted)
    /// A message above the limit.
    public static let messageTooLarge = Ending(code: 1009, reason: "message too large", state: .failed)
    /// A text message that is not UTF-8.
    public static let invalidUTF8 = Ending(code: 1007, reason: "invalid UTF-8", state: .failed)
    /// Text messages that are not of the protocol, too often.
    public static let badMessages = Ending(
        code: 1008, reason: "too many messages that are not JSON of a known type", state: .failed)
    /// The bytes are not the audio that they should be. A detail too long for a close frame is cut.
    public static func badAudio(_ detail: String) -> Ending {
        var reason = "DATA-0000 \(detail)"
        while reason.utf8.count > maximumReason { reason.removeLast() }
        return Ending(code: 1008, reason: reason, state: .failed)
    }
    /// The engine failed beyond retries.
    public static let engineFailed = Ending(code: 1011, reason: "engine unavailable", state: .failed)
    /// A limit of the tenant or the key, found at the claim.
    public static func limit(_ limit: LimitReached) -> Ending {
        Ending(code: 1008, reason: limit.reason, state: .terminated)
    }
    /// The minutes of the month, the tenant's or the key's, are used up.
    public static let minutesExhausted = Ending(code: 1008, reason: "monthly minutes exhausted", state: .terminated)
    /// The session has had as much audio as one may.
    public static func secondsPerSession(_ limit: Int) -> Ending {
        Ending(code: 1008, reason: "quota: \(limit) seconds per session", state: .terminated)
    }
    /// The connection store cannot be asked.
    public static let storeAway = Ending(code: 1013, reason: "try again later", state: .interrupted)
    /// The node shuts down and its drain deadline has come.
    public static let nodeRestarting = Ending(code: 1012, reason: "node restarting", state: .interrupted)
    /// An operator disabled or revoked the key.
    public static let keyRevoked = Ending(code: 1008, reason: "key revoked", state: .terminated)
    /// The key, or the token that opened the session, has expired.
    public static let keyExpired = Ending(code: 1008, reason: "key expired", state: .terminated)
    /// An operator suspended the tenant.
    public static let tenantSuspended = Ending(code: 1008, reason: "tenant suspended", state: .terminated)
    /// An operator ended the session.
    public static let terminated = Ending(code: 1008, reason: "terminated by operator", state: .terminated)

    /// Whether it cannot wait long for what an engine still has to say.
    var isHurried: Bool { self == .nodeRestarting || self == .storeAway }
}
