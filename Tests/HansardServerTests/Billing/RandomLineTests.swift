import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// The sessions of lines of random usage by random plans.
@Suite struct RandomLineTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    /// Months of random usage, some of it late, by random plans: each line of each invoice is what its sessions come to, then
    /// and after more has come.
    @Test(arguments: 1...4) func whateverIsUsedTheSessionsOfALineAreTheLine(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let months = [january, february, march, QuotaPeriod("2026-04")!]
        var (calls, plans): ([[UsageRecord]], [String]) = ([], [])
        for _ in 0..<2 { plans.append(Self.plan(&random)) }
        for number in 0..<40 {
            let start = months[0].start + Double(Int.random(in: 0..<(86_400 * 85), using: &random))
            let nearEnd = QuotaPeriod(start).end - Double(Int.random(in: 1...40, using: &random))
            let parts = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                (
                    ["pocketsphinx", "deepgram", "synthetic"].randomElement(using: &random)!,
                    Int64.random(in: 0...30_000, using: &random)
                )
            }
            calls.append(
                UsageRecord.session(
                    number, startedAt: Bool.random(using: &random) ? nearEnd : start,
                    language: ["en", "de"].randomElement(using: &random)!, at: parts))
        }
        // Each record comes before its month is closed or after one of the later ones.
        var rounds = Array(repeating: [UsageRecord](), count: months.count + 1)
        for record in calls.flatMap({ $0 }) {
            let own = months.firstIndex(of: record.period) ?? months.count - 1
            rounds[Bool.random(using: &random) ? own : Int.random(in: own..<rounds.count, using: &random)].append(
                record)
        }
        let (batches, prices) = (rounds, plans)
        try await Fixture.run { fixture async throws in
            try await fixture.bill(to: january, by: prices[0])
            try await fixture.bill(from: february, by: prices[1])
            for (place, month) in months.enumerated() {
                if !batches[place].isEmpty { try await fixture.record(batches[place]) }
                let answer = await fixture.admin.call(
                    "GET", "/v1/admin/tenants/\(Sample.tenant)/invoices/\(month)/preview")
                if answer.status == 200 { try await fixture.check(Invoice(document: answer.text)) }
                #expect(await fixture.close(month).status == 200)
                try await fixture.checkInvoices(Array(months[...place]))
            }
            if !batches[months.count].isEmpty { try await fixture.record(batches[months.count]) }
            try await fixture.checkInvoices(months)
        }
    }

    private static func plan(_ random: inout some RandomNumberGenerator) -> String {
        func one<Value>(_ values: [Value]) -> Value { values.randomElement(using: &random)! }
        let tiers = one([#"[{"unit_price":"1"}]"#, #"[{"up_to":1,"unit_price":"1"},{"unit_price":"0.25"}]"#])
        let first = one([
            #""engine":"pocketsphinx","language":"de","#, #""engine":"pocketsphinx","#, #""language":"en","#,
        ])
        let last = one([#""engine":"deepgram","#, ""])
        return """
            {"currency":"USD","increment_ms":\(one([1, 1_000, 7_000])),"minimum_ms":\(one([0, 15_000])),
            "billed_time":"\(one(["audio", "connected"]))","commitment":"\(one(["0", "3"]))","charges":[
            {\(first)"mode":"\(one(["volume", "graduated"]))","tiers":\(tiers)},{\(last)"tiers":\(tiers)}]}
            """
    }
}
