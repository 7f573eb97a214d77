import EventLoops
import Foundation
import Postgres

/// The Postgres of `hansard dev`: a private cluster, run on a thread of its own because starting and stopping block.
final class DevDatabase: Sendable {
    /// Where the database is, for its owner.
    let url: DatabaseURL
    private let cluster: PrivateCluster
    private let thread: WorkerThread

    /// The database in the cluster.
    private static let database = "hansard"
    /// As whom the node logs in: not as the owner, so that what needs more than a node has in production fails here too.
    private static let nodeRole = "hansard_node"

    /// Starts the cluster in the state directory, and makes it the first time.
    static func start(in directory: StateDirectory) async throws -> DevDatabase {
        let thread = WorkerThread(name: "postgres")
        let path = "\(directory.path)/postgres"
        do {
            let cluster = try await thread.run {
                var options = PrivateCluster.Options()
                // The system user that the server runs as, so that a plain `psql -h folder` of that user works.
                options.superuser = geteuid() == 0 ? "postgres" : NSUserName()
                return try PrivateCluster.start(dataDirectory: path, options: options)
            }
            do {
                try await cluster.createDatabase(database)
                return DevDatabase(url: try cluster.url(database: database), cluster: cluster, thread: thread)
            } catch {
                try await thread.run { cluster.stop() }
                throw error
            }
        } catch {
            thread.stop()
            throw CommandFailure(message: "the private Postgres cannot be started: \(explain(error))")
        }
    }

    private init(url: DatabaseURL, cluster: PrivateCluster, thread: WorkerThread) {
        self.url = url
        self.cluster = cluster
        self.thread = thread
    }

    /// Where the database is for nodes, once `makeNodeRole` has been called.
    var nodeURL: DatabaseURL {
        get throws { try url.loggingIn(as: Self.nodeRole) }
    }

    /// Makes the role as which nodes log in, the first time. The database has been migrated.
    func makeNodeRole() async throws {
        let connection = Connection(url)
        let result: Result<Void, any Error>
        do {
            let roles = try await connection.query("SELECT 1 FROM pg_roles WHERE rolname = \(Self.nodeRole)")
            if roles.isEmpty {
                try await connection.execute("CREATE ROLE \(identifier: Self.nodeRole) LOGIN IN ROLE hansard_app")
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await connection.disconnect()
        try result.get()
    }

    /// Stops the cluster and waits for its end.
    func stop() async {
        let cluster = cluster
        // The thread is stopped nowhere else, so it takes the work.
        try? await thread.run { cluster.stop() }
        thread.stop()
    }
}
