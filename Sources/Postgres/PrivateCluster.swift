import EventLoops
import Foundation

/// A Postgres server of our own, for a machine on which nobody has set one up: made on its first start, reached by a
/// Unix socket alone, stopped with its owner.
///
/// A watchdog process holds one end of a socket pair whose other end is ours: when ours is closed, by `stop` or because
/// the kernel ended us, the watchdog stops the server in its orderly way. All calls block, for seconds: never make them
/// on an event loop or in a task.
public final class PrivateCluster: Sendable {
    /// How to run the server.
    public struct Options: Sendable, Equatable {
        /// The superuser's name, fixed when the cluster is made.
        public var superuser = "hansard"
        /// Settings as in postgresql.conf, for this start.
        public var settings: [String: String] = [:]
        /// False gives durability up for speed: for tests alone.
        public var isDurable = true
        /// How long starting and stopping may take each.
        public var timeoutSeconds = 60
        /// The folder of `initdb` and `pg_ctl`; nil finds the newest of /usr/lib/postgresql/*/bin.
        public var programs: String?

        /// The defaults.
        public init() {}
    }

    /// Where the data is.
    public let dataDirectory: String
    /// Where the socket is; a short directory in /tmp if the one asked for is too long for a socket's path.
    public let socketDirectory: String

    private let commands: ClusterCommands
    private let options: Options
    private let running: Locked<Running?>

    private struct Running {
        var watchdog: ChildProcess
        /// Our end of the watchdog's socket pair.
        var leash: Int32
        /// The locked file that says that the data directory has an owner.
        var lock: Int32
    }

    /// Starts the cluster, after making it if the data directory is empty or missing. Existing data is kept, and
    /// a server that a killed owner left behind is stopped first.
    ///
    /// As root the server runs as the system user `postgres`, because Postgres refuses root; the data directory is given
    /// to that user.
    ///
    /// - Parameters:
    ///   - dataDirectory: an absolute path, whose parents that user can pass through.
    ///   - socketDirectory: nil is the data directory itself.
    /// - Throws: `.cluster` if Postgres is not installed, the directory has another owner process or cannot be used, or
    ///   the server does not start, with the end of its log.
    public static func start(
        dataDirectory: String,
        socketDirectory: String? = nil,
        options: Options = Options()
    ) throws(PostgresError) -> PrivateCluster {
        let commands = try ClusterCommands(dataDirectory: dataDirectory, options: options)
        try commands.prepareDataDirectory()
        let lock = try ClusterFiles.lock(besides: dataDirectory, timeoutSeconds: options.timeoutSeconds)
        do {
            if !commands.isInitialized { try commands.initialize() }
            try commands.stopLeftover()
            let socketDirectory = try commands.usableSocketDirectory(socketDirectory ?? dataDirectory)
            let cluster = PrivateCluster(commands, socketDirectory: socketDirectory, options: options)
            try cluster.start(lock: lock)
            return cluster
        } catch {
            close(lock)
            throw error
        }
    }

    private init(_ commands: ClusterCommands, socketDirectory: String, options: Options) {
        self.commands = commands
        self.socketDirectory = socketDirectory
        self.options = options
        dataDirectory = commands.dataDirectory
        running = Locked(nil)
    }

    deinit { stop() }

    /// Where a database of the cluster is, for the superuser.
    public func url(database: String = "postgres") throws(PostgresError) -> DatabaseURL {
        // In keyword form, because a socket's directory needs no percent-encoding there.
        func quoted(_ value: String) -> String {
            "'" + value.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
        }
        return try DatabaseURL(
            "host=\(quoted(socketDirectory)) user=\(quoted(options.superuser)) dbname=\(quoted(database))"
        )
    }

    /// Makes a database unless it exists.
    public func createDatabase(_ name: String) async throws {
        let connection = Connection(try url())
        let rows = try await connection.query("SELECT 1 FROM pg_database WHERE datname = \(name)")
        if rows.isEmpty { try await connection.execute("CREATE DATABASE \(identifier: name)") }
        await connection.disconnect()
    }

    /// Stops the server, with transactions under way rolled back and clients disconnected, and waits for its end. Does
    /// nothing if it is stopped. Blocks.
    public func stop() {
        running.withLock { running in
            guard let ended = running else { return }
            close(ended.leash)
            ended.watchdog.wait()
            close(ended.lock)
            running = nil
        }
    }

    /// Starts the server again after `stop`, with the same data and socket. Blocks.
    public func restart() throws(PostgresError) {
        stop()
        let lock = try ClusterFiles.lock(besides: dataDirectory, timeoutSeconds: options.timeoutSeconds)
        do {
            try commands.prepareSocketDirectory(socketDirectory)
            try start(lock: lock)
        } catch {
            close(lock)
            throw error
        }
    }

    private func start(lock: Int32) throws(PostgresError) {
        // The watchdog comes first, so that no moment is without one: with no server it has nothing to stop.
        let leash = try ChildProcess.closedOnExecChannel()
        let watchdog: ChildProcess
        do {
            watchdog = try commands.startWatchdog(
                standardInput: leash.theirs,
                lock: lock,
                socketDirectory: socketDirectory
            )
        } catch {
            close(leash.ours)
            close(leash.theirs)
            throw error
        }
        close(leash.theirs)
        do {
            try commands.startServer(socketDirectory: socketDirectory)
        } catch {
            close(leash.ours)
            watchdog.wait()
            throw error
        }
        let started = Running(watchdog: watchdog, leash: leash.ours, lock: lock)
        running.withLock { $0 = started }
    }
}
