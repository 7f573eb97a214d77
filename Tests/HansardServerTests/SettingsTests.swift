import Foundation
import Testing
import Web

@testable import HansardServer

struct SettingsTests {
    static let secret = "0123456789abcdef0123456789abcdef"
    static let webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    static let required = [
        "HANSARD_DATABASE_URL": "postgresql://hansard:hunter2@db.example/hansard", "HANSARD_SECRET": secret,
    ]

    func load(_ environment: [String: String], yaml: String? = nil) throws -> Settings {
        let file = yaml.map { SettingsFile(path: "hansard.yaml", yaml: $0) }
        let all = Self.required.merging(environment) { $1 }
        return try Settings.load(environment: all, file: file, for: .serve).settings
    }

    func problems(_ environment: [String: String], yaml: String? = nil) -> [String] {
        do {
            _ = try load(environment, yaml: yaml)
            return []
        } catch let error as SettingsError {
            return error.problems.map(\.description)
        } catch {
            return ["\(error)"]
        }
    }

    @Test func defaultsAreTheDocumentedOnes() throws {
        let settings = try load([:])
        #expect(settings.listen == SocketAddress(host: "127.0.0.1", port: 8080))
        #expect(settings.stateDirectory == ".hansard")
        #expect(settings.transcriptsFolder == ".hansard/transcripts")
        #expect(settings.handshakesPerAddress == 50)
        #expect(settings.spoolMaxBytes == ByteCount(1 << 30))
        #expect(settings.engine == .pocketsphinx)
        #expect(settings.engineSlots == nil)
        #expect(settings.region == "local")
        #expect(settings.drainDeadline == .seconds(30))
        #expect(!settings.node.isEmpty)
        #expect(settings.tls == nil)
    }

