import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// What lost nodes' sessions are billed: all invoices for a month together are what it came to in truth, whatever was counted
/// when it was closed.
@Suite struct LostNodesBillingTests {
    private typealias Fixture = BillingFixture
    private typealias Arrival = LostSession.Arrival
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    /// The node's first engine, its second one, and all others: what is counted of unknown ones.
    private static let byEngine = """
        {"currency":"USD","charges":[{"engine":"pocketsphinx","tiers":[{"unit_price":"1"}]},
        {"engine":"deepgram","tiers":[{"unit_price":"2"}]},{"tiers":[{"unit_price":"4"}]}]}
        """

    /// What is billed for a month, by whichever invoices.
    private func billed(_ period: QuotaPeriod, _ fixture: Fixture) async throws -> [String: String] {
        let rows = try await fixture.stores.ownerPool.query(
            """
            SELECT document::jsonb ->> 'subject' || coalesce(document::jsonb ->> 'charge', '') AS subject,
                sum(sessions)::text || ' ' || sum(raw_ms)::text || ' ' || sum(amount)::text AS billed
            FROM invoice_lines WHERE for_period = \(period.description) GROUP BY 1
            HAVING sum(sessions) <> 0 OR sum(raw_ms) <> 0 OR sum(amount) <> 0
            """)
        return try rows.reduce(into: [:]) { $0[try $1.value("subject")] = try $1.value("billed") }
    }

    private func expectNoFault(_ fixture: Fixture, _ comment: String) async throws {
        for month in [january, february, march] {
            let found = try await fixture.findings(month).filter { $0.isFault && $0.check != .sessions }
            #expect(found == [], "\(comment), \(month)")
        }
    }

    // MARK: One

    /// A month is closed with what was counted of a lost node. The node comes back: what was too much is taken back by the next
    /// invoice, and what it was in truth is on it.
    @Test func whatWasTooMuchIsTakenBack() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.byEngine)
            let lost = LostSession(1, .month)
            try await fixture.stores.register([lost])
            for arrival in [Arrival.first, .toldMore, .retired] { try await fixture.stores.arrive(arrival, of: lost) }
            #expect(await fixture.close(january).status == 200)
            let first = try await fixture.invoice(january)
            #expect(Fixture.amounts(first) == ["1.00", "0.00", "0.00"] && first.lines[0].raw == 60_000)
            try await fixture.stores.arrive(.second, of: lost)
            let late = try await fixture.findings(january).filter { $0.check == .late }
            #expect(late.count == 1 && late[0].text.contains("-40000 ms and -0.67 USD"), "\(late)")
            let preview = try await fixture.invoice(february, isPreview: true)
            #expect(Fixture.amounts(preview) == ["0.67", "0.00", "0.00", "-0.67"])
            #expect(await fixture.close(february).status == 200)
            let second = try await fixture.invoice(february)
            #expect(Fixture.amounts(second) == ["0.67", "0.00", "0.00", "-0.67"])
            let adjustment = try #require(second.lines.last)
            #expect(adjustment.kind == .adjustment && adjustment.period == january && adjustment.raw == -40_000)
            #expect(adjustment.sessions == 0)
            try await expectNoFault(fixture, "closed")
            #expect(await fixture.close(march).status == 200)
            #expect(try await billed(march, fixture).isEmpty, "nothing is left")
        }
    }

    /// The sums of the month are the same, and its prices are not.
    @Test func whatWasAtAnotherEngineIsBilledAsThat() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.byEngine)
            let lost = LostSession(1, .engine)
            try await fixture.stores.register([lost])
            for arrival in [Arrival.first, .toldMore, .retired] { try await fixture.stores.arrive(arrival, of: lost) }
            #expect(await fixture.close(january).status == 200)
            #expect(Fixture.amounts(try await fixture.invoice(january)) == ["1.00", "0.00", "0.00"])
            try await fixture.stores.arrive(.second, of: lost)
            #expect(await fixture.close(february).status == 200)
            let second = try await fixture.invoice(february)
            #expect(second.lines.filter { $0.kind == .adjustment }.map { "\($0.amount)" } == ["-0.67", "1.33"])
            try await expectNoFault(fixture, "closed")
            #expect(await fixture.close(march).status == 200)
            #expect(try await billed(march, fixture).isEmpty)
        }
    }

    // MARK: All orders

    /// Months are closed after so many steps of each order of what comes.
    struct Closing: Sendable, CustomTestStringConvertible {
        var cut: LostSession.Cut
        var step: Int
        static let all = LostSession.Cut.allCases.flatMap { cut in (0...4).map { Closing(cut: cut, step: $0) } }
        var testDescription: String { "\(cut) after \(step)" }
    }

    @Test(arguments: Closing.all)
    func whatIsBilledIsWhatItWasInTruth(_ closing: Closing) async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.byEngine)
            let orders = [Arrival.first, .second, .toldMore, .retired].orders
            let lost = orders.indices.map { LostSession($0, closing.cut) }
            try await fixture.stores.register(lost)
            func arrive(_ steps: Range<Int>) async throws {
                for step in steps {
                    for (one, order) in zip(lost, orders) { try await fixture.stores.arrive(order[step], of: one) }
                }
            }
            try await arrive(0..<closing.step)
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            try await expectNoFault(fixture, "closed")
            try await arrive(closing.step..<4)
            try await expectNoFault(fixture, "late")
            #expect(await fixture.close(march).status == 200)
            try await expectNoFault(fixture, "adjusted")
            for month in [january, february] {
                #expect(try await fixture.findings(month).filter { $0.check == .late } == [], "\(month)")
            }
            let (own, other) = (try await billed(january, fixture), try await billed(february, fixture))
            // 24 sessions of 20 s and 40 s.
            let expected: ([String: String], [String: String]) =
                closing.cut == .engine
                ? (["charge0": "24 480000 8.00", "charge1": "0 960000 32.00"], [:])
                : (["charge0": "24 480000 8.00"], ["charge0": "0 960000 16.00"])
            #expect(own == expected.0)
            #expect(other == expected.1)
        }
    }
}
