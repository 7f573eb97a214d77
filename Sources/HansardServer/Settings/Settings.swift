public import Hansard
public import AWS
import Foundation
public import Logging
public import Postgres
public import Web

/// Everything an operator can decide about a server. The initial values here are the defaults; `Setting.all` names each
/// setting once, with how it is read and what it means.
///
/// It holds secrets, so it is not to be logged as a whole.
public struct Settings: Sendable {
    /// Where HTTP and WebSocket are served.
    public var listen = SocketAddress(host: "127.0.0.1", port: 8080)
    /// Where the admin API is served, and nowhere else; nil is where everything else is.
    public var adminListen: SocketAddress?
    /// How others reach this node; nil is the address it listens on.
    public var advertisedAddress: String?
    /// The PEM file of the certificate and its chain; given together with `tlsKey`.
    public var tlsCertificate: String?
    /// The PEM file of the private key; given together with `tlsCertificate`.
    public var tlsKey: String?
    /// Whose PROXY protocol header is believed, and who must send one.
    public var trustedProxies: [AddressRange] = []
    /// New connections per second from one address; nil is no limit.
    public var handshakesPerAddress: Double? = 50
    /// New connections at once from one address, before the rate counts.
    public var handshakeBurst = 50
    /// REST calls that this node answers to one address, per minute; nil is no limit. An office behind one address needs more
    /// than a key.
    public var requestsPerAddress: Int? = 24_000
    /// REST calls that this node answers to one admin token, per minute; nil is no limit.
    public var requestsPerToken: Int? = 12_000
    /// REST calls that this node answers to one API key, per minute; nil is no limit.
    public var requestsPerKey: Int? = 12_000
    /// Connections of all kinds at once.
    public var maxConnections = 20_000
    /// How long a session may stay without audio or text.
    public var idleTimeout = Duration.seconds(10)
    /// How long sessions may go on once the server was told to stop.
    public var drainDeadline = Duration.seconds(30)
    /// Threads that serve connections.
    public var eventLoops = max(1, ProcessInfo.processInfo.activeProcessorCount)
    /// This node's name, stable over restarts.
    public var node = Settings.hostName()
    /// Where this node is, in records and object keys.
    public var region = "local"

    /// The spool and waiting transcripts; with `hansard dev` also its database and `dev.env`.
    public var stateDirectory = ".hansard"
    /// How much the spool may hold before new sessions are refused.
    public var spoolMaxBytes = ByteCount(1 << 30)
    /// How long usage may wait in the spool before new sessions are refused.
    public var spoolMaxAge = Duration.seconds(72 * 3_600)
    /// Where Postgres is; nil only before `hansard dev` has started its own.
    public var databaseURL: DatabaseURL?
    /// Where `hansard migrate` logs in as the owner of the tables; nil is `databaseURL`.
    public var databaseOwnerURL: DatabaseURL?
    /// How old what is known of tenants and keys may be for callers to be recognised by it; nil is any age.
    public var keyStalenessMax: Duration?
    /// Connections to Postgres at most.
    public var databasePool = 8
    /// The folder of the SQL files.
    public var migrations = InstalledFiles.path(of: "Migrations")
    /// Which store counts sessions over all nodes.
    public var connections = ConnectionsStoreChoice.postgres
    /// The table of `dynamodb`.
    public var dynamoDBTable = "hansard"
    /// What becomes of a session whose slot was given to somebody else while the store was away.
    public var onLeaseLost = Tenant.LeaseLoss.keep
    /// What becomes of a session that comes while the store that counts them is away.
    public var admitUnclaimed = Tenant.UnclaimedAdmission.refuse
    /// What becomes of a session that needs more minutes while the store that grants them is away; nil is what its tenant's
    /// policy says.
    public var quotaUnavailable: Tenant.QuotaOutage?
    /// Where transcripts are kept; nil is a folder in the state directory.
    public var transcripts: TranscriptsPlace?
    /// How the bucket encrypts transcripts.
    public var s3Encryption = S3EncryptionChoice.bucket
    /// The key of `aws:kms`; nil is the account's own for S3.
    public var s3KMSKey: String?
    /// Whether the bucket's name is part of the host or of the path.
    public var s3Addressing = S3Addressing.automatic
    /// How long a session's end waits for the transcript store before the spool keeps the transcript.
    public var transcriptStoreWait = Duration.seconds(2)

    /// What sessions use whose tenant has no engine of its own.
    public var engine = EngineChoice.pocketsphinx
    /// What goes on with a session where that fails, if its tenant has nothing of its own; nil is nothing.
    public var fallbackEngine: EngineChoice?
    /// Sessions of a local engine at once; nil is what the cores carry in real time.
    public var engineSlots: Int?
    /// Seconds of audio that an engine elsewhere is sent in a second.
    public var engineSpeed = 1.0
    /// A PEM file of authorities that engines elsewhere may be certified by, besides the system's.
    public var engineAuthorities: String?
    /// Audio after which a session goes on in another stream of Amazon Transcribe.
    public var transcribeStreamLimit = Duration.seconds(14_100)
    /// Whether each message to Amazon Transcribe is signed, not the handshake alone.
    public var transcribeSigning = TranscribeSigning.handshake
    /// The languages of `language=multi` with Amazon Transcribe.
    public var transcribeLanguages = ["en-US", "es-US"]
    /// The server of the engine `deepgram`.
    public var deepgramURL = WebSocketURL(host: "api.deepgram.com", port: 443, target: "/", isTLS: true)
    /// A key of that server's.
    public var deepgramKey: Secret?
    /// The folder of PocketSphinx's models.
    public var modelDirectory = "/usr/share/pocketsphinx/model/en-us"

