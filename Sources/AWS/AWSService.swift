public import HTTPClient

/// One call of an AWS API, before it is signed.
public struct AWSRequest: Sendable {
    /// The API's name of the operation, for logs and errors: `TransactWriteItems`.
    public var operation: String
    /// What is sent; its origin is the service's.
    public var transfer: TransferRequest
    /// Whether it may be sent again when nobody knows what became of it.
    public var isRepeatable: Bool

    /// A call.
    public init(operation: String, transfer: TransferRequest, isRepeatable: Bool) {
        self.operation = operation
        self.transfer = transfer
        self.isRepeatable = isRepeatable
    }
}

/// A call that did not do what it should.
public struct AWSError: Error, Sendable, CustomStringConvertible {
    /// Which operation.
    public var operation: String
    /// The service's name of the failure, without namespace: `ConditionalCheckFailedException`; empty if there was no
    /// answer.
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
    /// - Returns: a response of status 2xx (or 3xx where the service answers so).
    /// - Throws: `AWSError`, or `CancellationError`.
    func call(_ request: AWSRequest) async throws -> TransferResponse
}
