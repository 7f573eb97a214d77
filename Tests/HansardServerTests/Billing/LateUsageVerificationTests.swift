import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Usage that came after its month was closed, as `hansard usage verify` tells it: nothing of it is a fault, and all of it is named.
@Suite struct LateUsageVerificationTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let start = BillingFixture.january.start + 9

    /// A session of which the first records come before its month is closed, and the rest later.
    private struct Interrupted {
        var before: [UsageRecord]
        var after: [UsageRecord]

        /// - Parameters:
        ///   - told: what it had used by the last record that came in time.
        ///   - total: what it had used in the end.
        init(_ number: Int, startedAt: Date, told: UsageCounters, total: UsageCounters) throws {
            let first = try #require(UsageRecord.session(number, startedAt: startedAt, seconds: 0).first)
            var meter = UsageMeter(first)
            func time(_ used: UsageCounters) -> Date { startedAt + Double(used.connected) / 1_000 }
            before = [first] + meter.advance(to: told, engine: first.engine, channels: 1, at: time(told))
            after = meter.end(at: total, engine: first.engine, channels: 1, now: time(total))
        }
    }

    /// One late finding, which names the session and what it comes to, and nothing once the next month is closed.
    private func expectLate(_ fixture: Fixture, _ session: SessionID?, _ difference: String) async throws {
        let found = try await fixture.findings()
        #expect(found.map(\.check) == [.late] && !found.contains(where: \.isFault), "\(found)")
        let text = found.first?.text ?? ""
        #expect(text.contains(difference), "\(text)")
        let named = text.components(separatedBy: "is of the sessions ").last
        #expect(named == session?.description, "\(text)")
        #expect(await fixture.close(february).status == 200)
        #expect(try await fixture.findings() == [])
    }

    /// A record's time is when its delivery began, so that it may be before that of an invoice which does not have it.
    @Test(arguments: [false, true])
    func aDeliveryThatBeganBeforeTheInvoiceMayBeLate(_ isShortAfterOthers: Bool) async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(7, startedAt: start, seconds: 60))
            if !isShortAfterOthers { try await fixture.alter("UPDATE usage_records SET recorded_at = '2026-01-02'") }
            #expect(await fixture.close(january).status == 200)
            let late = UsageRecord.session(3, startedAt: start, seconds: 30)
            try await fixture.ingest(late)
            try await fixture.alter(
                """
                UPDATE usage_records SET recorded_at = (SELECT max(created_at) FROM invoices) - interval '1 millisecond'
                WHERE session_id = '\(late[0].session)'
                """)
            try await expectLate(fixture, late.first?.session, "30000 ms and 0.50 USD")
        }
    }

    @Test func aSessionThatIsBilledInPartMayHaveMore() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            let session = try Interrupted(
                7, startedAt: start, told: UsageCounters(audio: 20_000, connected: 20_000, engine: 20_000),
                total: UsageCounters(audio: 60_000, connected: 60_000, engine: 60_000))
            try await fixture.ingest(session.before, UsageRecord.session(8, startedAt: start, seconds: 60))
            #expect(await fixture.close(january).status == 200)
            #expect(Fixture.amounts(try await fixture.invoice(january)) == ["1.33"])
            #expect(try await fixture.findings() == [])
            try await fixture.ingest(session.after)
            try await expectLate(fixture, session.after.last?.session, "40000 ms and 0.67 USD")
        }
    }

    private static let connected =
        #"{"currency":"USD","billed_time":"connected","charges":[{"tiers":[{"unit_price":"1"}]}]}"#

    /// It was connected for longer, and heard nothing more.
    @Test func wherePlansAreByConnectionThatIsWhatIsLate() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.connected)
            let session = try Interrupted(
                7, startedAt: start, told: UsageCounters(audio: 20_000, connected: 30_000, engine: 20_000),
                total: UsageCounters(audio: 20_000, connected: 90_000, engine: 20_000))
            try await fixture.ingest(session.before)
            #expect(await fixture.close(january).status == 200)
            #expect(Fixture.amounts(try await fixture.invoice(january)) == ["0.50"])
            #expect(try await fixture.findings() == [])
            try await fixture.ingest(session.after)
            try await expectLate(fixture, session.after.last?.session, "60000 ms and 1.00 USD")
        }
    }
}
