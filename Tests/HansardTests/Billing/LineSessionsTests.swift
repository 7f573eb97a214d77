import Foundation
import Hansard
import Testing

/// Which sessions a line has, and what of each, beside the line itself.
@Suite struct LineSessionsTests {
    private static let engines = ["a", "b", "c"]
    private static let subjects: [RatedLine.Subject] = [.charge(0), .charge(1), .unpriced]

    private static func plan(_ random: inout some RandomNumberGenerator) -> PlanVersion {
        let tiers = [Tier(upTo: 1, unitPrice: Price("1")!), Tier(unitPrice: Price("0.5")!)]
        let second = Charge(language: Bool.random(using: &random) ? "en" : nil, tiers: tiers)
        return PlanVersion(
            currency: Currency("USD")!, increment: [1, 1_000, 60_000].randomElement(using: &random)!,
            minimum: [0, 15_000].randomElement(using: &random)!,
            charges: [Charge(engine: "a", mode: .volume, tiers: tiers), second])
    }

    /// Parts of a session, some of which were there before, with less.
    private static func segments(_ random: inout some RandomNumberGenerator) -> [BilledSegment] {
        let (id, language) = (SessionID(UUID()), Bool.random(using: &random) ? "en" : "de")
        let earlier = (0..<Int.random(in: 0...2, using: &random)).map { _ in
            let own = Int64.random(in: 0...40_000, using: &random)
            return EarlierTime(engine: engines.randomElement(using: &random)!, audio: own, connected: own)
        }
        return (0..<Int.random(in: 1...4, using: &random)).map { place in
            let own = Int64.random(in: 0...20_000, using: &random)
            let known = BillableTime(
                session: id, engine: engines.randomElement(using: &random)!, language: language,
                isBeginning: earlier.isEmpty && place == 0, earlier: earlier, milliseconds: own)
            var billed: BillableTime? = known
            switch Int.random(in: 0...2, using: &random) {
            case 0: billed = nil
            case 1: billed?.milliseconds = Int64.random(in: 0...own, using: &random)
            default: break
            }
            return BilledSegment(session: id, startedAt: .distantPast, known: known, billed: billed)
        }
    }

    @Test func theSessionsOfEachLineAddUpToIt() {
        var random = SystemRandomNumberGenerator()
        var (listed, below) = (0, 0)
        for _ in 0..<300 {
            let (plan, earlier) = (Self.plan(&random), Bool.random(using: &random) ? Self.plan(&random) : nil)
            let segments = (0..<Int.random(in: 0...12, using: &random)).flatMap { _ in Self.segments(&random) }
            var (known, billed) = (Rating(plan, after: earlier), Rating(plan, after: earlier))
            for segment in segments {
                if let time = segment.known { known.add(time) }
                if let time = segment.billed { billed.add(time) }
            }
            for subject in Self.subjects {
                var line = LineSessions(of: subject, plan, after: earlier)
                let sessions = segments.compactMap { line.add($0) } + [line.end()].compactMap { $0 }
                let (now, then) = (
                    known.lines.first { $0.subject == subject }, billed.lines.first { $0.subject == subject }
                )
                #expect(sessions.reduce(0) { $0 + $1.raw } == (now?.raw ?? 0) - (then?.raw ?? 0))
                #expect(sessions.reduce(0) { $0 + $1.billed } == (now?.billed ?? 0) - (then?.billed ?? 0))
                #expect(sessions.reduce(0) { $0 + $1.sessions } == (now?.sessions ?? 0) - (then?.sessions ?? 0))
                #expect(Set(sessions.map(\.session)).count == sessions.count && line.end() == nil)
                #expect(line.lastWhole == segments.last?.session)
                listed += sessions.count
                below += sessions.filter { $0.billed < 0 }.count
            }
        }
        #expect(listed > 100 && below > 0)
    }

    @Test func aLineIsNamedByItsSubject() {
        let names: [(InvoiceLine.Subject, String, RatedLine.Subject?)] = [
            (.charge(3), "charge-3", .charge(3)), (.unpriced, "unpriced", .unpriced),
            (.commitment, "commitment", nil), (.credit(CreditID(UUID())), "credit", nil),
        ]
        for (subject, name, usage) in names { #expect(subject.name == name && subject.usage == usage) }
    }
}
