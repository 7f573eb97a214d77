import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// What is kept of late usage (`Migrations/0021_late_usage.sql`), and what is known of the time before it was.
@Suite struct LateUsageTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january

    /// Of a session: when it was there and what it had, and on which invoice the change is.
    private func kept(_ pool: ConnectionPool) async throws -> [String] {
        try await pool.query(
            """
            SELECT concat_ws(' ', session_id, segment, coalesce(audio_ms::text, 'none'), coalesce(billed_in, 'unbilled')) AS said
            FROM late_usage ORDER BY place
            """
        ).map { try $0.value("said") }
    }

    @Test func changesAreKeptOnceTheMonthIsNotOpen() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            let now = UsageRecord.session(9, startedAt: QuotaPeriod(.now).start, seconds: 9)
            let records = UsageRecord.session(1, startedAt: january.start, seconds: 9)
            try await fixture.record(Array(records.dropLast()) + now)
            #expect(try await kept(fixture.stores.ownerPool) == [])
            #expect(await fixture.close(january).status == 200)
            let live = UsageRecord.session(10, startedAt: QuotaPeriod(.now).start, seconds: 9)
            try await fixture.record(Array(records.suffix(1)) + live)
            // The same again, and what changes nothing.
            _ = try await PostgresUsageLedger(pool: fixture.stores.pool).ingest(records)
            try await fixture.record([records[records.count - 1].later(by: 0)])
            #expect(try await kept(fixture.stores.ownerPool) == ["\(records[0].session) 0 0 unbilled"])
            #expect(await fixture.close(BillingFixture.february).status == 200)
            #expect(try await kept(fixture.stores.ownerPool) == ["\(records[0].session) 0 0 2026-02"])
        }
    }

    /// What came late before this was kept is read from its records.
    @Test func whatCameBeforeIsReadFromRecords() async throws {
        try await StoreFixture.with(migratedTo: 20) { stores in
            try await PostgresTenantStore(pool: stores.ownerPool).create(
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
            let ledger = PostgresUsageLedger(pool: stores.pool)
            let sessions = (1...5).map { UsageRecord.session($0, startedAt: january.start, seconds: 9) }
            _ = try await ledger.ingest(Array(sessions[0].dropLast()) + sessions[1])
            try await invoice(stores, 1, "2026-01", "usage")
            _ = try await ledger.ingest(Array(sessions[0].suffix(1)) + sessions[2])
            try await invoice(stores, 2, "2026-02", "adjustment")
            _ = try await ledger.ingest([sessions[1][1].later(by: 5)])
            _ = try await StoreFixture.migrate(stores.url)
            let ids = sessions.map { $0[0].session.description }
            #expect(
                try await kept(stores.ownerPool).sorted()
                    == [
                        "\(ids[0]) 0 0 2026-02", "\(ids[1]) 0 9000 unbilled", "\(ids[2]) 0 0 2026-02",
                        "\(ids[2]) 0 none 2026-02",
                    ])
            let months = try await stores.ownerPool.query(
                "SELECT bool_or(keeps_late_usage) AS kept FROM billing_periods")
            #expect(try months.only().value("kept", as: Bool.self) == false)
        }
    }

    private func invoice(_ stores: StoreFixture, _ number: Int, _ month: String, _ kind: String) async throws {
        let connection = Connection(stores.url)
        try await connection.execute("SET session_replication_role = replica")
        try await connection.execute(
            "INSERT INTO billing_periods (period, state, closing_at, closed_at) VALUES (\(month), 'closed', now(), now())"
        )
        try await connection.execute(
            """
            INSERT INTO invoices (tenant_id, period, number, currency, total, data_as_of, created_at, document, sha256)
            VALUES (\(Sample.tenant.rawValue), \(month), \(number), 'USD', 1, now(), now(), 'x', sha256('x'))
            """)
        try await connection.execute(
            """
            INSERT INTO invoice_lines (tenant_id, period, line, kind, for_period, sessions, raw_ms, billed_ms, amount, document)
            VALUES (\(Sample.tenant.rawValue), \(month), 0, \(kind), '2026-01', 1, 1, 1, 1, 'x')
            """)
        await connection.disconnect()
    }

    /// Of a month that was closed before, the sums say whether all late usage is known.
    @Test func whatIsNotKnownIsRefused() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.start, seconds: 20))
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(UsageRecord.session(2, startedAt: january.start, seconds: 20))
            try await fixture.alter("UPDATE billing_periods SET keeps_late_usage = false")
            let lines = try await fixture.invoice(january).lines
            #expect(try await fixture.listed(lines[0]).map(\.raw) == [20_000])
            #expect(await fixture.close(BillingFixture.february).status == 200)
            let later = try #require(try await fixture.invoice(BillingFixture.february).lines.last)
            #expect(try await fixture.listed(later).map(\.raw) == [20_000])
            try await fixture.alter("DELETE FROM late_usage")
            for line in [lines[0], later] {
                let refused = await fixture.admin.call("GET", try #require(line.sessionsURL))
                #expect(refused.status == 409 && refused.detail.contains("not known any more"), "\(refused.text)")
            }
            #expect(try await fixture.findings().filter(\.isFault) == [])
        }
    }

    /// What the addresses of lines list is proved as the lines are.
    @Test(arguments: [
        "UPDATE late_usage SET audio_ms = 19999, connected_ms = 19999", "UPDATE late_usage SET billed_in = '2026-01'",
        "DELETE FROM late_usage",
    ])
    func whatWasAlteredIsFound(_ statement: String) async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            let records = UsageRecord.session(1, startedAt: january.start, seconds: 20)
            try await fixture.ingest(records)
            #expect(await fixture.close(january).status == 200)
            try await fixture.record([records[records.count - 1].later(by: 1)])
            try await fixture.alter(
                "UPDATE usage_rows SET audio_ms = 20001, engine_ms = 20001, connected_ms = 20001")
            #expect(await fixture.close(BillingFixture.february).status == 200)
            #expect(try await fixture.findings() == [])
            try await fixture.alter(statement)
            let found = try await fixture.findings()
            #expect(found.contains { $0.isFault && $0.text.contains("up to invoice 1") }, "\(found)")
        }
    }
}