    /// For each setting a text that is right, what it is shown as once read, and a text that is wrong.
    static let examples: [(name: String, right: String, shown: String, wrong: String)] = [
        ("HANSARD_LISTEN", "[::1]:80", "[::1]:80", "8080"),
        ("HANSARD_LISTEN", "localhost:0", "127.0.0.1:0", "example.net:80"),
        ("HANSARD_LISTEN", "0.0.0.0:65535", "0.0.0.0:65535", "0.0.0.0:65536"),
        ("HANSARD_LISTEN", "[::]:8080", "[::]:8080", "::1:8080"),
        ("HANSARD_LISTEN", "127.0.0.1:1", "127.0.0.1:1", "[127.0.0.1]:1"),
        ("HANSARD_ADMIN_LISTEN", "127.0.0.1:9000", "127.0.0.1:9000", "9000"),
        ("HANSARD_ADVERTISED_ADDRESS", "node-1.example.net:443", "node-1.example.net:443", "node 1:443"),
        ("HANSARD_ADVERTISED_ADDRESS", "[2001:db8::1]:443", "[2001:db8::1]:443", "node:0"),
        ("HANSARD_TLS_CERT", "/dev/null", "/dev/null", "https://example.net/cert.pem"),
        ("HANSARD_TLS_KEY", "/dev/null", "/dev/null", "s3://bucket/key.pem"),
        ("HANSARD_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7", "10.0.0.0/8,192.0.2.7/32", "10.0.0.0/8,"),
        ("HANSARD_TRUSTED_PROXIES", "2001:db8::/32", "2001:db8::/32", "10.0.0.0/33"),
        ("HANSARD_HANDSHAKES_PER_ADDRESS", "0.5", "0.5", "-1"),
        ("HANSARD_HANDSHAKES_PER_ADDRESS", "none", "none", "inf"),
        ("HANSARD_HANDSHAKES_PER_ADDRESS", "20", "20", "0"),
        ("HANSARD_HANDSHAKE_BURST", "7", "7", "0"),
        ("HANSARD_KEY_STALENESS_MAX", "15m", "15m", "1s"),
        ("HANSARD_KEY_STALENESS_MAX", "none", "none", "never"),
        ("HANSARD_REQUESTS_PER_ADDRESS", "100", "100", "0"),
        ("HANSARD_REQUESTS_PER_TOKEN", "none", "none", "-1"),
        ("HANSARD_REQUESTS_PER_KEY", "1000000", "1000000", "1000001"),
        ("HANSARD_MAX_CONNECTIONS", "1000000", "1000000", "1000001"),
        ("HANSARD_IDLE_TIMEOUT", "1500ms", "1500ms", "10"),
        ("HANSARD_DRAIN_DEADLINE", "1m", "1m", "2h"),
        ("HANSARD_DRAIN_DEADLINE", "0s", "0s", "-1s"),
        ("HANSARD_EVENT_LOOPS", "4", "4", "+4"),
        ("HANSARD_NODE", "node-1.a_b", "node-1.a_b", "node 1"),
        ("HANSARD_REGION", "eu-central-1", "eu-central-1", "eu/central"),
        ("HANSARD_STATE_DIR", "/var/lib/hansard", "/var/lib/hansard", "file:///var"),
        ("HANSARD_SPOOL_MAX_AGE", "24h", "24h", "59s"),
        ("HANSARD_CLOSE_GRACE", "2h", "2h", "721h"),
        ("HANSARD_INVOICE_ISSUER", "Müller & Söhne", "Müller & Söhne", " Müller"),
        ("HANSARD_USAGE_RECORDS_DAYS", "31", "31", "30"),
        ("HANSARD_SPOOL_MAX_BYTES", "64MiB", "64MiB", "64MB"),
        ("HANSARD_SPOOL_MAX_BYTES", "1048577", "1048577", "1KiB"),
        ("HANSARD_SPOOL_MAX_BYTES", "1024KiB", "1MiB", "9999999999GiB"),
        ("HANSARD_DATABASE_URL", "postgresql://u:p@h/d", "postgresql://u@h:5432/d", "mysql://u:p@h/d"),
        ("HANSARD_DATABASE_OWNER_URL", "postgres://o:p@h/d", "postgresql://o@h:5432/d", "postgresql://u:p%zz@h/d"),
        ("HANSARD_DATABASE_POOL", "2", "2", "1"),
        ("HANSARD_MIGRATIONS", "Migrations", "Migrations", "https://example.net"),
        ("HANSARD_CONNECTIONS", "dynamodb", "dynamodb", "redis"),
        ("HANSARD_DYNAMODB_TABLE", "acme.sessions_1", "acme.sessions_1", "ab"),
        ("HANSARD_ON_LEASE_LOST", "close", "close", "drop"),
        ("HANSARD_ADMIT_UNCLAIMED", "allow", "allow", "yes"),
        ("HANSARD_QUOTA_UNAVAILABLE", "continue", "continue", "none"),
        ("HANSARD_S3_ENCRYPTION", "aws:kms", "aws:kms", "kms"),
        ("HANSARD_S3_KMS_KEY", "alias/transcripts", "alias/transcripts", "a key"),
        ("HANSARD_S3_ADDRESSING", "path", "path", "host"),
        ("HANSARD_TRANSCRIPTS", "s3://bucket/prefix", "s3://bucket/prefix", "https://bucket/prefix"),
        ("HANSARD_TRANSCRIPT_STORE_WAIT", "250ms", "250ms", "61s"),
        ("HANSARD_ENGINE", "synthetic", "synthetic", "whisper"),
        ("HANSARD_FALLBACK_ENGINE", "synthetic", "synthetic", "none"),
        ("HANSARD_ENGINE_SLOTS", "3", "3", "0"),
        ("HANSARD_ENGINE_SPEED", "2.5", "2.5", "0"),
        ("HANSARD_ENGINE_AUTHORITIES", "/dev/null", "/dev/null", "https://example.net/ca.pem"),
        ("HANSARD_TRANSCRIBE_STREAM_LIMIT", "2h", "2h", "4h"),
        ("HANSARD_TRANSCRIBE_SIGNING", "messages", "messages", "yes"),
        ("HANSARD_TRANSCRIBE_LANGUAGES", "en-GB, de-DE", "en-GB,de-DE", "en-US,en-GB"),
        ("HANSARD_DEEPGRAM_URL", "ws://127.0.0.1:8081", "ws://127.0.0.1:8081/", "127.0.0.1:8081"),
        ("HANSARD_DEEPGRAM_KEY", "hsk_a_key", "***", "a key"),
        ("HANSARD_MODEL_DIR", "/models", "/models", "http://models"),
        ("HANSARD_SECRET", secret, "***", "short"),
        ("HANSARD_SECRET", "\(secret),\(secret)2", "***", "\(secret),\(secret),\(secret)"),
        ("HANSARD_ROLLUP_INTERVAL", "500ms", "500ms", "99ms"),
        ("HANSARD_EVENTS_URL", "https://meter.example/events", "https://meter.example/events", "http://meter.example/"),
        ("HANSARD_EVENTS_SECRET", "\(webhookSecret)", "***", secret),
        ("HANSARD_EVENTS_SECRET", "\(webhookSecret), \(webhookSecret)", "***", "whsec_c2hvcnQ="),
        ("HANSARD_EVENTS_AUTHORIZATION", "Bearer a_token", "***", "Bearer a\ntoken"),
        ("HANSARD_EVENTS_SOURCE", "urn:hansard:eu-1", "urn:hansard:eu-1", "a name"),
        ("HANSARD_EVENTS_TIMEOUT", "30s", "30s", "2m"),
        ("HANSARD_EVENTS_RETRY_MAX", "1h", "1h", "0s"),
        ("HANSARD_EVENTS_AUTHORITIES", "/dev/null", "/dev/null", "https://example.net/ca.pem"),
        ("HANSARD_OPENAPI", "openapi.yaml", "openapi.yaml", "http://openapi"),
        ("HANSARD_LOG_LEVEL", "debug", "debug", "verbose"),
        ("HANSARD_LOG_FORMAT", "json", "json", "xml"),
    ]

