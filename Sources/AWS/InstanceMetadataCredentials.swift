import HTTPClient

/// Credentials of the role of an EC2 instance, from its metadata service in version 2: a token first, then the role's
/// name, then its credentials. `AWS_EC2_METADATA_DISABLED` turns it off.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
struct InstanceMetadataCredentials: CredentialsSource {
    /// It is on the same machine; elsewhere nobody answers.
    static let timeout = Duration.seconds(1)
    static let attempts = 2
    private static let tokenLifetime = "21600"
    private static let rolePath = "/latest/meta-data/iam/security-credentials/"

    let name = "instance metadata"
    let environment: AWSEnvironment
    let transfer: CredentialsTransfer

    func load() async throws -> AWSCredentials {
        if environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() == "true" {
            throw CredentialsFailure.notConfigured("AWS_EC2_METADATA_DISABLED is true")
        }
        let origin: String
        do { origin = try self.origin() } catch { throw CredentialsFailure(error) }
        let lifetime = TransferHeader("X-aws-ec2-metadata-token-ttl-seconds", Self.tokenLifetime)
        let token = Self.text(try await send("PUT", origin, "/latest/api/token", lifetime))
        guard !token.isEmpty, token.isVisibleASCII else {
            throw CredentialsFailure.failed("\(origin) gave no token for its version 2")
        }
        let proof = TransferHeader("X-aws-ec2-metadata-token", token)
        let roles = try await send("GET", origin, Self.rolePath, proof)
        let role = Self.text(roles).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        // The characters of roles' names stand for themselves in paths.
        guard !role.isEmpty, role.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "+=,.@_-".contains($0)) })
        else {
            throw CredentialsFailure.failed("\(origin): no role is attached to this instance")
        }
        let path = Self.rolePath + role
        return try CredentialsTransfer.credentials(
            json: try await send("GET", origin, path, proof).body, from: "the instance's metadata")
    }

    private func send(
        _ method: String, _ origin: String, _ path: String, _ header: TransferHeader
    ) async throws -> TransferResponse {
        let request = TransferRequest(
            method: method, origin: origin, path: path, headers: [header], timeout: Self.timeout,
            maximumResponseBytes: CredentialsTransfer.maximumResponseBytes)
        return try await transfer.send(request, attempts: Self.attempts)
    }

    private func origin() throws(AWSConfigurationError) -> String {
        if let url = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
            return try WebAddress(url, named: "AWS_EC2_METADATA_SERVICE_ENDPOINT").origin
        }
        switch environment["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"]?.lowercased() {
        case nil, "ipv4": return "http://169.254.169.254"
        case "ipv6": return "http://[fd00:ec2::254]"
        case let mode?:
            throw AWSConfigurationError(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is \"\(mode)\": it would be IPv4 or IPv6")
        }
    }

    private static func text(_ response: TransferResponse) -> String {
        String(AWSEnvironment.trimmed(String(decoding: response.body, as: UTF8.self)[...]))
    }
}
