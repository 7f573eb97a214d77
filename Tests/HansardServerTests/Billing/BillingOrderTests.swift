import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Which months are closed after which, and what is owed in months in which nobody speaks.
@Suite struct BillingOrderTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    /// Nothing was used, and something is owed all the same: such a month is not passed over.
    @Test func aCommitmentAndACreditComeFirst() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(from: january, to: february, by: Fixture.minutes("1", commitment: "5"))
            let refused = await fixture.close(march)
            #expect(refused.status == 409 && refused.detail.contains("2026-01 comes before"), "\(refused.text)")
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.close(february).status == 200)
            #expect(await fixture.credit("-1.00", march).status == 201)
            let april = QuotaPeriod("2026-04")!
            #expect(await fixture.close(april).detail.contains("2026-03 comes before"))
            let listed = await fixture.admin.call("GET", "/v1/admin/periods")
            #expect(listed.text.contains(#""period":"2026-03""#))
            #expect(await fixture.close(march).status == 200)
            #expect(try await fixture.invoice(march).total.description == "-1.00")
        }
    }

    /// What was passed over had nothing in it. It is not closed afterwards, and what comes of it is billed with the next month.
    @Test func aMonthThatWasPassedOverIsBilledLater() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(1, startedAt: february.start, seconds: 60))
            #expect(await fixture.close(february).status == 200)
            let refused = await fixture.close(january)
            #expect(refused.status == 409 && refused.detail.contains("2026-02 comes after"), "\(refused.text)")
            let late = await fixture.credit("-1.00", january)
            #expect(late.status == 409 && late.detail.contains("does not change any more"), "\(late.text)")
            try await fixture.ingest(UsageRecord.session(2, startedAt: january.start, seconds: 120))
            #expect(await fixture.close(march).status == 200)
            let invoice = try await fixture.invoice(march)
            #expect(Fixture.amounts(invoice) == ["2.00"] && invoice.lines.map(\.kind) == [.adjustment])
            #expect(invoice.lines.map(\.period) == [january])
        }
    }

    @Test func aTenantThatIsDeletedOwesNothingAfterwards() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1", commitment: "5"))
            let now = QuotaPeriod(.now)
            #expect(await fixture.admin.call("DELETE", "/v1/admin/tenants/\(Sample.tenant)").status == 204)
            let ends = try await fixture.stores.ownerPool.query("SELECT to_period FROM plan_assignments")
            #expect(try ends.map { try $0.value("to_period", as: String.self) } == ["\(now)"])
            let later = QuotaPeriod(now.end + 1)
            let path = "/v1/admin/tenants/\(Sample.tenant)/invoices/\(later)/preview"
            #expect(await fixture.admin.call("GET", path).status == 404)
            // What is owed to it is paid back all the same.
            #expect(await fixture.credit("-1.00", january).status == 201)
            #expect(await fixture.close(january).status == 200)
            #expect(try await fixture.invoice(january).total.description == "4.00")
        }
    }

    /// A credit says in which currency a tenant is billed as a plan does, also when the plan is gone.
    @Test func aSecondCurrencyIsRefusedWhateverComesFirst() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            #expect(await fixture.credit("-1.00", january).status == 201)
            let path = "/v1/admin/tenants/\(Sample.tenant)/plans/\(january)"
            #expect(await fixture.admin.call("DELETE", path).status == 204)
            let plan = try await fixture.admin.plan("euros")
            let prices = Fixture.minutes("1").replacing("USD", with: "EUR")
            #expect(
                await fixture.admin.call("PUT", "\(AdminFixture.plans)/\(plan)/versions/1", body: prices).status == 200)
            let refused = await fixture.admin.assign(plan, from: "\(january)", to: "null", tenant: Sample.tenant)
            #expect(refused.status == 409 && refused.detail.contains("billed in USD"), "\(refused.text)")
        }
    }

    @Test(arguments: ["1999-12", "2100-01", "0000-01", "9999-12"])
    func monthsThatAreNotBilledHaveNoPlan(_ month: String) async throws {
        try await Fixture.run { fixture async throws in
            let plan = try await fixture.admin.plan("a plan")
            #expect(await fixture.admin.assign(plan, from: month, to: "null", tenant: Sample.tenant).status == 400)
        }
    }

    /// A source that was given up and is at work is waited for again.
    @Test func aRetiredLifeThatIsAtWorkComesBack() async throws {
        try await Fixture.run { fixture async throws in
            let (ledger, epoch, spool) = (PostgresUsageLedger(pool: fixture.stores.pool), Sample.epoch(), UUID())
            try await ledger.register(epoch, spool: spool)
            try await fixture.stores.ownerPool.query(
                "UPDATE usage_sources SET retired_at = now(), retired_because = 'x'")
            #expect(try await ledger.isComplete(epoch, through: .now, isOver: false) == nil)
            try await ledger.register(epoch, spool: spool)
            #expect(try await ledger.isComplete(epoch, through: .now, isOver: false) != nil)
            let row = try await fixture.stores.ownerPool.query("SELECT retired_at IS NULL AS back FROM usage_sources")
                .only()
            #expect(try row.value("back"))
        }
    }

    /// Of two plans, one with a minimum: what was billed for the first part is taken off.
    @Test func aSessionThatCrossesIntoAnotherPlanIsBilledByBoth() async throws {
        try await Fixture.run { fixture async throws in
            let minimum = #"{"currency":"USD","minimum_ms":15000,"charges":[{"tiers":[{"unit_price":"60"}]}]}"#
            try await fixture.bill(from: january, to: january, by: Fixture.minutes("60"))
            let plan = try await fixture.admin.plan("with a minimum")
            #expect(
                await fixture.admin.call("PUT", "\(AdminFixture.plans)/\(plan)/versions/1", body: minimum).status == 200
            )
            #expect(await fixture.admin.assign(plan, from: "2026-02", to: "null", tenant: Sample.tenant).status == 201)
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.end - 1, seconds: 5))
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.close(february).status == 200)
            #expect(try await fixture.invoice(january).lines.map(\.billed) == [1_000])
            #expect(try await fixture.invoice(february).lines.map(\.billed) == [14_000])
        }
    }

    @Test func aNumberIsTakenWithItsInvoice() async throws {
        try await Fixture.run { fixture async throws in
            for change in ["last_invoice = last_invoice + 1", "closings = closings + 2"] {
                await #expect(throws: (any Error).self, "\(change)") {
                    try await fixture.stores.pool.asOperator { connection in
                        try await connection.execute(
                            change.hasPrefix("last")
                                ? "UPDATE billing_state SET last_invoice = last_invoice + 1"
                                : "UPDATE billing_state SET closings = closings + 2")
                    }
                }
            }
            try await fixture.bill(by: Fixture.minutes("1", commitment: "5"))
            #expect(await fixture.close(january).status == 200)
        }
    }
}
