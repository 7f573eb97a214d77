import AWS
import EventLoops
import HTTPClient
import Hansard
public import Logging

/// What the stores on AWS share: one HTTP client, one set of credentials, one idea of AWS's time. Made if a setting asks
/// for a store there; `close()` ends its thread.
struct AWSStores: Sendable {
    let http: HTTPClient
    private let configuration: AWSConfiguration
    private let credentials: CredentialsProvider
    private let clock: AWSClock

    /// - Throws: `.invalid`, saying which AWS setting is wrong.
    init(environment: [String: String], logger: Logger) throws {
        do {
            configuration = try AWSConfiguration(environment: AWSEnvironment(variables: environment))
            http = try HTTPClient()
        } catch let error as AWSConfigurationError {
            throw HansardError(.invalid, "\(error)")
        }
        clock = AWSClock(report: { logger.warning("\($0)") })
        credentials = CredentialsProvider(
            sources: configuration.credentialsSources(CredentialsTransfer(transport: http, clock: clock)), clock: clock)
    }

    /// What a node has of AWS: nil if it needs nothing there, or if all that it might need is an engine that nobody has
    /// chosen and AWS is not set up for it.
    static func make(_ settings: Settings, logger: Logger) throws -> AWSStores? {
        guard settings.usesAWS else { return nil }
        do {
            return try AWSStores(environment: settings.awsEnvironment, logger: logger)
        } catch {
            if settings.needsAWS { throw error }
            logger.notice(
                "Amazon Transcribe is not available to tenants", metadata: ["error": "\(describe(error))"])
            return nil
        }
    }

    /// The table of connections and sessions.
    func table(_ settings: Settings) throws -> DynamoDB {
        DynamoDB(table: settings.dynamoDBTable, caller: try service(.dynamoDB))
    }

    /// The store of connections. The times in its items are AWS's, whose clock lets them expire: a tombstone that this
    /// machine's clock had expired at once would let a late claim through.
    func connections(_ settings: Settings) throws -> DynamoDBConnectionStore {
        var surroundings = DynamoDBConnectionStore.Surroundings()
        surroundings.date = { [clock] in clock.now }
        return DynamoDBConnectionStore(table: try table(settings), surroundings: surroundings)
    }

    /// The bucket of transcripts.
    func transcripts(at location: S3Location, _ settings: Settings) throws -> S3TranscriptStore {
        let service = try service(.s3)
        let encryption: S3Encryption =
            switch settings.s3Encryption {
            case .bucket: .bucketDefault
            case .s3Managed: .s3Managed
            case .kms: .kms(key: settings.s3KMSKey)
            }
        let s3 = S3(
            bucket: location.bucket, caller: service, addressing: settings.s3Addressing, encryption: encryption
        ) { try await service.presign($0, expiringAfter: $1).url }
        return S3TranscriptStore(s3: s3, location: location, now: { [clock] in clock.now })
    }

    /// Amazon Transcribe.
    func amazonTranscribe(_ settings: Settings) throws -> AmazonTranscribe {
        var options = AmazonTranscribe.Options()
        options.streamLimit = settings.transcribeStreamLimit
        options.speed = settings.engineSpeed
        options.signsChunks = settings.transcribeSigning == .messages
        options.languages = settings.transcribeLanguages
        options.authorities = settings.engineAuthorities
        let clock = clock
        return AmazonTranscribe(
            service: try service(.transcribeStreaming), credentials: credentials,
            origin: try origin(of: .transcribeStreaming), options: options, date: { clock.now })
    }

    private func origin(of name: AWSServiceName) throws -> String {
        do {
            return try configuration.origin(of: name)
        } catch {
            throw HansardError(.invalid, "\(error)")
        }
    }

    /// Ends what is in flight, and the thread.
    func close() async { await http.close() }

    private func service(_ name: AWSServiceName) throws -> AWSService {
        do {
            return try configuration.service(name, credentials: credentials, transport: http, clock: clock)
        } catch {
            throw HansardError(.invalid, "\(error)")
        }
    }
}

/// Makes on AWS what a node needs there, which its own permissions do not let it make: `hansard aws init`.
public enum AWSPreparation {
    /// Makes the table with its index and expiry, as far as they are missing, and checks the bucket. Running it again
    /// changes nothing.
    ///
    /// - Parameter say: gets a line for each thing that was made or found.
    /// - Throws: `HansardError`, saying what to change.
    public static func run(settings: Settings, logger: Logger, say: @Sendable (String) -> Void) async throws {
        guard settings.storesOnAWS else {
            throw HansardError(
                .invalid,
                "nothing is to be prepared: HANSARD_CONNECTIONS is not dynamodb, and HANSARD_TRANSCRIPTS is no bucket")
        }
        let aws = try AWSStores(environment: settings.awsEnvironment, logger: logger)
        do {
            try await prepare(aws, settings, say)
        } catch {
            await aws.close()
            throw error
        }
        await aws.close()
    }

    private static func prepare(_ aws: AWSStores, _ settings: Settings, _ say: (String) -> Void) async throws {
        if settings.connections == .dynamodb {
            let table = try aws.table(settings)
            let subject = AWSSubject(name: "the table '\(table.table)'", setting: "HANSARD_DYNAMODB_TABLE")
            let done = try await HansardError.mapping(subject) {
                try await table.prepare(DynamoDBItems.layout) { try await Task.sleep(for: $0) }
            }
            for part in done {
                switch part {
                case .made(let what): say("made \(what)")
                case .found(let what): say("found \(what)")
                }
            }
        }
        if case .bucket(let location)? = settings.transcripts {
            try await aws.transcripts(at: location, settings).checkHealth()
            say("the bucket \(location.bucket) takes transcripts")
        }
    }

    /// Tries every kind of call that a node makes, with the credentials that it would use, for a tenant that does not exist: what a
    /// policy lacks shows now and not in a session. What it leaves expires by itself.
    ///
    /// - Parameter say: gets a line for each call, with what is wrong if it failed.
    /// - Returns: whether all of them worked.
    public static func check(settings: Settings, logger: Logger, say: @Sendable (String) -> Void) async throws -> Bool {
        guard settings.storesOnAWS else {
            throw HansardError(
                .invalid,
                "nothing is to be checked: HANSARD_CONNECTIONS is not dynamodb, and HANSARD_TRANSCRIPTS is no bucket")
        }
        let aws = try AWSStores(environment: settings.awsEnvironment, logger: logger)
        var checks: [AWSCheck] = []
        do {
            if settings.connections == .dynamodb {
                checks += AWSCheck.connections(try aws.connections(settings), settings)
            }
            if case .bucket(let location)? = settings.transcripts {
                checks += AWSCheck.transcripts(try aws.transcripts(at: location, settings), aws.http)
            }
        } catch {
            await aws.close()
            throw error
        }
        var isGood = true
        for check in checks {
            do {
                try await check.run()
                say("\(check.name): works")
            } catch {
                isGood = false
                say("\(check.name): \(describe(error))")
            }
        }
        await aws.close()
        return isGood
    }
}
