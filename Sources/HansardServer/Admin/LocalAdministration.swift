import EventLoops
import FoundationEssentials
import Hansard
public import Logging
import Postgres
import Web

/// The admin plane without a server: calls are made by somebody who may log in to the database, for whom that is
/// credential enough. Running nodes learn of what is changed as if it had been one of them.
public struct LocalAdministration: Sendable {
    /// What a call was answered.
    public struct Answer: Sendable {
        /// The HTTP status.
        public var status: Int
        /// What else is said of the body, such as its `ETag`: names and values.
        public var headers: [(name: String, value: String)]
        /// JSON, or empty.
        public var body: String
    }

    /// Where calls come from, for the audit log.
    private static let address = IPAddress("127.0.0.1")
    private static let cursorSecret = Array("hansard admin".utf8)

    private let router: Router
    private let stop: @Sendable () async -> Void

    /// Connects to the stores that settings name.
    ///
    /// - Parameters:
    ///   - settings: read for `.administration`.
    ///   - name: of whoever is at the command line, for the audit log.
    /// - Throws: `HansardError` or `PostgresError` if the database cannot be read.
    public static func open(
        settings: Settings, as name: String, logger: Logger, randomBytes: @escaping @Sendable (Int) -> [UInt8]
    ) async throws -> LocalAdministration {
        guard let url = settings.databaseURL else {
            throw HansardError(.invalid, "HANSARD_DATABASE_URL is not given")
        }
        let pool = ConnectionPool(url)
        let metrics = Metrics()
        do {
            let aws = try AWSStores.make(settings, logger: logger)
            let (stores, stopStores) = try Parts.makeStores(
                settings, aws, pool, UnreadableItems(metrics: metrics, logger: logger), logger)
            let access = AccessDirectory(store: PostgresTenantStore(pool: pool), logger: logger)
            try await access.refresh()
            let services = AdminServices(
                access: access, pool: pool, connections: stores.connections, transcripts: stores.transcripts,
                auditHeads: stores.transcripts,
                engines: EngineRegistry.names(settings, hasAWS: aws != nil),
                // Whoever calls may read everything: where there is no secret, a cursor only has to fit the next command.
                secrets: settings.secrets.isEmpty
                    ? [Self.cursorSecret] : settings.secrets.map { Array($0.revealed.utf8) },
                logger: logger, randomBytes: randomBytes, closeGrace: settings.closeGrace,
                invoiceIssuer: settings.invoiceIssuer)
            return LocalAdministration(
                router: Router(
                    routes: AdminPlane(services: services, identity: .command(name)).routes, metrics: metrics,
                    logger: logger, randomBytes: randomBytes),
                stop: {
                    await stopStores()
                    await pool.close()
                })
        } catch {
            await pool.close()
            throw error
        }
    }

    /// Makes one call.
    ///
    /// - Parameters:
    ///   - method: for instance `POST`.
    ///   - path: for instance `/v1/admin/tenants?limit=5`.
    ///   - body: JSON, or empty.
    ///   - idempotencyKey: the same as that of an earlier call to have its answer again; nil is one that never was.
    ///   - ifMatch: the `ETag` of what is changed, or it is not; nil changes whatever is there.
    public func call(
        _ method: String, _ path: String, body: String = "", idempotencyKey: String? = nil, ifMatch: String? = nil
    ) async -> Answer {
        guard let address = Self.address else { preconditionFailure("127.0.0.1 is an address") }
        let parts = path.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        // A command is not repeated by itself.
        var headers: HTTPHeaders = [
            "idempotency-key": idempotencyKey ?? UUID().uuidString, "user-agent": "hansard admin",
        ]
        if let ifMatch { headers.add("if-match", ifMatch) }
        let response = await router.respond(
            to: HTTPRequest(
                method: method, path: String(parts[0]), query: parts.count > 1 ? String(parts[1]) : "",
                headers: headers, body: Array(body.utf8), peer: PeerAddress(address: address, port: 0)))
        return Answer(
            status: response.status, headers: response.headers.map { ($0.name, $0.value) },
            body: String(decoding: response.body, as: UTF8.self))
    }

    /// Closes the connections.
    public func close() async { await stop() }
}
