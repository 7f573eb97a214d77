/// What went wrong, in terms that every edge can answer: one mapper turns it into an HTTP status, one into a
/// WebSocket close.
public struct HansardError: Error, Sendable, Equatable {
    /// The kind of failure; it decides the HTTP status and whether a client should try again.
    public enum Code: String, Sendable, CaseIterable {
        /// The request itself is wrong; `message` says what, where and what would be right.
        case invalid
        /// No credential, or one that is unknown, malformed or expired.
        case unauthenticated
        /// The credential is good but does not allow this.
        case forbidden
        /// It does not exist, or the caller may not know that it does.
        case notFound
        /// It contradicts the present state.
        case conflict
        /// The condition that the caller set does not hold any more: somebody else was faster.
        case stale
        /// It was understood, and contradicts what the same caller said before.
        case contradictory
        /// What was paid for is used up: trying again does not help.
        case exhausted
        /// A rate or a number of things at once is exhausted; later it may work.
        case limited
        /// A store or an engine is away or full; later it will work.
        case unavailable
        /// A defect of ours. The message is for the log; the caller reads "internal error".
        case `internal`
    }

    /// The kind of failure.
    public var code: Code
    /// For people: what was wrong, where, and what would be right. Holds no secret, and nothing of what lies behind this
    /// server: clients read it.
    public var message: String
    /// For operators, in place of the message: what a store or a library said, which may name hosts, folders and tables.
    public var cause: String?
    /// The name of the offending parameter or the JSON pointer of the offending field, if there is one.
    public var field: String?
    /// When to try again, if that is known.
    public var retryAfter: Duration?
    /// The store is there, and others were in the way: a failure of one tenant's calls, which says nothing about whether
    /// the store can be reached.
    public var isContention = false
    /// With `.unauthenticated`: what is the matter with the credential.
    public var credential: CredentialFault?
    /// With `.limited`: the limit of the tenant or the key that is reached.
    public var limit: LimitReached?

    /// Describes a failure.
    public init(_ code: Code, _ message: String, field: String? = nil, retryAfter: Duration? = nil) {
        self.code = code
        self.message = message
        self.field = field
        self.retryAfter = retryAfter
    }

    /// What logs and the command line say.
    public var explanation: String { cause ?? message }

    /// A store is away, or asks for patience.
    ///
    /// - Parameter cause: what it said.
    public static func storeUnavailable(_ cause: String, retryAfter: Duration) -> HansardError {
        var error = HansardError(
            .unavailable, "what this call needs is not available now: repeat it in a moment", retryAfter: retryAfter)
        error.cause = cause
        return error
    }

    /// A failure for which others are to blame who want the same at once; `.unavailable` to whoever asks.
    ///
    /// - Parameter cause: what the store said.
    public static func contention(_ cause: String) -> HansardError {
        var error = storeUnavailable(cause, retryAfter: .seconds(1))
        error.isContention = true
        return error
    }

    /// A credential is missing or not accepted.
    public static func unauthenticated(_ fault: CredentialFault, _ message: String) -> HansardError {
        var error = HansardError(.unauthenticated, message)
        error.credential = fault
        return error
    }
}
