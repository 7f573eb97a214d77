import Crypto
import EventLoops
import Foundation
import Hansard
import Logging
import Postgres
import PostgresTesting
import Testing
import Web

@testable import HansardServer

/// A node in the test's own process, with a database and folders of its own, which may be started several times.
struct ApplicationFixture {
    /// For nodes.
    let database: DatabaseURL
    let folder: TestFolder
    /// The owner's.
    let pool: ConnectionPool
    let loop: EventLoop
    let log = LogRecorder()
    let key = Sample.secret(1)
    let keyID = Sample.apiKey(1).1.id

    var connections: PostgresConnectionStore { PostgresConnectionStore(pool: pool) }
    var usage: PostgresUsageStore { PostgresUsageStore(pool: pool) }

    /// - Parameter limit: how many sessions the tenant may have at once.
    static func make(limit: Int? = nil) async throws -> ApplicationFixture {
        let owner = try await TestPostgres.database()
        let database = try await StoreFixture.migrate(owner)
        var options = ConnectionPool.Options()
        options.connections = 2
        options.waitTimeout = .seconds(60)
        let pool = ConnectionPool(owner, options: options)
        let tenants = PostgresTenantStore(pool: pool)
        try await tenants.create(
            Tenant(
                id: Sample.tenant, name: "one", quotas: QuotaLimits(maxConcurrentSessions: limit), createdAt: moment(0))
        )
        let (digest, key) = Sample.apiKey(1)
        try await tenants.create(key, digest: digest)
        return ApplicationFixture(
            database: database, folder: try TestFolder(), pool: pool, loop: try EventLoop(name: "clients"))
    }

    func close() async {
        loop.stop()
        loop.join()
        await pool.close()
    }

    var settings: Settings {
        var settings = Settings()
        settings.listen = SocketAddress(host: "127.0.0.1", port: 0)
        settings.databaseURL = database
        settings.databasePool = 4
        settings.engine = .synthetic
        settings.eventLoops = 1
        settings.node = "node-1"
        settings.stateDirectory = folder.url.path
        settings.secrets = [Secret("a secret of the tests, long enough")]
        settings.drainDeadline = .milliseconds(100)
        settings.handshakesPerAddress = nil
        return settings
    }

    func start(_ change: (inout Settings) -> Void = { _ in }) async throws -> Application {
        var settings = settings
        change(&settings)
        return try await Application.start(settings: settings, logger: log.logger)
    }

    static func port(of application: Application) throws -> Int {
        try #require(application.url.split(separator: ":").last.flatMap { Int($0) })
    }

    func connect(
        to application: Application, query: String = "encoding=linear16&sample_rate=8000&interim_results=true",
        authorization: String? = nil, subprotocols: [String] = []
    ) async throws -> ListenClient {
        let headers = subprotocols.isEmpty ? [("Authorization", authorization ?? "Token \(key)")] : []
        return try await ListenClient.connect(
            to: Self.port(of: application), query: query, headers: headers, subprotocols: subprotocols, on: loop)
    }

    /// A request by the tenant's key over a connection of its own.
    func get(_ path: String, from application: Application) async throws -> (status: Int, body: String) {
        try await Self.exchange(
            "GET \(path) HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token \(key)\r\nConnection: close\r\n\r\n",
            port: Self.port(of: application))
    }

    /// Sends a request and reads until the server closes, off the cooperative threads.
    static func exchange(_ request: String, port: Int) async throws -> (status: Int, body: String) {
        let thread = WorkerThread(name: "http-client")
        defer { thread.stop() }
        let answer = try await thread.run {
            let descriptor = try connectedSocket(port: port)
            defer { Foundation.close(descriptor) }
            let bytes = Array(request.utf8)
            guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw POSIXError(.EPIPE)
            }
            var answer: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: 65_536)
            while case let count = recv(descriptor, &piece, piece.count, 0), count > 0 { answer += piece[..<count] }
            return String(decoding: answer, as: UTF8.self)
        }
        let parts = answer.components(separatedBy: "\r\n\r\n")
        let status = answer.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        return (try #require(status), parts.dropFirst().joined(separator: "\r\n\r\n"))
    }

    /// Runs a test with a node and stops everything, also if the test fails.
    static func run(
        limit: Int? = nil, settings change: (inout Settings) -> Void = { _ in },
        _ body: (ApplicationFixture, Application) async throws -> Void
    ) async throws {
        let fixture = try await make(limit: limit)
        do {
            let application = try await fixture.start(change)
            do {
                try await body(fixture, application)
            } catch {
                await application.stop()
                throw error
            }
            await application.stop()
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }
}
