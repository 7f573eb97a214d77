import Testing

@testable import Hansard

/// Every event in every phase. A phase that an event has no business in lets it pass without effect.
@Suite struct SessionPhaseTests {
    enum Place: String, CaseIterable {
        case claiming, waitingForAudio, listening, finishing, settling, ended
    }

    /// A session with one second of silent audio, where the place is late enough for it.
    static func run(at place: Place) -> SessionRun {
        var run = SessionRun { $0.wantsInterim = true }
        if place == .claiming { return run }
        run.claimed()
        if place == .waitingForAudio { return run }
        run { $0.audioDescribed(sampleRate: 16_000, channels: 1) }
        run.silence(milliseconds: 1_000)
        if place == .listening { return run }
        run.received(.closeStream)
        if place == .finishing { return run }
        run.engine(.ended)
        if place == .settling { return run }
        run.settled()
        return run
    }

    static func name(_ phase: Session.Phase) -> String {
        switch phase {
        case .claiming: "claiming"
        case .live: "live"
        case .finishing: "finishing"
        case .settling: "settling"
        case .ended: "ended"
        }
    }

    struct Row: CustomTestStringConvertible {
        let testDescription: String
        let event: @Sendable (inout SessionRun) -> [Session.Action]
        /// What is decided, in the order of `Place.allCases`; the empty text where nothing is and the phase stays.
        let expected: [String]

        init(
            _ name: String,
            _ expected: [String],
            _ event: @escaping @Sendable (inout SessionRun) -> [Session.Action]
        ) {
            testDescription = name
            self.expected = expected
            self.event = event
        }
    }

    static let word = EngineResult.said("hello", through: 500)

    static let rows = [
        Row("claimed", ["> live", "", "", "", "", ""]) { $0.claimed() },
        Row("claim refused", ["close 1008 > ended", "", "", "", "", ""]) { $0 { $0.claimRefused(.concurrency(2)) } },
        Row("audio described", ["", "open 16000x1", "", "", "", ""]) {
            $0 { $0.audioDescribed(sampleRate: 16_000, channels: 1) }
        },
        Row("audio admitted", ["", "", "", "", "", ""]) { $0.silence(milliseconds: 10) },
        Row("engine took it", ["", "", "", "", "", ""]) { $0.engineTook(.sent) },
        Row("engine is busy", ["", "", "", "", "", ""]) { $0.engineTook(.backpressure) },
        Row("engine dropped it", ["", "", "", "", "", ""]) { $0.engineTook(.dropped) },
        Row("KeepAlive", ["", "", "", "", "", ""]) { $0.received(.keepAlive) },
        Row("Finalize", ["", "ack 0/1 0.0-0.0", "flush 0", "", "", ""]) { $0.received(.finalize(channel: nil)) },
        Row("Finalize of channel 0", ["", "ack 0/1 0.0-0.0", "flush 0", "", "", ""]) {
            $0.received(.finalize(channel: 0))
        },
        Row("Finalize of no channel", ["", "", "", "", "", ""]) { $0.received(.finalize(channel: 1)) },
        Row("CloseStream", ["", "settle completed > settling", "finish > finishing", "", "", ""]) {
            $0.received(.closeStream)
        },
        Row("unknown message", ["", "", "", "", "", ""]) { $0.received(.unknown) },
        Row(
            "client gone",
            ["close 1006 > ended", "settle interrupted > settling", "finish > finishing", "", "", ""]
        ) { run in run { [now = run.now] in $0.clientGone(now: now) } },
        Row(
            "terminated",
            ["close 1008 > ended", "settle terminated > settling", "finish > finishing", "", "", ""]
        ) { $0.end(.terminated) },
        Row("a second passed", ["", "", "", "", "", ""]) {
            $0.wait(.seconds(1))
            return $0.tick()
        },
        Row("ten seconds passed", ["", "settle interrupted > settling", "finish > finishing", "", "", ""]) {
            $0.wait(.seconds(10))
            return $0.tick()
        },
        Row(
            "half a minute passed",
            ["", "settle interrupted > settling", "finish > finishing", "cancel, settle failed > settling", "", ""]
        ) {
            $0.wait(.seconds(30))
            return $0.tick()
        },
        Row("settled", ["", "", "", "", "metadata 1.0 1, close 1000 > ended", ""]) { $0.settled() },
        Row("partial", ["", "", "interim 0/1 0.0-0.5 'hello'", "interim 0/1 0.0-0.5 'hello'", "", ""]) {
            $0.engine(.partial(word))
        },
        Row(
            "final",
            [
                "", "", "keep 0 'hello', final 0/1 0.0-0.5 'hello'", "keep 0 'hello', final 0/1 0.0-0.5 'hello'", "",
                "",
            ]
        ) { $0.engine(.final(word)) },
        Row("progress", ["", "", "", "", "", ""]) { $0.engine(.progress(channel: 0, through: .milliseconds(500))) },
        Row("flushed, unasked", ["", "", "", "", "", ""]) { $0.engine(.flushed(channel: 0)) },
        Row("capacity, unasked", ["", "", "", "", "", ""]) { $0.engine(.capacity) },
        Row(
            "stream ended",
            ["", "", "settle failed > settling", "final 0/1 0.0-1.0, settle completed > settling", "", ""]
        ) { $0.engine(.ended) },
        Row("stream failed", ["", "", "settle failed > settling", "settle failed > settling", "", ""]) {
            $0.engine(.failed("test"))
        },
    ]

