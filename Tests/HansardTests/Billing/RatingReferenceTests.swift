import Foundation
import Hansard
import Testing

/// Python's decimal, by `Tests/StandIns/rating_reference.py`.
private enum Reference {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    struct Case: Decodable {
        struct Time: Decodable {
            var session: Int
            var engine: String
            var language: String
            var isBeginning: Bool
            var earlier: [Before]
            var milliseconds: Int64
        }

        /// In periods before.
        struct Before: Decodable {
            var engine: String
            var audio: Int64
            var connected: Int64
        }

        struct Line: Decodable, Equatable {
            var subject: String
            var sessions: Int
            var raw: Int64
            var billed: Int64
            var included: Int64
            var precise: String
            var amount: String
        }

        /// Usage that comes when the rest is billed, and what it changes.
        struct Correction: Decodable {
            var times: [Time]
            var lines: [Line]
        }

        var plan: PlanVersion
        /// Of the period before.
        var earlier: PlanVersion?
        var times: [Time]
        var lines: [Line]
        var total: String
        var corrections: [Correction]
    }

    /// The lines that the script writes.
    static func cases(seed: Int, count: Int) throws -> [Data] {
        let process = Process()
        // Nothing but the standard library is needed.
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "python3", root.appending(path: "Tests/StandIns/rating_reference.py").path, "\(seed)", "\(count)",
        ]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return data.split(separator: UInt8(ascii: "\n"))
    }
}

/// What rating makes of random plans and usage, beside an independent calculation.
@Suite struct RatingReferenceTests {
    /// Plans that are tried: more by `make prove`.
    private static let count = ProcessInfo.processInfo.environment["HANSARD_RATING_PLANS"].flatMap(Int.init) ?? 4_000
    private static let batch = 1_000

    @Test func randomPlansComeToWhatDecimalSays() throws {
        let decoder = JSONDecoder()
        var (tried, subjects): (Int, Set<String>) = (0, [])
        for seed in 1...max(1, Self.count / Self.batch) {
            for line in try Reference.cases(seed: seed, count: min(Self.batch, Self.count)) {
                let expected = try decoder.decode(Reference.Case.self, from: line)
                try expected.plan.check()
                let lines = rated(expected.times, in: expected)
                let said = lines.map { line in
                    Reference.Case.Line(
                        subject: name(line.subject), sessions: line.sessions, raw: line.raw, billed: line.billed,
                        included: line.included, precise: "\(line.precise)", amount: "\(line.amount)")
                }
                let total = "\(Rating.total(lines, expected.plan.currency))"
                try #require(said == expected.lines, "seed \(seed), plan \(tried)")
                try #require(total == expected.total, "seed \(seed), plan \(tried)")
                #expect(lines.allSatisfy { $0.tiers.reduce(0) { $0 + $1.milliseconds } == priced($0) })
                try check(expected, "seed \(seed), plan \(tried)")
                tried += 1
                subjects.formUnion(said.map(\.subject))
            }
        }
        #expect(tried == Self.count && subjects.isSuperset(of: ["charge 0", "charge 2", "unpriced", "commitment"]))
    }

    private func rated(_ times: [Reference.Case.Time], in expected: Reference.Case) -> [RatedLine] {
        var rating = Rating(expected.plan, after: expected.earlier)
        // The order of sessions must not matter.
        for session in Dictionary(grouping: times, by: \.session).values.shuffled() {
            let id = SessionID(UUID())
            for time in session {
                rating.add(
                    BillableTime(
                        session: id, engine: time.engine, language: time.language, isBeginning: time.isBeginning,
                        earlier: time.earlier.map {
                            EarlierTime(engine: $0.engine, audio: $0.audio, connected: $0.connected)
                        },
                        milliseconds: time.milliseconds))
            }
        }
        return rating.lines
    }

    /// What is billed later is what all comes to, less what was billed: line by line, twice.
    private func check(_ expected: Reference.Case, _ place: String) throws {
        func period(_ times: [Reference.Case.Time]) -> RatedPeriod {
            RatedPeriod(
                period: QuotaPeriod(.distantPast), plan: PlanID(UUID()), version: 1, prices: expected.plan,
                rated: rated(times, in: expected))
        }
        var (known, billed) = (expected.times, period(expected.times).lines)
        for correction in expected.corrections {
            known += correction.times
            let lines = period(known).adjustments(billed: billed)
            let said = lines.map { line in
                Reference.Case.Line(
                    subject: line.subject == .commitment
                        ? "commitment" : line.subject == .unpriced ? "unpriced" : "\(line.subject)",
                    sessions: Int(line.sessions), raw: line.raw, billed: line.billed, included: line.included,
                    precise: "\(line.precise)", amount: "\(line.amount)")
            }
            try #require(said == correction.lines, "\(place)")
            billed += lines
        }
    }

    private func name(_ subject: RatedLine.Subject) -> String {
        switch subject {
        case .charge(let place): "charge \(place)"
        case .unpriced: "unpriced"
        case .commitment: "commitment"
        }
    }

    private func priced(_ line: RatedLine) -> Int64 {
        if case .charge = line.subject { line.billed - line.included } else { 0 }
    }
}
