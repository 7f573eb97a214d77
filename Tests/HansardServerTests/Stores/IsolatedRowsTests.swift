import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// What a node sees of tenants, by whatever statement, and what an owner without privileges can do all the same.
@Suite struct IsolatedRowsTests {
    private func count(_ table: String, _ connection: Connection) async throws -> Int {
        try await connection.query("SELECT count(*) AS n FROM \(identifier: table)").only().value("n")
    }

    @Test func aNodeSeesNothingUntilItNamesATenantAndThenThatOneAlone() async throws {
        try await StoreFixture.with { fixture in
            let tenants = try await fixture.fillEveryTable()
            for table in try await fixture.tables() {
                let here: Int = try await fixture.ownerPool.query(
                    "SELECT count(*) AS n FROM \(identifier: table.name)"
                ).only().value("n")
                if table.isPartition, here == 0 { continue }
                #expect(here > 0, "\(table.name) holds nothing that could be hidden")
                for unnamed in [nil, ""] {
                    try await fixture.pool.transaction { connection in
                        if let unnamed {
                            try await connection.query("SELECT set_config('app.tenant_id', \(unnamed), true)")
                        }
                        #expect(try await count(table.name, connection) == 0, "\(table.name)")
                    }
                }
                for tenant in tenants + [TenantID(UUID())] {
                    try await fixture.pool.transaction { connection in
                        try await connection.query("SELECT set_config('app.tenant_id', \("\(tenant)"), true)")
                        let seen = try await count(table.name, connection)
                        guard table.hasTenant else {
                            #expect(seen == 0, "\(table.name)")
                            return
                        }
                        #expect((seen > 0) == tenants.contains(tenant), "\(table.name)")
                        let others: Int = try await connection.query(
                            """
                            SELECT count(*) AS n FROM \(identifier: table.name)
                            WHERE tenant_id IS DISTINCT FROM \(tenant.rawValue)
                            """
                        ).only().value("n")
                        #expect(others == 0, "\(table.name)")
                    }
                }
            }
        }
    }

    @Test func whatATenantsCallNamesIsForgottenAfterIt() async throws {
        try await StoreFixture.with { fixture in
            let tenants = try await fixture.fillEveryTable()
            try await fixture.pool.transaction { connection in
                for tenant in tenants {
                    let held = try await connection.query("SELECT * FROM leases_of_tenant(\(tenant.rawValue))")
                    #expect(try held.map { TenantID(try $0.value("tenant_id")) } == [tenant])
                    #expect(try await count("leases", connection) == 0)
                }
            }
        }
    }

    @Test func anOperatorsSightEndsWithItsTransaction() async throws {
        try await StoreFixture.with { fixture in
            let tenants = try await fixture.fillEveryTable()
            try await fixture.pool.transaction { connection in
                #expect(try await count("tenants", connection) == 0)
                try await connection.query("SET LOCAL ROLE hansard_operator")
                #expect(try await count("tenants", connection) == tenants.count)
                for tenant in tenants.map({ $0 as TenantID? }) + [nil] {
                    let chain = try await connection.query("SELECT * FROM verify_audit(\(tenant?.rawValue))").only()
                    #expect(try chain.value("entries", as: Int.self) == (tenant == nil ? 0 : 1))
                    #expect(try chain.value("first_wrong", as: Int?.self) == nil)
                }
            }
            for _ in 0..<8 {
                let seen: Int = try await fixture.pool.query("SELECT count(*) AS n FROM tenants").only().value("n")
                #expect(seen == 0)
            }
        }
    }

    @Test func whatANodeMayNotIsRefused() async throws {
        let statements: [Query] = [
            "INSERT INTO leases SELECT * FROM leases", "UPDATE tenants SET name = ''", "DELETE FROM usage_rows",
            "TRUNCATE audit_log", "CREATE TABLE public.mine (a int)", "ALTER TABLE tenants DISABLE ROW LEVEL SECURITY",
            "SET ROLE hansard_doors", "SELECT lock_slots('T#a', NULL)", "SELECT make_door('all_nodes()')",
            "SELECT store_status(NULL, true)", "DROP POLICY seen_by_tenant ON tenants",
        ]
        try await StoreFixture.with { fixture in
            for statement in statements {
                let error = await #expect(throws: PostgresError.self) { try await fixture.pool.query(statement) }
                #expect(error?.sqlState == "42501", "\(statement.sql): \(error?.message ?? "")")
            }
        }
    }

    /// Something of the caller's that is named like a table is not taken for it.
    @Test func aDoorDoesNotLookAtItsCallersTables() async throws {
        try await StoreFixture.with { fixture in
            let tenants = try await fixture.fillEveryTable()
            try await fixture.pool.transaction { connection in
                try await connection.execute("CREATE TEMP TABLE tenants (LIKE public.tenants) ON COMMIT DROP")
                try await connection.query("SELECT set_config('search_path', 'pg_temp, public', true)")
                #expect(try await count("tenants", connection) == 0)
                let seen = try await connection.query("SELECT tenant_id FROM tenants_for_nodes(NULL)")
                #expect(seen.count == tenants.count)
            }
        }
    }

    // MARK: Without a superuser

    /// The owner of a managed database is no superuser, and policies are forced on it as well.
    @Test func anOwnerWithoutPrivilegesMigratesAndWorks() async throws {
        let superuser = try await TestPostgres.database()
        let name = try #require(superuser.database)
        let connection = Connection(superuser)
        try await connection.execute("CREATE ROLE \(identifier: "plain_\(name)") LOGIN CREATEROLE")
        try await connection.execute(
            "ALTER DATABASE \(identifier: name) OWNER TO \(identifier: "plain_\(name)")")
        await connection.disconnect()
        let fixture = try await StoreFixture.make(url: superuser.loggingIn(as: "plain_\(name)"))
        do {
            let tenants = try await fixture.fillEveryTable()
            let snapshot = try await PostgresTenantStore(pool: fixture.pool).accessSnapshot()
            #expect(Set(snapshot.tenants.map(\.id)) == Set(tenants))
            for pool in [fixture.ownerPool, fixture.pool] {
                let store = PostgresConnectionStore(pool: pool)
                #expect(try await store.leases(of: tenants[0]).count == 1)
                #expect(try await store.repairCount(of: .tenant(tenants[0])) == 0)
            }
            let rows = try await fixture.ownerPool.execute("UPDATE usage_rows SET region = 'moved'")
            #expect(rows == tenants.count, "later migrations change rows")
            try await Migrations(directory: StoreFixture.migrationsDirectory).apply(to: fixture.url)
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }
}
