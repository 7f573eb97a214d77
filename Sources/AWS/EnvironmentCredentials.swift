/// Credentials in variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if they are temporary, `AWS_SESSION_TOKEN`.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html
struct EnvironmentCredentials: CredentialsSource {
    let name = "environment"
    let environment: AWSEnvironment

    func load() async throws -> AWSCredentials {
        let id = environment["AWS_ACCESS_KEY_ID"]
        let secret = environment["AWS_SECRET_ACCESS_KEY"]
        switch (id, secret) {
        case (let id?, let secret?):
            return AWSCredentials(
                accessKeyID: id, secretAccessKey: secret, sessionToken: environment["AWS_SESSION_TOKEN"])
        case (nil, nil): throw CredentialsFailure.notConfigured("AWS_ACCESS_KEY_ID is not set")
        case (_, nil): throw CredentialsFailure.failed("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
        case (nil, _): throw CredentialsFailure.failed("AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not")
        }
    }
}

/// A role assumed with a token in a file, as Kubernetes gives it to pods: `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`,
/// `AWS_ROLE_SESSION_NAME`.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
struct WebIdentityCredentials: CredentialsSource {
    let name = "web identity"
    let configuration: AWSConfiguration
    let transfer: CredentialsTransfer

    func load() async throws -> AWSCredentials {
        let environment = configuration.environment
        guard let file = environment["AWS_WEB_IDENTITY_TOKEN_FILE"] else {
            throw CredentialsFailure.notConfigured("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        }
        guard let role = environment["AWS_ROLE_ARN"] else {
            throw CredentialsFailure.failed("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not")
        }
        let sessionName = environment["AWS_ROLE_SESSION_NAME"]
        return try await SecurityTokens(configuration: configuration, transfer: transfer)
            .assume(AssumedRole(arn: role, sessionName: sessionName), tokenFile: file)
    }
}
