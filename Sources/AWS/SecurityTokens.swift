import HTTPClient

/// A role and how it is assumed.
struct AssumedRole: Equatable {
    /// Sessions of nobody in particular.
    static let sessionName = "server"

    var arn: String
    var sessionName: String?
    var externalID: String?
    /// In seconds, as STS wants it.
    var duration: String?

    func form(_ action: String, _ more: [(String, String?)] = []) -> [UInt8] {
        let fields: [(String, String?)] =
            [
                ("Action", action), ("Version", "2011-06-15"), ("RoleArn", arn),
                ("RoleSessionName", sessionName ?? Self.sessionName), ("DurationSeconds", duration),
                ("ExternalId", externalID),
            ] + more
        return PercentEncoding.form(fields.compactMap { name, value in value.map { (name, $0) } })
    }
}

/// Credentials of roles, from STS.
///
/// Source: https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
struct SecurityTokens {
    /// How long an answer may take; identity providers are asked meanwhile.
    static let timeout = Duration.seconds(5)
    static let attempts = 3

    let configuration: AWSConfiguration
    let transfer: CredentialsTransfer

    /// With a token from a file, which is read each time: it is replaced before it ends. Nothing is signed.
    func assume(_ role: AssumedRole, tokenFile: String) async throws -> AWSCredentials {
        let token: String
        do { token = try configuration.environment.token(in: tokenFile) } catch { throw CredentialsFailure(error) }
        let body = role.form("AssumeRoleWithWebIdentity", [("WebIdentityToken", token)])
        let response = try await transfer.send(request(body), attempts: Self.attempts)
        return try CredentialsTransfer.credentials(xml: response.body, from: "STS")
    }

    /// With other credentials.
    func assume(_ role: AssumedRole, by credentials: AWSCredentials) async throws -> AWSCredentials {
        let request = try request(role.form("AssumeRole"))
        let service = AWSService(
            signingName: AWSServiceName.sts.signing, region: (try? configuration.region()) ?? "us-east-1",
            origin: request.origin,
            credentials: CredentialsProvider(sources: [FixedCredentials(credentials)], clock: transfer.clock),
            transport: transfer.transport, clock: transfer.clock,
            retries: RetryPolicy(service: "sts", maximumAttempts: Self.attempts), effects: transfer.effects)
        do {
            let response = try await service.call(
                AWSRequest(operation: "AssumeRole", transfer: request, isRepeatable: true))
            return try CredentialsTransfer.credentials(xml: response.body, from: "STS")
        } catch let error as AWSError {
            throw CredentialsFailure.failed("\(error)")
        }
    }

    private func request(_ body: [UInt8]) throws -> TransferRequest {
        let origin: String
        do { origin = try configuration.origin(of: .sts) } catch { throw CredentialsFailure(error) }
        return TransferRequest(
            method: "POST", origin: origin,
            headers: [TransferHeader("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")], body: body,
            timeout: Self.timeout, maximumResponseBytes: CredentialsTransfer.maximumResponseBytes)
    }
}
