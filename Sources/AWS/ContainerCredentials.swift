import HTTPClient

/// Credentials that ECS and EKS give to containers, from a server nearby: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, or
/// `AWS_CONTAINER_CREDENTIALS_FULL_URI` with a token in `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or
/// `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
struct ContainerCredentials: CredentialsSource {
    static let timeout = Duration.seconds(2)
    static let attempts = 3
    static let relativeOrigin = "http://169.254.170.2"
    /// Those of ECS and EKS. Anywhere else credentials would travel in the clear.
    static let hostsWithoutTLS: Set = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "::1"]

    let name = "container"
    let environment: AWSEnvironment
    let transfer: CredentialsTransfer

    func load() async throws -> AWSCredentials {
        var request: TransferRequest
        do {
            request = try self.request()
            if let token = try token() { request.headers.append(TransferHeader("Authorization", token)) }
        } catch let error as AWSConfigurationError {
            throw CredentialsFailure(error)
        }
        let response = try await transfer.send(request, attempts: Self.attempts)
        return try CredentialsTransfer.credentials(json: response.body, from: "the container endpoint")
    }

    private func request() throws -> TransferRequest {
        let address: WebAddress
        if let path = environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] {
            guard path.hasPrefix("/") else {
                throw AWSConfigurationError("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /")
            }
            address = try WebAddress(Self.relativeOrigin + path, named: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        } else if let url = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
            address = try WebAddress(url, named: "AWS_CONTAINER_CREDENTIALS_FULL_URI")
            guard address.origin.hasPrefix("https://") || Self.mayGoWithoutTLS(address.host) else {
                throw AWSConfigurationError(
                    """
                    AWS_CONTAINER_CREDENTIALS_FULL_URI leads to \(address.host) by http: that may only be a loopback \
                    address, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]
                    """)
            }
        } else {
            throw CredentialsFailure.notConfigured("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set")
        }
        return TransferRequest(
            method: "GET", origin: address.origin, path: address.path, query: address.query,
            headers: [TransferHeader("Accept", "application/json")], timeout: Self.timeout,
            maximumResponseBytes: CredentialsTransfer.maximumResponseBytes)
    }

    static func mayGoWithoutTLS(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        let isLoopback = parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
        return isLoopback || hostsWithoutTLS.contains(host)
    }

    private func token() throws(AWSConfigurationError) -> String? {
        if let file = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] { return try environment.token(in: file) }
        guard let token = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] else { return nil }
        // A scheme and a token are allowed.
        guard token.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw AWSConfigurationError("AWS_CONTAINER_AUTHORIZATION_TOKEN holds line breaks or other odd characters")
        }
        return token
    }
}
