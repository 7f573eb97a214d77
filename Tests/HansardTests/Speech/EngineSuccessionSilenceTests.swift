import Testing

@testable import Hansard

/// How much the second engine hears again where the first has said nothing for long.
@Suite struct EngineSuccessionSilenceTests {
    /// What the first engine says of two channels in a minute's audio, and from where on the second hears it again.
    struct Silence: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let events: [EngineEvent]
        let replayFrom: Int
    }

    private static let talks: [EngineEvent] = [.final(.said("b", through: 49_000, channel: 1))]
    private static func heard(_ milliseconds: Int) -> EngineEvent {
        .progress(channel: 0, through: .milliseconds(milliseconds))
    }

    static let silences: [Silence] = [
        Silence(testDescription: "nothing is known of it", events: talks, replayFrom: 0),
        Silence(testDescription: "progress", events: talks + [heard(50_000)], replayFrom: 45_000),
        Silence(
            testDescription: "the other is the one that waits", events: talks + [heard(55_000)], replayFrom: 49_000),
        Silence(
            testDescription: "progress that goes back", events: talks + [heard(50_000), heard(9_000)],
            replayFrom: 45_000),
        Silence(testDescription: "progress beyond the audio", events: talks + [heard(90_000)], replayFrom: 49_000),
        Silence(
            testDescription: "a partial without words",
            events: talks + [.partial(.said("", through: 48_000))], replayFrom: 43_000),
        Silence(
            testDescription: "words that are open",
            events: talks + [.partial(.said("a", from: 20_000, through: 21_000)), heard(50_000)], replayFrom: 0),
        Silence(
            testDescription: "words that are open after a silence",
            events: talks + [heard(19_000), .partial(.said("a", from: 20_000, through: 21_000)), heard(50_000)],
            replayFrom: 14_000),
        Silence(
            testDescription: "words that are open after a final",
            events: talks + [
                .final(.said("x", through: 12_000)), .partial(.said("a", from: 20_000, through: 21_000)), heard(50_000),
            ], replayFrom: 12_000),
        Silence(
            testDescription: "words without their times",
            events: talks + [
                .partial(EngineResult(channel: 0, through: .milliseconds(9_000), transcript: "a", words: [])),
                heard(50_000),
            ], replayFrom: 0),
        Silence(
            testDescription: "words that were taken back",
            events: talks + [
                .partial(.said("a", from: 20_000, through: 21_000)), .partial(.said("", through: 30_000)),
                heard(50_000),
            ], replayFrom: 45_000),
        Silence(
            testDescription: "words that became final",
            events: talks + [
                .partial(.said("a", from: 20_000, through: 21_000)), .final(.said("a", from: 20_000, through: 21_000)),
                heard(50_000),
            ], replayFrom: 45_000),
        Silence(
            testDescription: "words that became final a little shorter",
            events: talks + [
                .partial(.said("a", from: 20_000, through: 21_000)), .final(.said("a", from: 20_000, through: 20_900)),
                heard(50_000),
            ], replayFrom: 45_000),
        Silence(
            testDescription: "words without their times that became final",
            events: talks + [
                .partial(EngineResult(channel: 0, through: .milliseconds(9_000), transcript: "a", words: [])),
                .final(EngineResult(channel: 0, through: .milliseconds(9_000), transcript: "a", words: [])),
                heard(50_000),
            ], replayFrom: 45_000),
        Silence(
            testDescription: "words of which only some became final",
            events: talks + [
                .partial(.said("a b", from: 20_000, through: 22_000)),
                .final(.said("a", from: 20_000, through: 21_000)),
                heard(50_000),
            ], replayFrom: 21_000),
        Silence(
            testDescription: "no such channel",
            events: talks + [
                .progress(channel: 7, through: .milliseconds(50_000)), .partial(.said("", through: 9, channel: 7)),
            ],
            replayFrom: 0),
    ]

    /// A channel on which nobody speaks does not make the second engine hear again what was final on the others.
    @Test(arguments: silences) func whoSaysNothingIsHeardAgainOnlyWhereWordsMayBe(_ silence: Silence) {
        var succession = EngineSuccession(audio: EngineSuccessionTests.stereo)
        for _ in 0..<60 { _ = EngineSuccessionTests.audio(1_000, to: &succession, channels: 2) }
        for event in silence.events { #expect(succession.said(event, by: .first) == [.deliver(event)]) }
        #expect(succession.said(.failed("x"), by: .first).last?.trace == "open second: x", "nothing is lost")
        let done = EngineSuccessionTests.perform(succession.opened(EngineSuccessionTests.second), &succession)
        let samples = done.compactMap { $0.hasPrefix("send second ") ? Int($0.dropFirst(12)) : nil }.reduce(0, +)
        #expect(samples / 2 == 60_000 - silence.replayFrom)
        let through = AudioTime.milliseconds(silence.replayFrom + 100)
        #expect(
            succession.said(.progress(channel: 0, through: .milliseconds(100)), by: .second).last
                == .deliver(.progress(channel: 0, through: through)), "the clock is right")
    }

    /// What was not spoken of for long is forgotten, and what is open is kept as before.
    @Test func aLongSilenceIsNotKept() {
        var succession = EngineSuccession(audio: EngineSuccessionTests.mono)
        for second in 1...130 {
            _ = EngineSuccessionTests.audio(1_000, to: &succession)
            _ = succession.said(.progress(channel: 0, through: .milliseconds(second * 1_000)), by: .first)
        }
        _ = succession.said(.partial(.said("a", from: 127_000, through: 128_000)), by: .first)
        let actions = succession.said(.failed("x"), by: .first)
        #expect(actions.last?.trace == "open second: x", "what is forgotten had no words")
        let done = EngineSuccessionTests.perform(succession.opened(EngineSuccessionTests.second), &succession)
        #expect(done.filter { $0.hasPrefix("send second ") } == Array(repeating: "send second 1000", count: 5))
    }
}