    @Test func examplesCoverTheTable() {
        #expect(Set(Self.examples.map(\.name)) == Set(Setting.all.map(\.name)))
        #expect(Set(Setting.all.map(\.name)).count == Setting.all.count)
    }

    @Test(arguments: examples)
    func rightIsReadAndWrongIsExplained(name: String, right: String, shown: String, wrong: String) throws {
        let setting = try #require(Setting.all.first { $0.name == name })
        // Some only make sense together.
        let together =
            switch name {
            case "HANSARD_TLS_CERT", "HANSARD_TLS_KEY":
                ["HANSARD_TLS_CERT": "/dev/null", "HANSARD_TLS_KEY": "/dev/null"]
            case "HANSARD_S3_KMS_KEY": ["HANSARD_S3_ENCRYPTION": "aws:kms"]
            default: [String: String]()
            }
        #expect(setting.show(try load(together.merging([name: right]) { $1 })) == shown)
        let found = problems([name: wrong])
        let value = setting.isSecret ? "the value, not shown because it is secret," : "\"\(wrong)\""
        #expect(found == ["\(name) (environment): \(value) is not right; expected \(setting.expected)"])
    }

    @Test(arguments: Setting.all.filter { $0.isSecret }.map(\.name))
    func secretsAreNotShown(name: String) throws {
        #expect(!problems([name: "s3cr3t-but-wrong"]).joined().contains("s3cr3t"))
        let right = ["HANSARD_SECRET": Self.secret, "HANSARD_EVENTS_SECRET": Self.webhookSecret]
        let settings = try load([name: right[name] ?? "postgresql://u:s3cr3tpass@h/d"])
        var dumped = ""
        dump(settings.secrets, to: &dumped)
        let texts = [
            "\(settings.secrets)", String(reflecting: settings.secrets), dumped, "\(settings.databaseURL as Any)",
            "\(settings.eventsSecrets)", "\(settings.eventsAuthorization as Any)",
        ]
        for text in texts {
            #expect(!text.contains(Self.secret) && !text.contains("s3cr3tpass") && !text.contains("whsec_"))
        }
    }

