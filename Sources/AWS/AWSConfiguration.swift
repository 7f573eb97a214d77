public import HTTPClient

/// A service of AWS by its names.
public struct AWSServiceName: Sendable, Equatable {
    /// As signatures know it.
    public var signing: String
    /// As hosts begin.
    public var host: String
    /// As settings know it: `AWS_ENDPOINT_URL_<it, in capitals>`.
    public var setting: String
    /// Of AWS's own hosts; nil is the scheme's.
    public var port: Int?

    /// A service.
    public init(signing: String, host: String, setting: String, port: Int? = nil) {
        self.signing = signing
        self.host = host
        self.setting = setting
        self.port = port
    }

    /// Amazon DynamoDB.
    public static let dynamoDB = AWSServiceName(signing: "dynamodb", host: "dynamodb", setting: "dynamodb")
    /// Amazon S3.
    public static let s3 = AWSServiceName(signing: "s3", host: "s3", setting: "s3")
    /// AWS Security Token Service.
    public static let sts = AWSServiceName(signing: "sts", host: "sts", setting: "sts")
    /// Amazon Transcribe's streams over WebSocket, which have a port of their own.
    ///
    /// Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-websocket.html
    public static let transcribeStreaming = AWSServiceName(
        signing: "transcribe", host: "transcribestreaming", setting: "transcribe_streaming", port: 8443)
}

/// The settings that all of AWS's tools share, from variables and from the profile they choose.
///
/// Source: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
public struct AWSConfiguration: Sendable {
    /// The profile that is used: `AWS_PROFILE`, or `default`.
    public let profileName: String
    /// Attempts of a call: `AWS_MAX_ATTEMPTS`, `max_attempts`; nil is the retry mode's own.
    public let maximumAttempts: Int?

    let environment: AWSEnvironment
    private let configuredRegion: String?
    private let profile: ProfileFile.Section
    private let services: ProfileFile.Section
    private let ignoresEndpoints: Bool
    private let usesFIPS: Bool
    private let usesDualStack: Bool

    /// Reads the settings; `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE` are read now.
    public init(environment: AWSEnvironment) throws(AWSConfigurationError) {
        self.environment = environment
        profileName = environment["AWS_PROFILE"] ?? "default"
        let files = try Self.files(environment)
        profile = try Self.profile(profileName, in: files, isChosen: environment["AWS_PROFILE"] != nil)
        services = profile.settings["services"].flatMap { files.services[$0] } ?? ProfileFile.Section()
        if let name = profile.settings["services"], files.services[name] == nil {
            throw AWSConfigurationError("the profile \"\(profileName)\" names [services \(name)], which is not there")
        }
        let settings = profile.settings
        configuredRegion = environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"] ?? settings["region"]
        func flag(_ variable: String, _ setting: String) throws(AWSConfigurationError) -> Bool {
            try Self.flag(variable, environment[variable] ?? settings[setting])
        }
        ignoresEndpoints = try flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
        usesFIPS = try flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")
        usesDualStack = try flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")
        maximumAttempts = try Self.attempts(environment["AWS_MAX_ATTEMPTS"] ?? settings["max_attempts"])
        if let mode = environment["AWS_RETRY_MODE"] ?? settings["retry_mode"], mode.lowercased() != "standard" {
            throw AWSConfigurationError("AWS_RETRY_MODE (retry_mode) is \"\(mode)\": only standard is there")
        }
    }

