import Crypto
import Foundation
import Hansard
import HansardServer
import Logging
import Postgres
import Web

/// Everything that `hansard dev` starts, and in which order it is stopped: the last first.
final class DevServer {
    /// Where it serves.
    private(set) var url = ""
    /// What was made at this start, for people.
    private(set) var made: [String] = []
    /// The folder of its state.
    let directory: StateDirectory

    private let logger: Logger
    private let signals: StopSignals
    private var settings: Settings
    /// nil if the settings name a database.
    private var database: DevDatabase?
    private var running: [(name: String, stop: () async -> Void)] = []

    /// Takes the state directory; nothing is started yet.
    init(settings: Settings, logger: Logger, signals: StopSignals) throws {
        try ListenProbe.check(settings.listen)
        directory = try StateDirectory(path: settings.stateDirectory)
        self.settings = settings
        self.settings.stateDirectory = directory.path
        self.logger = logger
        self.signals = signals
    }

    /// Starts what is not given by the settings, then the server. What was started is stopped again if that fails.
    ///
    /// - Throws: `CommandFailure`, or `StopSignals.Stopped` if a signal came meanwhile.
    func start() async throws {
        do {
            try await startDatabase()
            try signals.checkpoint()
            try await prepare()
            try signals.checkpoint()
            let application = try await Application.start(orFail: settings, logger: logger)
            running.append(("the server", { await application.stop() }))
            url = application.url
            try update { $0.url = application.url }
        } catch {
            await stop()
            throw error
        }
    }

    /// Stops everything, the last first; calling it again does nothing.
    func stop() async {
        while let part = running.popLast() {
            logger.info("stopping \(part.name)")
            await part.stop()
        }
    }

    private func startDatabase() async throws {
        guard settings.databaseURL == nil else { return }
        logger.info("starting the private Postgres in \(directory.path)")
        let database = try await DevDatabase.start(in: directory)
        running.append(("the private Postgres", { await database.stop() }))
        self.database = database
        settings.databaseURL = try database.nodeURL
        settings.databaseOwnerURL = database.url
    }

    /// Schema, secret, tenant, key.
    private func prepare() async throws {
        guard let url = settings.databaseOwnerURL ?? settings.databaseURL else { return }
        let logger = logger
        try await MigrateCommand.migrate(url, folder: settings.migrations) { logger.info("\($0)") }
        do {
            try await database?.makeNodeRole()
        } catch {
            throw CommandFailure(message: "the role of the node cannot be made: \(explain(error))")
        }
        if settings.secrets.isEmpty {
            let secret = try directory.secret { SecureRandom.bytes(count: 32).hexadecimal }
            settings.secrets = [Secret(secret)]
        }
        let pool = ConnectionPool(url)
        let credentials: DevCredentials
        do {
            let store = PostgresTenantStore(pool: pool)
            credentials = try await DevCredentials.establish(in: store, known: directory.environment())
        } catch {
            await pool.close()
            throw CommandFailure(message: "the tenant \(DevCredentials.tenantName) cannot be made: \(explain(error))")
        }
        await pool.close()
        made = credentials.made
        try update {
            $0.apiKey = credentials.apiKey
            $0.adminToken = credentials.adminToken
            // Known before the start unless the system chooses the port: whoever sees the server ready finds it here.
            if settings.listen.port != 0 {
                $0.url = "\(settings.tls == nil ? "http" : "https")://\(settings.listen)"
            }
        }
    }

    private func update(_ change: (inout DevEnvironmentFile) -> Void) throws {
        var environment = directory.environment() ?? DevEnvironmentFile()
        change(&environment)
        try directory.write(environment)
    }
}