    @Test(arguments: [
        ("HANSARD_EVENTS_URL", "https://me:s3cr3t@meter.example/x", "https://***@meter.example/x"),
        ("HANSARD_EVENTS_URL", "https://s3cr3t@meter.example", "https://***@meter.example"),
        ("HANSARD_EVENTS_URL", "https://me:s3cr3t/@#?s3cr3t@meter.example/x", "https://***@meter.example/x"),
        ("HANSARD_EVENTS_URL", "me:s3cr3t@meter.example", "***@meter.example"),
        ("HANSARD_EVENTS_URL", "me:s3cr3t@https://meter.example", "***@https://meter.example"),
        ("HANSARD_DEEPGRAM_URL", "wss://me:s3cr3t@speech.example", "wss://***@speech.example"),
        ("HANSARD_TRANSCRIPTS", "https://me:s3cr3t@bucket", "https://***@bucket"),
        ("HANSARD_NODE", "me@here", "me@here"),
    ])
    func usersAndPasswordsOfAddressesAreNotShown(name: String, wrong: String, shown: String) {
        let found = problems([name: wrong])
        #expect(found.count == 1 && found.first?.contains("\"\(shown)\" is not right") == true)
    }

    @Test func allProblemsAreToldAtOnce() {
        let found = problems(["HANSARD_ENGINE": "x", "HANSARD_LISTEN": "y"], yaml: "idle_timeout: 10\nlistens: z\n")
        #expect(found.count == 4)
        #expect(found.contains { $0.hasPrefix("hansard.yaml:1: idle_timeout: \"10\" is not right") })
        #expect(found.contains("hansard.yaml:2: \"listens\" is not a setting; did you mean `listen`?"))
    }

    @Test func errorListsTheProblems() {
        let one = SettingsError.Problem(place: "HANSARD_X (environment)", message: "is odd")
        #expect("\(SettingsError(problems: [one]))" == "a setting is wrong:\n  HANSARD_X (environment): is odd")
        #expect("\(SettingsError(problems: [one, one]))".hasPrefix("2 settings are wrong:\n"))
    }

