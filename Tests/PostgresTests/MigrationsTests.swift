import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite struct MigrationsTests {
    private func folder(_ files: [String: String]) throws -> String {
        let directory = try TestPostgres.newDirectory()
        for (name, text) in files {
            try text.write(toFile: "\(directory)/\(name)", atomically: true, encoding: .utf8)
        }
        return directory
    }

    private let first = ["0001_a.sql": "CREATE TABLE a (id bigint); INSERT INTO a VALUES (1);"]

    @Test func appliesWhatIsMissingInOrderAndOnce() async throws {
        let url = try await TestPostgres.database()
        let one = try Migrations(directory: folder(first))
        #expect(try await one.apply(to: url).map(\.name) == ["a"])
        #expect(try await one.apply(to: url).isEmpty)
        let two = try Migrations(directory: folder(first.merging(["0002_b_c.sql": "INSERT INTO a VALUES (2)"]) { $1 }))
        #expect(try await two.apply(to: url) == [Migrations.Applied(version: 2, name: "b_c")])
        #expect(try await Connection(url).query("SELECT id FROM a").count == 2)
        // A database that is ahead of the program.
        let error = await #expect(throws: PostgresError.self) { try await one.apply(to: url) }
        #expect(error?.kind == .migration)
        #expect(error?.message.contains("migration 2 'b_c'") == true)
    }

    @Test func aChangedFileIsRefused() async throws {
        let url = try await TestPostgres.database()
        try await Migrations(directory: folder(first)).apply(to: url)
        let changed = try Migrations(directory: folder(["0001_a.sql": "CREATE TABLE a (id text)"]))
        let error = await #expect(throws: PostgresError.self) { try await changed.apply(to: url) }
        #expect(error?.kind == .migration)
        #expect(error?.message.contains("0001_a.sql") == true)
    }

    @Test(arguments: ["CREATE TABLE b (id bigint); SELECT 1 / 0;", "CREATE TABLE b (id bigint); COMMIT;"])
    func aFileThatFailsIsUndoneWholly(text: String) async throws {
        let url = try await TestPostgres.database()
        let migrations = try Migrations(directory: folder(first.merging(["0002_b.sql": text]) { $1 }))
        let error = await #expect(throws: PostgresError.self) { try await migrations.apply(to: url) }
        #expect(error?.kind == .migration)
        #expect(error?.message.contains("0002_b.sql") == true)
        let versions = try await Connection(url).query("SELECT version FROM schema_migrations")
        #expect(versions.map(\.values) == [[.integer(1)]])
    }

    @Test func manyAtOnceApplyEachFileOnce() async throws {
        let url = try await TestPostgres.database()
        let migrations = try Migrations(directory: folder(first))
        let applied = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<5 { group.addTask { try await migrations.apply(to: url).count } }
            return try await group.reduce(0, +)
        }
        #expect(applied == 1)
    }

    @Test(arguments: [
        ["1_a.sql": ""], ["0001.sql": ""], ["0002_a.sql": ""], ["0001_a.sql": "", "0001_b.sql": ""], [:],
    ])
    func foldersThatDoNotAddUp(files: [String: String]) throws {
        let directory = try folder(files)
        let error = #expect(throws: PostgresError.self) { try Migrations(directory: directory) }
        #expect(error?.kind == .migration)
    }
}
