import Crypto
import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Months closed, and what tenants are billed, through the router and Postgres.
@Suite struct InvoicesTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    @Test func aMonthIsPreviewedClosedAndStays() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("0.60", commitment: "2"))
            try await fixture.ingest(
                UsageRecord.session(1, startedAt: january.start + 60, seconds: 90),
                UsageRecord.session(2, of: Sample.otherTenant, startedAt: january.start, seconds: 5))
            let preview = try await fixture.invoice(january, isPreview: true)
            #expect(preview.state == .preview && preview.number == nil && "\(preview.total)" == "2.00")
            #expect(Fixture.amounts(preview) == ["0.90", "1.10"])
            let open = await fixture.admin.call("GET", "/v1/admin/periods/2026-01")
            #expect(
                open.object["state"] as? String == "open"
                    && open.object["unbilled"] as? [String] == ["\(Sample.otherTenant)"])

            let closed = await fixture.close(january)
            #expect(closed.status == 200, "\(closed.text)")
            #expect(closed.object["state"] as? String == "closed" && closed.object["invoices"] as? Int == 1)
            #expect(closed.object["unbilled"] as? [String] == ["\(Sample.otherTenant)"])
            let invoice = try await fixture.invoice(january)
            #expect(invoice.state == .closed && invoice.number == 1 && invoice.lines == preview.lines)
            #expect(
                invoice.lines[0].sessionsURL
                    == "/v1/admin/tenants/\(Sample.tenant)/invoices/2026-01/lines/2026-01/charge-0/sessions")
            let path = "/v1/admin/tenants/\(Sample.tenant)/invoices"
            let answer = await fixture.admin.call("GET", "\(path)/2026-01")
            let hash = SHA256.hash(answer.body)
            #expect(answer.headers["repr-digest"] == "sha-256=:\(Data(hash).base64EncodedString()):")
            for list in [path, "/v1/admin/invoices"] {
                let listed = await fixture.admin.call("GET", list)
                let one = try #require((listed.object["data"] as? [[String: Any]])?.first)
                #expect(one["sha256"] as? String == hash.hexadecimal && one["total"] as? String == "2.00")
            }
            #expect(await fixture.close(january).status == 409)
            #expect(await fixture.admin.call("GET", "\(path)/2026-01/preview").status == 409)
            #expect(await fixture.admin.call("GET", "\(path)/2026-02").status == 404)
            #expect(try await fixture.admin.log().suffix(2) == ["period.closing done", "period.close done"])
        }
    }

    @Test func previewsAndReportsAsTablesSayUpToWhenUsageIsKnown() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(7, startedAt: january.start + 9, seconds: 60))
            let paths = [
                "/v1/admin/tenants/\(Sample.tenant)/invoices/\(january)/preview", "/v1/admin/periods/\(january)/report",
                // Nobody has anything in it.
                "/v1/admin/periods/2025-12/report",
            ]
            for path in paths {
                for form in BillingForm.allCases {
                    let answer = await fixture.admin.call("GET", path, query: "format=\(form.rawValue)")
                    #expect(answer.status == 200, "\(answer.text)")
                    let asOf = answer.headers["data-as-of"].flatMap(Timestamp.read)
                    #expect((asOf != nil) == (form != .json), "\(path), \(form)")
                }
            }
        }
    }

    @Test func invoicesAreOfTheTenantsOfAToken() async throws {
        try await Fixture.run { fixture async throws in
            for tenant in [Sample.tenant, Sample.otherTenant] {
                try await fixture.bill(tenant, by: Fixture.minutes("1", commitment: "5"))
            }
            #expect(await fixture.close(january).status == 200)
            var token = AdminToken(id: "adm_1", name: "", role: .billing, createdAt: moment(0))
            token.tenants = [Sample.tenant]
            let limited = AdminFixture(
                stores: fixture.stores, transcripts: fixture.admin.transcripts,
                router: try await fixture.stores.adminRouter(as: .token(token)))
            let listed = await limited.call("GET", "/v1/admin/invoices", query: "period=2026-01")
            #expect(
                (listed.object["data"] as? [[String: Any]])?.map { $0["tenant_id"] as? String } == ["\(Sample.tenant)"])
            #expect(await limited.call("GET", "/v1/admin/tenants/\(Sample.tenant)/invoices/2026-01").status == 200)
            #expect(await limited.call("GET", "/v1/admin/tenants/\(Sample.otherTenant)/invoices/2026-01").status == 404)
            for (method, path) in [
                ("POST", "/v1/admin/periods/2026-02/close"), ("GET", "/v1/admin/periods"),
                ("GET", "/v1/admin/periods/2026-01"), ("GET", "/v1/admin/usage-sources"),
            ] { #expect(await limited.call(method, path).status == 403, "\(path)") }
        }
    }

    // MARK: Closing is refused

    @Test func aMonthThatIsNotOverIsNotClosed() async throws {
        try await Fixture.run { fixture async throws in
            let refused = await fixture.close(QuotaPeriod(.now), #"{"override":"now"}"#)
            #expect(refused.status == 409 && refused.detail.contains("at the earliest"), "\(refused.text)")
            #expect(await fixture.admin.call("POST", "/v1/admin/periods/2026-1/close").status == 404)
        }
    }

    @Test func monthsAreClosedInTheirOrder() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.start, seconds: 9))
            let refused = await fixture.close(february)
            #expect(refused.status == 409 && refused.detail.contains("2026-01 comes before"), "\(refused.text)")
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.close(february).status == 200)
            let listed = await fixture.admin.call("GET", "/v1/admin/periods")
            let months = (listed.object["data"] as? [[String: Any]] ?? []).map {
                "\($0["period"] ?? "") \($0["state"] ?? "")"
            }
            #expect(months == ["\(QuotaPeriod(.now)) open", "2026-02 closed", "2026-01 closed"])
        }
    }

    @Test func sourcesAreWaitedForUnlessTheyAreGivenUp() async throws {
        try await Fixture.run { fixture async throws in
            let (one, two) = (Sample.epoch("node-1"), Sample.epoch("node-2", 2))
            for epoch in [one, two] {
                try await fixture.stores.ownerPool.query(
                    """
                    INSERT INTO usage_sources (node, epoch, spool, complete_through)
                    VALUES (\(epoch.node), \(epoch.epoch), \(UUID()), \(january.end - 1))
                    """)
            }
            var lease = Sample.lease(SessionID(startedAt: january.start, random: Array(0..<10)), holder: one)
            (lease.claimedAt, lease.usedMilliseconds) = (january.start, 60_000)
            try await PostgresUsageLedger(pool: fixture.stores.pool).note([
                ReapedUsage(lease, audio: 0, foundAt: january.start + 70)
            ])
            let refused = await fixture.close(january)
            #expect(
                refused.status == 409 && refused.detail.contains("node-1 (epoch") && refused.detail.contains("node-2"))
            let path = "/v1/admin/usage-sources/node-1/\(one.epoch.uuidString.lowercased())/retire"
            #expect(await fixture.admin.call("POST", path).status == 400)
            let retired = await fixture.admin.call("POST", path, body: #"{"reason":"it burned"}"#)
            #expect(retired.status == 200 && retired.object["state"] as? String == "retired", "\(retired.text)")
            #expect(await fixture.admin.call("POST", path, body: #"{"reason":"again"}"#).status == 409)
            let counted = try await fixture.stores.ownerPool.query("SELECT audio_ms, source FROM usage_records").only()
            #expect(try counted.value("audio_ms") == 60_000 && counted.value("source") == "reaper")
            #expect(await fixture.close(january).detail.contains("node-1") == false)
            let forced = await fixture.close(january, #"{"override":"node-2 is at sea"}"#)
            #expect(
                forced.status == 200 && forced.object["override"] as? String == "node-2 is at sea", "\(forced.text)")
            #expect((forced.object["missing_sources"] as? [[String: Any]])?.map { $0["node"] as? String } == ["node-2"])
            let states =
                (await fixture.admin.call("GET", "/v1/admin/usage-sources").object["data"] as? [[String: Any]])?
                .map { $0["state"] as? String }
            #expect(states == ["active", "retired"])
            let log = try await fixture.stores.ownerPool.query(
                "SELECT changes::text AS said FROM audit_log WHERE action IN ('period.closing', 'usage_source.retire') ORDER BY place"
            )
            let said = try log.map { try $0.value("said", as: String.self) }
            #expect(said.count == 2 && said[0].contains("it burned") && said[1].contains("node-2 is at sea"))
        }
    }

    /// Whoever reads it later is to learn something.
    @Test(arguments: ["", " ", "\u{a0}\u{2003} ", String(repeating: "x", count: 501)])
    func aReasonSaysSomething(_ reason: String) async throws {
        try await Fixture.run { fixture async throws in
            let sources = "/v1/admin/usage-sources/node-1/\(UUID())/retire"
            for (path, body, pointer) in [
                (sources, #"{"reason":"\#(reason)"}"#, "/reason"),
                ("/v1/admin/periods/2026-01/close", #"{"override":"\#(reason)"}"#, "/override"),
                (
                    "/v1/admin/tenants/\(Sample.tenant)/credits",
                    #"{"amount":"-1","period":"2026-01","reason":"\#(reason)"}"#, "/reason"
                ),
            ] {
                let refused = await fixture.admin.call("POST", path, name: UUID().uuidString, body: body)
                #expect(refused.status == 400 && refused.pointer == pointer, "\(refused.text)")
                #expect(refused.detail.contains("500 characters"), "\(refused.text)")
            }
        }
    }

    /// Lines, segments and hours must say the same.
    @Test func aTenantWhoseLedgerDisagreesIsNotBilled() async throws {
        try await Fixture.run { fixture async throws in
            for (number, tenant) in [Sample.tenant, Sample.otherTenant].enumerated() {
                try await fixture.bill(tenant, by: Fixture.minutes("1"))
                try await fixture.ingest(UsageRecord.session(number, of: tenant, startedAt: january.start, seconds: 60))
            }
            try await fixture.stores.ownerPool.query(
                "UPDATE usage_segments SET audio_ms = audio_ms + 1 WHERE tenant_id = \(Sample.tenant.rawValue)")
            let refused = await fixture.close(january)
            #expect(refused.status == 409 && refused.detail.contains("tenant \(Sample.tenant)"), "\(refused.text)")
            #expect(refused.detail.contains("60001 ms") && refused.detail.contains("60000 ms"))
            #expect(try await fixture.invoice(january, of: Sample.otherTenant).number == 1)
            let path = "/v1/admin/tenants/\(Sample.otherTenant)/invoices/2026-01/preview"
            #expect(await fixture.admin.call("GET", path).status == 409, "it is made")
            let state = await fixture.admin.call("GET", "/v1/admin/periods/2026-01")
            #expect(state.object["state"] as? String == "closing" && state.object["invoices"] as? Int == 1)
            try await fixture.stores.ownerPool.query(
                "UPDATE usage_segments SET audio_ms = audio_ms - 1 WHERE tenant_id = \(Sample.tenant.rawValue)")
            #expect(await fixture.close(january).status == 200)
            #expect(try await fixture.invoice(january).number == 2)
        }
    }

    // MARK: Boundaries

    /// Increment and minimum are for the session as a whole, and it is counted where it began.
    @Test func aSessionThatCrossesTheEndIsBilledOnce() async throws {
        try await Fixture.run { fixture async throws in
            let prices =
                #"{"currency":"USD","increment_ms":60000,"minimum_ms":180000,"charges":[{"tiers":[{"unit_price":"1"}]}]}"#
            try await fixture.bill(by: prices)
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.end - 30, seconds: 200))
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.close(february).status == 200)
            let (first, second) = (try await fixture.invoice(january), try await fixture.invoice(february))
            #expect(first.lines.map(\.raw) == [30_000] && first.lines.map(\.billed) == [180_000])
            #expect(second.lines.map(\.raw) == [170_000] && second.lines.map(\.billed) == [60_000])
            #expect(first.lines.map(\.sessions) == [1] && second.lines.map(\.sessions) == [0])
            #expect([first, second].map { "\($0.total)" } == ["3.00", "1.00"])
        }
    }

    // MARK: Late usage and credits

    @Test func lateUsageIsAnAdjustmentAndTheClosedInvoiceStays() async throws {
        try await Fixture.run { fixture async throws in
            let prices =
                #"{"currency":"USD","charges":[{"mode":"volume","tiers":[{"up_to":5,"unit_price":"1"},{"unit_price":"0.1"}]}]}"#
            try await fixture.bill(by: prices)
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.start, seconds: 240))
            #expect(await fixture.close(january).status == 200)
            let path = "/v1/admin/tenants/\(Sample.tenant)/invoices/2026-01"
            let before = await fixture.admin.call("GET", path)
            #expect(try Invoice(document: before.text).total.description == "4.00")

            try await fixture.ingest(
                UsageRecord.session(2, startedAt: january.start + 9, seconds: 360),
                UsageRecord.session(3, startedAt: february.start + 9, seconds: 60))
            let preview = try await fixture.invoice(february, isPreview: true)
            #expect(Fixture.amounts(preview) == ["1.00", "-3.00"], "ten minutes are 1.00, and 4.00 was billed")
            #expect(preview.lines.map(\.kind) == [.usage, .adjustment])
            #expect(preview.lines.map(\.period) == [february, january])
            #expect(await fixture.close(february).status == 200)
            let second = try await fixture.invoice(february)
            #expect(second.lines == preview.lines && "\(second.total)" == "-2.00" && second.number == 2)
            let after = await fixture.admin.call("GET", path)
            #expect(after.body == before.body && after.headers["repr-digest"] == before.headers["repr-digest"])
            // Nothing is billed twice.
            #expect(await fixture.close(march).status == 200)
            #expect(
                await fixture.admin.call("GET", "/v1/admin/tenants/\(Sample.tenant)/invoices/2026-03").status == 404)
        }
    }

    @Test func creditsAreOnTheInvoiceOfTheirMonth() async throws {
        try await Fixture.run { fixture async throws in
            #expect(await fixture.credit("-1", january).status == 409, "no plan says of which currency")
            try await fixture.bill(by: Fixture.minutes("1", commitment: "10"))
            for (amount, status) in [("0", 400), ("1.5.", 400), ("-2.505", 422), ("1e3", 400), ("-9999999999", 400)] {
                let refused = await fixture.credit(amount, january)
                #expect(refused.status == status && refused.pointer == "/amount", "\(refused.text)")
            }
            let made = await fixture.credit("-2.5", january)
            #expect(made.status == 201 && made.object["amount"] as? String == "-2.50", "\(made.text)")
            let one = try #require(made.headers["location"])
            let other = try #require(await fixture.credit("100", january).headers["location"])
            #expect(await fixture.admin.call("DELETE", other).status == 204)
            #expect(await fixture.close(january).status == 200)
            let invoice = try await fixture.invoice(january)
            #expect(Fixture.amounts(invoice) == ["0.00", "10.00", "-2.50"] && "\(invoice.total)" == "7.50")
            #expect(invoice.lines.last?.reason == "an outage")
            let stays = await fixture.admin.call("DELETE", one)
            #expect(stays.status == 409 && stays.detail.contains("2026-01 is closed"), "\(stays.text)")
            let late = await fixture.credit("-1", january)
            #expect(late.status == 409 && late.pointer == "/period", "\(late.text)")
            #expect(await fixture.admin.call("GET", one).body == made.body)
        }
    }

    @Test func plansOfClosedMonthsStay() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1", commitment: "1"))
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.close(february).status == 200)
            let path = "/v1/admin/tenants/\(Sample.tenant)/plans/2026-01"
            let gone = await fixture.admin.call("DELETE", path)
            #expect(gone.status == 409 && gone.detail.contains("2026-02 is closed"), "\(gone.text)")
            #expect(await fixture.admin.call("PATCH", path, body: #"{"to_period":"2026-01"}"#).status == 409)
            #expect(await fixture.admin.call("PATCH", path, body: #"{"to_period":"2026-02"}"#).status == 200)
            #expect(await fixture.admin.call("PATCH", path, body: #"{"to_period":"2026-05"}"#).status == 200)
            #expect(await fixture.admin.call("PATCH", path, body: #"{"to_period":null}"#).status == 200)
            let plan = try await fixture.admin.plan("other")
            let added = await fixture.admin.assign(plan, from: "2026-02", tenant: Sample.otherTenant)
            #expect(added.status == 404, "there is no such tenant")
            try await PostgresTenantStore(pool: fixture.stores.ownerPool).create(
                Tenant(id: Sample.otherTenant, name: "two", createdAt: moment(0)))
            #expect(await fixture.admin.assign(plan, from: "2026-02", tenant: Sample.otherTenant).status == 409)
            #expect(await fixture.admin.assign(plan, from: "2026-03", tenant: Sample.otherTenant).status == 201)
        }
    }

    @Test func aTenantIsBilledInOneCurrency() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(to: january, by: Fixture.minutes("1"))
            let plan = try await fixture.admin.plan("euros")
            let prices = #"{"currency":"EUR","charges":[{"tiers":[{"unit_price":"1"}]}]}"#
            #expect(
                await fixture.admin.call("PUT", "\(AdminFixture.plans)/\(plan)/versions/1", body: prices).status == 200)
            let refused = await fixture.admin.assign(plan, from: "2026-06")
            #expect(refused.status == 409 && refused.detail.contains("billed in USD"), "\(refused.text)")
        }
    }

    /// What would be a difference of two currencies stops the tenant's invoice, and nothing else.
    @Test func aCurrencyThatWasAlteredIsAConflict() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(7, startedAt: january.start, seconds: 60))
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(UsageRecord.session(3, startedAt: january.start, seconds: 60))
            try await fixture.alter("UPDATE plan_versions SET document = replace(document::text, 'USD', 'EUR')::jsonb")
            let path = "/v1/admin/tenants/\(Sample.tenant)/invoices/\(february)/preview"
            let preview = await fixture.admin.call("GET", path)
            #expect(preview.status == 409 && preview.detail.contains("billed in USD"), "\(preview.text)")
            let closed = await fixture.close(february)
            #expect(closed.status == 409 && closed.detail.contains("billed in USD"), "\(closed.text)")
        }
    }
}
