import Testing

@testable import Hansard

/// Which engine speaks in a session, and what it cost.
@Suite struct SessionEngineTests {
    static let other = EngineDescription(
        name: "other", modelName: "m", modelVersion: "1", architecture: "a", languages: [], maxMultichannel: 2)

    // MARK: Who speaks

    @Test func resultsSayWhoSpoke() {
        var run = SessionRun.live { $0.wantsInterim = true }
        run.engine(.final(.said("go", through: 500)))
        #expect(run.engine(.spokenBy(Self.other)).isEmpty)
        run.engine(.partial(.said("forward", from: 500, through: 800)))
        run.engine(.final(.said("forward", from: 500, through: 900)))
        #expect(run.actions.results.map { $0.spokenBy?.name } == [nil, "other", "other"])
        #expect(run.session.finals.map(\.engine) == ["test", "other"])
        #expect(run.session.engine == "test", "the one that spoke first")
    }

    @Test func theEngineOfASessionIsTheOneThatListened() {
        var run = SessionRun.live()
        #expect(run.session.engine == "test")
        run.engine(.spokenBy(Self.other))
        #expect(run.session.engine == "other", "the first was never heard")
        run.engine(.final(.said("go", through: 500)))
        #expect(run.session.engine == "other")
    }

    /// A final that waits for its `Finalize` is its own engine's.
    @Test func whatWasHeldIsGivenInItsEnginesName() {
        var run = SessionRun.live()
        run.silence(milliseconds: 2_000)
        run.received(.finalize(channel: nil))
        run.engine(.final(.said("go", through: 500)))
        #expect(run.engine(.spokenBy(Self.other)).trace == ["keep 0 'go'", "final 0/1 0.0-0.5 'go'"])
        run.engine(.final(.said("on", from: 500, through: 900)))
        #expect(run.engine(.flushed(channel: 0)).trace == ["keep 1 'on'", "ack 0/1 0.5-0.9 'on'"])
        #expect(run.session.finals.map(\.engine) == ["test", "other"])
        #expect(run.actions.results.map { $0.spokenBy?.name } == [nil, "other"])
    }

    /// The time line is where the last final ended, however far the first engine had listened.
    @Test func whatTheFirstHeardBeyondItsFinalsDoesNotCount() {
        var run = SessionRun.live()
        run.silence(milliseconds: 3_000)
        run.engine(.partial(.said("go", through: 1_500)))
        run.engine(.progress(channel: 0, through: .milliseconds(2_500)))
        run.engine(.spokenBy(Self.other))
        run.received(.finalize(channel: nil))
        run.engine(.progress(channel: 0, through: .milliseconds(1_000)))
        #expect(run.engine(.flushed(channel: 0)).trace == ["ack 0/1 0.0-1.0"])
        #expect(run.actions.results.last?.spokenBy == Self.other, "an empty final says so too")
    }

    @Test func theRestOfTheTimeLineIsTheLastEnginesToo() {
        var run = SessionRun.live(channels: 2) { $0.isMultichannel = true }
        run.silence(milliseconds: 1_000)
        run.engine(.spokenBy(Self.other))
        run.received(.closeStream)
        run.engine(.ended)
        #expect(run.actions.results.map { $0.spokenBy?.name } == ["other", "other"])
    }

    // MARK: What it cost

    @Test func anEngineThatDoesNotSayHasUsedWhatItWasSent() {
        var run = SessionRun.live()
        #expect(run.session.engineTime == .zero)
        run.silence(milliseconds: 1_500)
        #expect(run.session.engineTime == .milliseconds(1_500))
    }

    @Test func whatAnEngineSaysCounts() {
        var run = SessionRun.live()
        run.silence(milliseconds: 1_500)
        #expect(run.engine(.metered(.zero)).isEmpty)
        #expect(run.session.engineTime == .zero, "nothing was sent yet")
        run.engine(.metered(.milliseconds(15_000)))
        run.engine(.metered(.milliseconds(14_000)))
        #expect(run.session.engineTime == .milliseconds(15_000), "it never shrinks")
        #expect(run.session.duration == .milliseconds(1_500))
        run.received(.closeStream)
        run.engine(.metered(.milliseconds(16_000)))
        run.engine(.ended)
        run.engine(.metered(.milliseconds(20_000)))
        #expect(run.session.engineTime == .milliseconds(16_000), "a stream that is over says nothing")
    }
}
