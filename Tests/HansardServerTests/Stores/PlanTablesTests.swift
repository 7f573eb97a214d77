import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// What the database itself holds of plans (`Migrations/0015_plans.sql`), whatever a program's statements say.
@Suite struct PlanTablesTests {
    private static let plan = UUID(uuid: (3, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 3))

    /// Two tenants and a plan with two versions, the first of which was assigned.
    private func with(url: DatabaseURL? = nil, _ body: (StoreFixture) async throws -> Void) async throws {
        let fixture = if let url { try await StoreFixture.make(url: url) } else { try await StoreFixture.make() }
        do {
            let owner = PostgresTenantStore(pool: fixture.ownerPool)
            for tenant in [Sample.tenant, Sample.otherTenant] {
                try await owner.create(Tenant(id: tenant, name: "\(tenant)", createdAt: moment(0)))
            }
            try await fixture.ownerPool.query(
                "INSERT INTO plans (plan_id, name, created_at, updated_at) VALUES (\(Self.plan), 'a', now(), now())")
            try await fixture.ownerPool.query(
                """
                INSERT INTO plan_versions (plan_id, version, document, created_at, updated_at)
                SELECT \(Self.plan), version, '{}', now(), now() FROM generate_series(1, 2) AS version
                """)
            try await fixture.ownerPool.query(Self.assignment("2026-03", "2026-05"))
            try await body(fixture)
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

    private static func assignment(
        _ from: String, _ to: String?, version: Int = 1, tenant: TenantID = Sample.tenant
    ) -> Query {
        """
        INSERT INTO plan_assignments (tenant_id, from_period, to_period, plan_id, version, created_at, updated_at)
        VALUES (\(tenant.rawValue), \(from), \(to), \(plan), \(version), now(), now())
        """
    }

    /// The state with which a statement is refused; nil if it is not.
    private func refusal(_ statement: Query, _ connection: Connection) async throws -> String? {
        try await connection.execute("SAVEPOINT before")
        do throws(PostgresError) {
            try await connection.query(statement)
            try await connection.execute("RELEASE before")
            return nil
        } catch {
            try await connection.execute("ROLLBACK TO before")
            return error.sqlState
        }
    }

    private static let restrict = "23001"
    private static let overlap = "23P01"
    private static let notAllowed = "42501"

    // MARK: Versions

    private static let changes: [Query] = [
        #"UPDATE plan_versions SET document = '{"currency":"EUR"}' WHERE version = 1"#,
        "UPDATE plan_versions SET used_at = NULL WHERE version = 1",
        "UPDATE plan_versions SET version = 9 WHERE version = 1",
        "UPDATE plan_versions SET revision = revision WHERE version = 1", "DELETE FROM plan_versions WHERE version = 1",
    ]

    /// Those who may write, the owner of the tables and a superuser among them, are refused by the trigger, others by their want of
    /// rights; so it stays when the assignment is gone.
    @Test(arguments: [nil, "hansard_operator", "hansard_doors", "hansard_app", "hansard_test_node"], [false, true])
    func nobodyChangesAVersionThatWasAssigned(_ role: String?, _ isGone: Bool) async throws {
        try await with { fixture async throws in
            if isGone { try await fixture.ownerPool.query("DELETE FROM plan_assignments") }
            try await fixture.ownerPool.transaction { connection async throws in
                if let role { try await connection.execute("SET LOCAL ROLE \(identifier: role)") }
                let mayWrite = role == nil || role == "hansard_operator"
                for change in Self.changes {
                    let state = try await refusal(change, connection)
                    #expect(state == (mayWrite ? Self.restrict : Self.notAllowed), "\(change.sql)")
                }
                for table: Query in ["TRUNCATE plan_versions CASCADE", "TRUNCATE plans CASCADE"] {
                    let state = try await refusal(table, connection)
                    #expect(state == (role == nil ? Self.restrict : Self.notAllowed), "\(table.sql)")
                }
            }
            let rows = try await fixture.ownerPool.query(
                """
                SELECT document = '{}' AND used_at IS NOT NULL AND revision = 2 AS is_whole
                FROM plan_versions WHERE version = 1
                """)
            #expect(try rows.only().value("is_whole"))
        }
    }

    @Test func aVersionThatWasNeverAssignedIsChangedAndDeleted() async throws {
        try await with { fixture async throws in
            try await fixture.pool.transaction(as: "hansard_operator") { connection async throws in
                for change: Query in [
                    #"UPDATE plan_versions SET document = '{"currency":"EUR"}' WHERE version = 2"#,
                    "DELETE FROM plan_versions WHERE version = 2",
                ] { #expect(try await connection.execute(change) == 1) }
                #expect(try await refusal("DELETE FROM plans", connection) == Self.notAllowed)
            }
        }
    }

    /// A managed database's owner is no superuser, and policies are forced on it.
    @Test func anOwnerWithoutPrivilegesIsRefusedAsWell() async throws {
        let superuser = try await TestPostgres.database()
        let name = try #require(superuser.database)
        let connection = Connection(superuser)
        try await connection.execute("CREATE ROLE \(identifier: "planner_\(name)") LOGIN CREATEROLE")
        try await connection.execute("ALTER DATABASE \(identifier: name) OWNER TO \(identifier: "planner_\(name)")")
        await connection.disconnect()
        try await with(url: superuser.loggingIn(as: "planner_\(name)")) { fixture async throws in
            try await fixture.ownerPool.transaction { connection async throws in
                for change in Self.changes {
                    #expect(try await refusal(change, connection) == Self.restrict, "\(change.sql)")
                }
                #expect(try await refusal(Self.assignment("2026-05", nil), connection) == Self.overlap)
            }
        }
    }

    // MARK: Assignments

    @Test(
        arguments: [
            ("2026-05", nil, overlap), ("2026-01", "2026-03", overlap), ("2026-04", "2026-04", overlap),
            ("2020-01", nil, overlap), ("2026-03", "2026-05", "23505"), ("2026-06", nil, nil),
            ("2026-01", "2026-02", nil),
            ("2026-08", "2026-07", "23514"), ("2026-8", nil, "23514"), ("2026-13", nil, "23514"),
            ("2026-08", "x", "23514"),
        ] as [(String, String?, String?)])
    func noMonthHasTwo(_ from: String, _ to: String?, _ state: String?) async throws {
        try await with { fixture async throws in
            try await fixture.pool.transaction(as: "hansard_operator") { connection async throws in
                let refused = try await refusal(Self.assignment(from, to), connection)
                #expect(refused == state)
                // The other tenant is in nobody's way.
                let others = try await refusal(Self.assignment("2026-03", nil, tenant: Sample.otherTenant), connection)
                #expect(others == nil)
            }
        }
    }

    @Test func onlyTheEndOfAnAssignmentIsChanged() async throws {
        try await with { fixture async throws in
            try await fixture.pool.transaction(as: "hansard_operator") { connection async throws in
                for change: Query in [
                    "UPDATE plan_assignments SET version = 2", "UPDATE plan_assignments SET from_period = '2026-02'",
                    "UPDATE plan_assignments SET tenant_id = \(Sample.otherTenant.rawValue)",
                    "UPDATE plan_assignments SET plan_id = \(UUID())",
                ] { #expect(try await refusal(change, connection) == Self.restrict, "\(change.sql)") }
                try await connection.execute(Self.assignment("2026-09", nil))
                #expect(
                    try await refusal(
                        "UPDATE plan_assignments SET to_period = NULL WHERE from_period = '2026-03'", connection)
                        == Self.overlap)
                #expect(
                    try await refusal(
                        "UPDATE plan_assignments SET to_period = '2026-08' WHERE from_period = '2026-03'", connection)
                        == nil)
            }
        }
    }

    /// Neither sees the other's row, at any isolation, and neither holds a lock of ours.
    @Test(arguments: ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
    func ofTwoThatRaceOneIsRefused(_ isolation: String) async throws {
        try await with { fixture async throws in
            let (first, second) = (Connection(fixture.url), Connection(fixture.url))
            for connection in [first, second] {
                switch isolation {
                case "READ COMMITTED": try await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                case "REPEATABLE READ": try await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                default: try await connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
                }
                // What each sees from now on.
                try await connection.query("SELECT FROM plan_assignments")
            }
            try await first.execute(Self.assignment("2027-01", nil, version: 2))
            async let late = refused(Self.assignment("2027-06", "2027-07"), second)
            try await eventually("it waits") {
                try await !fixture.ownerPool.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).isEmpty
            }
            try await first.execute("COMMIT")
            #expect(await late == Self.overlap)
            await first.disconnect()
            await second.disconnect()
            let rows = try await fixture.ownerPool.query(
                "SELECT FROM plan_assignments WHERE from_period > '2027'")
            #expect(rows.count == 1)
        }
    }

    private func refused(_ statement: Query, _ connection: Connection) async -> String? {
        do throws(PostgresError) {
            try await connection.execute(statement)
            return nil
        } catch {
            return error.sqlState
        }
    }

    /// What an assignment needs cannot go while it is being made.
    @Test func aVersionThatIsBeingAssignedIsNotDeleted() async throws {
        try await with { fixture async throws in
            let (first, second) = (Connection(fixture.url), Connection(fixture.url))
            try await first.execute("BEGIN")
            try await first.execute(Self.assignment("2027-01", nil, version: 2))
            async let late = refused("DELETE FROM plan_versions WHERE version = 2", second)
            try await eventually("it waits") {
                try await !fixture.ownerPool.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).isEmpty
            }
            try await first.execute("COMMIT")
            #expect(await late == Self.restrict)
            await first.disconnect()
            await second.disconnect()
        }
    }

    @Test func refusalsOfTheDatabaseAreConflicts() {
        for state in [Self.restrict, Self.overlap] {
            #expect(HansardError(PostgresError(.server, "x", sqlState: state)).code == .conflict)
        }
    }
}
