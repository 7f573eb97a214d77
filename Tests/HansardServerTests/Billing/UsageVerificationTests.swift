import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Of the charge's line.
private let charged = #""amount":"2.00""#

/// What `hansard usage verify` finds: whatever was altered, with its place, and nothing that is as it should be.
@Suite struct UsageVerificationTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private static let start = BillingFixture.january.start + 9
    /// The session that is altered.
    private static let session = Sample.session(7, startedAt: start).description

    struct Alteration: Sendable, CustomTestStringConvertible {
        /// `SESSION` stands for the session, `OTHER` for a tenant that is none.
        var statements: String
        /// Checks that find something; nil is at least one.
        var checks: Set<UsageVerification.Finding.Check>?
        /// What one of the findings says.
        var said: String

        init(_ statements: String, _ checks: Set<UsageVerification.Finding.Check>?, _ said: String) {
            self.statements = statements
            self.checks = checks
            self.said = said
        }

        var testDescription: String { statements }
    }

    private func alter(_ fixture: Fixture, _ alteration: Alteration) async throws {
        try await fixture.alter(
            alteration.statements.replacing("SESSION", with: "'\(Self.session)'")
                .replacing("OTHER", with: "'\(Sample.otherTenant)'"))
    }

    /// Alters what was prepared, and expects that what is found then, and not before, is what the alteration says.
    ///
    /// - Parameter known: what is found before.
    @discardableResult private func expectFound(
        _ alteration: Alteration, known: [UsageVerification.Finding.Check] = [],
        prepare: (Fixture) async throws -> Void
    ) async throws -> [UsageVerification.Finding] {
        var found: [UsageVerification.Finding] = []
        try await Fixture.run { fixture async throws in
            try await prepare(fixture)
            #expect(try await fixture.findings().map(\.check) == known)
            try await alter(fixture, alteration)
            found = try await fixture.findings()
        }
        if let checks = alteration.checks { #expect(Set(found.map(\.check)) == checks, "\(found)") }
        #expect(found.contains { $0.isFault && $0.text.contains(alteration.said) }, "\(found)")
        return found
    }

    // MARK: The ledger

    static let ofTheLedger: [Alteration] = [
        Alteration(
            "UPDATE usage_rows SET engine_ms = engine_ms + 1 WHERE session_id = SESSION", [.sessions], "its row has"),
        Alteration("DELETE FROM usage_rows WHERE session_id = SESSION", [.sessions], "its row has nothing"),
        Alteration(
            "UPDATE usage_rows SET engine = 'x' WHERE session_id = SESSION", [.sessions], "engine is pocketsphinx"),
        Alteration("UPDATE usage_rows SET model = 'x' WHERE session_id = SESSION", [.sessions], "model is m"),
        Alteration("UPDATE usage_rows SET channels = 5 WHERE session_id = SESSION", [.sessions], "channels are 1"),
        Alteration(
            "UPDATE usage_rows SET started_at = started_at - interval '1 day' WHERE session_id = SESSION", [.sessions],
            "began at another time"),
        Alteration(
            "UPDATE usage_records SET audio_ms = audio_ms + 1 WHERE session_id = SESSION AND is_final",
            [.records, .marks],
            "its records have"),
        Alteration(
            "UPDATE usage_records SET audio_ms = 1 WHERE session_id = SESSION AND is_final", [.records],
            "its record 2 has less than the one before it"),
        Alteration(
            "UPDATE usage_records SET made_at = made_at - interval '5 seconds' WHERE session_id = SESSION AND is_final",
            [.records], "its record 2 was made before the one before it"),
        Alteration(
            "UPDATE usage_records SET made_at = made_at - interval '5 seconds' WHERE session_id = SESSION AND seq = 0",
            [.records], "was made before the segment began"),
        Alteration(
            "DELETE FROM usage_records WHERE session_id = SESSION", [.records, .marks], "its records have nothing"),
        Alteration(
            "UPDATE usage_segments SET audio_ms = audio_ms + 1 WHERE session_id = SESSION", [.sessions, .records],
            "its total is audio_ms 60001"),
        Alteration(
            "UPDATE usage_segments SET key_id = 'k', region = 'x' WHERE session_id = SESSION", [.sessions, .hours],
            "key_id is k, the row has key_1; region is x"),
        Alteration(
            "UPDATE usage_segments SET engine = 'x' WHERE session_id = SESSION", [.sessions, .hours], "engine is x"),
        Alteration(
            "UPDATE usage_segments SET language = 'de', tags = '{a}' WHERE session_id = SESSION", [.sessions, .hours],
            "language is de, the row has en; tags are {a}"),
        Alteration(
            "UPDATE usage_segments SET audio_before_ms = 1 WHERE session_id = SESSION", [.sessions],
            "audio_before_ms is 1"),
        Alteration(
            "UPDATE usage_segments SET is_final = false WHERE session_id = SESSION", [.sessions, .records],
            "it is not final"),
        Alteration(
            "UPDATE usage_segments SET begins = true WHERE session_id = SESSION", [.sessions], "begins is set"),
        Alteration(
            "UPDATE usage_segments SET last_at = '2099-01-01' WHERE session_id = SESSION", [.records, .recent],
            "until 2099"),
        Alteration(
            "DELETE FROM usage_segments WHERE session_id = SESSION", [.sessions, .records, .marks, .hours],
            "the ledger has nothing"),
        Alteration(
            "UPDATE usage_marks SET connected_ms = connected_ms + 1 WHERE session_id = SESSION", [.marks, .hours],
            "its mark is"),
        Alteration(
            "UPDATE usage_marks SET hour = hour + interval '1 day' WHERE session_id = SESSION", [.marks, .hours],
            "its mark is nothing"),
    ]

    @Test(arguments: ofTheLedger)
    func aRowOfTheLedgerThatWasAlteredIsFoundWithItsSession(_ alteration: Alteration) async throws {
        let found = try await expectFound(alteration) { fixture in
            try await fixture.ingest(UsageRecord.session(7, startedAt: Self.start, seconds: 60))
            try await fixture.ingest(UsageRecord.session(8, startedAt: january.end - 20, seconds: 60))
            try await fixture.rollUp()
        }
        let own: [UsageVerification.Finding.Check] = [.sessions, .records, .marks]
        for finding in found where own.contains(finding.check) {
            #expect(finding.text.contains(Self.session) && finding.text.contains("\(Sample.tenant)"))
        }
    }

    static let ofSums: [Alteration] = [
        Alteration("UPDATE usage_hourly SET audio_ms = audio_ms + 1", [.hours, .days], "its sum is audio_ms 60001"),
        Alteration("UPDATE usage_hourly SET engine = 'x'", [.hours, .days], "engine x"),
        Alteration("UPDATE usage_hourly SET tags = '{a}'", [.hours, .days], "tags [a]"),
        Alteration("UPDATE usage_hourly SET tenant_id = OTHER", [.hours, .days], "\(Sample.otherTenant)"),
        Alteration("INSERT INTO usage_hourly SELECT * FROM usage_hourly", [.hours, .days], "audio_ms 120000"),
        Alteration("DELETE FROM usage_hourly", [.hours, .days], "its sum is nothing"),
        Alteration("UPDATE usage_daily SET sessions = sessions + 1", [.days], "its sum is audio_ms 60000"),
        Alteration("UPDATE usage_daily SET model = 'x', region = 'y'", [.days], "model x, language en, tags [] in y"),
        Alteration("UPDATE usage_daily SET day = day + interval '1 day'", [.days], "the day from 2026-01-02"),
        Alteration("DELETE FROM usage_daily", [.days], "its sum is nothing"),
    ]

    @Test(arguments: ofSums)
    func aSumThatWasAlteredIsFoundWithItsPlace(_ alteration: Alteration) async throws {
        try await expectFound(alteration) { fixture in
            try await fixture.ingest(UsageRecord.session(7, startedAt: Self.start, seconds: 60))
            try await fixture.rollUp()
        }
    }

    /// Two of these are more than 64 bits hold: they are found all the same, with their place.
    @Test(arguments: [
        "usage_rows", "usage_segments", "usage_records", "usage_marks", "usage_hourly", "usage_daily", "usage_events",
    ])
    func numbersThatDoNotFitTogetherAreFound(_ table: String) async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            _ = try await fixture.stores.outbox()
            for number in 7...8 {
                try await fixture.ingest(
                    UsageRecord.session(number, startedAt: Self.start, seconds: 60),
                    UsageRecord.session(number + 2, startedAt: january.end - 20, seconds: 60))
            }
            try await fixture.stores.makeEvents()
            #expect(await fixture.close(january).status == 200)
            #expect(try await fixture.findings() == [])
            for column in ["connected_ms", "engine_ms", "audio_ms"] {
                try await fixture.alter("UPDATE \(table) SET \(column) = 9000000000000000000")
                let found = try await fixture.findings()
                #expect(
                    found.contains {
                        $0.isFault && $0.text.contains("\(column) ") && $0.text.contains("000000000000000000")
                    },
                    "\(found)")
            }
        }
    }

    // MARK: What is as it should be

    @Test func nothingIsFoundWhereAllAgrees() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("0.50", commitment: "1"))
            try await fixture.ingest(UsageRecord.session(7, startedAt: Self.start, seconds: 120))
            try await fixture.ingest(UsageRecord.session(50, startedAt: january.end - 20, seconds: 60))
            // One that is live.
            let live = UsageRecord.session(51, startedAt: january.start, seconds: 60).dropLast()
            try await fixture.ingest(Array(live))
            #expect(try await fixture.findings() == [])
            try await fixture.rollUp()
            #expect(try await fixture.findings() == [])
            #expect(await fixture.credit("-0.25", january).status == 201)
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            for month in [january, february] { #expect(try await fixture.findings(month) == []) }
        }
    }

    /// A session that changes engines is at each of them, and its row names one.
    @Test func aSessionAtTwoEnginesIsNoDifference() async throws {
        try await Fixture.run { fixture async throws in
            let first = try #require(UsageRecord.session(7, startedAt: Self.start, seconds: 60).first)
            var meter = UsageMeter(first)
            func used(_ seconds: Int64) -> UsageCounters {
                UsageCounters(audio: seconds * 1_000, connected: seconds * 1_000, engine: seconds * 1_000)
            }
            var records = [first]
            records += meter.advance(to: used(12), engine: "synthetic", channels: 1, at: Self.start + 12)
            records += meter.end(at: used(30), engine: "synthetic", channels: 1, now: Self.start + 30)
            try await fixture.ingest(records)
            #expect(try await fixture.findings() == [])
            try await alter(
                fixture, Alteration("UPDATE usage_segments SET audio_before_ms = 11999 WHERE segment = 1", nil, ""))
            let found = try await fixture.findings()
            #expect(found.count == 1 && found.contains { $0.text.contains("the segments before it have 12000") })
        }
    }

    /// Its node never says how it ended: what was known is counted when the node is given up, and that is what there is.
    @Test(arguments: [true, false]) func aSessionOfALostNodeHasNoRow(_ hasRecords: Bool) async throws {
        try await Fixture.run { fixture async throws in
            let records = UsageRecord.session(7, startedAt: Self.start, seconds: 20)
            if hasRecords { try await fixture.ingest(Array(records.dropLast())) }
            let (epoch, owner) = (UUID(), fixture.stores.ownerPool)
            let (session, started) = (records[0].session.rawValue, Self.start)
            try await owner.execute(
                """
                INSERT INTO usage_reaped (tenant_id, session_id, node, epoch, key_id, region, started_at, found_at, audio_ms)
                VALUES (\(Sample.tenant.rawValue), \(session), 'lost', \(epoch), 'key_1', 'r', \(started), \(started + 90), 60000)
                """)
            let counted = try await owner.query("SELECT count_reaped_usage('lost', \(epoch)) AS n").only()
            #expect(try counted.value("n") == 1)
            try await fixture.rollUp()
            #expect(try await fixture.findings() == [])
            // Without that nobody said so.
            try await fixture.alter("DELETE FROM usage_reaped")
            let found = try await fixture.findings()
            #expect(found.map(\.check) == [.records] && found[0].text.contains(records[0].session.description))
        }
    }

    /// A session's row and its records come by two ways, and either may come first.
    @Test func aSessionThatHasJustEndedIsNotComparedYet() async throws {
        try await Fixture.run { fixture async throws in
            let now = Date.now
            let (one, other) = (
                UsageRecord.session(1, startedAt: now, seconds: 1), UsageRecord.session(2, startedAt: now, seconds: 1)
            )
            _ = try await PostgresUsageLedger(pool: fixture.stores.pool).ingest(one)
            try await PostgresUsageStore(pool: fixture.stores.pool).record([UsageRecord.row(of: other)])
            let found = try await fixture.findings(QuotaPeriod(now))
            #expect(found.map(\.check) == [.recent] && !found.contains(where: \.isFault), "\(found)")
            #expect(found.contains { $0.text.hasPrefix("1 sessions") })
        }
    }

    @Test func lateUsageIsToldAndIsNoFault() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(UsageRecord.session(3, startedAt: january.start, seconds: 60))
            let found = try await fixture.findings()
            #expect(found.map(\.check) == [.late] && !found.contains(where: \.isFault))
            #expect(found[0].text.contains(Sample.session(3, startedAt: january.start).description))
            #expect(found[0].text.contains("1.00 USD"))
            #expect(await fixture.close(february).status == 200)
            #expect(try await fixture.findings() == [])
        }
    }

    // MARK: What is billed

    private static let byEngine = """
        {"currency":"USD","charges":[{"engine":"pocketsphinx","tiers":[{"unit_price":"1"}]},{"tiers":[{"unit_price":"2"}]}]}
        """

    static let besideLateUsage: [Alteration] = [
        Alteration("UPDATE usage_segments SET engine = 'synthetic' WHERE session_id = SESSION", nil, "by invoice 1"),
        Alteration(
            "UPDATE usage_records SET recorded_at = now() + interval '1 day' WHERE session_id = SESSION", nil,
            "by invoice 1"),
        Alteration(
            #"UPDATE plan_versions SET document = replace(document::text, '"1"', '"3"')::jsonb"#, nil,
            "it is not as in version 1"),
        Alteration("DELETE FROM invoice_lines; DELETE FROM invoices", nil, "are not billed by any invoice"),
    ]

    /// What is late is what later records say, and nothing beside it.
    @Test(arguments: besideLateUsage)
    func lateUsageHidesNothing(_ alteration: Alteration) async throws {
        let found = try await expectFound(alteration, known: [.late]) { fixture in
            try await fixture.bill(by: Self.byEngine)
            try await fixture.ingest(UsageRecord.session(7, startedAt: Self.start, seconds: 60))
            // As if it had been there long before.
            try await fixture.alter("UPDATE usage_records SET recorded_at = '2026-01-02'")
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(UsageRecord.session(3, startedAt: january.start, seconds: 30))
        }
        #expect(found.contains { $0.check == .invoices && $0.text.contains(alteration.said) }, "\(found)")
    }

    static let ofBills: [Alteration] = [
        Alteration("UPDATE invoices SET total = 0", nil, "its total is not what its row has"),
        Alteration("UPDATE invoices SET currency = 'EUR'", nil, "its currency is not"),
        Alteration("UPDATE invoices SET plan_id = NULL, version = NULL", nil, "its plan_id is not"),
        Alteration("UPDATE invoices SET data_as_of = data_as_of - interval '1 day'", nil, "its data_as_of is not"),
        Alteration("UPDATE invoices SET created_at = created_at + interval '1 day'", nil, "its created_at is not"),
        Alteration("UPDATE invoices SET number = 5", nil, "there are no invoices 1 to 4"),
        Alteration("UPDATE invoices SET number = 2", nil, "there is no invoice 1"),
        Alteration(
            "UPDATE invoices SET tenant_id = OTHER; UPDATE invoice_lines SET tenant_id = OTHER", nil,
            "its tenant_id is not"),
        Alteration("DELETE FROM invoice_lines; DELETE FROM invoices", nil, "is 1, the last invoice's is 0"),
        Alteration("DELETE FROM invoices", nil, "there are 3 lines of 2026-01 and no invoice"),
        Alteration("DELETE FROM invoice_lines", nil, "it has 3 lines, and 0 are there"),
        Alteration("UPDATE invoice_lines SET amount = amount + 5", nil, "the amount of its line 0 is not"),
        Alteration("UPDATE invoice_lines SET raw_ms = raw_ms + 5", nil, "the raw_ms of its line 0 is not"),
        Alteration("UPDATE invoice_lines SET billed_ms = 5", nil, "the billed_ms of its line 0 is not"),
        Alteration("UPDATE invoice_lines SET sessions = 5", nil, "the sessions of its line 0 is not"),
        Alteration(
            "UPDATE invoice_lines SET for_period = '2025-12', kind = 'adjustment' WHERE line = 0", nil,
            "the for_period of its line 0 is not"),
        Alteration(
            "UPDATE invoice_lines SET document = replace(document, '120000', '120001')", nil,
            "the document of its line 0 is not"),
        Alteration(
            """
            UPDATE invoices SET document = replace(document, '"4.50"', '"1.50"'),
                sha256 = sha256(convert_to(replace(document, '"4.50"', '"1.50"'), 'UTF8'))
            """, nil, "its total, its times or its form"),
        Alteration("UPDATE invoices SET document = 'x', sha256 = sha256('x')", nil, "it cannot be read"),
        Alteration(
            """
            UPDATE invoice_lines SET amount = 9, document = replace(document, '\(charged)', '"amount":"9.00"') WHERE line = 0;
            UPDATE invoices SET total = 11.5, document = replace(replace(document, '\(charged)', '"amount":"9.00"'),
                '"4.50"', '"11.50"'),
                sha256 = sha256(convert_to(replace(replace(document, '\(charged)', '"amount":"9.00"'),
                '"4.50"', '"11.50"'), 'UTF8'));
            """, nil, "-7.00 USD are not billed by invoice 1"),
        Alteration("UPDATE credits SET amount = -9", [.credits], "is no line of it"),
        Alteration("UPDATE credits SET reason = 'x'", [.credits], "-0.50, x, is no line of it"),
        Alteration("DELETE FROM credits", [.credits], "and that is no credit"),
        Alteration(
            "INSERT INTO credits SELECT gen_random_uuid(), tenant_id, period, currency, -5, 'x', 'y', now() FROM credits",
            [.credits], "-5, x, is no line of it"),
        Alteration("UPDATE credits SET tenant_id = OTHER", [.credits], "is on no invoice"),
        Alteration(
            "UPDATE plan_versions SET document = replace(document::text, 'USD', 'EUR')::jsonb", nil,
            "2026-01 is billed in USD, and version 1"),
        Alteration(
            #"UPDATE plan_versions SET document = replace(document::text, '"1"', '"3"')::jsonb"#, nil,
            "it is not as in version 1"),
        Alteration("UPDATE plan_versions SET document = '{}'", [.plans], "cannot be read"),
        Alteration("UPDATE plan_versions SET used_at = NULL", [.plans], "its used_at is null"),
        Alteration("DELETE FROM plan_versions", [.plans], "is gone"),
        Alteration("DELETE FROM billing_periods", nil, "neither closing nor closed"),
        Alteration(
            "UPDATE billing_periods SET state = 'open', closing_at = NULL, closed_at = NULL", nil,
            "neither closing nor closed"),
        Alteration("DELETE FROM plan_assignments", [.plans], "was not the tenant's in 2026-01"),
        Alteration("UPDATE plan_assignments SET from_period = '2026-02'", [.plans], "was not the tenant's in 2026-01"),
        Alteration("UPDATE billing_state SET last_invoice = 99", [.invoices], "the last number that was given is 99"),
    ]

    /// Whoever takes the triggers away can change what was billed, and is found out.
    @Test(arguments: ofBills)
    func whatWasAlteredOfABillIsFound(_ alteration: Alteration) async throws {
        try await expectFound(alteration) { fixture in
            try await fixture.bill(by: Fixture.minutes("1", commitment: "5"))
            try await fixture.ingest(UsageRecord.session(7, startedAt: Self.start, seconds: 120))
            #expect(await fixture.credit("-0.50", january).status == 201)
            #expect(await fixture.close(january).status == 200)
        }
    }
}
