import Foundation
import Hansard
import Testing

/// Which plans there can be, and how prices and money are written.
@Suite struct PlanVersionTests {
    private static let good = PlanVersion(
        currency: Currency("EUR")!,
        charges: [Charge(tiers: [Tier(upTo: 10, unitPrice: .zero), Tier(unitPrice: .zero)])])

    private func pointer(_ change: (inout PlanVersion) -> Void) -> String? {
        var plan = Self.good
        change(&plan)
        do throws(HansardError) {
            try plan.check()
            return nil
        } catch {
            #expect(error.code == .invalid && error.message.hasPrefix(error.field ?? "-"))
            return error.field
        }
    }

    private func tiers(_ ends: Int64?...) -> String? {
        pointer { $0.charges[0].tiers = ends.map { Tier(upTo: $0, unitPrice: .zero) } }
    }

    @Test func whatLeavesATimeWithoutOnePriceIsNamed() {
        #expect(pointer { _ in } == nil)
        #expect(tiers(nil) == nil)
        #expect(tiers(1, 2, nil) == nil)
        #expect(tiers() == "/charges/0/tiers")
        #expect(tiers(10) == "/charges/0/tiers/0/up_to", "beyond it there is no price")
        #expect(tiers(10, 10, nil) == "/charges/0/tiers/1/up_to")
        #expect(tiers(10, 5, nil) == "/charges/0/tiers/1/up_to")
        #expect(tiers(0, nil) == "/charges/0/tiers/0/up_to")
        #expect(tiers(-1, nil) == "/charges/0/tiers/0/up_to")
        #expect(tiers(1_000_000_001, nil) == "/charges/0/tiers/0/up_to")
        #expect(tiers(nil, 10, nil) == "/charges/0/tiers/0/up_to")
        #expect(tiers(nil, nil) == "/charges/0/tiers/0/up_to")
        #expect(
            pointer { $0.charges[0].tiers = Array(repeating: Tier(unitPrice: .zero), count: 21) } == "/charges/0/tiers")
    }

    @Test func whatIsOutOfRangeIsNamed() {
        for increment: Int64 in [0, -1, 3_600_001] { #expect(pointer { $0.increment = increment } == "/increment_ms") }
        for minimum: Int64 in [-1, 3_600_001] { #expect(pointer { $0.minimum = minimum } == "/minimum_ms") }
        #expect(pointer { $0.minimum = 0 } == nil)
        #expect(pointer { $0.charges = [] } == "/charges")
        #expect(pointer { $0.charges = Array(repeating: $0.charges[0], count: 101) } == "/charges")
        #expect(pointer { $0.charges[0].includedMinutes = -1 } == "/charges/0/included_minutes")
        #expect(pointer { $0.charges[0].includedMinutes = 1_000_000_001 } == "/charges/0/included_minutes")
    }

    @Test(
        arguments: [
            (nil, nil, "a", "en"), (nil, "en", "a", "en"), ("a", nil, "a", "en"), ("a", "en", "a", "en"),
        ] as [(String?, String?, String, String)])
    func aChargeThatNothingComesToIsNamed(_ engine: String?, _ language: String?, _ later: String, _ tongue: String) {
        func charge(_ engine: String?, _ language: String?) -> Charge {
            Charge(engine: engine, language: language, tiers: [Tier(unitPrice: .zero)])
        }
        #expect(pointer { $0.charges = [charge(engine, language), charge(later, tongue)] } == "/charges/1")
        #expect(pointer { $0.charges = [charge("b", language), charge(later, tongue)] } == nil)
        #expect(pointer { $0.charges = [charge(later, tongue), charge(nil, nil)] } == nil)
    }

    @Test(arguments: [
        ("0", "0"), ("1", "1"), ("0.0043", "0.0043"), ("01.50", "1.5"), ("0.000000000001", "0.000000000001"),
        ("1000000000", "1000000000"), ("999999999.999999999999", "999999999.999999999999"),
    ])
    func pricesAreReadAndWritten(_ text: String, _ plain: String) throws {
        let price = try #require(Price(text))
        #expect("\(price)" == plain && Price(plain) == price)
        let json = try JSONEncoder().encode([price])
        #expect(String(decoding: json, as: UTF8.self) == "[\"\(plain)\"]")
        #expect(try JSONDecoder().decode([Price].self, from: json) == [price])
    }

    @Test(arguments: [
        "", ".", "1.", ".5", "-1", "+1", "1e3", "0x1", "1,5", " 1", "1 ", "1.2.3", "0.0000000000001", "1000000000.1",
        "99999999999", "٣", "NaN",
    ])
    func whatIsNoPriceIsRefused(_ text: String) {
        #expect(Price(text) == nil)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([Price].self, from: JSONEncoder().encode([text]))
        }
    }

    @Test func currenciesHaveTheirPlaces() {
        #expect(Currency("USD")?.places == 2 && Currency("JPY")?.places == 0 && Currency("KWD")?.places == 3)
        for code in ["", "usd", "US", "USDD", "XXX", "XTS", "ZZZ"] { #expect(Currency(code) == nil) }
    }

    /// Half of the smallest amount goes away from zero.
    @Test(arguments: [
        ("0.005", "0.01"), ("0.004999999999", "0.00"), ("0.015", "0.02"), ("1.005", "1.01"), ("12.3", "12.30"),
    ])
    func amountsAreRoundedHalfAwayFromZero(_ exact: String, _ rounded: String) throws {
        let euro = try #require(Currency("EUR"))
        let amount = Amount(try #require(Price(exact)))
        #expect("\(amount.rounded(to: euro))" == rounded)
        let below = (Amount.zero - amount).rounded(to: euro)
        #expect("\(below)" == (rounded == "0.00" ? rounded : "-" + rounded))
        #expect(below.amount + amount.rounded(to: euro).amount == .zero)
    }
}
