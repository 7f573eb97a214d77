import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// What the database itself holds of months, invoices and credits (`Migrations/0016_invoices.sql`), whatever a program's
/// statements say.
@Suite struct BillingTablesTests {
    private static let restrict = "23001"
    private static let notAllowed = "42501"

    /// A month that is closed with an invoice and a credit in it, and one that is open with a credit.
    private func with(url: DatabaseURL? = nil, _ body: (StoreFixture) async throws -> Void) async throws {
        let fixture = if let url { try await StoreFixture.make(url: url) } else { try await StoreFixture.make() }
        do {
            try await PostgresTenantStore(pool: fixture.ownerPool).create(
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
            try await fixture.pool.asOperator { connection async throws in
                for month in ["2026-01", "2026-02"] {
                    try await connection.execute(
                        """
                        INSERT INTO credits
                        VALUES (\(UUID()), \(Sample.tenant.rawValue), \(month), 'USD', -1, 'r', 'a', now())
                        """)
                }
                try await connection.execute(
                    "INSERT INTO billing_periods (period, state, closing_at) VALUES ('2026-01', 'closing', now())")
                try await connection.store(
                    Invoice(
                        state: .preview, tenant: Sample.tenant, period: BillingFixture.january,
                        currency: Currency("USD")!, lines: [.credit(of: Sample.tenant, -100)], dataAsOf: moment(0),
                        createdAt: moment(0)))
                try await connection.execute("UPDATE billing_periods SET state = 'closed', closed_at = now()")
            }
            try await fixture.ownerPool.execute(
                """
                INSERT INTO late_usage (tenant_id, period, session_id, segment, billed_in)
                VALUES (\(Sample.tenant.rawValue), '2025-12-01', \(UUID()), 0, '2026-01')
                """)
            try await fixture.ownerPool.execute(
                """
                INSERT INTO late_usage (tenant_id, period, session_id, segment)
                VALUES (\(Sample.tenant.rawValue), '2026-01-01', \(UUID()), 0)
                """)
            try await fixture.pool.asOperator { connection in
                // What is yet to be billed is, once.
                try await connection.execute("SAVEPOINT unbilled")
                try await connection.execute("UPDATE late_usage SET billed_in = '2026-02' WHERE billed_in IS NULL")
                try await connection.execute("ROLLBACK TO unbilled")
            }
            try await body(fixture)
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

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

    private static let changes: [Query] = [
        "UPDATE invoices SET total = 0", "UPDATE invoices SET document = document", "DELETE FROM invoices",
        "UPDATE invoice_lines SET amount = 0", "DELETE FROM invoice_lines",
        "UPDATE billing_periods SET state = 'open', closing_at = NULL, closed_at = NULL",
        "UPDATE billing_periods SET unbilled = '{}'", "UPDATE billing_periods SET period = '2026-03'",
        "DELETE FROM billing_periods", "UPDATE credits SET amount = -2 WHERE period = '2026-01'",
        "DELETE FROM credits WHERE period = '2026-01'",
        "UPDATE credits SET period = '2026-02' WHERE period = '2026-01'",
        "UPDATE billing_state SET last_invoice = 0", "UPDATE billing_state SET last_invoice = 3",
        "DELETE FROM billing_state",
        "UPDATE late_usage SET billed_in = '2026-02' WHERE billed_in IS NOT NULL",
        "UPDATE late_usage SET billed_in = NULL WHERE billed_in IS NOT NULL",
        "UPDATE late_usage SET audio_ms = 1, connected_ms = 1 WHERE billed_in IS NULL", "DELETE FROM late_usage",
        "TRUNCATE late_usage",
        "TRUNCATE invoices CASCADE", "TRUNCATE invoice_lines", "TRUNCATE billing_periods CASCADE", "TRUNCATE credits",
        "TRUNCATE billing_state",
        """
        INSERT INTO invoice_lines SELECT tenant_id, period, 9, kind, for_period, 0, 0, 0, 0, '' FROM invoice_lines
        """,
        "INSERT INTO credits SELECT gen_random_uuid(), tenant_id, '2026-01', 'USD', 1, 'r', 'a', now() FROM tenants",
        "INSERT INTO billing_periods (period, state, closing_at, closed_at) VALUES ('2026-09', 'closed', now(), now())",
    ]

    /// The trigger refuses those who may write, the owner of the tables and a superuser among them; others lack the right.
    @Test(arguments: [nil, "hansard_operator", "hansard_doors", "hansard_app", "hansard_test_node"])
    func nobodyChangesWhatIsClosed(_ role: String?) async throws {
        try await with { fixture async throws in
            let before = try await state(fixture)
            try await fixture.ownerPool.transaction { connection async throws in
                if let role { try await connection.execute("SET LOCAL ROLE \(identifier: role)") }
                for change in Self.changes {
                    let state = try await refusal(change, connection)
                    switch role {
                    case nil: #expect(state == Self.restrict, "\(change.sql)")
                    case "hansard_operator":
                        #expect([Self.restrict, Self.notAllowed].contains(state), "\(change.sql)")
                    default: #expect(state == Self.notAllowed, "\(change.sql)")
                    }
                }
            }
            #expect(try await state(fixture) == before)
        }
    }

    /// A managed database's owner is no superuser, and policies are forced on it.
    @Test func anOwnerWithoutPrivilegesIsRefusedAsWell() async throws {
        let superuser = try await TestPostgres.database()
        let name = try #require(superuser.database)
        let connection = Connection(superuser)
        try await connection.execute("CREATE ROLE \(identifier: "biller_\(name)") LOGIN CREATEROLE")
        try await connection.execute("ALTER DATABASE \(identifier: name) OWNER TO \(identifier: "biller_\(name)")")
        await connection.disconnect()
        try await with(url: superuser.loggingIn(as: "biller_\(name)")) { fixture async throws in
            try await fixture.ownerPool.transaction { connection async throws in
                for change in Self.changes {
                    #expect(try await refusal(change, connection) == Self.restrict, "\(change.sql)")
                }
            }
        }
    }

    private func state(_ fixture: StoreFixture) async throws -> [Row] {
        try await fixture.ownerPool.query(
            """
            SELECT (SELECT array_agg(i::text ORDER BY number) FROM invoices i) AS invoices,
                (SELECT array_agg(l::text ORDER BY line) FROM invoice_lines l) AS lines,
                (SELECT array_agg(p::text ORDER BY period) FROM billing_periods p) AS periods,
                (SELECT array_agg(c::text ORDER BY credit_id) FROM credits c) AS credits
            """)
    }

    @Test func whatIsOpenIsChanged() async throws {
        try await with { fixture async throws in
            try await fixture.pool.asOperator { connection async throws in
                #expect(try await connection.execute("DELETE FROM credits WHERE period = '2026-02'") == 1)
                #expect(try await refusal("UPDATE credits SET amount = 5", connection) == Self.notAllowed)
            }
        }
    }

    /// A number is the next one, and an invoice is of a month that is closing.
    @Test func numbersHaveNoGaps() async throws {
        try await with { fixture async throws in
            try await fixture.ownerPool.transaction { connection async throws in
                let copy: Query = """
                    INSERT INTO invoices (tenant_id, period, number, currency, total, data_as_of, created_at, document, sha256)
                    SELECT tenant_id, '2026-02', 3, currency, total, data_as_of, created_at, document, sha256 FROM invoices
                    """
                #expect(try await refusal(copy, connection) == Self.restrict, "the month is open")
                try await connection.execute(
                    "INSERT INTO billing_periods (period, state, closing_at) VALUES ('2026-02', 'closing', now())")
                #expect(try await refusal(copy, connection) == Self.restrict, "3 is not the next")
            }
        }
    }

    /// Of an assignment and a closing one comes first, and the other one knows, at any isolation.
    @Test(arguments: ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
    func whatClosesAndWhatChangesAMonthComeOneAfterTheOther(_ isolation: String) async throws {
        try await with { fixture async throws in
            let credit: Query = """
                INSERT INTO credits VALUES (\(UUID()), \(Sample.tenant.rawValue), '2026-02', 'USD', 1, 'r', 'a', now())
                """
            let (first, second) = (Connection(fixture.url), Connection(fixture.url))
            switch isolation {
            case "READ COMMITTED": try await second.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            case "REPEATABLE READ": try await second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            default: try await second.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            }
            // What it sees from now on.
            try await second.query("SELECT FROM billing_periods")
            try await first.execute("BEGIN")
            try await first.execute("UPDATE billing_state SET closings = closings + 1")
            try await first.execute(
                "INSERT INTO billing_periods (period, state, closing_at) VALUES ('2026-02', 'closing', now())")
            async let late = state(of: credit, second)
            try await eventually("it waits") {
                try await !fixture.ownerPool.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).isEmpty
            }
            try await first.execute("COMMIT")
            #expect(await late == (isolation == "READ COMMITTED" ? Self.restrict : "40001"))
            await first.disconnect()
            await second.disconnect()
        }
    }

    private func state(of statement: Query, _ connection: Connection) async -> String? {
        do throws(PostgresError) {
            try await connection.execute(statement)
            return nil
        } catch {
            return error.sqlState
        }
    }
}
