import FoundationEssentials
import HTTPClient

/// What is known of a call while it is attempted: what went wrong last, whether it may have taken effect, and what would
/// help.
struct ServiceCall {
    /// What to change before the next attempt, beyond waiting. Each is tried once in a call.
    enum Remedy: Equatable {
        case none
        /// The session token has ended before its time.
        case newCredentials
        /// The signature was too old or too new; the service's time, if the answer has one.
        case newDate(Date?)
    }

    private let request: AWSRequest
    var attempts = RetryPolicy.Attempts()
    /// What the last attempt ended with.
    private(set) var error: AWSError
    /// Its kind.
    private(set) var failure: RetryPolicy.Failure = .permanent
    /// What would help.
    private(set) var remedy = Remedy.none
    /// What the service asked for.
    private(set) var retryAfter: Duration?
    /// Whether any attempt may have taken effect. The last one's own answer says nothing of those before it: a condition
    /// that fails may have been broken by the first attempt.
    private(set) var isOutcomeUnknown = false

    private var lastAttemptIsUnknown = false
    private var hasNewDate = false
    private var hasNewCredentials = false
    private var signedBy: AWSCredentials?
    private var signedAt = Date.distantPast

    /// Answers to signatures that are too old or too new, whatever the cause.
    static let datedCodes: Set = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"]
    /// Answers to signatures that are wrong: by their date, if the service's differs much.
    static let signatureCodes: Set = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"]
    /// Answers to credentials that have ended.
    static let endedCodes: Set = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]

    /// Nothing was sent yet.
    init(_ request: AWSRequest) {
        self.request = request
        error = AWSError(operation: request.operation, code: "", message: "not sent")
    }

    /// Whether sending again cannot do anything twice that may not be done twice.
    var isSafeToRepeat: Bool { request.isRepeatable || !lastAttemptIsUnknown }

    /// An attempt is about to be signed.
    ///
    /// - Returns: false if it would be signed by credentials that the service has just said have ended: then the call is
    ///   over, with its last error.
    mutating func attempt(by credentials: AWSCredentials, at date: Date) -> Bool {
        if remedy == .newCredentials, credentials == signedBy { return false }
        signedBy = credentials
        signedAt = date
        return true
    }

    /// The last attempt was answered.
    ///
    /// - Returns: whether the answer is what the call was made for; if not, it is the call's error.
    mutating func isDone(by response: TransferResponse) -> Bool {
        if let unreadable = request.unreadable(response) {
            // Whoever answered, and whatever was damaged: the next answer may be the service's.
            (failure, retryAfter, remedy) = (.transient, nil, .none)
            lastAttemptIsUnknown = true
            isOutcomeUnknown = true
            error = unreadable
            return false
        }
        switch response.status {
        case 200..<300: return true
        case 300..<400:
            (failure, retryAfter, remedy) = (.permanent, nil, .none)
            lastAttemptIsUnknown = false
            error = AWSError(request.operation, redirected: response, isOutcomeUnknown: isOutcomeUnknown)
        default: answered(response)
        }
        return false
    }

    /// The last attempt was answered with an error.
    private mutating func answered(_ response: TransferResponse) {
        let body = AWSErrorBody(response)
        failure = RetryPolicy.failure(status: response.status, code: body.code)
        // What the service refused, it has not done; of what broke within it nobody knows.
        lastAttemptIsUnknown = response.status >= 500 && failure != .throttling
        isOutcomeUnknown = isOutcomeUnknown || lastAttemptIsUnknown
        retryAfter = response.header("x-amz-retry-after").flatMap(Int.init).flatMap { milliseconds in
            milliseconds >= 0 ? .milliseconds(min(milliseconds, 3_600_000)) : nil
        }
        remedy = remedy(for: body.code, response)
        error = AWSError(
            operation: request.operation, code: body.code, message: body.message, status: response.status,
            body: response.body, isOutcomeUnknown: isOutcomeUnknown, isThrottling: failure == .throttling)
    }

    private mutating func remedy(for code: String, _ response: TransferResponse) -> Remedy {
        if Self.endedCodes.contains(code), !hasNewCredentials {
            hasNewCredentials = true
            return .newCredentials
        }
        let serverTime = response.header("Date").flatMap(AnswerTime.http)
        let difference = serverTime.map { abs($0.timeIntervalSince(signedAt)) } ?? 0
        let isDated =
            Self.datedCodes.contains(code)
            || Self.signatureCodes.contains(code) && difference >= AWSClock.smallestError
        guard isDated, !hasNewDate else { return .none }
        hasNewDate = true
        return .newDate(serverTime)
    }

    /// The last attempt was not answered.
    mutating func failed(_ curl: CurlError) {
        failure = RetryPolicy.failure(curl)
        lastAttemptIsUnknown = !curl.wasNotSent
        isOutcomeUnknown = isOutcomeUnknown || lastAttemptIsUnknown
        retryAfter = nil
        remedy = .none
        error = AWSError(
            operation: request.operation, code: "", message: curl.description, isOutcomeUnknown: isOutcomeUnknown)
    }
}
