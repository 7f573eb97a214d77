import EventLoops
import Foundation
public import Postgres

/// The one Postgres server of a test process, in a temporary directory, ended with the process on whatever path.
public enum TestPostgres {
    /// A new, empty database of its own for a suite or a test.
    public static func database() async throws -> DatabaseURL {
        let cluster = try cluster.get()
        let number = databases.withLock { count in
            count += 1
            return count
        }
        try await cluster.createDatabase("test\(number)")
        return try cluster.url(database: "test\(number)")
    }

    /// A second cluster, which a test may stop and start without disturbing others. The caller stops it.
    public static func separateCluster() throws -> PrivateCluster {
        try PrivateCluster.start(dataDirectory: newDirectory() + "/data", options: options)
    }

    /// A new directory, which is removed at the end of the process.
    public static func newDirectory() throws -> String {
        let number = databases.withLock { count in
            count += 1
            return count
        }
        let directory = "\(root)/\(number)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        // The server's system user must be able to pass through.
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
        return directory
    }

    /// The settings of clusters for tests: no durability, a small memory, and connections for all tests at once.
    public static var options: PrivateCluster.Options {
        var options = PrivateCluster.Options()
        options.isDurable = false
        options.settings = ["shared_buffers": "32MB", "max_connections": "500", "log_min_messages": "warning"]
        return options
    }

    private static let databases = Locked(0)

    private static let root: String = {
        let root = "/tmp/hansard-tests-\(getpid())"
        try? FileManager.default.removeItem(atPath: root)
        return root
    }()

    private static let cluster = Result {
        let cluster = try PrivateCluster.start(dataDirectory: newDirectory() + "/data", options: options)
        atexit { TestPostgres.end() }
        return cluster
    }

    private static func end() {
        try? cluster.get().stop()
        try? FileManager.default.removeItem(atPath: root)
    }
}
