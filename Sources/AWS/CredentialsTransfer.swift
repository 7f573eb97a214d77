import FoundationEssentials
public import HTTPClient

/// Sends what sources ask of servers nearby and of STS, and reads their answers.
public struct CredentialsTransfer: Sendable {
    /// None of the answers is larger.
    static let maximumResponseBytes = 64 << 10

    let transport: any HTTPTransport
    let clock: AWSClock
    let effects: AWSService.Effects

    /// A way to ask.
    ///
    /// - Parameters:
    ///   - transport: sends.
    ///   - clock: dates the signatures that assuming a role needs.
    ///   - effects: the real ones, but in tests.
    public init(
        transport: any HTTPTransport, clock: AWSClock = AWSClock(), effects: AWSService.Effects = AWSService.Effects()
    ) {
        self.transport = transport
        self.clock = clock
        self.effects = effects
    }

    /// Sends a request until it is answered with 2xx, as the SDKs' standard mode does.
    ///
    /// - Throws: `CredentialsFailure` with what was said instead; `CancellationError`.
    func send(_ request: TransferRequest, attempts maximum: Int) async throws -> TransferResponse {
        var policy = RetryPolicy(service: "", maximumAttempts: maximum)
        var attempts = RetryPolicy.Attempts()
        while true {
            var failure: RetryPolicy.Failure
            var reason: CredentialsFailure
            do {
                let response = try await transport.send(request)
                if (200..<300).contains(response.status) { return response }
                let body = AWSErrorBody(response)
                failure = RetryPolicy.failure(status: response.status, code: body.code)
                let said = body.message.isEmpty ? body.code : "\(body.code): \(body.message)"
                reason = .failed("\(request.origin) answered HTTP \(response.status) (\(said))")
            } catch let error as CurlError {
                failure = RetryPolicy.failure(error)
                reason = .failed("\(request.origin) did not answer: \(error)")
            }
            let action = policy.attemptFailed(failure, isSafe: true, attempts: &attempts, random: effects.random())
            guard case .retry(let delay) = action else { throw reason }
            try await effects.sleep(delay)
        }
    }

    // MARK: Answers

    /// Credentials as the container endpoint and IMDS give them.
    static func credentials(json body: [UInt8], from name: String) throws(CredentialsFailure) -> AWSCredentials {
        struct Answer: Decodable {
            var Code: String?
            var Message: String?
            var AccessKeyId: String?
            var SecretAccessKey: String?
            var Token: String?
            var Expiration: String?
        }
        guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(body)) else {
            throw .failed("\(name)'s answer is not JSON with credentials")
        }
        if let code = answer.Code, code != "Success" {
            throw .failed("\(name) says \(code)\(answer.Message.map { ": " + $0 } ?? "")")
        }
        return try credentials(answer.AccessKeyId, answer.SecretAccessKey, answer.Token, answer.Expiration, from: name)
    }

    /// Credentials as STS gives them.
    static func credentials(xml body: [UInt8], from name: String) throws(CredentialsFailure) -> AWSCredentials {
        try credentials(
            XMLText.first("AccessKeyId", in: body), XMLText.first("SecretAccessKey", in: body),
            XMLText.first("SessionToken", in: body), XMLText.first("Expiration", in: body), from: name)
    }

    private static func credentials(
        _ id: String?, _ secret: String?, _ token: String?, _ expiration: String?, from name: String
    ) throws(CredentialsFailure) -> AWSCredentials {
        let parts = [("AccessKeyId", id), ("SecretAccessKey", secret), ("session token", token)]
        for (part, value) in parts where value?.isEmpty != false {
            throw .failed("\(name)'s answer has no \(part)")
        }
        guard let id, let secret, let token else { throw .failed("\(name)'s answer has no credentials") }
        let end = expiration.flatMap(AnswerTime.iso8601)
        guard expiration == nil || end != nil else {
            throw .failed("\(name)'s answer has an Expiration that is no time")
        }
        return AWSCredentials(accessKeyID: id, secretAccessKey: secret, sessionToken: token, expiration: end)
    }
}

extension CredentialsFailure {
    /// A setting or a file that a source was pointed to.
    init(_ error: AWSConfigurationError) { self.init(.failed, error.message) }
}
