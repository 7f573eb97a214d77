import Foundation
import Hansard
import Testing

/// What a session's part after a month's end is billed, by what the session had before it.
@Suite struct EarlierTimeTests {
    /// A session over a month's end; `pocketsphinx` has a price.
    struct Crossing: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var earlier: [EarlierTime]
        /// In milliseconds.
        var parts: [(engine: String, milliseconds: Int64)]
        var plan: PlanVersion
        /// That of the month before, where it is another one.
        var before: PlanVersion?
        /// In the second month.
        var billed: Int64
    }

    private static func plan(
        _ time: BilledTime = .audio, increment: Int64 = 1_000, minimum: Int64 = 15_000,
        engines: [String?] = ["pocketsphinx"]
    ) -> PlanVersion {
        PlanVersion(
            currency: Currency("USD")!, time: time, increment: increment, minimum: minimum,
            charges: engines.map { Charge(engine: $0, tiers: [Tier(unitPrice: Price("1")!)]) })
    }

    private static func time(_ engine: String, _ audio: Int64, connected: Int64? = nil) -> EarlierTime {
        EarlierTime(engine: engine, audio: audio, connected: connected ?? audio)
    }

    private static let crossings = [
        Crossing(
            testDescription: "the minimum was billed for the last second before the end",
            earlier: [time("synthetic", 60_000), time("pocketsphinx", 1_000)], parts: [("pocketsphinx", 5_000)],
            plan: plan(), billed: 0),
        Crossing(
            testDescription: "half a minute on each side of the end, after what has no price",
            earlier: [time("synthetic", 3_510_000), time("pocketsphinx", 30_000)], parts: [("pocketsphinx", 30_000)],
            plan: plan(increment: 60_000, minimum: 60_000), billed: 0),
        Crossing(
            testDescription: "what has no price is at the end",
            earlier: [time("pocketsphinx", 5_000), time("synthetic", 5_000)],
            parts: [("synthetic", 5_000), ("pocketsphinx", 5_000)], plan: plan(), billed: 0),
        Crossing(
            testDescription: "a plan by audio before one by connection, in silence",
            earlier: [time("pocketsphinx", 0, connected: 20_000)], parts: [("pocketsphinx", 5_000)],
            plan: plan(.connected, increment: 1, minimum: 60_000),
            before: plan(increment: 1, minimum: 60_000), billed: 60_000),
        Crossing(
            testDescription: "all before the end was without a price",
            earlier: [time("synthetic", 10_000)], parts: [("pocketsphinx", 5_000)], plan: plan(), billed: 15_000),
        Crossing(
            testDescription: "what had no price when it was used has none afterwards",
            earlier: [time("synthetic", 3_600_000)], parts: [("synthetic", 60_000)], plan: plan(engines: [nil]),
            before: plan(), billed: 60_000),
        Crossing(
            testDescription: "what had a price when it was used was paid, and pays for nothing else",
            earlier: [time("synthetic", 3_600_000)], parts: [("pocketsphinx", 60_000)], plan: plan(),
            before: plan(engines: [nil]), billed: 60_000),
        Crossing(
            testDescription: "a plan by connection before one by audio",
            earlier: [time("pocketsphinx", 1_000, connected: 20_000)], parts: [("pocketsphinx", 30_000)],
            plan: plan(), before: plan(.connected), billed: 11_000),
    ]

    @Test(arguments: crossings) func thePartAfterAMonthsEndPaysTheRest(_ crossing: Crossing) throws {
        try crossing.plan.check()
        var rating = SessionRating(crossing.plan, after: crossing.before ?? crossing.plan)
        let session = SessionID(UUID())
        let billed = crossing.parts.reduce(Int64(0)) { sum, part in
            let rated = rating.rate(
                BillableTime(
                    session: session, engine: part.engine, language: "en", isBeginning: false,
                    earlier: crossing.earlier, milliseconds: part.milliseconds))
            return sum + (rated.subject == .unpriced ? 0 : rated.billed)
        }
        #expect(billed == crossing.billed)
    }
}
