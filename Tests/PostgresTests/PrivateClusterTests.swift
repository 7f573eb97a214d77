import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite struct PrivateClusterTests {
    @Test func dataSurvivesAStopAndANewStart() async throws {
        let directory = try TestPostgres.newDirectory() + "/data"
        let first = try PrivateCluster.start(dataDirectory: directory, options: TestPostgres.options)
        try await first.createDatabase("kept")
        try await first.createDatabase("kept")
        try await Connection(first.url(database: "kept")).query("CREATE TABLE t AS SELECT 7::bigint AS id")
        // One owner at a time.
        let second = #expect(throws: PostgresError.self) {
            try PrivateCluster.start(dataDirectory: directory, options: TestPostgres.options)
        }
        #expect(second?.message.contains("\(getpid())") == true)
        first.stop()
        first.stop()
        let again = try PrivateCluster.start(dataDirectory: directory, options: TestPostgres.options)
        let rows = try await Connection(again.url(database: "kept")).query("SELECT id FROM t")
        #expect(rows.map(\.values) == [[.integer(7)]])
        again.stop()
    }

    @Test func aFileOfAServerThatIsNoMoreDoesNotMatter() throws {
        let directory = try TestPostgres.newDirectory() + "/data"
        try PrivateCluster.start(dataDirectory: directory, options: TestPostgres.options).stop()
        // Our own number: a living process that is no server, as after a restart of a container.
        try "\(getpid())\n\(directory)\n".write(
            toFile: directory + "/postmaster.pid",
            atomically: true,
            encoding: .utf8
        )
        let cluster = try PrivateCluster.start(dataDirectory: directory, options: TestPostgres.options)
        cluster.stop()
        #expect(!FileManager.default.fileExists(atPath: directory + "/postmaster.pid"))
    }

    @Test func aPathTooLongForASocketIsReplaced() async throws {
        let long = try TestPostgres.newDirectory() + "/" + String(repeating: "x", count: 100)
        let cluster = try PrivateCluster.start(dataDirectory: long, options: TestPostgres.options)
        #expect(cluster.socketDirectory.hasPrefix("/tmp/hansard-"))
        #expect(try await Connection(cluster.url()).query("SELECT 1").count == 1)
        cluster.stop()
        #expect(!FileManager.default.fileExists(atPath: cluster.socketDirectory))
        // A restart makes the directory again.
        try cluster.restart()
        #expect(try await Connection(cluster.url()).query("SELECT 1").count == 1)
        cluster.stop()
    }

    @Test func errorsSayWhatToDo() throws {
        var options = TestPostgres.options
        options.programs = "/nonexistent"
        let missing = #expect(throws: PostgresError.self) {
            try PrivateCluster.start(dataDirectory: TestPostgres.newDirectory() + "/data", options: options)
        }
        #expect(missing?.message.contains("postgresql-15") == true)
        let relative = #expect(throws: PostgresError.self) { try PrivateCluster.start(dataDirectory: "data") }
        #expect(relative?.message.contains("absolute") == true)
        options = TestPostgres.options
        options.settings["shared_buffers"] = "much"
        let refused = #expect(throws: PostgresError.self) {
            try PrivateCluster.start(dataDirectory: TestPostgres.newDirectory() + "/data", options: options)
        }
        #expect(refused?.kind == .cluster)
        #expect(refused?.message.contains("shared_buffers") == true)
    }
}
