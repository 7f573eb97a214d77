import Foundation
import Hansard
import HansardServer
import Postgres
import PostgresTesting

/// A migrated database with two pools, as two nodes would have: they log in as nodes in production do, owning nothing.
struct StoreFixture {
    /// For the owner.
    let url: DatabaseURL
    let pool: ConnectionPool
    let peerPool: ConnectionPool
    /// For tests that write or read past the stores.
    let ownerPool: ConnectionPool

    /// A login that is a member of `hansard_app`, in whichever cluster.
    static let nodeRole = "hansard_test_node"

    static let migrationsDirectory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Migrations").path

    static func make() async throws -> StoreFixture {
        try await make(url: TestPostgres.database())
    }

    static func make(
        url: DatabaseURL, migrations: String = migrationsDirectory
    ) async throws -> StoreFixture {
        let nodeURL = try await migrate(url, migrations: migrations)
        var options = ConnectionPool.Options()
        options.connections = 4
        // On a busy machine fifty callers, and statements that fill a table, take longer than a server should let them.
        options.waitTimeout = .seconds(60)
        options.connection.connectTimeout = .seconds(60)
        options.connection.statementTimeout = .seconds(120)
        return StoreFixture(
            url: url,
            pool: ConnectionPool(nodeURL, options: options),
            peerPool: ConnectionPool(nodeURL, options: options),
            ownerPool: ConnectionPool(url, options: options)
        )
    }

    /// Migrates a database as its owner.
    ///
    /// - Returns: where nodes find it.
    static func migrate(
        _ url: DatabaseURL, migrations: String = migrationsDirectory
    ) async throws -> DatabaseURL {
        try await Migrations(directory: migrations).apply(to: url)
        var options = ConnectionOptions()
        (options.connectTimeout, options.statementTimeout) = (.seconds(60), .seconds(120))
        let connection = Connection(url, options: options)
        // Roles belong to the cluster, and other tests make it at the same time.
        try await connection.execute(
            """
            DO $$ BEGIN
                CREATE ROLE hansard_test_node LOGIN IN ROLE hansard_app;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
            """)
        await connection.disconnect()
        return try url.loggingIn(as: nodeRole)
    }

    /// Runs `body` with one, and closes it whatever becomes of that.
    ///
    /// - Parameter last: the number of the last migration that it has; nil is all.
    static func with(
        migratedTo last: Int? = nil, _ body: (StoreFixture) async throws -> Void
    ) async throws {
        let folder = try TestFolder()
        let all = URL(filePath: migrationsDirectory)
        for name in try FileManager.default.contentsOfDirectory(atPath: all.path) {
            if let last, Int(name.prefix(4)).map({ $0 > last }) ?? true { continue }
            try FileManager.default.copyItem(at: all.appending(path: name), to: folder.url.appending(path: name))
        }
        let fixture = try await make(url: TestPostgres.database(), migrations: folder.url.path)
        do {
            try await body(fixture)
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

    func close() async {
        await pool.close()
        await peerPool.close()
        await ownerPool.close()
    }
}

/// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// A moment that stores keep exactly: whole seconds from a fixed one.
func moment(_ seconds: Int) -> Date { Date(timeIntervalSince1970: 1_780_000_000 + Double(seconds)) }

/// A code of `HansardError` that the body is expected to throw; nil if it did not throw one.
func code(of body: () async throws -> Void) async -> HansardError.Code? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? HansardError)?.code
    }
}