    /// Keys for the codes in access tokens: the first writes, all are accepted. Empty only before `hansard dev` has
    /// made one.
    public var secrets: [Secret] = []
    /// How long after its end a month is closed at the earliest.
    public var closeGrace = Duration.seconds(3_600)
    /// What stands on invoices as who made them out.
    public var invoiceIssuer = "Hansard"
    /// How many days after its end the usage records of a closed month stay.
    public var usageRecordsDays = 400
    /// Between two looks for usage that is to be summed up, or of which events are to be made.
    public var rollupInterval = Duration.seconds(10)
    /// Where usage events are sent; nil is nowhere.
    public var eventsURL: EventDestination?
    /// What usage events are signed with, `whsec_` and base64: two while one is replaced.
    public var eventsSecrets: [Secret] = []
    /// What is sent as `Authorization` with usage events.
    public var eventsAuthorization: Secret?
    /// Which installation usage events are of.
    public var eventsSource = "hansard"
    /// How long the receiver of usage events may take to answer.
    public var eventsTimeout = Duration.seconds(10)
    /// For how long the receiver of usage events is left alone at most, however often it failed.
    public var eventsRetryMax = Duration.seconds(300)
    /// A PEM file of authorities that the receiver of usage events may be certified by, besides the system's.
    public var eventsAuthorities: String?
    /// The API's description that is served.
    public var openAPI = InstalledFiles.path(of: "openapi.yaml")
    /// The least important messages that are logged.
    public var logLevel = Logger.Level.info
    /// How messages are written.
    public var logFormat = LogFormat.auto

    /// The defaults, as far as they do not depend on what else is given.
    public init() {}

    /// The variables from which AWS's own settings and credentials are read, as its SDKs name them.
    public var awsEnvironment: [String: String] = [:]

    /// The folder of transcripts, if they are kept in one.
    public var transcriptsFolder: String? {
        switch transcripts {
        case nil: "\(stateDirectory)/transcripts"
        case .folder(let folder): folder
        case .bucket: nil
        }
    }
    /// Whether a store is on AWS.
    public var storesOnAWS: Bool {
        if case .bucket = transcripts { true } else { connections == .dynamodb }
    }
    /// Whether the node cannot do without AWS.
    public var needsAWS: Bool {
        storesOnAWS || engine == .amazonTranscribe || fallbackEngine == .amazonTranscribe
    }
    /// Whether there is something on AWS: what the node needs, or a region, so that a tenant may be set to Amazon Transcribe.
    public var usesAWS: Bool { needsAWS || awsEnvironment["AWS_REGION"]?.isEmpty == false }
    /// Where the spool is kept.
    public var spoolFolder: String { "\(stateDirectory)/spool" }
    /// Both PEM files, if TLS is wanted.
    public var tls: TLSFiles? {
        guard let tlsCertificate, let tlsKey else { return nil }
        return TLSFiles(certificate: tlsCertificate, key: tlsKey)
    }
    /// How others reach this node.
    public var effectiveAdvertisedAddress: String { advertisedAddress ?? listen.description }

    /// The name of the machine as `hostname` prints it, or `localhost` (gethostname(2)).
    private static func hostName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        let name = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return name.isEmpty ? "localhost" : name
    }
}

/// Engines that a server can be told to use.
public enum EngineChoice: String, Sendable, CaseIterable {
    /// Speech recognition on this machine.
    case pocketsphinx
    /// Amazon Transcribe's streaming service.
    case amazonTranscribe = "amazon-transcribe"
    /// A server of the listen protocol: another Hansard, or Deepgram.
    case deepgram
    /// Predictable results without listening, for load tests.
    case synthetic
}

/// What is signed of a stream to Amazon Transcribe.
public enum TranscribeSigning: String, Sendable, CaseIterable {
    /// The address that it is opened at.
    case handshake
    /// That, and each message.
    case messages
}

/// Stores that can count sessions over all nodes.
public enum ConnectionsStoreChoice: String, Sendable, CaseIterable {
    /// In the same database as everything else.
    case postgres
    /// In a table of Amazon DynamoDB, for nodes that must go on while Postgres is away.
    case dynamodb
}
/// Where transcripts are kept.
public enum TranscriptsPlace: Sendable, Equatable {
    /// A folder of this machine.
    case folder(String)
    /// A bucket of Amazon S3, or of a server that speaks its protocol.
    case bucket(S3Location)
}

/// How a bucket encrypts what is stored in it.
public enum S3EncryptionChoice: String, Sendable, CaseIterable {
    /// As the bucket is set up; nothing is said about it.
    case bucket
    /// With keys that S3 manages.
    case s3Managed = "AES256"
    /// With a key of the Key Management Service.
    case kms = "aws:kms"
}
