import Foundation
import Hansard
import Testing

/// How usage becomes money, by examples that can be checked by hand.
@Suite struct RatingTests {
    private static let dollars = Currency("USD")!

    private static func plan(
        _ tiers: [Tier], _ mode: TierMode = .graduated, included: Int64 = 0, increment: Int64 = 1, minimum: Int64 = 0,
        commitment: String = "0"
    ) throws -> PlanVersion {
        let plan = PlanVersion(
            currency: dollars, increment: increment, minimum: minimum, commitment: try #require(Price(commitment)),
            charges: [Charge(mode: mode, includedMinutes: included, tiers: tiers)])
        try plan.check()
        return plan
    }

    private static func tier(_ upTo: Int64?, _ price: String) throws -> Tier {
        Tier(upTo: upTo, unitPrice: try #require(Price(price)))
    }

    private static func earlier(_ milliseconds: Int64) -> [EarlierTime] {
        [EarlierTime(engine: "e", audio: milliseconds, connected: milliseconds)]
    }

    private func lines(_ plan: PlanVersion, _ times: [(before: Int64, milliseconds: Int64)]) -> [RatedLine] {
        var rating = Rating(plan)
        for time in times {
            rating.add(
                BillableTime(
                    engine: "e", language: "en", isBeginning: time.before == 0, earlier: Self.earlier(time.before),
                    milliseconds: time.milliseconds))
        }
        return rating.lines
    }

    /// A session that a period's end cuts is billed once, as a whole.
    @Test(arguments: [[90_500], [1, 90_499], [14_999, 1, 75_500], [30_250, 30_250, 30_000]])
    func partsOfASessionAreBilledAsTheWhole(_ parts: [Int64]) throws {
        let plan = try Self.plan([Self.tier(nil, "0.60")], increment: 1_000, minimum: 15_000)
        var (before, billed): (Int64, Int64) = (0, 0)
        for part in parts {
            billed += lines(plan, [(before, part)])[0].billed
            before += part
        }
        #expect(billed == 91_000)
    }

    /// The minimum is for the time that has a price, whatever comes before it, and it is not billed twice.
    @Test func theMinimumIsForWhatHasAPrice() throws {
        let tiers = [try Self.tier(nil, "0.60")]
        let plan = PlanVersion(
            currency: Self.dollars, minimum: 15_000,
            charges: [Charge(engine: "paid", tiers: tiers), Charge(engine: "dear", tiers: tiers)])
        func billed(_ engines: String...) -> [Int64] {
            var rating = Rating(plan)
            let id = SessionID(UUID())
            for (place, engine) in engines.enumerated() {
                rating.add(
                    BillableTime(
                        session: id, engine: engine, language: "en", isBeginning: place == 0, milliseconds: 1_000))
            }
            return rating.lines.map(\.billed)
        }
        #expect(billed("free", "paid") == [15_000, 0, 1_000])
        #expect(billed("paid", "free", "dear") == [15_000, 0, 1_000])
        #expect(billed("free", "free") == [0, 0, 2_000])
    }

    /// One second in a month, four in the next, at a minimum of 15 s in either, both or none.
    @Test func anEarlierPeriodIsBilledByItsOwnPlan() throws {
        let tiers = [try Self.tier(nil, "0.60")]
        let (with, without) = (try Self.plan(tiers, minimum: 15_000), try Self.plan(tiers))
        func later(_ plan: PlanVersion, after earlier: PlanVersion?) -> Int64 {
            var rating = Rating(plan, after: earlier)
            rating.add(
                BillableTime(
                    engine: "e", language: "en", isBeginning: false, earlier: Self.earlier(1_000), milliseconds: 4_000))
            return rating.lines[0].billed
        }
        #expect(later(with, after: with) == 0 && later(without, after: without) == 4_000)
        #expect(later(with, after: without) == 14_000 && later(without, after: with) == 0)
        #expect(later(with, after: nil) == 15_000 && later(without, after: nil) == 4_000)
    }

    @Test func theMinimumIsForSessionsThatHadSomething() throws {
        let plan = try Self.plan([Self.tier(nil, "0.60")], minimum: 15_000)
        #expect(lines(plan, [(0, 0)])[0].billed == 0)
        #expect(lines(plan, [(0, 1)])[0].billed == 15_000)
        #expect(lines(plan, [(1, 14_999)])[0].billed == 0, "it was billed with the first part")
        #expect(lines(plan, [(1, 15_000)])[0].billed == 1)
    }

    /// Two minutes at 1, the third at 0.50: or three at 0.50.
    @Test(arguments: [(TierMode.graduated, "2.50", [120_000, 60_000]), (.volume, "1.50", [180_000])])
    func tiersAreGraduatedOrByVolume(_ mode: TierMode, _ amount: String, _ times: [Int64]) throws {
        let plan = try Self.plan([Self.tier(2, "1"), Self.tier(nil, "0.5")], mode)
        let line = lines(plan, [(0, 180_000)])[0]
        #expect("\(line.amount)" == amount && line.tiers.map(\.milliseconds) == times)
        // The end of a tier is in it.
        #expect("\(lines(plan, [(0, 120_000)])[0].amount)" == "2.00")
    }

    @Test func includedMinutesComeBeforeTiers() throws {
        let plan = try Self.plan([Self.tier(1, "1"), Self.tier(nil, "2")], included: 2)
        let line = lines(plan, [(0, 240_000)])[0]
        #expect(line.included == 120_000 && line.billed == 240_000 && "\(line.amount)" == "3.00")
        #expect("\(lines(plan, [(0, 119_999)])[0].precise)" == "0")
    }

    @Test func aLineIsRoundedOnceAndTheTotalIsTheSumOfLines() throws {
        // 0.005 by three sessions: rounded each for itself they would be 0.03.
        let plan = try Self.plan([Self.tier(nil, "0.005")])
        let three = lines(plan, Array(repeating: (0, 60_000), count: 3))
        #expect("\(three[0].precise)" == "0.015" && "\(three[0].amount)" == "0.02" && three[0].sessions == 3)
        #expect("\(Rating.total(three, Self.dollars))" == "0.02")
        // A third of a minute at one: without an end.
        #expect("\(lines(try Self.plan([Self.tier(nil, "1")]), [(0, 20_000)])[0].precise)" == "0.333333333333")
    }

    @Test func whatLacksOfTheCommitmentIsALineOfItsOwn() throws {
        let plan = try Self.plan([Self.tier(nil, "1")], commitment: "10")
        let little = lines(plan, [(0, 90_000)])
        #expect(little.map(\.subject) == [.charge(0), .commitment])
        #expect(little.map { "\($0.amount)" } == ["1.50", "8.50"])
        #expect(lines(plan, [(0, 600_000)]).map(\.subject) == [.charge(0)])
        #expect("\(Rating.total(lines(plan, []), Self.dollars))" == "10.00")
    }

    /// The first charge that covers it; what none does costs nothing and is seen.
    @Test func chargesAreByEngineAndLanguage() throws {
        let plan = PlanVersion(
            currency: Self.dollars,
            charges: [
                Charge(engine: "a", language: "de", tiers: [try Self.tier(nil, "3")]),
                Charge(engine: "a", tiers: [try Self.tier(nil, "2")]),
                Charge(language: "de", tiers: [try Self.tier(nil, "1")]),
            ])
        try plan.check()
        var rating = Rating(plan)
        for (engine, language) in [("a", "de"), ("a", "en"), ("b", "de"), ("b", "en")] {
            rating.add(BillableTime(engine: engine, language: language, milliseconds: 60_000))
        }
        #expect(rating.lines.map(\.subject) == [.charge(0), .charge(1), .charge(2), .unpriced])
        #expect(rating.lines.map { "\($0.amount)" } == ["3.00", "2.00", "1.00", "0.00"])
        #expect(rating.lines.allSatisfy { $0.raw == 60_000 })
    }

    /// The most of everything is still exact.
    @Test func theLargestAmountsDoNotOverflow() throws {
        let plan = PlanVersion(
            currency: Self.dollars, charges: [Charge(unit: .minute, tiers: [Tier(unitPrice: Price.most)])])
        let century: Int64 = 100 * 366 * 86_400_000
        let line = lines(plan, [(0, century)])[0]
        #expect(line.precise == Amount(century, at: .most, per: .minute))
        #expect("\(line.amount)" == "\(century / 60_000)000000000.00")
    }
}
