import Testing

@testable import Hansard

/// What a session says of the engine's results: spans, acknowledgements, gaps, channels.
@Suite struct SessionResultTests {
    // MARK: Interim results

    @Test func interimResultsAreSentOnlyWhenAsked() {
        for wanted in [false, true] {
            var run = SessionRun.live { $0.wantsInterim = wanted }
            run.engine(.partial(.said("go", through: 500)))
            #expect(run.actions.count == (wanted ? 1 : 0))
        }
    }

    @Test func anEmptyPartialIsNotSent() {
        var run = SessionRun.live { $0.wantsInterim = true }
        #expect(run.engine(.partial(.said("", through: 500))).isEmpty)
    }

    @Test func interimResultsBeginWhereTheLastFinalEnded() {
        var run = SessionRun.live { $0.wantsInterim = true }
        run.engine(.final(.said("go", through: 700)))
        #expect(
            run.engine(.partial(.said("forward", from: 700, through: 900))).trace == ["interim 0/1 0.7-0.9 'forward'"]
        )
    }

    // MARK: Finals

    /// The transcript says what the client was told: bare words, or words as they are written.
    @Test(arguments: [false, true]) func textIsWrittenOnlyIfThatWasAskedFor(_ wantsPunctuation: Bool) {
        var run = SessionRun.live {
            $0.wantsPunctuation = wantsPunctuation
            $0.wantsInterim = true
        }
        var heard = EngineResult.said("go forward", through: 900)
        heard.punctuatedTranscript = "Go forward."
        heard.words[1].punctuated = "forward."
        run.engine(.partial(heard))
        run.engine(.final(heard))
        run.engine(.final(.said("ten", from: 900, through: 1_500)))
        let text = wantsPunctuation ? "Go forward." : "go forward"
        #expect(run.actions.results.map(\.transcript) == [text, text, "ten"])
        #expect(run.session.finals.map(\.transcript) == [text, "ten"])
        #expect(run.session.finals[0].words.map(\.text) == ["go", "forward"])
        #expect(run.session.finals[0].words.map(\.punctuated) == [nil, wantsPunctuation ? "forward." : nil])
    }

    /// `Finalize` came while words were open: their final, and the silence heard after it, are the acknowledgement.
    @Test func anAcknowledgementReachesAsFarAsTheEngineHeard() {
        var run = SessionRun.live()
        _ = run.engine(.partial(.said("ten", from: 100, through: 400)))
        run.received(.finalize(channel: nil))
        #expect(run.engine(.final(.said("ten", from: 100, through: 500))).isEmpty)
        _ = run.engine(.progress(channel: 0, through: .milliseconds(800)))
        let acknowledgement = run.engine(.flushed(channel: 0)).results
        #expect(acknowledgement.map(\.end) == [.milliseconds(800)])
        #expect(acknowledgement.map(\.isFromFinalize) == [true])
    }

    @Test func anEmptyFinalIsSentButNotKept() {
        var run = SessionRun.live()
        #expect(run.engine(.final(.said("", through: 500))).trace == ["final 0/1 0.0-0.5"])
        #expect(run.session.finals.isEmpty)
    }

    @Test func aFinalThatGoesBackInTimeTakesNoTime() {
        var run = SessionRun.live()
        run.engine(.final(.said("one", through: 900)))
        #expect(run.engine(.final(.said("two", through: 400))).results.map(\.end) == [.milliseconds(900)])
        #expect(run.actions.results.map(\.start) == [.zero, .milliseconds(900)])
    }

    @Test func aResultOfAChannelThatIsNotThereIsIgnored() {
        var run = SessionRun.live { $0.wantsInterim = true }
        for channel in [-1, 1, 7] {
            #expect(run.engine(.final(.said("who", through: 500, channel: channel))).isEmpty)
            #expect(run.engine(.partial(.said("who", through: 500, channel: channel))).isEmpty)
            #expect(run.engine(.flushed(channel: channel)).isEmpty)
            #expect(run.engine(.progress(channel: channel, through: .milliseconds(500))).isEmpty)
        }
    }

    // MARK: Finalize

    @Test func theFinalOfAFlushAcknowledgesIt() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        #expect(run.received(.finalize(channel: nil)).trace == ["flush 0"])
        #expect(run.engine(.final(.said("go", through: 800))).isEmpty, "it may be the one that acknowledges")
        #expect(run.engine(.flushed(channel: 0)).trace == ["keep 0 'go'", "ack 0/1 0.0-0.8 'go'"])
    }

    @Test func ofSeveralFinalsTheLastAcknowledges() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("one", through: 300)))
        run.engine(.final(.said("two", from: 300, through: 800)))
        run.engine(.flushed(channel: 0))
        #expect(
            run.actions.trace == [
                "flush 0", "keep 0 'one'", "final 0/1 0.0-0.3 'one'", "keep 1 'two'", "ack 0/1 0.3-0.8 'two'",
            ]
        )
    }

    @Test func aFlushOfNothingIsAcknowledgedEmpty() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: nil))
        run.engine(.progress(channel: 0, through: .milliseconds(600)))
        #expect(run.engine(.flushed(channel: 0)).trace == ["ack 0/1 0.0-0.6"])
    }

    @Test func theEmptyAcknowledgementLeavesInterimWordsTheirTime() {
        var run = SessionRun.live { $0.wantsInterim = true }
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("before", through: 300)))
        run.engine(.partial(.said("after", from: 400, through: 900)))
        run.engine(.flushed(channel: 0))
        run.engine(.final(.said("after", from: 400, through: 950)))
        #expect(
            run.actions.results.map { SessionMessage.result($0).trace } == [
                "final 0/1 0.0-0.3 'before'", "interim 0/1 0.3-0.9 'after'", "ack 0/1 0.3-0.3",
                "final 0/1 0.3-0.95 'after'",
            ]
        )
    }

    @Test func eachFinalizeIsAcknowledgedOnce() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        for _ in 0..<5 { run.received(.finalize(channel: nil)) }
        for _ in 0..<7 { run.engine(.flushed(channel: 0)) }
        #expect(run.actions.results.filter(\.isFromFinalize).count == 5)
    }

    @Test func theEndAcknowledgesWhatTheEngineDidNot() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: nil))
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("rest", through: 900)))
        run.received(.closeStream)
        run.engine(.ended)
        #expect(
            run.actions.trace == [
                "flush 0", "flush 0", "finish", "keep 0 'rest'", "ack 0/1 0.0-0.9 'rest'", "ack 0/1 0.9-0.9",
                "final 0/1 0.9-1.0", "settle completed",
            ]
        )
    }

    @Test func finalizeBeforeAnyAudioIsAcknowledgedAtOnceOnEveryChannelToCome() {
        var run = SessionRun {
            $0.source = .raw(encoding: "linear16", sampleRate: 8_000, channels: 3)
            $0.isMultichannel = true
        }
        run.claimed()
        #expect(
            run.received(.finalize(channel: nil)).trace == ["ack 0/3 0.0-0.0", "ack 1/3 0.0-0.0", "ack 2/3 0.0-0.0"]
        )
        #expect(run.received(.finalize(channel: 1)).trace == ["ack 1/3 0.0-0.0"])
        #expect(run.received(.finalize(channel: 3)).isEmpty)
    }

    // MARK: Channels

    @Test func channelsAreMixedUnlessAskedApart() {
        #expect(SessionRun.live(channels: 2).session.channels.count == 1)
        #expect(SessionRun.live(channels: 2) { $0.isMultichannel = true }.session.channels.count == 2)
        #expect(SessionRun.live(channels: 1) { $0.isMultichannel = true }.session.channels.count == 1)
    }

    @Test func everyChannelHasItsOwnTimeLine() {
        var run = SessionRun.live(channels: 2) { $0.isMultichannel = true }
        run.silence(milliseconds: 1_000)
        run.received(.finalize(channel: 1))
        run.engine(.final(.said("left", through: 700, channel: 0)))
        run.engine(.final(.said("right", through: 400, channel: 1)))
        run.engine(.flushed(channel: 1))
        run.received(.closeStream)
        run.engine(.ended)
        run.settled()
        #expect(
            run.actions.trace == [
                "flush 1", "keep 0 'left'", "final 0/2 0.0-0.7 'left'", "keep 1 'right'", "ack 1/2 0.0-0.4 'right'",
                "finish", "final 0/2 0.7-1.0", "final 1/2 0.4-1.0", "settle completed", "metadata 1.0 2", "close 1000",
            ]
        )
    }

    @Test func finalizeWithoutAChannelIsForAll() {
        var run = SessionRun.live(channels: 2) { $0.isMultichannel = true }
        #expect(run.received(.finalize(channel: nil)).trace == ["flush 0", "flush 1"])
    }

    // MARK: Speech and its ends

    /// 0.5 s quiet, 1 s speech, `gap` quiet, 1 s speech, 1 s quiet.
    static func twoUtterances(gap: Double, sampleRate: Int = 16_000) -> Signal {
        var signal = Signal(sampleRate: sampleRate)
        signal.noise(seconds: 0.5, decibels: -70)
        signal.speech(seconds: 1, decibels: -20)
        signal.noise(seconds: gap, decibels: -70)
        signal.speech(seconds: 1, decibels: -20)
        signal.noise(seconds: 1, decibels: -70)
        return signal
    }

    @Test func speechStartedIsToldOncePerUtteranceIfAsked() {
        for (wanted, gap, count) in [(false, 0.6, 0), (true, 0.6, 2), (true, 0.2, 1)] {
            var run = SessionRun.live { $0.wantsSpeechStarted = wanted }
            run.audio(Self.twoUtterances(gap: gap).samples)
            #expect(run.actions.trace.filter { $0.hasPrefix("speech") }.count == count, "gap \(gap)")
        }
    }

    @Test func aLongerEndpointingAlsoMakesFewerOnsets() {
        var run = SessionRun.live {
            $0.wantsSpeechStarted = true
            $0.endpointing = .milliseconds(1_000)
        }
        run.audio(Self.twoUtterances(gap: 0.6).samples)
        #expect(run.actions.count == 1)
    }

    @Test func aFinalThatReachesAnEndpointClosesItsUtterance() {
        var run = SessionRun.live { $0.endpointing = .milliseconds(300) }
        run.audio(Self.twoUtterances(gap: 0.6).samples)
        run.engine(.final(.said("one", from: 500, through: 1_000)))
        run.engine(.final(.said("two", from: 1_000, through: 1_500)))
        run.engine(.final(.said("three", from: 2_100, through: 2_900)))
        run.engine(.final(.said("four", from: 2_900, through: 3_200)))
        #expect(run.actions.results.map(\.isSpeechFinal) == [false, true, false, true])
    }

    @Test func anEngineThatWasFasterGetsAnEmptySpeechFinal() {
        var run = SessionRun.live { $0.endpointing = .milliseconds(300) }
        let samples = Self.twoUtterances(gap: 0.6).samples
        run.audio(Array(samples[..<24_800]))
        run.engine(.final(.said("one", from: 500, through: 1_550)))
        run.audio(Array(samples[24_800...]))
        run.engine(.final(.said("two", from: 2_100, through: 3_150)))
        #expect(
            run.actions.results.map { SessionMessage.result($0).trace } == [
                "final 0/1 0.0-1.55 'one'", "final! 0/1 1.55-1.55", "final! 0/1 1.55-3.15 'two'",
            ]
        )
    }

    /// Its final ends where it heard the last word end, which is long before the voice does.
    @Test(arguments: [true, false]) func aFinalThatStopsShortIsClosedWhenTheEngineGoesOn(_ goesOnWithWords: Bool) {
        var run = SessionRun.live { $0.endpointing = .milliseconds(300) }
        run.audio(Self.twoUtterances(gap: 0.6).samples)
        run.engine(.final(.said("one", from: 500, through: 1_000)))
        run.engine(.progress(channel: 0, through: .milliseconds(goesOnWithWords ? 1_400 : 2_000)))
        #expect(run.actions.results.map(\.isSpeechFinal) == (goesOnWithWords ? [false] : [false, true]))
        run.engine(.partial(.said("tw", from: 2_100, through: 2_500)))
        run.engine(.final(.said("two", from: 2_100, through: 3_000)))
        #expect(run.actions.results.map(\.isSpeechFinal) == [false, true, true])
        #expect(run.actions.results.map(\.transcript) == ["one", "", "two"])
        #expect(run.actions.results[1].start == .milliseconds(1_000))
        #expect((1_450...1_600).contains(run.actions.results[1].end.microseconds / 1_000))
    }

    /// A breath before the words, which no final has.
    @Test func anEndpointWithoutWordsClosesNothing() {
        var run = SessionRun.live { $0.endpointing = .milliseconds(300) }
        run.audio(Self.twoUtterances(gap: 0.6).samples)
        run.engine(.final(.said("two", from: 2_100, through: 2_600)))
        #expect(run.actions.results.map(\.isSpeechFinal) == [false])
        run.engine(.final(.said("three", from: 2_600, through: 3_100)))
        #expect(run.actions.results.map(\.isSpeechFinal) == [false, true])
    }

    @Test func withoutEndpointingNothingIsSpeechFinal() {
        var run = SessionRun.live { $0.endpointing = nil }
        run.audio(Self.twoUtterances(gap: 0.6).samples)
        run.engine(.final(.said("all", through: 4_000)))
        #expect(run.actions.results.map(\.isSpeechFinal) == [false])
    }

    /// Clients that send files send them in large pieces.
    @Test(arguments: [1, 7, 160, 333, 16_000, 100_000]) func decisionsDoNotDependOnHowTheAudioWasCut(_ size: Int) {
        func decided(_ size: Int) -> [String] {
            var run = SessionRun.live {
                $0.wantsSpeechStarted = true
                $0.endpointing = .milliseconds(300)
            }
            run.engine(.final(.said("everything", through: 5_000)))
            let samples = Self.twoUtterances(gap: 0.6).samples
            for start in stride(from: 0, to: samples.count, by: size) {
                run.audio(Array(samples[start..<min(samples.count, start + size)]))
            }
            return run.actions.trace
        }
        let whole = decided(320)
        #expect(whole.filter { $0.hasPrefix("speech") }.count == 2)
        #expect(whole.filter { $0.hasPrefix("final!") }.count == 2)
        #expect(decided(size) == whole)
    }

    @Test func utteranceEndFollowsTheGapAfterAFinalisedWord() {
        var run = SessionRun.live { $0.utteranceEnd = .milliseconds(1_000) }
        run.engine(.final(.said("go", through: 700)))
        #expect(run.engine(.progress(channel: 0, through: .milliseconds(1_699))).isEmpty)
        #expect(run.engine(.progress(channel: 0, through: .milliseconds(1_700))).trace == ["utterance end 0 0.7"])
        #expect(run.engine(.progress(channel: 0, through: .milliseconds(9_000))).isEmpty, "once per gap")
    }

    @Test func anUtteranceDoesNotEndBeforeAFinalThatAwaitsItsFlush() {
        var run = SessionRun.live { $0.utteranceEnd = .milliseconds(1_000) }
        run.engine(.final(.said("go", through: 700)))
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("on", from: 800, through: 1_000)))
        #expect(run.engine(.progress(channel: 0, through: .milliseconds(1_900))).isEmpty)
        run.engine(.flushed(channel: 0))
        #expect(run.engine(.progress(channel: 0, through: .milliseconds(2_000))).trace == ["utterance end 0 1.0"])
    }

    // MARK: Back-pressure

    @Test func inputIsHeldUntilTheEngineHasRoom() {
        var run = SessionRun.live()
        #expect(run.session.isHolding == false)
        run.engineTook(.backpressure)
        run.engineTook(.backpressure)
        #expect(run.session.isHolding == true)
        run.engineTook(.sent)
        #expect(run.session.isHolding == true, "only the engine's own word counts")
        run.engine(.capacity)
        #expect(run.session.isHolding == false)
        run.engine(.capacity)
        #expect(run.session.isHolding == false)
    }

    @Test func tooManyUnansweredFinalizesHoldTheInput() {
        var run = SessionRun.live()
        for _ in 0..<15 {
            #expect(run.received(.finalize(channel: nil)).trace == ["flush 0"])
            #expect(run.session.isHolding == false)
        }
        #expect(run.received(.finalize(channel: nil)).trace == ["flush 0"])
        #expect(run.session.isHolding == true)
        #expect(run.engine(.flushed(channel: 0)).trace == ["ack 0/1 0.0-0.0"])
        #expect(run.session.isHolding == false)
    }

    @Test func bothReasonsMustBeGoneBeforeInputIsReleased() {
        var run = SessionRun.live()
        for _ in 0..<16 { run.received(.finalize(channel: nil)) }
        run.engineTook(.backpressure)
        #expect(run.engine(.flushed(channel: 0)).trace == ["ack 0/1 0.0-0.0"])
        #expect(run.session.isHolding == true)
        run.engine(.capacity)
        #expect(run.session.isHolding == false)
    }

    @Test func anEndingSessionHoldsNothing() {
        var run = SessionRun.live()
        run.engineTook(.backpressure)
        _ = run.end(.terminated)
        #expect(run.session.isHolding == false)
    }
}