    @Test func serveNeedsADatabaseAndASecret() {
        #expect(throws: SettingsError.self) { try Settings.load(environment: [:], for: .serve) }
        do {
            _ = try Settings.load(environment: [:], for: .serve)
        } catch {
            #expect(error.problems.map(\.place) == ["HANSARD_DATABASE_URL", "HANSARD_SECRET"])
            #expect(
                error.problems[0].message.hasPrefix("is not given, and `hansard serve` needs it; expected a libpq URL")
            )
        }
    }

    @Test func migrateNeedsEitherDatabase() throws {
        #expect(throws: SettingsError.self) { try Settings.load(environment: [:], for: .migration) }
        for name in ["HANSARD_DATABASE_URL", "HANSARD_DATABASE_OWNER_URL"] {
            _ = try Settings.load(environment: [name: "postgresql:///hansard"], for: .migration)
        }
    }

    @Test func devMakesWhatIsNotGiven() throws {
        let settings = try Settings.load(environment: [:], for: .development).settings
        #expect(settings.databaseURL == nil && settings.secrets.isEmpty && settings.handshakesPerAddress == nil)
        let given = ["HANSARD_HANDSHAKES_PER_ADDRESS": "3"]
        #expect(try Settings.load(environment: given, for: .development).settings.handshakesPerAddress == 3)
    }

    @Test func anEngineIsNotItsOwnFallback() {
        let found = problems(["HANSARD_ENGINE": "synthetic", "HANSARD_FALLBACK_ENGINE": "synthetic"])
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("HANSARD_FALLBACK_ENGINE: is synthetic, the same as HANSARD_ENGINE") == true)
    }

    @Test func tlsNeedsBothFilesAndBothReadable() {
        #expect(
            problems(["HANSARD_TLS_CERT": "/dev/null"]).map { $0.prefix(57) } == [
                "HANSARD_TLS_KEY: is not given, but HANSARD_TLS_CERT is; e"
            ]
        )
        #expect(problems(["HANSARD_TLS_KEY": "/dev/null"]).first?.hasPrefix("HANSARD_TLS_CERT: is not given") == true)
        let missing = problems(["HANSARD_TLS_CERT": "/dev/null", "HANSARD_TLS_KEY": "/nowhere/key.pem"])
        #expect(missing == ["HANSARD_TLS_KEY: \"/nowhere/key.pem\" cannot be read; expected a PEM file"])
    }

    @Test func environmentComesBeforeFileAndFileBeforeDefault() throws {
        let yaml = "engine: synthetic\nengine_slots: 7\n"
        let settings = try load(["HANSARD_ENGINE_SLOTS": "9", "HANSARD_ENGINE": ""], yaml: yaml)
        #expect(settings.engine == .synthetic)
        #expect(settings.engineSlots == 9)
        #expect(settings.databasePool == 8)
    }

    @Test func regionFallsBackToAWS() throws {
        #expect(try load(["AWS_REGION": "eu-west-1"]).region == "eu-west-1")
        #expect(try load(["AWS_REGION": "eu-west-1", "HANSARD_REGION": "here"]).region == "here")
        #expect(try load(["AWS_REGION": "eu-west-1"], yaml: "region: there").region == "there")
        #expect(
            problems(["AWS_REGION": "a b"]).first?.hasPrefix("AWS_REGION (environment): \"a b\" is not right") == true
        )
    }

    @Test func misspeltVariablesAreWarnedAbout() throws {
        let environment = Self.required.merging([
            "HANSARD_LISTENS": "x", "HANSARD_API_KEY": "x", "HANSARD_URL": "x", "HANSARD_PORT_8080_TCP": "x",
            "PATH": "x",
        ]) { $1 }
        let warnings = try Settings.load(environment: environment, for: .serve).warnings
        #expect(
            warnings == [
                "HANSARD_LISTENS in the environment is not a setting and has no effect; did you mean HANSARD_LISTEN?"
            ]
        )
    }

    @Test func eventsWithoutASignatureAreWarnedAbout() throws {
        func warnings(_ more: [String: String], for purpose: Settings.Purpose = .serve) throws -> [String] {
            try Settings.load(environment: Self.required.merging(more) { $1 }, for: purpose).warnings
        }
        let destination = ["HANSARD_EVENTS_URL": "https://meter.example/events"]
        #expect(try warnings([:]).isEmpty)
        for purpose in [Settings.Purpose.serve, .development] {
            let found = try warnings(destination, for: purpose)
            #expect(found.count == 1)
            #expect(found.first?.contains("not signed") == true)
            #expect(found.first?.contains("set HANSARD_EVENTS_SECRET to whsec_$(openssl rand -base64 32)") == true)
        }
        #expect(try warnings(destination, for: .administration).isEmpty)
        #expect(try warnings(destination.merging(["HANSARD_EVENTS_SECRET": Self.webhookSecret]) { $1 }).isEmpty)
    }

    @Test func valuesInErrorsAreShortAndHarmless() {
        #expect(quotedForPeople("a\u{1b}[31m\n") == #""a\u{1B}[31m\n""#)
        #expect(quotedForPeople(String(repeating: "x", count: 100), limit: 3) == #""xxx...""#)
    }
}
