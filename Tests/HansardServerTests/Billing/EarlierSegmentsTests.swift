import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// What a month's invoice has of sessions that were at several engines before it, through the router and Postgres.
@Suite struct EarlierSegmentsTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    /// One that has a price for `pocketsphinx` alone.
    private static func plan(_ time: BilledTime = .audio, increment: Int = 1_000, minimum: Int = 15_000) -> String {
        """
        {"currency":"USD","billed_time":"\(time.rawValue)","increment_ms":\(increment),"minimum_ms":\(minimum),"charges":[
        {"engine":"pocketsphinx","tiers":[{"unit_price":"1"}]}]}
        """
    }

    /// A minute without a price, and six seconds with one, the first of them in January.
    private func crossing() -> [UsageRecord] {
        UsageRecord.session(1, startedAt: january.end - 61, at: [("synthetic", 60_000), ("pocketsphinx", 6_000)])
    }

    /// What the line of the priced engine has of a month, on that month's invoice.
    private func billed(_ month: QuotaPeriod, _ fixture: BillingFixture) async throws -> [Int64] {
        let invoice = try await fixture.invoice(month)
        try await fixture.check(invoice)
        let line = try #require(invoice.lines.first { $0.period == month && $0.subject == .charge(0) })
        return [line.raw, line.billed]
    }

    /// The minimum was billed in January; what comes late of January is billed, and February stays as it is.
    @Test func theMinimumIsBilledOnceAfterTimeWithoutAPrice() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.plan())
            let records = crossing()
            try await fixture.ingest(records)
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            #expect(try await billed(january, fixture) == [1_000, 15_000])
            #expect(try await billed(february, fixture) == [5_000, 0])
            for month in [january, february] { #expect(try await fixture.findings(month) == []) }
            let last = try #require(records.last { $0.segment == 1 })
            try await fixture.record([last.later(by: 20_000)])
            #expect(await fixture.close(march).status == 200)
            #expect(try await fixture.invoice(march).lines.map(\.period).contains(february) == false)
            try await fixture.checkInvoices([january, february, march])
            #expect(try await fixture.findings(february).filter { $0.check == .invoices } == [])
        }
    }

    /// January was billed by audio, of which there was none.
    @Test func aPlanThatBillsAnotherTimeHasItsOwnMinimum() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(to: january, by: Self.plan(increment: 1, minimum: 60_000))
            try await fixture.bill(from: february, by: Self.plan(.connected, increment: 1, minimum: 60_000))
            let start = january.end - 20
            let first = UsageRecord(
                session: Sample.session(1, startedAt: start), tenant: Sample.tenant, key: KeyID("key_1"),
                engine: "pocketsphinx", model: "m", language: "en", tags: [], region: "r", channels: 1, startedAt: start
            )
            var meter = UsageMeter(first)
            let rest = meter.end(
                at: UsageCounters(audio: 0, connected: 25_000, engine: 0), engine: "pocketsphinx", channels: 1,
                now: start + 25)
            try await fixture.ingest([first] + rest)
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            #expect(try await billed(january, fixture) == [0, 0])
            #expect(try await billed(february, fixture) == [5_000, 60_000])
            #expect(try await fixture.findings(february) == [])
        }
    }

    /// A node that was away brings January after it was closed, and February before.
    @Test func whatWasThereIsKnownThoughItCameLate() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.plan())
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(crossing())
            #expect(try await fixture.invoice(february, isPreview: true).lines[0].billed == 0)
            #expect(await fixture.close(february).status == 200)
            #expect(try await billed(february, fixture) == [5_000, 0])
            #expect(await fixture.close(march).status == 200)
            try await fixture.checkInvoices([january, february, march])
            for month in [january, february] { #expect(try await fixture.findings(month) == []) }
        }
    }

    /// A part of January that comes when February is billed does not change what February was billed by.
    @Test func whatComesAfterAnInvoiceDoesNotChangeWhatItWasMadeBy() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.plan())
            let records = crossing()
            try await fixture.record(records.filter { $0.segment > 0 })
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            // Nothing says that the first minute had no price.
            #expect(try await billed(february, fixture) == [5_000, 5_000])
            try await fixture.record(records.filter { $0.segment == 0 })
            #expect(try await fixture.findings(february).filter { $0.check == .invoices } == [])
            #expect(await fixture.close(march).status == 200)
            #expect(try await fixture.invoice(march).lines.map(\.period).contains(february) == false)
            try await fixture.checkInvoices([january, february, march])
            #expect(try await fixture.findings(february).filter { $0.check == .invoices } == [])
        }
    }

    /// Of a part of January nothing but its beginning came late before February was billed: nothing is billed for it, and February
    /// goes by it.
    @Test func aBeginningThatComesLateIsKnownFromThenOn() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.plan())
            let records = crossing()
            try await fixture.record(records.filter { $0.segment == 0 })
            #expect(await fixture.close(january).status == 200)
            let beginning = try #require(records.first { $0.segment == 1 })
            #expect(beginning.counters == UsageCounters())
            try await fixture.record([beginning] + records.filter { $0.segment == 2 })
            #expect(await fixture.close(february).status == 200)
            #expect(try await billed(february, fixture) == [5_000, 0])
            #expect(try await fixture.invoice(february).lines.allSatisfy { $0.period == february })
            try await fixture.record(records.filter { $0.segment == 1 && $0.isFinal })
            #expect(await fixture.close(march).status == 200)
            #expect(try await fixture.invoice(march).lines.allSatisfy { $0.period != february })
            try await fixture.checkInvoices([january, february, march])
            #expect(try await fixture.findings(february).filter { $0.check == .invoices } == [])
        }
    }
}
