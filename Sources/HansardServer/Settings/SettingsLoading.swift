import FoundationEssentials

extension Settings {
    /// What the settings are needed for; it decides which must be given.
    public enum Purpose: Sendable {
        /// A server in production.
        case serve
        /// `hansard dev`, which makes what is not given.
        case development
        /// `hansard migrate`.
        case migration
        /// `hansard admin`.
        case administration
        /// `hansard aws init`.
        case awsPreparation
    }

    /// Settings as they were read.
    public struct Loaded: Sendable {
        /// The settings.
        public var settings: Settings
        /// What an operator should look at, though the settings can be used.
        public var warnings: [String]
    }

    /// Reads every setting: the environment first, then the file, then the default. An empty value counts as not given.
    ///
    /// - Throws: `SettingsError` with all that is wrong.
    public static func load(
        environment: [String: String],
        file: SettingsFile? = nil,
        for purpose: Purpose
    ) throws(SettingsError) -> Loaded {
        var settings = Settings()
        settings.awsEnvironment = environment.filter { $0.key.hasPrefix("AWS_") || $0.key == "HOME" }
        var problems = file?.problems ?? []
        for setting in Setting.all {
            guard let given = given(setting, environment: environment, file: file) else {
                if purpose == .development, case .value(let text)? = setting.development {
                    let isRight = setting.apply(text, &settings)
                    assert(isRight, "what dev takes for \(setting.name) is not right")
                }
                continue
            }
            if !setting.apply(given.text, &settings) {
                let value =
                    setting.isSecret
                    ? "the value, not shown because it is secret,"
                    : quotedForPeople(setting.withoutUserInfo(given.text))
                problems.append(
                    .init(place: given.place, message: "\(value) is not right; expected \(setting.expected)")
                )
            }
        }
        // What is missing is only known once what is given is right, or it would be named twice.
        if problems.isEmpty { problems = settings.contradictions(for: purpose) }
        guard problems.isEmpty else { throw SettingsError(problems: problems) }
        return Loaded(settings: settings, warnings: warnings(about: environment) + settings.omissions(for: purpose))
    }

    private static func given(
        _ setting: Setting,
        environment: [String: String],
        file: SettingsFile?
    ) -> (text: String, place: String)? {
        if let text = environment[setting.name], !text.isEmpty { return (text, "\(setting.name) (environment)") }
        if let file, let entry = file.entries[setting.key], !entry.text.isEmpty {
            return (entry.text, "\(file.path):\(entry.line): \(setting.key)")
        }
        if let name = setting.fallback, let text = environment[name], !text.isEmpty {
            return (text, "\(name) (environment)")
        }
        return nil
    }

    /// What each setting alone cannot know.
    private func contradictions(for purpose: Purpose) -> [SettingsError.Problem] {
        var problems: [SettingsError.Problem] = []
        func missing(_ name: String, _ why: String) {
            guard let setting = Setting.all.first(where: { $0.name == name }) else { return }
            problems.append(.init(place: name, message: "\(why); expected \(setting.expected)"))
        }
        if purpose == .serve {
            if databaseURL == nil { missing("HANSARD_DATABASE_URL", "is not given, and `hansard serve` needs it") }
            if secrets.isEmpty { missing("HANSARD_SECRET", "is not given, and `hansard serve` needs it") }
        }
        if purpose == .administration, databaseURL == nil {
            missing("HANSARD_DATABASE_URL", "is not given, and `hansard admin` needs it")
        }
        if purpose == .migration, databaseURL == nil, databaseOwnerURL == nil {
            missing("HANSARD_DATABASE_OWNER_URL", "is not given, and neither is HANSARD_DATABASE_URL")
        }
        if s3KMSKey != nil, s3Encryption != .kms {
            missing("HANSARD_S3_ENCRYPTION", "is not aws:kms, but HANSARD_S3_KMS_KEY is given")
        }
        if let fallbackEngine, fallbackEngine == engine {
            missing("HANSARD_FALLBACK_ENGINE", "is \(engine.rawValue), the same as HANSARD_ENGINE; leave it out")
        }
        guard purpose == .serve || purpose == .development else { return problems }
        if engine == .deepgram || fallbackEngine == .deepgram, deepgramKey == nil {
            missing("HANSARD_DEEPGRAM_KEY", "is not given, and the engine deepgram needs it")
        }
        switch (tlsCertificate, tlsKey) {
        case (_?, nil): missing("HANSARD_TLS_KEY", "is not given, but HANSARD_TLS_CERT is")
        case (nil, _?): missing("HANSARD_TLS_CERT", "is not given, but HANSARD_TLS_KEY is")
        default: break
        }
        let files = [
            ("HANSARD_TLS_CERT", tlsCertificate), ("HANSARD_TLS_KEY", tlsKey),
            ("HANSARD_EVENTS_AUTHORITIES", eventsAuthorities),
        ]
        for (name, path) in files {
            guard let path, !FileManager.default.isReadableFile(atPath: path) else { continue }
            problems.append(.init(place: name, message: "\(quotedForPeople(path)) cannot be read; expected a PEM file"))
        }
        return problems
    }

    /// What can be left out, and more often is forgotten.
    private func omissions(for purpose: Purpose) -> [String] {
        guard purpose == .serve || purpose == .development, eventsURL != nil, eventsSecrets.isEmpty else { return [] }
        return [
            "usage events are not signed, and their receiver cannot tell whether they are ours: set HANSARD_EVENTS_SECRET to "
                + "\(WebhookSigning.prefix)$(openssl rand -base64 32), here and there"
        ]
    }

    /// What clients of the server read from the same environment (`dev.env`), so that it is no mistake there.
    private static let clientNames = ["HANSARD_URL", "HANSARD_API_KEY", "HANSARD_ADMIN_TOKEN"]
    /// What Kubernetes sets for a service that is called hansard.
    private static let kubernetesPrefixes = ["HANSARD_SERVICE_", "HANSARD_PORT"]

    /// A misspelt variable has no effect, which nobody would notice otherwise. It is no error, since others may set
    /// variables that begin alike.
    private static func warnings(about environment: [String: String]) -> [String] {
        let known = Setting.all.map(\.name) + clientNames
        let unknown = environment.keys.filter { name in
            name.hasPrefix(Setting.prefix) && !known.contains(name)
                && !kubernetesPrefixes.contains(where: { name.hasPrefix($0) })
        }
        return unknown.sorted().map { name in
            let hint = nearest(to: name, among: known).map { "; did you mean \($0)?" } ?? ""
            return "\(name) in the environment is not a setting and has no effect\(hint)"
        }
    }
}
