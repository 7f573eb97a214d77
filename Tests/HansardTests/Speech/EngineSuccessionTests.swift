import Testing

@testable import Hansard

/// Short names for what a succession decides.
extension EngineSuccession.Action {
    var trace: String {
        switch self {
        case .send(let engine, let samples): "send \(engine) \(samples.count)"
        case .flush(let engine, let channel): "flush \(engine) \(channel)"
        case .finish(let engine): "finish \(engine)"
        case .cancel(let engine): "cancel \(engine)"
        case .openSecond(let reason, let lost):
            "open second: \(reason)" + (lost > .zero ? ", lost \(lost.seconds)" : "")
        case .deliver(let event): event.trace
        }
    }
}

extension EngineEvent {
    var trace: String {
        switch self {
        case .partial(let result): "partial \(result.trace)"
        case .final(let result): "final \(result.trace)"
        case .progress(let channel, let through): "progress \(channel) \(through.seconds)"
        case .flushed(let channel): "flushed \(channel)"
        case .capacity: "capacity"
        case .spokenBy(let engine): "spoken by \(engine.name)"
        case .metered(let time): "metered \(time.seconds)"
        case .ended: "ended"
        case .failed(let reason): "failed: \(reason)"
        }
    }
}

extension EngineResult {
    var trace: String {
        let times = words.map { "\($0.text) \($0.start.seconds)-\($0.end.seconds)" }.joined(separator: ", ")
        return "\(channel) -\(through.seconds) '\(transcript)' [\(times)]"
    }
}

/// One step after the other: who is asked what when the first engine is lost.
@Suite struct EngineSuccessionTests {
    static let second = SessionEngineTests.other
    /// A frame is a millisecond.
    static let mono = EngineAudio(sampleRate: 1_000, channels: 1, isMultichannel: false)
    static let stereo = EngineAudio(sampleRate: 1_000, channels: 2, isMultichannel: true)

    /// Hands in audio that the engine which listens takes.
    static func audio(
        _ milliseconds: Int, to succession: inout EngineSuccession, outcome: SendOutcome = .sent, channels: Int = 1
    ) -> [String] {
        var done: [String] = []
        var actions = succession.audioCame([Int16](repeating: 0, count: milliseconds * channels))
        while !actions.isEmpty {
            let action = actions.removeFirst()
            done.append(action.trace)
            if case .send(let engine, _) = action { actions += succession.took(outcome, by: engine) }
        }
        return done
    }

    /// Performs what was decided; every send is taken.
    static func perform(_ actions: [EngineSuccession.Action], _ succession: inout EngineSuccession) -> [String] {
        var (actions, done) = (actions, [String]())
        while !actions.isEmpty {
            let action = actions.removeFirst()
            done.append(action.trace)
            if case .send(let engine, _) = action { actions += succession.took(.sent, by: engine) }
        }
        return done
    }

    private var succession = EngineSuccession(audio: mono)

    // MARK: The first engine