    @Test(arguments: rows) func event(_ row: Row) {
        for (place, expected) in zip(Place.allCases, row.expected) {
            var run = Self.run(at: place)
            let before = Self.name(run.session.phase)
            let actions = row.event(&run)
            let after = Self.name(run.session.phase)
            let parts = [actions.trace.joined(separator: ", ")] + (before == after ? [] : ["> \(after)"])
            #expect(parts.filter { !$0.isEmpty }.joined(separator: " ") == expected, "in phase \(place)")
        }
    }

    @Test func everyPlaceHasAnExpectation() {
        for row in Self.rows { #expect(row.expected.count == Place.allCases.count, "\(row.testDescription)") }
    }

    @Test func audioIsHeldThenAdmittedThenIgnored() {
        let decisions = Place.allCases.map { place in
            var run = Self.run(at: place)
            return "\(run.session.audioArrived(now: run.now))"
        }
        #expect(decisions == ["hold", "admit", "admit", "ignore", "ignore", "ignore"])
    }

    @Test func audioIsHeldWhileTheEngineHasNoRoom() {
        let decisions = Place.allCases.map { place in
            var run = Self.run(at: place)
            run.engineTook(.backpressure)
            #expect(run.session.isHolding == ([.claiming, .waitingForAudio, .listening] as [Place]).contains(place))
            return "\(run.session.audioArrived(now: run.now))"
        }
        #expect(decisions == ["hold", "hold", "hold", "ignore", "ignore", "ignore"])
    }

    @Test func thePublicPredicatesFollowThePhase() {
        let seen = Place.allCases.map { place in
            let run = Self.run(at: place)
            return [run.session.isClaiming, run.session.isLive, run.session.isEnded].map { $0 ? "1" : "0" }.joined()
        }
        #expect(seen == ["100", "010", "010", "000", "000", "001"])
    }

    @Test func onlyAudioAdmittedWhileLiveCounts() {
        var run = Self.run(at: .listening)
        #expect(run.session.frames == 16_000)
        run.silence(milliseconds: 20)
        #expect(run.session.frames == 16_320)
        #expect(run.session.duration == .milliseconds(1_020))
        run.received(.closeStream)
        run { $0.audioAdmitted([Int16](repeating: 0, count: 160).span) }
        #expect(run.session.frames == 16_320)
    }

    @Test func aSecondDescriptionOfTheAudioChangesNothing() {
        var run = Self.run(at: .listening)
        #expect(run({ $0.audioDescribed(sampleRate: 8_000, channels: 2) }).isEmpty)
        #expect(run.session.audio == EngineAudio(sampleRate: 16_000, channels: 1, isMultichannel: false))
    }
}
