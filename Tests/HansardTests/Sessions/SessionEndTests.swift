import Testing

@testable import Hansard

/// How sessions end, and how often they say so.
@Suite struct SessionEndTests {
    @Test func aWholeSessionInOrder() {
        var run = SessionRun { $0.wantsInterim = true }
        run.claimed()
        run { $0.audioDescribed(sampleRate: 16_000, channels: 1) }
        run.silence(milliseconds: 2_000)
        run.engine(.partial(.said("go", through: 500)))
        run.engine(.final(.said("go forward", through: 1_500)))
        run.received(.closeStream)
        run.engine(.final(.said("ten meters", from: 1_500, through: 1_900)))
        run.engine(.ended)
        run.settled()
        #expect(
            run.actions.trace == [
                "open 16000x1", "interim 0/1 0.0-0.5 'go'",
                "keep 0 'go forward'", "final 0/1 0.0-1.5 'go forward'",
                "finish",
                "keep 1 'ten meters'", "final 0/1 1.5-1.9 'ten meters'", "final 0/1 1.9-2.0",
                "settle completed", "metadata 2.0 1", "close 1000",
            ]
        )
        #expect(run.session.finals == run.actions.kept)
        #expect(run.session.finals.map(\.engine) == ["test", "test"])
    }

    @Test func aSessionWithoutAudioHasNoDurationAndNoChannels() {
        var run = SessionRun()
        run.claimed()
        run.received(.closeStream)
        run.settled()
        #expect(run.actions.trace == ["settle completed", "metadata 0.0 0", "close 1000"])
    }

    @Test func aHeaderWithoutAudioHasNoChannelsEither() {
        var run = SessionRun.live(channels: 2)
        run.received(.closeStream)
        run.engine(.ended)
        run.settled()
        #expect(run.actions.trace == ["finish", "settle completed", "metadata 0.0 0", "close 1000"])
    }

    @Test func theFirstCauseCounts() {
        var run = SessionRun.live()
        run.end(.keyRevoked)
        run.end(.nodeRestarting)
        run.received(.closeStream)
        run.engine(.ended)
        run.end(.terminated)
        run.settled()
        #expect(run.actions.trace == ["finish", "settle terminated", "metadata 0.0 0", "close 1008"])
        #expect(run.actions.last == .close(.keyRevoked))
    }

    @Test func aClientThatLeavesWhileFinishingHasCompleted() {
        var run = SessionRun.live()
        run.received(.closeStream)
        run { [now = run.now] in $0.clientGone(now: now) }
        run.engine(.ended)
        #expect(run.actions.last == .settle(.closeStream))
    }

    @Test func metadataAndCloseComeOnceHoweverOftenItIsSettled() {
        var run = SessionRun.live()
        run.received(.closeStream)
        #expect(run.settled().isEmpty, "nothing is settled before it was asked for")
        run.engine(.ended)
        run.settled()
        run.settled()
        run.engine(.failed("late"))
        run.tick()
        #expect(run.actions.trace.filter { $0.hasPrefix("metadata") || $0.hasPrefix("close") }.count == 2)
    }

    @Test func aRefusedClaimIsToldWithoutMetadata() {
        var run = SessionRun()
        run { $0.claimRefused(.concurrency(3)) }
        run.claimed()
        run.settled()
        #expect(run.actions == [.close(.concurrency(3))])
        #expect(run.session.isEnded == true)
    }

    // MARK: Idle

    @Test func audioAndTextResetTheIdleTimer() {
        var run = SessionRun.live()
        for _ in 0..<3 {
            run.wait(.seconds(9))
            #expect(run.tick().isEmpty)
            run.silence(milliseconds: 20)
            run.wait(.seconds(9))
            #expect(run.tick().isEmpty)
            run.received(.keepAlive)
        }
        run.wait(.milliseconds(9_999))
        #expect(run.tick().isEmpty)
        run.wait(.milliseconds(1))
        #expect(run.tick().trace == ["finish"])
        run.engine(.ended)
        #expect(run.settled().last == .close(.idle))
    }

    @Test func theIdleTimerBeginsAtTheClaim() {
        var run = SessionRun()
        run.wait(.seconds(60))
        #expect(run.tick().isEmpty, "a claiming session is the store's to time")
        run.claimed()
        run.wait(.seconds(9))
        #expect(run.tick().isEmpty)
        run.wait(.seconds(1))
        #expect(run.tick().trace == ["settle interrupted"])
    }

    @Test func aClientThatMayNotSendIsNotIdle() {
        var run = SessionRun.live()
        run.engineTook(.backpressure)
        for _ in 0..<59 {
            run.wait(.seconds(1))
            #expect(run.tick().isEmpty)
        }
        run.engine(.capacity)
        run.wait(.seconds(9))
        #expect(run.tick().isEmpty)
        run.wait(.seconds(1))
        #expect(run.tick().trace == ["finish"])
    }

    @Test func anEngineWithoutRoomForAMinuteHasFailed() {
        var run = SessionRun.live()
        run.engineTook(.backpressure)
        run.wait(.seconds(1))
        #expect(run.tick().isEmpty)
        run.wait(.seconds(59))
        #expect(run.tick().isEmpty)
        run.wait(.seconds(1))
        #expect(run.tick().trace == ["finish"])
    }

    // MARK: Unknown messages

    @Test func theEleventhUnknownMessageClosesTheSession() {
        var run = SessionRun.live()
        for _ in 0..<10 { #expect(run.received(.unknown).isEmpty) }
        run.received(.keepAlive)
        #expect(run.received(.unknown).trace == ["finish"])
        run.engine(.ended)
        #expect(run.settled().last == .close(.badMessages))
    }

    // MARK: The engine's failures

    @Test func finalsBeforeAFailureAreKept() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.engine(.final(.said("kept", through: 500)))
        run.engine(.failed("test"))
        #expect(run.engine(.final(.said("late", through: 900))).isEmpty, "a stream that is over says nothing")
        run.settled()
        #expect(run.actions.trace.suffix(3) == ["settle failed", "metadata 1.0 1", "close 1011"])
        #expect(run.session.finals.map(\.transcript) == ["kept"])
    }

    @Test(arguments: [Ending.closeStream, .clientGone, .terminated])
    func aFailureWhileFinishingFailsOnlyWhatWouldHaveBeenComplete(_ ending: Ending) {
        var run = SessionRun.live()
        run.end(ending)
        run.engine(.failed("test"))
        #expect(run.actions.last == .settle(ending == .closeStream ? .engineFailed : ending))
    }

    /// Whoever left without asking for the rest does not keep the engine for minutes, and a node that stops for seconds.
    @Test(arguments: [
        (Ending.clientGone, Duration.seconds(30)), (.idle, .seconds(30)), (.nodeRestarting, .seconds(4)),
        (.storeAway, .seconds(4)),
    ])
    func theRestIsNotWaitedForLongWhereNobodyAskedForIt(_ ending: Ending, _ limit: Duration) {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.end(ending)
        for second in 1..<Int(limit / .seconds(1)) {
            run.engine(.progress(channel: 0, through: .milliseconds(10 * second)))
            run.wait(.seconds(1))
            #expect(run.tick().isEmpty)
        }
        run.wait(.seconds(1))
        #expect(run.tick() == [.cancelEngine, .settle(ending)])
    }

    /// A node that stops while an engine still gives the rest waits seconds for it; then the client is told why.
    @Test(arguments: [true, false]) func aNodeThatStopsHurriesWhatIsEnding(_ isInTime: Bool) {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.received(.closeStream)
        run.end(.nodeRestarting)
        run.wait(.seconds(3))
        #expect(run.tick().isEmpty)
        if isInTime {
            run.engine(.ended)
        } else {
            run.wait(.seconds(1))
            run.tick()
        }
        run.settled()
        #expect(run.actions.last == .close(isInTime ? .closeStream : .nodeRestarting))
    }

    @Test(arguments: [Ending.closeStream, .clientGone, .terminated])
    func theDrainDeadlineEndsTheWait(_ ending: Ending) {
        var run = SessionRun.live()
        run.end(ending)
        run.wait(.milliseconds(29_999))
        #expect(run.tick().isEmpty)
        run.wait(.milliseconds(1))
        #expect(run.tick() == [.cancelEngine, .settle(ending == .closeStream ? .engineFailed : ending)])
        #expect(run.engine(.ended).isEmpty)
    }

    /// An engine that hears at the pace of speech may need a minute for what was sent at once: it is given up when it has
    /// been silent for too long, and in the end in any case.
    @Test func anEngineThatIsHeardOfIsWaitedFor() {
        var run = SessionRun.live()
        run.silence(milliseconds: 60_000)
        run.received(.closeStream)
        for second in stride(from: 25, through: 275, by: 25) {
            run.wait(.seconds(25))
            #expect(run.tick().isEmpty)
            run.engine(.progress(channel: 0, through: .milliseconds(second * 100)))
        }
        run.wait(.milliseconds(24_999))
        #expect(run.tick().isEmpty)
        run.engine(.progress(channel: 0, through: .milliseconds(50_000)))
        run.wait(.milliseconds(1))
        #expect(run.tick() == [.cancelEngine, .settle(.engineFailed)], "five minutes are enough")
    }

    @Test(arguments: [
        EngineEvent.progress(channel: 0, through: .milliseconds(1)), .metered(.zero), .capacity,
        .partial(.said("go", through: 100)),
    ])
    func silenceBeginsAnewWithWhateverTheEngineSays(_ event: EngineEvent) {
        var run = SessionRun.live()
        run.received(.closeStream)
        run.wait(.seconds(20))
        run.engine(event)
        run.wait(.milliseconds(29_999))
        #expect(run.tick().isEmpty)
        run.wait(.milliseconds(1))
        #expect(run.tick().first == .cancelEngine)
    }

    /// A final that waits to be told as the answer to a `Finalize` is final all the same.
    @Test(arguments: ["failure", "early end", "deadline"])
    func aFinalThatAwaitsItsFlushSurvivesTheEngine(_ loss: String) {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("held", through: 800)))
        switch loss {
        case "failure": run.engine(.failed("test"))
        case "early end": run.engine(.ended)
        default:
            run.received(.closeStream)
            run.wait(.seconds(30))
            run.tick()
        }
        #expect(run.session.finals.map(\.transcript) == ["held"])
        #expect(run.actions.results.map(\.transcript) == ["held"])
        #expect(run.actions.trace.last == "settle failed")
    }
}
