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
    /// Where Postgres is; nil only before `hansard dev` has started its own.
    public var databaseURL: DatabaseURL?
    /// Where `hansard migrate` logs in as the owner of the tables; nil is `databaseURL`.
    public var databaseOwnerURL: DatabaseURL?
    /// Connections to Postgres at most.
    public var databasePool = 8
    /// The folder of the SQL files.
    public var migrations = InstalledFiles.path(of: "Migrations")
    /// Which store counts sessions over all nodes.
    public var connections = ConnectionsStoreChoice.postgres
    /// The folder for transcripts, or nil for the one in the state directory; see `transcriptsFolder`.
    public var transcripts: String?
    /// How long a session's end waits for the transcript store before the spool keeps the transcript.
    public var transcriptStoreWait = Duration.seconds(2)

    /// What sessions use whose tenant has no engine of its own.
    public var engine = EngineChoice.pocketsphinx
    /// Sessions of a local engine at once; nil is what the cores carry in real time.
    public var engineSlots: Int?
    /// The folder of PocketSphinx's models.
    public var modelDirectory = "/usr/share/pocketsphinx/model/en-us"

    /// Keys for the codes in access tokens: the first writes, all are accepted. Empty only before `hansard dev` has
    /// made one.
    public var secrets: [Secret] = []
    /// The API's description that is served.
    public var openAPI = InstalledFiles.path(of: "openapi.yaml")
    /// The least important messages that are logged.
    public var logLevel = Logger.Level.info
    /// How messages are written.
    public var logFormat = LogFormat.auto

    /// The defaults, as far as they do not depend on what else is given.
    public init() {}

    /// Where transcripts are kept.
    public var transcriptsFolder: String { transcripts ?? "\(stateDirectory)/transcripts" }
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
    /// Predictable results without listening, for load tests.
    case synthetic
}

/// Stores that can count sessions over all nodes.
public enum ConnectionsStoreChoice: String, Sendable, CaseIterable {
    /// In the same database as everything else.
    case postgres
}