    @Test mutating func whileTheFirstWorksEverythingIsHandedOn() {
        #expect(Self.audio(500, to: &succession) == ["send first 500"])
        #expect(succession.outcome() == .sent)
        let events: [EngineEvent] = [
            .partial(.said("go", through: 300)), .final(.said("go", through: 400)), .flushed(channel: 0),
            .progress(channel: 0, through: .milliseconds(500)), .metered(.milliseconds(500)),
            .spokenBy(Self.second),
        ]
        for event in events { #expect(succession.said(event, by: .first) == [.deliver(event)]) }
        #expect(succession.flushAsked(channel: 0) == [.flush(.first, channel: 0)])
        #expect(succession.finishAsked() == [.finish(.first)])
        #expect(succession.said(.ended, by: .first) == [.deliver(.ended)])
        #expect(succession.said(.final(.said("late", through: 500)), by: .first).isEmpty)
        #expect(Self.audio(1, to: &succession).isEmpty)
        #expect(succession.outcome() == .dropped)
    }

    @Test mutating func backPressureIsTheFirstEngines() {
        #expect(succession.said(.capacity, by: .first).isEmpty, "nobody waits for it")
        _ = Self.audio(100, to: &succession, outcome: .backpressure)
        #expect(succession.outcome() == .backpressure)
        #expect(succession.said(.capacity, by: .first) == [.deliver(.capacity)])
        #expect(succession.said(.capacity, by: .first).isEmpty)
        _ = Self.audio(100, to: &succession)
        #expect(succession.outcome() == .sent)
    }

    @Test mutating func audioThatWaitedIsToldToHaveBeenTaken() {
        succession.audioWaits()
        #expect(Self.audio(100, to: &succession) == ["send first 100", "capacity"])
        #expect(succession.outcome() == .sent)
    }

    // MARK: From one to the other

    @Test(arguments: ["failed", "dropped", "ended"])
    mutating func theSecondHearsWhatNoFinalHadYet(_ loss: String) {
        _ = Self.audio(700, to: &succession)
        _ = Self.audio(700, to: &succession)
        _ = succession.said(.final(.said("go", through: 900)), by: .first)
        let reason: String
        var actions: [EngineSuccession.Action]
        switch loss {
        case "failed":
            reason = "broken"
            actions = succession.said(.failed("broken"), by: .first)
        case "dropped":
            reason = "it takes no more audio"
            actions = succession.audioCame([Int16](repeating: 0, count: 100))
            #expect(actions.map(\.trace) == ["send first 100"])
            actions = succession.took(.dropped, by: .first)
        default:
            reason = "it ended too early"
            actions = succession.said(.ended, by: .first)
        }
        #expect(actions.map(\.trace) == ["cancel first", "open second: \(reason)"])
        #expect(succession.outcome() == .backpressure)
        let rest = loss == "dropped" ? ["send second 100"] : []
        #expect(
            Self.perform(succession.opened(Self.second), &succession)
                == ["spoken by other", "metered \(loss == "dropped" ? 1.5 : 1.4)", "send second 500"] + rest
                + ["capacity"])
        // Its clock began at 0.9 s.
        #expect(
            succession.said(.final(.said("on", through: 400)), by: .second).map(\.trace).last
                == "final 0 -1.3 'on' [on 0.9-1.3]")
        #expect(
            succession.said(.progress(channel: 0, through: .milliseconds(450)), by: .second).map(\.trace)
                == ["progress 0 1.35"])
        #expect(succession.said(.final(.said("late", through: 1_000)), by: .first).isEmpty, "the first is not heard")
        #expect(Self.audio(200, to: &succession) == ["send second 200"])
        #expect(succession.outcome() == .sent)
    }

    @Test mutating func whatWasAskedIsAskedAgainWhereItWasAsked() {
        _ = Self.audio(100, to: &succession)
        _ = succession.flushAsked(channel: 0)
        _ = Self.audio(200, to: &succession)
        _ = succession.flushAsked(channel: 0)
        _ = succession.said(.final(.said("go", through: 50)), by: .first)
        _ = succession.said(.flushed(channel: 0), by: .first)
        _ = Self.audio(300, to: &succession)
        _ = succession.finishAsked()
        #expect(succession.said(.failed("x"), by: .first).count == 2)
        #expect(
            Self.perform(succession.opened(Self.second), &succession) == [
                "spoken by other", "metered 0.6", "send second 50", "send second 200", "flush second 0",
                "send second 300", "finish second",
            ])
        #expect(succession.said(.flushed(channel: 0), by: .second).map(\.trace) == ["flushed 0"])
        #expect(succession.said(.flushed(channel: 0), by: .second).isEmpty, "it was asked once")
        #expect(succession.said(.ended, by: .second).map(\.trace) == ["metered 1.15", "ended"])
    }

    @Test mutating func theSecondIsToldNoMoreThanItHasRoomFor() {
        for _ in 0..<3 { _ = Self.audio(100, to: &succession) }
        _ = succession.said(.failed("x"), by: .first)
        #expect(succession.opened(Self.second).map(\.trace).last == "send second 100")
        #expect(succession.took(.backpressure, by: .second).isEmpty)
        #expect(Self.audio(100, to: &succession).isEmpty, "it waits behind the others")
        #expect(succession.outcome() == .backpressure)
        #expect(succession.flushAsked(channel: 0).isEmpty)
        #expect(succession.said(.capacity, by: .second).map(\.trace) == ["send second 100"])
        #expect(succession.said(.capacity, by: .second).isEmpty, "one at a time")
        #expect(succession.took(.sent, by: .second).map(\.trace) == ["send second 100"])
        #expect(succession.took(.sent, by: .second).map(\.trace) == ["send second 100"])
        #expect(succession.took(.sent, by: .second).map(\.trace) == ["flush second 0", "capacity"])
    }

    /// A session that was held back by the first engine is told when the second has room.
    @Test mutating func whoWaitsForTheFirstIsNotForgotten() {
        _ = Self.audio(100, to: &succession, outcome: .backpressure)
        #expect(succession.outcome() == .backpressure)
        _ = succession.said(.failed("x"), by: .first)
        #expect(Self.perform(succession.opened(Self.second), &succession).last == "capacity")
    }

    // MARK: Words at the border

    @Test mutating func aWordBelongsToWhereItsMiddleIs() {
        succession = EngineSuccession(audio: Self.stereo)
        _ = Self.audio(3_000, to: &succession, channels: 2)
        _ = succession.said(.final(.said("a", through: 1_000, channel: 0)), by: .first)
        _ = succession.said(.final(.said("b", through: 2_000, channel: 1)), by: .first)
        _ = succession.said(.failed("x"), by: .first)
        #expect(Self.perform(succession.opened(Self.second), &succession).contains("send second 4000"))
        var result = EngineResult(
            channel: 1, through: .milliseconds(1_900), transcript: "one two three",
            words: [
                Word(text: "one", start: .milliseconds(500), end: .milliseconds(900), punctuated: "One"),
                // Its middle is 0.999 s, or 1.999 s of the session.
                Word(text: "two", start: .milliseconds(900), end: .milliseconds(1_098), punctuated: "two,"),
                Word(text: "three", start: .milliseconds(950), end: .milliseconds(1_050), punctuated: "three."),
            ], punctuatedTranscript: "One two, three.")
        let final = succession.said(.final(result), by: .second).last
        guard case .deliver(.final(let moved))? = final else {
            Issue.record("\(String(describing: final))")
            return
        }
        #expect(moved.trace == "1 -2.9 'three' [three 1.95-2.05]")
        #expect(moved.punctuatedTranscript == "three.")
        result.channel = 0
        #expect(
            succession.said(.partial(result), by: .second).last?.trace
                == "partial 0 -2.9 'one two three' [one 1.5-1.9, two 1.9-2.098, three 1.95-2.05]")
    }

    /// Whether or not the engine gives words.
    @Test mutating func whatLiesBeforeTheFirstsFinalIsNotRepeated() {
        succession = EngineSuccession(audio: Self.stereo)
        _ = Self.audio(3_000, to: &succession, channels: 2)
        _ = succession.said(.final(.said("b", through: 2_000, channel: 1)), by: .first)
        _ = succession.said(.failed("x"), by: .first)
        _ = Self.perform(succession.opened(Self.second), &succession)
        _ = succession.said(.progress(channel: 0, through: .zero), by: .second)
        for result in [
            EngineResult.said("b", through: 2_000, channel: 1), .said("", through: 1_500, channel: 1),
            EngineResult(channel: 1, through: .milliseconds(1_000), transcript: "b", words: []),
        ] {
            #expect(succession.said(.final(result), by: .second).isEmpty)
            #expect(succession.said(.partial(result), by: .second).isEmpty)
        }
        #expect(
            succession.said(.final(.said("", through: 2_500, channel: 1)), by: .second).map(\.trace)
                == ["final 1 -2.5 '' []"])
    }

    // MARK: Limits

    @Test mutating func noMoreThanAMinuteIsKept() {
        for _ in 0..<130 { _ = Self.audio(500, to: &succession) }
        _ = succession.said(.final(.said("go", through: 1_000)), by: .first)
        #expect(
            succession.said(.failed("x"), by: .first).map(\.trace) == ["cancel first", "open second: x, lost 4.0"])
        let done = Self.perform(succession.opened(Self.second), &succession)
        #expect(done.count { $0 == "send second 500" } == 120)
        #expect(
            succession.said(.progress(channel: 0, through: .zero), by: .second).last?.trace == "progress 0 5.0",
            "the clock is right all the same")
    }

    @Test mutating func aPieceOfMoreThanAMinuteIsCut() {
        _ = Self.audio(90_000, to: &succession)
        #expect(succession.said(.failed("x"), by: .first).last?.trace == "open second: x, lost 30.0")
        #expect(Self.perform(succession.opened(Self.second), &succession).contains("send second 60000"))
    }

    // MARK: Nobody is left

    @Test mutating func withoutASecondTheSessionIsTold() {
        _ = Self.audio(100, to: &succession)
        _ = succession.said(.failed("x"), by: .first)
        #expect(succession.refused("full").map(\.trace) == ["failed: full"])
        #expect(succession.outcome() == .dropped)
        #expect(succession.opened(Self.second) == [.cancel(.second)])
    }

    @Test(arguments: ["failed", "dropped", "ended"]) mutating func theSecondHasNoSuccessor(_ loss: String) {
        _ = Self.audio(100, to: &succession)
        _ = succession.said(.failed("x"), by: .first)
        _ = succession.opened(Self.second)
        let actions =
            switch loss {
            case "failed": succession.said(.failed("y"), by: .second)
            case "dropped": succession.took(.dropped, by: .second)
            default: succession.said(.ended, by: .second)
            }
        #expect(actions.map(\.trace).first == "metered 0.2")
        #expect(actions.map(\.trace).last?.hasPrefix("failed: ") == true)
        #expect(succession.outcome() == .dropped)
        #expect(succession.flushAsked(channel: 0).isEmpty && succession.finishAsked().isEmpty)
        #expect(succession.cancelAsked().isEmpty)
    }

    @Test mutating func whoIsCancelledIsTheOneWhoListens() {
        var other = succession
        #expect(succession.cancelAsked() == [.cancel(.first)])
        #expect(succession.cancelAsked().isEmpty)
        #expect(succession.said(.failed("x"), by: .first).isEmpty)
        _ = other.said(.failed("x"), by: .first)
        _ = other.opened(Self.second)
        #expect(other.cancelAsked() == [.cancel(.second)])
        #expect(other.said(.final(.said("late", through: 1)), by: .second).isEmpty)
    }

    // MARK: What it cost

    @Test mutating func bothEnginesAreMetered() {
        _ = Self.audio(5_000, to: &succession)
        _ = succession.said(.metered(.milliseconds(15_000)), by: .first)
        _ = succession.said(.final(.said("go", through: 4_000)), by: .first)
        _ = succession.said(.failed("x"), by: .first)
        #expect(Self.perform(succession.opened(Self.second), &succession).contains("metered 15.0"))
        let told = succession.said(.progress(channel: 0, through: .zero), by: .second).map(\.trace)
        #expect(told.first == "metered 16.0", "one that does not say has used what it was sent")
        #expect(succession.said(.metered(.milliseconds(20_000)), by: .second).map(\.trace) == ["metered 35.0"])
        #expect(succession.said(.metered(.milliseconds(19_000)), by: .second).isEmpty)
    }

    @Test mutating func anEngineThatWasNeverOpenCostsNothing() {
        #expect(succession.firstRefused("away").map(\.trace) == ["cancel first", "open second: away"])
        #expect(Self.perform(succession.opened(Self.second), &succession) == ["spoken by other"])
        _ = Self.audio(1_000, to: &succession)
        _ = succession.finishAsked()
        #expect(succession.said(.ended, by: .second).map(\.trace) == ["metered 1.0", "ended"])
    }
}
