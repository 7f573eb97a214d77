import AWS
import EventLoops
import HTTPClient
import Testing

/// Answers calls from a script and keeps what was asked.
final class S3ScriptedCaller: AWSCaller {
    enum Reply: Sendable {
        case answers(TransferResponse)
        case fails(AWSError)
        /// Never answers, until the task is cancelled.
        case hangs
    }

    let origin: String
    private let state: Locked<(script: [Reply], requests: [AWSRequest])>

    init(origin: String = "https://s3.eu-west-1.amazonaws.com", _ script: [Reply] = []) {
        self.origin = origin
        state = Locked((script, []))
    }

    /// What was asked so far.
    var requests: [AWSRequest] { state.withLock(\.requests) }
    var operations: [String] { requests.map(\.operation) }
    /// How many replies were never asked for.
    var unused: Int { state.withLock(\.script.count) }

    func call(_ request: AWSRequest) async throws -> TransferResponse {
        let reply: Reply = state.withLock { state in
            state.requests.append(request)
            let missing = AWSError(operation: request.operation, code: "NotInTheScript", message: "", status: 500)
            return state.script.isEmpty ? .fails(missing) : state.script.removeFirst()
        }
        switch reply {
        case .answers(let response): return try request.checked(response)
        case .fails(let error): throw error
        case .hangs:
            try await Task.sleep(for: .seconds(600))
            throw CancellationError()
        }
    }
}

extension S3ScriptedCaller.Reply {
    static func ok(_ headers: [TransferHeader] = [], _ body: String = "") -> Self {
        .answers(TransferResponse(status: 200, headers: headers, body: Array(body.utf8)))
    }

    /// As S3 answers who puts, gets or describes an object.
    static func tagged(_ headers: [TransferHeader] = [], _ body: String = "") -> Self {
        ok(headers + [TransferHeader("ETag", "\"tag\"")], body)
    }

    static func error(_ status: Int, _ code: String, _ operation: String = "") -> Self {
        .fails(AWSError(operation: operation, code: code, message: "as the script says", status: status))
    }

    /// Sent, and perhaps done.
    static let lost = Self.fails(
        AWSError(operation: "", code: "", message: "time ran out", isOutcomeUnknown: true))
}

/// A bucket whose addresses are signed by a mark.
func s3(
    _ caller: S3ScriptedCaller, bucket: String = "box", addressing: S3Addressing = .automatic,
    encryption: S3Encryption = .bucketDefault, limits: S3.Limits = S3.Limits()
) -> S3 {
    S3(bucket: bucket, caller: caller, addressing: addressing, encryption: encryption, limits: limits) {
        "\($0.method) \($0.url) signed for \($1.components.seconds) s"
    }
}

/// The error that `body` throws.
func awsError(_ body: () async throws -> Void) async -> AWSError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? AWSError
    }
}
