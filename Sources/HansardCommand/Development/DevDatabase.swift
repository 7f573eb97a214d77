import EventLoops
import Foundation
import Postgres

/// The Postgres of `hansard dev`: a private cluster, run on a thread of its own because starting and stopping block.
final class DevDatabase: Sendable {
    /// Where the database is.
    let url: DatabaseURL
    private let cluster: PrivateCluster
    private let thread: WorkerThread

    /// The database in the cluster.
    private static let database = "hansard"

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

    /// Stops the cluster and waits for its end.
    func stop() async {
        let cluster = cluster
        // The thread is stopped nowhere else, so it takes the work.
        try? await thread.run { cluster.stop() }
        thread.stop()
    }
}
