import Foundation
import Testing

@testable import HansardServer

@Suite struct EventPacingTests {
    private let start = ContinuousClock.now

    private func pacing(_ change: (inout EventPacing.Limits) -> Void = { _ in }) -> EventPacing {
        var limits = EventPacing.Limits()
        limits.events = 8
        limits.bytes = 100
        change(&limits)
        return EventPacing(limits)
    }

    /// How long the receiver is left alone.
    private func pause(_ pacing: EventPacing) -> Duration { pacing.notBefore.map { start.duration(to: $0) } ?? .zero }

    // MARK: Batches

    @Test(arguments: [
        ([], 0), ([1], 1), ([100], 1), ([101], 1), ([1_000, 1], 1), ([50, 50], 2), ([50, 50, 1], 2), ([99, 2], 1),
        ([1, 1_000], 1), (Array(repeating: 1, count: 8), 8), (Array(repeating: 1, count: 9), 8),
    ])
    func aBatchHasAsManyAsFitAndOneAtLeast(lengths: [Int], count: Int) {
        #expect(pacing().batch(of: lengths) == count)
    }

    @Test func afterADivisionBatchesGrowAgain() {
        var pacing = pacing()
        _ = pacing.answered(.status(413), to: 8, now: start, chance: 0)
        _ = pacing.answered(.status(413), to: 4, now: start, chance: 0)
        #expect(pacing.atMost == 2)
        for expected in [4, 8, 8] {
            #expect(pacing.answered(.status(204), to: pacing.atMost, now: start, chance: 0) == .delivered)
            #expect(pacing.atMost == expected)
        }
    }

    // MARK: Failures

    @Test(arguments: [
        EventPacing.Answer.none("time ran out"), .status(500), .status(502), .status(504), .status(429), .status(503),
        .status(401), .status(403), .status(404), .status(410), .status(409), .status(415), .status(301), .status(307),
        .status(408), .status(101),
    ])
    func everythingElseIsTriedAgainEverMoreSlowly(answer: EventPacing.Answer) {
        for (chance, share) in [(0.0, 0.5), (0.5, 0.75), (1, 1)] {
            var pacing = pacing()
            for number in 0..<40 {
                guard case .failed(let reason) = pacing.answered(answer, to: 8, now: start, chance: chance) else {
                    Issue.record("\(answer) is a failure")
                    return
                }
                #expect(!reason.isEmpty)
                let seconds = min(300, Double(1 << min(number, 20))) * share
                #expect(abs(pause(pacing) / .seconds(seconds) - 1) < 0.000_001)
                #expect(pacing.atMost == 8)
            }
            #expect(pacing.answered(.status(200), to: 8, now: start, chance: chance) == .delivered)
            #expect(pacing.notBefore == nil)
            _ = pacing.answered(answer, to: 8, now: start, chance: chance)
            #expect(pause(pacing) == .seconds(1) * share, "it begins anew")
        }
    }

    @Test(arguments: [429, 503, 500])
    func aReceiverSaysHowLongItIsToBeLeftAlone(status: Int) {
        for (wish, expected) in [(0, 0), (7, 7), (3_600, 3_600), (86_400, 3_600)] {
            var pacing = pacing()
            _ = pacing.answered(.status(status, wish: .seconds(wish)), to: 8, now: start, chance: 0.3)
            #expect(pause(pacing) == .seconds(expected))
        }
    }

    @Test(arguments: [
        (401, "HANSARD_EVENTS_AUTHORIZATION"), (404, "HANSARD_EVENTS_URL"), (302, "redirects"), (415, "CloudEvents"),
        (429, "alone"), (500, "500"),
    ])
    func whatIsWrongIsSaid(status: Int, word: String) {
        var pacing = pacing()
        guard case .failed(let text) = pacing.answered(.status(status), to: 1, now: start, chance: 0) else {
            Issue.record("\(status) is a failure")
            return
        }
        #expect(text.contains(word) && text.contains("\(status)"))
    }

    @Test(arguments: [
        ("0", 0.0), ("120", 120), ("Sun, 29 Nov 2026 23:00:30 GMT", 30), ("Sun, 29 Nov 2026 22:00:00 GMT", 0),
    ])
    func retryAfterIsSecondsOrADate(text: String, seconds: Double) throws {
        let now = try Timestamp.parse("2026-11-29T23:00:00.000Z")
        #expect(RetryAfter.read(text, now: now) == .seconds(seconds))
    }

    @Test(arguments: ["", "-1", "soon", "1.5", "29 Nov"]) func anythingElseIsNone(text: String) {
        #expect(RetryAfter.read(text, now: .now) == nil)
    }
}

extension EventPacing {
    /// An answer to the first events of many.
    fileprivate mutating func answered(
        _ answer: Answer, to count: Int, now: ContinuousClock.Instant, chance: Double
    ) -> Outcome {
        answered(
            answer, to: Request(delivered: 0, pending: 1_000, after: 0, count: count), now: now, chance: chance)
    }
}
