import EventLoops
import FoundationEssentials
public import HTTPClient

/// One call of an AWS API, before it is signed.
public struct AWSRequest: Sendable {
    /// The API's name of the operation, for logs and errors: `TransactWriteItems`.
    public var operation: String
    /// What is sent; its origin is the service's.
    public var transfer: TransferRequest
    /// Whether it may be sent again when nobody knows what became of it.
    public var isRepeatable: Bool
    /// What its answer must be like.
    public var check: AnswerCheck

    /// A call.
    public init(
        operation: String, transfer: TransferRequest, isRepeatable: Bool, check: AnswerCheck = .none
    ) {
        self.operation = operation
        self.transfer = transfer
        self.isRepeatable = isRepeatable
        self.check = check
    }
}

/// A call that did not do what it should.
public struct AWSError: Error, Sendable, CustomStringConvertible {
    /// The code of a call that was not sent because nobody had credentials to sign it with.
    public static let noCredentialsCode = "NoCredentials"

    /// Which operation.
    public var operation: String
    /// The service's name of the failure, without namespace: `ConditionalCheckFailedException`; empty if there was no
    /// answer. Failures that no service names have the codes below and of `DynamoDB`.
    public var code: String
    /// What the service, or curl, said.
    public var message: String
    /// The status of the answer; nil if there was none.
    public var status: Int?
    /// The body of the answer, which for some operations says more.
    public var body: [UInt8]
    /// Whether the call may nevertheless have taken effect.
    public var isOutcomeUnknown: Bool
    /// Whether the service asked for fewer calls.
    public var isThrottling: Bool

    /// A failure.
    public init(
        operation: String, code: String, message: String, status: Int? = nil, body: [UInt8] = [],
        isOutcomeUnknown: Bool = false, isThrottling: Bool = false
    ) {
        self.operation = operation
        self.code = code
        self.message = message
        self.status = status
        self.body = body
        self.isOutcomeUnknown = isOutcomeUnknown
        self.isThrottling = isThrottling
    }

    /// For logs.
    public var description: String {
        let what = code.isEmpty ? "no answer" : code
        return "\(operation): \(what)\(status.map { " (HTTP \($0))" } ?? ""): \(message)"
    }
}

/// Who calls an AWS API: `AWSService`, or what tests put in its place.
public protocol AWSCaller: Sendable {
    /// The service's origin, for example `https://dynamodb.eu-west-1.amazonaws.com`.
    var origin: String { get }
    /// Signs, sends, and repeats as the SDKs' standard mode does what may be repeated.
    ///
    /// - Returns: a response of status 2xx that is what the request's `check` asks for.
    /// - Throws: `AWSError`, or `CancellationError`.
    func call(_ request: AWSRequest) async throws -> TransferResponse
}

/// One service of AWS in one region: signs calls with the credentials of the moment, sends them, and repeats what may be
/// repeated. Any thread may use it; it holds no connection of its own.
public final class AWSService: AWSCaller {
    /// How a service waits and chooses; tests put others in their place.
    public struct Effects: Sendable {
        /// Waits between attempts.
        public var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
        /// Within 0 ..< 1; spreads repetitions.
        public var random: @Sendable () -> Double = { Double.random(in: 0..<1) }
        /// The real ones.
        public init() {}
    }

    /// Scheme and host.
    public let origin: String
    /// The name that signatures know the service by.
    public let signingName: String
    /// The region that signatures name.
    public let region: String
    private let credentials: CredentialsProvider
    private let transport: any HTTPTransport
    private let clock: AWSClock
    private let effects: Effects
    private let policy: Locked<RetryPolicy>
    private let keys = SigningKeys()

