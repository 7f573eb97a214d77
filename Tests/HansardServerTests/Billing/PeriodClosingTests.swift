import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Closings that come at once or end in the middle, and usage that comes at any time.
@Suite struct PeriodClosingTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february

    private static func tenant(_ number: UInt8) -> TenantID {
        TenantID(UUID(uuid: (9, number, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 9)))
    }

    /// Tenants that owe a commitment and two minutes each.
    private func fill(_ fixture: BillingFixture, tenants: Int) async throws {
        for number in 0..<tenants {
            let tenant = Self.tenant(UInt8(number))
            try await fixture.bill(tenant, by: Fixture.minutes("0.50", commitment: "\(number)"))
            try await fixture.ingest(
                UsageRecord.session(number, of: tenant, startedAt: january.start + Double(number), seconds: 120))
        }
    }

    private func numbers(_ fixture: BillingFixture) async throws -> [Int64] {
        try await fixture.stores.ownerPool.query("SELECT number FROM invoices ORDER BY number").map {
            try $0.value("number")
        }
    }

    private func expectAllInvoices(_ fixture: BillingFixture, tenants: Int) async throws {
        #expect(try await numbers(fixture) == (1...Int64(tenants)).map { $0 })
        for number in 0..<tenants {
            let invoice = try await fixture.invoice(january, of: Self.tenant(UInt8(number)))
            #expect("\(invoice.total)" == "\(max(1, number)).00")
        }
    }

    @Test func twoWhoCloseMakeTheSameInvoicesOnce() async throws {
        try await Fixture.run { fixture async throws in
            try await fill(fixture, tenants: 8)
            async let one = fixture.close(january)
            async let other = fixture.close(january)
            let statuses = await [one.status, other.status].sorted()
            // The later one may find it closed.
            #expect(statuses == [200, 200] || statuses == [200, 409])
            try await expectAllInvoices(fixture, tenants: 8)
        }
    }

    /// One who closes holds it for as long as an invoice takes, which is long where a tenant has much usage.
    @Test(arguments: [true, false]) func whoClosesBesideALongInvoiceIsToldSo(_ isSameMonth: Bool) async throws {
        try await Fixture.run { fixture async throws in
            try await fill(fixture, tenants: 2)
            if isSameMonth {
                let closing = PeriodClosing(pool: fixture.stores.pool, period: january)
                _ = try await fixture.stores.pool.asOperator {
                    try await closing.begin(nil, grace: .zero, at: .now, on: $0)
                }
            }
            let other = Connection(fixture.stores.url)
            try await other.execute("BEGIN")
            try await other.execute("LOCK TABLE billing_state IN SHARE ROW EXCLUSIVE MODE")
            let refused = await fixture.close(january)
            #expect(refused.status == 409 && refused.object["code"] as? String == "conflict", "\(refused.text)")
            #expect(
                refused.detail.contains(isSameMonth ? "2026-01 is being closed by another call" : "another month"),
                "\(refused.text)")
            try await other.execute("ROLLBACK")
            await other.disconnect()
            #expect(await fixture.close(january).status == 200)
            try await expectAllInvoices(fixture, tenants: 2)
        }
    }

    @Test func aClosingThatEndedInTheMiddleGoesOn() async throws {
        try await Fixture.run { fixture async throws in
            try await fill(fixture, tenants: 8)
            let pool = fixture.stores.pool
            let closing = PeriodClosing(pool: pool, period: january)
            _ = try await pool.asOperator {
                try await closing.begin(nil, grace: .zero, at: .now, on: $0)
            }
            let task = Task { try await closing.makeInvoices() }
            try await eventually("some are made") { try await numbers(fixture).count >= 2 }
            task.cancel()
            _ = await task.result
            let made = try await fixture.stores.ownerPool.query("SELECT number, sha256 FROM invoices ORDER BY number")
            #expect(made.count < 8, "it ended before the last")
            // What comes now is late for those that were made, and in time for the others.
            #expect(await fixture.credit("1", january, tenant: Self.tenant(7)).status == 409)
            #expect(await fixture.close(january).status == 200)
            try await expectAllInvoices(fixture, tenants: 8)
            let after = try await fixture.stores.ownerPool.query(
                "SELECT number, sha256 FROM invoices ORDER BY number LIMIT \(made.count)")
            #expect(after == made)
        }
    }

    /// Usage comes in any order, before, between and after closings: all lines for a month together are what it comes to.
    @Test(arguments: 0..<6) func whateverComesLateIsBilledOnce(_ seed: UInt64) async throws {
        try await Fixture.run { fixture async throws in
            var random = SeededGenerator(seed: seed)
            let mode = seed % 2 == 0 ? "volume" : "graduated"
            try await fixture.bill(
                by: """
                    {"currency":"USD","increment_ms":1000,"minimum_ms":15000,"commitment":"3","charges":[
                    {"engine":"pocketsphinx","mode":"\(mode)","included_minutes":2,
                    "tiers":[{"up_to":20,"unit_price":"0.333333333333"},{"unit_price":"0.0271"}]},
                    {"language":"en","tiers":[{"unit_price":"0.111"}]}]}
                    """)
            let months = ["2026-01", "2026-02", "2026-03", "2026-04"].compactMap(QuotaPeriod.init)
            var records: [UsageRecord] = []
            for number in 0..<30 {
                let month = months.dropLast().randomElement(using: &random) ?? january
                let isAtEnd = Int.random(in: 0..<3, using: &random) == 0
                let start =
                    isAtEnd
                    ? month.end - 200 - Double(number)
                    : month.start + Double(Int.random(in: 0..<2_000_000, using: &random))
                records += UsageRecord.session(
                    number, startedAt: start, seconds: Int.random(in: 0...600, using: &random),
                    engine: ["pocketsphinx", "synthetic"].randomElement(using: &random) ?? "",
                    language: ["en", "de"].randomElement(using: &random) ?? "")
            }
            records.shuffle(using: &random)
            let ledger = PostgresUsageLedger(pool: fixture.stores.pool)
            var rest = records[...]
            for month in months {
                let part = rest.prefix(month == months.last ? rest.count : Int.random(in: 0...12, using: &random))
                rest = rest.dropFirst(part.count)
                _ = try await ledger.ingest(Array(part))
                if Bool.random(using: &random) { _ = try await ledger.rollUp(atMost: 100) }
                let closed = await fixture.close(month)
                #expect(closed.status == 200, "\(closed.text)")
            }
            try await expectBilled(months, fixture)
            for month in months {
                let found = try await fixture.findings(month)
                // Nodes leave rows as well, which are not here.
                #expect(!found.contains { $0.check != .sessions }, "\(found)")
            }
        }
    }

    private func expectBilled(_ months: [QuotaPeriod], _ fixture: BillingFixture) async throws {
        try await fixture.stores.pool.asOperator { connection async throws in
            for month in months {
                let terms = try #require(try await connection.terms(of: Sample.tenant, in: month))
                let whole = try await connection.rated(terms, of: Sample.tenant)
                let billed = try await connection.billedLines(of: Sample.tenant, for: month)
                #expect(whole.adjustments(billed: billed) == [])
                let total = billed.reduce(into: Money(currency: terms.prices.currency)) { $0 += $1.amount }
                #expect(total == Rating.total(whole.rated, terms.prices.currency))
            }
        }
    }
}