    /// The region.
    ///
    /// - Throws: if none is set, or if it cannot be one.
    public func region() throws(AWSConfigurationError) -> String {
        guard let region = configuredRegion else {
            throw AWSConfigurationError(
                "no AWS region: set AWS_REGION, for example to eu-west-1, or region in the profile \"\(profileName)\"")
        }
        let isName = region.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "-")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard isName, region.utf8.count <= 63, region.first != "-" else {
            throw AWSConfigurationError("the AWS region \"\(region)\" is none: it would be like eu-west-1")
        }
        return region
    }

    /// Scheme and host of a service: as configured, or as AWS names it in the region.
    public func origin(of service: AWSServiceName) throws(AWSConfigurationError) -> String {
        if let (setting, url) = configuredEndpoint(of: service) {
            let address = try WebAddress(url, named: setting)
            guard address.path == "/", address.query.isEmpty else {
                throw AWSConfigurationError("\(setting) is \(WebAddress.shown(url)): it may not have a path")
            }
            guard !usesFIPS else {
                throw AWSConfigurationError(
                    "\(setting) cannot be used with AWS_USE_FIPS_ENDPOINT: take one of them away")
            }
            return address.origin
        }
        // STS alone has a host for all regions too.
        if service == .sts, configuredRegion == nil { return "https://sts.amazonaws.com" }
        let region = try region()
        let partition = AWSPartition.of(region)
        let name = service.host + (usesFIPS ? "-fips" : "")
        let port = service.port.map { ":\($0)" } ?? ""
        switch (service, usesDualStack) {
        // S3 had its dual-stack hosts before there was a domain for them.
        case (.s3, true): return "https://\(name).dualstack.\(region).\(partition.suffix)"
        case (_, true): return "https://\(name).\(region).\(partition.dualStackSuffix)\(port)"
        case (_, false): return "https://\(name).\(region).\(partition.suffix)\(port)"
        }
    }

    /// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html, "Order of precedence"
    private func configuredEndpoint(of service: AWSServiceName) -> (setting: String, url: String)? {
        guard !ignoresEndpoints else { return nil }
        let own = "AWS_ENDPOINT_URL_" + service.setting.uppercased()
        if let url = environment[own] { return (own, url) }
        if let url = environment["AWS_ENDPOINT_URL"] { return ("AWS_ENDPOINT_URL", url) }
        if let url = services.nested[service.setting]?["endpoint_url"], !url.isEmpty {
            return ("endpoint_url of \(service.setting) in the profile's services", url)
        }
        if let url = profile.settings["endpoint_url"], !url.isEmpty {
            return ("endpoint_url of the profile \"\(profileName)\"", url)
        }
        return nil
    }

    /// The sources of credentials in the order of AWS's SDKs: what is set for this process alone, then what is set on this
    /// machine, then what its host provides.
    ///
    /// Sources: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html,
    /// https://docs.aws.amazon.com/sdk-for-java/latest/developer-guide/credentials-chain.html
    public func credentialsSources(_ transfer: CredentialsTransfer) -> [any CredentialsSource] {
        [
            EnvironmentCredentials(environment: environment),
            WebIdentityCredentials(configuration: self, transfer: transfer),
            ProfileCredentials(configuration: self, transfer: transfer),
            ContainerCredentials(environment: environment, transfer: transfer),
            InstanceMetadataCredentials(environment: environment, transfer: transfer),
        ]
    }

    /// A service in the configured region, at the configured endpoint.
    ///
    /// - Throws: if there is no region, or if a setting is wrong.
    public func service(
        _ name: AWSServiceName, credentials: CredentialsProvider, transport: any HTTPTransport, clock: AWSClock,
        effects: AWSService.Effects = AWSService.Effects()
    ) throws(AWSConfigurationError) -> AWSService {
        AWSService(
            signingName: name.signing, region: try region(), origin: try origin(of: name), credentials: credentials,
            transport: transport, clock: clock,
            retries: RetryPolicy(service: name.signing, maximumAttempts: maximumAttempts), effects: effects)
    }

    // MARK: Reading

    /// Both files; what is not there is empty.
    static func files(_ environment: AWSEnvironment) throws(AWSConfigurationError) -> ProfileFile {
        func file(_ variable: String, _ standard: String, _ kind: ProfileFile.Kind) throws(AWSConfigurationError)
            -> ProfileFile
        {
            let path = environment[variable] ?? standard
            // Without a home there is no standard place.
            if environment[variable] == nil, environment["HOME"] == nil { return ProfileFile() }
            guard let text = try environment.text(of: path) else { return ProfileFile() }
            return try ProfileFile(text, kind: kind, path: path)
        }
        return ProfileFile.merged(
            config: try file("AWS_CONFIG_FILE", "~/.aws/config", .config),
            credentials: try file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", .credentials))
    }

    static func profile(
        _ name: String, in files: ProfileFile, isChosen: Bool
    ) throws(AWSConfigurationError) -> ProfileFile.Section {
        if let profile = files.profiles[name] { return profile }
        guard isChosen else { return ProfileFile.Section() }
        let known = files.profiles.keys.sorted().joined(separator: ", ")
        throw AWSConfigurationError(
            """
            the profile \"\(name)\" is neither in ~/.aws/config nor in ~/.aws/credentials (AWS_CONFIG_FILE, \
            AWS_SHARED_CREDENTIALS_FILE); there are: \(known.isEmpty ? "none" : known)
            """)
    }

    private static func flag(_ name: String, _ value: String?) throws(AWSConfigurationError) -> Bool {
        switch value?.lowercased() {
        case nil, "", "false": return false
        case "true": return true
        default: throw AWSConfigurationError("\(name) is \"\(value ?? "")\": it would be true or false")
        }
    }

    private static func attempts(_ value: String?) throws(AWSConfigurationError) -> Int? {
        guard let value else { return nil }
        guard let number = Int(value), (1...100).contains(number) else {
            throw AWSConfigurationError("AWS_MAX_ATTEMPTS (max_attempts) is \"\(value)\": it would be 1 to 100")
        }
        return number
    }
}
