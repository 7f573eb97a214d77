import Testing

@testable import Hansard

/// Audio that waits for more of a quota of minutes.
@Suite struct SessionMinutesTests {
    private static let channel = ClientMessage.finalize(channel: nil)

    @Test func whatArrivesIsHeldWhileMinutesAreAwaited() {
        var run = SessionRun.live()
        run.session.awaitsMinutes(true)
        #expect(run.session.isHolding == true)
        #expect(run.session.isAwaitingMinutes == true)
        #expect(run.session.isLive == true)
        guard case .hold = run.session.audioArrived(now: run.now) else {
            Issue.record("audio must wait behind what waits already")
            return
        }
        run.session.awaitsMinutes(false)
        #expect(run.session.isHolding == false)
        guard case .admit = run.session.audioArrived(now: run.now) else {
            Issue.record("audio goes on")
            return
        }
    }

    /// How much there is may become known in pieces: what goes on meanwhile counts.
    @Test func audioThatWasGrantedIsAdmittedWhileTheRestWaits() {
        var run = SessionRun.live()
        run.session.awaitsMinutes(true)
        run { $0.audioAdmitted([Int16](repeating: 0, count: 8_000).span) }
        #expect(run.session.duration == .milliseconds(500))
        #expect(run.session.isAwaitingMinutes == true)
    }

    @Test func waitingForMinutesIsNeitherIdlenessNorAFailureOfTheEngine() {
        var run = SessionRun.live()
        run.session.awaitsMinutes(true)
        for _ in 0..<600 {
            run.wait(.seconds(1))
            #expect(run.tick().isEmpty)
        }
        run.session.awaitsMinutes(false)
        run.wait(.seconds(9))
        #expect(run.tick().isEmpty, "the time before does not count")
        run.wait(.seconds(1))
        #expect(run.tick().trace == ["finish"])
        run.engine(.ended)
        #expect(run.settled().last == .close(.idle))
    }

    /// The patience with an engine covers only what the engine itself delays.
    @Test func anEngineWithoutRoomStillFailsWhileMinutesAreAwaited() {
        var run = SessionRun.live()
        run.session.awaitsMinutes(true)
        run.engineTook(.backpressure)
        run.wait(.seconds(1))
        #expect(run.tick().isEmpty)
        run.wait(.seconds(60))
        #expect(run.tick().trace == ["finish"])
        run.engine(.failed("test"))
        #expect(run.settled().last == .close(.engineFailed))
    }

    @Test func timeThatWasSpentWaitingForMinutesIsNotTheEngines() {
        var run = SessionRun.live()
        run.engineTook(.backpressure)
        run.wait(.seconds(1))
        #expect(run.tick().isEmpty)
        run.session.awaitsMinutes(true)
        run.engine(.capacity)
        run.wait(.seconds(50))
        #expect(run.tick().isEmpty)
        run.engineTook(.backpressure)
        run.session.awaitsMinutes(false)
        run.wait(.seconds(20))
        #expect(run.tick().isEmpty, "the engine has made nobody wait for a minute")
        #expect(run.session.isHolding == true)
    }

    @Test func itHoldsUntilBothTheEngineAndTheMinutesLetItGoOn() {
        for isEngineFirst in [true, false] {
            var run = SessionRun.live()
            run.session.awaitsMinutes(true)
            run.engineTook(.backpressure)
            if isEngineFirst { run.engine(.capacity) } else { run.session.awaitsMinutes(false) }
            #expect(run.session.isHolding == true)
            #expect(run.session.isAwaitingMinutes == isEngineFirst)
            if isEngineFirst { run.session.awaitsMinutes(false) } else { run.engine(.capacity) }
            #expect(run.session.isHolding == false)
        }
    }

    @Test func finalizeIsAnsweredAfterIt() {
        var run = SessionRun.live()
        run.silence(milliseconds: 500)
        run.session.awaitsMinutes(true)
        run.session.awaitsMinutes(false)
        run.silence(milliseconds: 500)
        #expect(run.received(Self.channel).trace == ["flush 0"])
        run.engine(.final(.said("go", through: 1_000)))
        #expect(run.engine(.flushed(channel: 0)).trace.last == "ack 0/1 0.0-1.0 'go'")
        #expect(run.session.duration == .milliseconds(1_000))
    }

    @Test func closeStreamGivesTheRestAfterIt() {
        var run = SessionRun.live()
        run.session.awaitsMinutes(true)
        run.wait(.seconds(30))
        run.tick()
        run.session.awaitsMinutes(false)
        run.silence(milliseconds: 2_000)
        run.received(.closeStream)
        run.engine(.final(.said("last words", through: 2_000)))
        run.engine(.ended)
        run.settled()
        #expect(run.actions.trace.first == "finish")
        #expect(run.actions.trace.suffix(3) == ["settle completed", "metadata 2.0 1", "close 1000"])
        #expect(run.session.finals.map(\.transcript) == ["last words"])
    }

    @Test func anEndWhileItWaitsStillGivesTheLastWords() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.session.awaitsMinutes(true)
        #expect(run.end(.minutesExhausted).trace == ["finish"])
        #expect(run.session.isHolding == false, "nothing is waited for at the end")
        run.engine(.final(.said("last words", through: 1_000)))
        run.engine(.ended)
        #expect(run.settled().last == .close(.minutesExhausted))
        #expect(run.session.finals.map(\.transcript) == ["last words"])
    }

    @Test func onlyALiveSessionWaits() {
        var run = SessionRun()
        run.session.awaitsMinutes(true)
        #expect(run.session.isAwaitingMinutes == false)
        #expect(run.session.quotaSaid(.quotaExhausted).isEmpty)
        run.claimed()
        #expect(run.session.isHolding == false)
        run { $0.audioDescribed(sampleRate: 16_000, channels: 1) }
        #expect(run.session.quotaSaid(.quotaExhausted) == [.send(.quotaExhausted)])
        run.received(.closeStream)
        run.session.awaitsMinutes(true)
        #expect(run.session.isAwaitingMinutes == false)
        #expect(run.session.quotaSaid(.quotaExhausted).isEmpty)
    }
}