    /// A service.
    ///
    /// - Parameters:
    ///   - signingName: `dynamodb`, `s3`, `sts`.
    ///   - region: for example `eu-west-1`.
    ///   - origin: scheme and host, for example of `AWSConfiguration.origin(of:)`.
    ///   - credentials: who signs.
    ///   - transport: sends.
    ///   - clock: shared with the credentials and with other services.
    ///   - retries: nil is the standard mode's for the service.
    ///   - effects: the real ones, but in tests.
    public init(
        signingName: String, region: String, origin: String, credentials: CredentialsProvider,
        transport: any HTTPTransport, clock: AWSClock = AWSClock(), retries: RetryPolicy? = nil,
        effects: Effects = Effects()
    ) {
        self.signingName = signingName
        self.region = region
        self.origin = origin
        self.credentials = credentials
        self.transport = transport
        self.clock = clock
        self.effects = effects
        policy = Locked(retries ?? RetryPolicy(service: signingName))
    }

    /// Tokens left for repetitions, for metrics: 500 is all, near 0 the service is failing.
    public var retryTokens: Int { policy.withLock { $0.tokens } }

    /// Signs a request in its query, with the credentials of the moment, so that whoever has its address may send it.
    ///
    /// - Throws: `AWSError` without credentials, or `CancellationError`.
    public func presign(_ request: TransferRequest, expiringAfter lifetime: Duration) async throws -> TransferRequest {
        let current = try await currentCredentials(for: "presigning")
        return signer(current, at: clock.now).presign(request, expiringAfter: lifetime)
    }

    /// What signs with the credentials and at the time of the moment: for who needs more of a signature than `presign` gives.
    ///
    /// - Throws: `AWSError` without credentials, or `CancellationError`.
    public func currentSigner() async throws -> SigV4 {
        signer(try await currentCredentials(for: "signing"), at: clock.now)
    }

    /// Also once more, without waiting, with new credentials if those it was signed with have ended, and with AWS's time if
    /// this machine's is wrong.
    public func call(_ request: AWSRequest) async throws -> TransferResponse {
        var call = ServiceCall(request)
        while true {
            try Task.checkCancellation()
            let current = try await currentCredentials(
                for: request.operation, isOutcomeUnknown: call.isOutcomeUnknown)
            let date = clock.now
            guard call.attempt(by: current, at: date) else { throw call.error }
            do {
                let response = try await transport.send(signer(current, at: date).sign(request.transfer))
                if call.isDone(by: response) {
                    let attempts = call.attempts
                    policy.withLock { $0.callSucceeded(attempts) }
                    return response
                }
            } catch let error as CurlError {
                call.failed(error)
            }
            try await prepareNextAttempt(&call, after: current)
        }
    }

    private func signer(_ credentials: AWSCredentials, at date: Date) -> SigV4 {
        SigV4(credentials: credentials, region: region, service: signingName, date: date, keys: keys)
    }

    private func currentCredentials(
        for operation: String, isOutcomeUnknown: Bool = false
    ) async throws -> AWSCredentials {
        do {
            return try await credentials.credentials()
        } catch let error as CredentialsError {
            throw AWSError(
                operation: operation, code: AWSError.noCredentialsCode, message: "\(error)",
                isOutcomeUnknown: isOutcomeUnknown)
        }
    }

    /// Returns when the next attempt may be made, and throws if there is none.
    private func prepareNextAttempt(_ call: inout ServiceCall, after used: AWSCredentials) async throws {
        switch call.remedy {
        case .newCredentials:
            await credentials.refused(used)
        case .newDate(let serverTime):
            if let serverTime { _ = clock.learn(serverTime: serverTime) }
        case .none:
            let failure = call.failure
            let isSafe = call.isSafeToRepeat
            let retryAfter = call.retryAfter
            let random = effects.random()
            var attempts = call.attempts
            let action = policy.withLock { policy in
                let action = policy.attemptFailed(
                    failure, isSafe: isSafe, retryAfter: retryAfter, attempts: &attempts, random: random)
                return (action, attempts)
            }
            call.attempts = action.1
            guard case .retry(let delay) = action.0 else { throw call.error }
            try await effects.sleep(delay)
        }
    }
}
