import Foundation
import Hansard
import Testing

@testable import HansardServer

private enum Body {
    static let tiers = #""tiers":[{"unit_price":"1"}]"#
}

/// What a plan's version may be in JSON, and what it is then.
@Suite struct PlanJSONTests {
    private func read(_ text: String) throws -> PlanVersion {
        var reader = try ObjectReader(Array(text.utf8))
        return try PlanVersion(&reader)
    }

    private func refusal(_ text: String) -> HansardError? {
        do {
            _ = try read(text)
            return nil
        } catch {
            return error as? HansardError
        }
    }

    /// A version with one charge of these fields.
    private func version(_ charge: String, _ rest: String = "") -> String {
        #"{"currency":"USD","charges":[{\#(charge)}]\#(rest)}"#
    }

    @Test func whatIsAbsentIsTheSimplest() throws {
        let least = try read(version(#""tiers":[{"unit_price":"0.0043"}]"#))
        #expect(
            least
                == PlanVersion(
                    currency: try #require(Currency("USD")),
                    charges: [Charge(tiers: [Tier(unitPrice: try #require(Price("0.0043")))])]))
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let version = PlanVersion(
            currency: try #require(Currency("JPY")), time: .connected, increment: 1_000, minimum: 15_000,
            commitment: try #require(Price("5000")),
            charges: [
                Charge(
                    engine: "amazon-transcribe", language: "pt-BR", unit: .hour, mode: .volume, includedMinutes: 60,
                    tiers: [
                        Tier(upTo: 1, unitPrice: Price.most),
                        Tier(upTo: 1_000_000_000, unitPrice: try #require(Price("0.000000000001"))),
                        Tier(unitPrice: .zero),
                    ]), Charge(tiers: [Tier(unitPrice: .zero)]),
            ])
        let text = String(decoding: version.document, as: UTF8.self)
        #expect(try read(text) == version)
        #expect(text.contains(#"{"up_to":1,"unit_price":"1000000000"}"#) && text.contains(#""up_to":null"#))
    }

    /// What no version can have so.
    @Test(arguments: [
        (#"{"charges":[{\#(Body.tiers)}]}"#, "/currency"), (#"{"currency":"USD"}"#, "/charges"), ("{}", "/currency"),
        (#"{"currency":"usd","charges":[{\#(Body.tiers)}]}"#, "/currency"), (#"{"currency":"ZZZ"}"#, "/currency"),
        (#"{"currency":null}"#, "/currency"), (#"{"currency":"USD","charges":{}}"#, "/charges"),
        (#"{"currency":"USD","charges":[]}"#, "/charges"), (#"{"currency":"USD","charges":[5]}"#, "/charges/0"),
        (#"{"currency":"USD","charges":[{}]}"#, "/charges/0/tiers"),
        (#"{"currency":"USD","charges":[{\#(Body.tiers)},{"tiers":[]}]}"#, "/charges/1/tiers"),
        (#"{"currency":"USD","charges":[{\#(Body.tiers),"price":1}]}"#, "/charges/0/price"),
        (#"{"currency":"USD","charges":[{\#(Body.tiers)}],"id":1}"#, "/id"),
    ])
    func aBodyIsAVersion(_ text: String, _ pointer: String) {
        let error = refusal(text)
        #expect(error?.code == .invalid && error?.field == pointer, "\(text): \(error?.message ?? "read")")
    }

    @Test(arguments: [
        (#""increment_ms":0"#, "/increment_ms"), (#""increment_ms":3600001"#, "/increment_ms"),
        (#""increment_ms":1.5"#, "/increment_ms"), (#""increment_ms":null"#, "/increment_ms"),
        (#""minimum_ms":-1"#, "/minimum_ms"), (#""minimum_ms":3600001"#, "/minimum_ms"),
        (#""billed_time":"engine""#, "/billed_time"), (#""commitment":50"#, "/commitment"),
        (#""commitment":"-1""#, "/commitment"), (#""commitment":null"#, "/commitment"),
    ])
    func itsFieldsHaveTheirRanges(_ field: String, _ pointer: String) {
        let error = refusal(version(Body.tiers, "," + field))
        #expect(error?.code == .invalid && error?.field == pointer, "\(error?.message ?? "read")")
    }

    @Test(arguments: [
        (#""engine":"whisper""#, "engine"), (#""engine":5"#, "engine"), (#""language":"""#, "language"),
        (#""language":"e\u0000""#, "language"), (#""language":"\#(String(repeating: "x", count: 36))""#, "language"),
        (#""unit":"second""#, "unit"), (#""unit":null"#, "unit"), (#""mode":"package""#, "mode"),
        (#""included_minutes":-1"#, "included_minutes"), (#""included_minutes":1000000001"#, "included_minutes"),
    ])
    func aChargesFieldsHaveTheirRanges(_ field: String, _ name: String) {
        let error = refusal(version(Body.tiers + "," + field))
        #expect(error?.code == .invalid && error?.field == "/charges/0/\(name)", "\(error?.message ?? "read")")
    }

    @Test(arguments: [
        #"{"unit_price":"-1"}"#, #"{"unit_price":"0.0000000000001"}"#, #"{"unit_price":"1e3"}"#, #"{"unit_price":""}"#,
        #"{"unit_price":"1000000000.1"}"#, #"{"unit_price":0.5}"#, #"{"unit_price":1}"#, #"{"unit_price":null}"#,
        #"{"unit_price":"1\u0000"}"#, #"{"up_to":null}"#,
    ])
    func aPriceIsADecimalString(_ tier: String) {
        let error = refusal(version(#""tiers":[\#(tier)]"#))
        #expect(
            error?.code == .invalid && error?.field == "/charges/0/tiers/0/unit_price", "\(error?.message ?? "read")")
        let isNumber = tier.hasSuffix("5}") || tier.hasSuffix("1}")
        #expect(error?.message.contains("a string such as '0.0043', not a number") == isNumber)
    }

    @Test(arguments: ["0", "-1", "1.5", "1000000001", #""1""#, "true", "1e400"])
    func aTierEndsAtAWholeNumber(_ end: String) {
        let error = refusal(version(#""tiers":[{"up_to":\#(end),"unit_price":"1"},{"unit_price":"1"}]"#))
        #expect(error?.code == .invalid && error?.field == "/charges/0/tiers/0/up_to", "\(error?.message ?? "read")")
    }

    @Test func thereAreNotTooMany() {
        func text(charges: Int, tiers: Int) -> String {
            let tier = Array(repeating: #"{"unit_price":"1"}"#, count: tiers).joined(separator: ",")
            let charge = Array(repeating: #"{"tiers":[\#(tier)]}"#, count: charges).joined(separator: ",")
            return #"{"currency":"USD","charges":[\#(charge)]}"#
        }
        #expect(refusal(text(charges: 101, tiers: 1))?.field == "/charges")
        #expect(refusal(text(charges: 1, tiers: 21))?.field == "/charges/0/tiers")
        #expect(refusal(text(charges: 1, tiers: 1)) == nil)
    }

    /// What has the right form and leaves a time without one price.
    @Test(
        arguments: [
            ([10, 10, nil], "/charges/0/tiers/1/up_to"), ([10, 5, nil], "/charges/0/tiers/1/up_to"),
            ([10], "/charges/0/tiers/0/up_to"), ([nil, 10], "/charges/0/tiers/0/up_to"),
            ([10, 20], "/charges/0/tiers/1/up_to"), ([nil, nil], "/charges/0/tiers/0/up_to"),
        ] as [([Int?], String)])
    func tiersThatDoNotGoTogetherAreContradictory(_ ends: [Int?], _ pointer: String) {
        let tiers = ends.map { #"{"up_to":\#($0.map(String.init) ?? "null"),"unit_price":"1"}"# }.joined(separator: ",")
        let error = refusal(version(#""tiers":[\#(tiers)]"#))
        #expect(error?.code == .contradictory && error?.field == pointer, "\(error?.message ?? "read")")
    }

    @Test func aChargeThatNothingComesToIsContradictory() {
        let error = refusal(
            #"{"currency":"USD","charges":[{\#(Body.tiers)},{"engine":"deepgram",\#(Body.tiers)}]}"#)
        #expect(error?.code == .contradictory && error?.field == "/charges/1")
    }

    // MARK: docs/billing.md

    private static let page = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "docs/billing.md")

    /// The page's version makes of its sessions what the page says.
    @Test func theExampleOfTheDocumentationIsTrue() throws {
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        let block = try #require(page.split(separator: "```json\n").dropFirst().first?.split(separator: "```").first)
        let plan = try read(String(block))
        var rating = Rating(plan)
        for (count, engine, milliseconds) in [
            (40, "amazon-transcribe", 1_800_400), (10, "amazon-transcribe", 4_000), (20, "pocketsphinx", 2_700_250),
        ] {
            for _ in 0..<count {
                rating.add(BillableTime(engine: engine, language: "en", milliseconds: Int64(milliseconds)))
            }
            let each = SessionRating.billed(Int64(milliseconds), by: plan)
            #expect(page.contains("| \(milliseconds) ms | "))
            #expect(page.contains(": \(each) ms | \(Int64(count) * each) ms |"))
        }
        let lines = rating.lines
        let first = try #require(lines.first)
        #expect(page.contains("\(first.billed) ms, of which \(first.included) ms are included; "))
        for tier in first.tiers {
            let price = plan.charges[0].tiers[tier.tier].unitPrice
            #expect(page.contains("\(tier.milliseconds) ms ("))
            #expect(page.contains("at \(price) are \(tier.amount.description)"))
        }
        for (line, name) in zip(lines, ["`amazon-transcribe`", "all others", "commitment"]) {
            let row = page.split(separator: "\n").last { $0.hasPrefix("| \(name) | ") }
            #expect(row?.hasSuffix("| \(line.precise) | \(line.amount) |") == true, "\(name): \(line)")
        }
        #expect(lines.map(\.subject) == [.charge(0), .charge(1), .commitment])
        let total = Rating.total(lines, plan.currency)
        #expect(page.contains("| total | the sum of the lines as they were rounded | | \(total) |"))
    }
}
