public import HTTPClient

/// Whether a failed call is sent again, and when: the standard mode that AWS's SDKs share, as of November 2026.
///
/// Decides, and has no effects. One value serves all calls of a service: the tokens it holds are what keeps a fleet from
/// answering an outage with three times the calls.
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, "How retries work"
public struct RetryPolicy: Sendable {
    /// What a failure says of the next attempt.
    public enum Failure: Sendable, Equatable {
        /// Something between here and the service, or within it, failed; it may pass.
        case transient
        /// The service asked for fewer calls, and did nothing.
        case throttling
        /// The next attempt would end like this one.
        case permanent
    }

    /// What to do after an attempt.
    public enum Action: Sendable, Equatable {
        /// Send it again, after that time.
        case retry(after: Duration)
        /// Tell the caller.
        case giveUp
    }

    /// One call's attempts so far.
    public struct Attempts: Sendable, Equatable {
        /// 1 while the first is under way.
        public internal(set) var number = 1
        /// What the attempt under way took out of the bucket; it is given back if it succeeds.
        var cost: Int?
        /// The first attempt.
        public init() {}
    }

    /// Tokens of a full bucket.
    public static let capacity = 500
    /// No attempt waits longer, save for what the service itself asks for.
    public static let maximumDelay = Duration.seconds(20)
    /// By how much the service may lengthen a wait (`x-amz-retry-after`).
    static let maximumExtension = Duration.seconds(5)
    static let transientCost = 14
    static let throttlingCost = 5
    static let firstSuccessRefund = 1
    private static let throttlingDelay = Duration.seconds(1)

    /// Attempts of a call, the first one included.
    public let maximumAttempts: Int
    /// The most that the first repetition of a transient failure waits.
    let transientDelay: Duration
    /// What is left in the bucket.
    public private(set) var tokens = Self.capacity

    /// The mode's values for a service.
    ///
    /// - Parameters:
    ///   - service: `dynamodb` repeats sooner and once more, because its answers come sooner.
    ///   - maximumAttempts: as configured, from 1 on; nil is the mode's own: 3, and 4 for DynamoDB.
    public init(service: String, maximumAttempts: Int? = nil) {
        let isDynamoDB = service == "dynamodb"
        self.maximumAttempts = max(1, maximumAttempts ?? (isDynamoDB ? 4 : 3))
        transientDelay = .milliseconds(isDynamoDB ? 25 : 50)
    }

    /// After an attempt that failed.
    ///
    /// - Parameters:
    ///   - failure: its kind.
    ///   - isSafe: whether the call may be sent again: it is repeatable, or cannot have taken effect.
    ///   - retryAfter: what the service asked for, if it did.
    ///   - attempts: of this call; on `.retry` it counts the one to come.
    ///   - random: within 0 ..< 1, new for each call of this.
    public mutating func attemptFailed(
        _ failure: Failure, isSafe: Bool, retryAfter: Duration? = nil, attempts: inout Attempts, random: Double
    ) -> Action {
        guard failure != .permanent, isSafe, attempts.number < maximumAttempts else { return .giveUp }
        let cost = failure == .throttling ? Self.throttlingCost : Self.transientCost
        guard tokens >= cost else { return .giveUp }
        tokens -= cost
        let base = failure == .throttling ? Self.throttlingDelay : transientDelay
        // Beyond 20 doublings the cap has long been reached.
        let doubled = base * (1 << min(attempts.number - 1, 20))
        var delay = min(doubled, Self.maximumDelay) * random
        if let retryAfter { delay = max(delay, min(retryAfter, delay + Self.maximumExtension)) }
        attempts.number += 1
        attempts.cost = cost
        return .retry(after: delay)
    }

    /// After a call that succeeded.
    public mutating func callSucceeded(_ attempts: Attempts) {
        tokens = min(Self.capacity, tokens + (attempts.cost ?? Self.firstSuccessRefund))
    }

    // MARK: Kinds

    /// What an answer with an error is.
    public static func failure(status: Int, code: String) -> Failure {
        if throttlingCodes.contains(code) { return .throttling }
        if transientCodes.contains(code) || [500, 502, 503, 504].contains(status) { return .transient }
        return status == 429 ? .throttling : .permanent
    }

    /// What a transfer without an answer is.
    public static func failure(_ error: CurlError) -> Failure {
        transientCurlCodes.contains(error.code) ? .transient : .permanent
    }

    /// The names that services give to throttling, as the SDKs list them. `PriorRequestNotComplete`, which Route 53 alone
    /// sends, is among them there too.
    static let throttlingCodes: Set = [
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException",
        "TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
        "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "RequestThrottled", "SlowDown",
        "PriorRequestNotComplete", "EC2ThrottledException",
    ]

    static let transientCodes: Set = [
        "RequestTimeout", "RequestTimeoutException", "InternalError", "InternalServerError", "IDPCommunicationError",
    ]

    /// Names, connections, time-outs and broken transfers (https://curl.se/libcurl/c/libcurl-errors.html): resolving (5, 6),
    /// connecting (7), HTTP/2 (16, 92), a part of an answer (18), time (28), TLS handshakes (35), no answer (52), sending
    /// and receiving (55, 56). Wrong certificates, wrong addresses and answers that are too large stay as they are.
    static let transientCurlCodes: Set<Int32> = [5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92]
}
