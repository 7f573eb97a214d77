/// Credentials of a profile in the shared files: keys, or a role that is assumed with a web identity or with another
/// profile's or source's credentials. The files are read each time.
///
/// Sources: https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html,
/// https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
struct ProfileCredentials: CredentialsSource {
    /// Roles that are assumed by way of each other.
    static let maximumChain = 5

    let name: String
    private let configuration: AWSConfiguration
    private let transfer: CredentialsTransfer

    init(configuration: AWSConfiguration, transfer: CredentialsTransfer) {
        name = "profile \"\(configuration.profileName)\""
        self.configuration = configuration
        self.transfer = transfer
    }

    func load() async throws -> AWSCredentials {
        let files: ProfileFile
        do { files = try AWSConfiguration.files(configuration.environment) } catch { throw CredentialsFailure(error) }
        let name = configuration.profileName
        guard let profile = files.profiles[name] else {
            throw CredentialsFailure.notConfigured("it is in neither of the shared files")
        }
        return try await credentials(of: name, profile.settings, files, chain: [name])
    }

    private func credentials(
        of name: String, _ settings: [String: String], _ files: ProfileFile, chain: [String]
    ) async throws -> AWSCredentials {
        let setting = { (key: String) in settings[key].flatMap { $0.isEmpty ? nil : $0 } }
        if let arn = setting("role_arn") {
            let role = AssumedRole(
                arn: arn, sessionName: setting("role_session_name"), externalID: setting("external_id"),
                duration: setting("duration_seconds"))
            return try await assume(role, of: name, setting, files, chain: chain)
        }
        return try Self.keys(of: name, setting)
    }

    private static func keys(of name: String, _ setting: (String) -> String?) throws(CredentialsFailure)
        -> AWSCredentials
    {
        switch (setting("aws_access_key_id"), setting("aws_secret_access_key")) {
        case (let id?, let secret?):
            return AWSCredentials(accessKeyID: id, secretAccessKey: secret, sessionToken: setting("aws_session_token"))
        case (nil, nil): break
        case (_, nil): throw .failed("the profile \"\(name)\" has aws_access_key_id, but no aws_secret_access_key")
        case (nil, _): throw .failed("the profile \"\(name)\" has aws_secret_access_key, but no aws_access_key_id")
        }
        let unsupported = ["credential_process", "sso_session", "sso_account_id", "sso_start_url", "login_session"]
        if let key = unsupported.first(where: { setting($0) != nil }) {
            throw .failed(
                "the profile \"\(name)\" has \(key), which is not supported: give it keys, or role_arn with a source")
        }
        throw .notConfigured("the profile \"\(name)\" has no credentials")
    }

    private func assume(
        _ role: AssumedRole, of name: String, _ setting: (String) -> String?, _ files: ProfileFile, chain: [String]
    ) async throws -> AWSCredentials {
        if setting("mfa_serial") != nil {
            throw CredentialsFailure.failed("the profile \"\(name)\" has mfa_serial: nobody is here to type a code")
        }
        let tokens = SecurityTokens(configuration: configuration, transfer: transfer)
        if let file = setting("web_identity_token_file") { return try await tokens.assume(role, tokenFile: file) }
        switch (setting("source_profile"), setting("credential_source")) {
        case (let source?, nil):
            let base = try await base(source, of: name, files, chain: chain)
            return try await tokens.assume(role, by: base)
        case (nil, let source?):
            return try await tokens.assume(role, by: try await named(source, of: name).load())
        case (nil, nil):
            throw CredentialsFailure.failed(
                """
                the profile \"\(name)\" has role_arn, but neither source_profile, credential_source nor \
                web_identity_token_file
                """)
        case (_?, _?):
            throw CredentialsFailure.failed(
                "the profile \"\(name)\" has source_profile and credential_source: take one of them away")
        }
    }

    /// The credentials of another profile; a profile that names itself means its own keys.
    private func base(
        _ source: String, of name: String, _ files: ProfileFile, chain: [String]
    ) async throws -> AWSCredentials {
        guard let profile = files.profiles[source] else {
            throw CredentialsFailure.failed("source_profile of the profile \"\(name)\": there is no \"\(source)\"")
        }
        do {
            if source == name {
                return try Self.keys(of: name) { key in profile.settings[key].flatMap { $0.isEmpty ? nil : $0 } }
            }
            guard !chain.contains(source), chain.count < Self.maximumChain else {
                let names = (chain + [source]).joined(separator: " -> ")
                throw CredentialsFailure.failed("source_profile goes in circles or too far: \(names)")
            }
            return try await credentials(of: source, profile.settings, files, chain: chain + [source])
        } catch let failure as CredentialsFailure {
            throw CredentialsFailure(.failed, failure.reason)
        }
    }

    private func named(_ source: String, of name: String) throws -> any CredentialsSource {
        switch source {
        case "Environment": return EnvironmentCredentials(environment: configuration.environment)
        case "EcsContainer":
            return ContainerCredentials(environment: configuration.environment, transfer: transfer)
        case "Ec2InstanceMetadata":
            return InstanceMetadataCredentials(environment: configuration.environment, transfer: transfer)
        default:
            throw CredentialsFailure.failed(
                """
                credential_source of the profile \"\(name)\" is \"\(source)\": it would be Environment, EcsContainer or \
                Ec2InstanceMetadata
                """)
        }
    }
}
