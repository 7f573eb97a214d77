import Testing

@testable import Hansard

@Suite struct RelayedStreamTests {
    private static let speech = IndexedAudio.speech(blocks: 200, spoken: 30, quiet: 8)

    @Test(arguments: [20, 100, 250]) func undisturbed(_ frames: Int) {
        var simulation = RelaySimulation()
        simulation.speak(Self.speech, frames: frames)
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: Self.speech)
        #expect(simulation.partials > 20)
        #expect(simulation.streams == 1)
        #expect(simulation.silence == 0)
        #expect(simulation.metered == .milliseconds(20_000))
    }

    /// Each way in which a stream may end, at each moment of it.
    @Test(arguments: [UpstreamEnd.clean, .failed("lost"), .limited("too many")])
    func anEndAtAnyMomentLosesAndRepeatsNothing(_ end: UpstreamEnd) {
        for moment in stride(from: 0, through: 21_000, by: 610) {
            var simulation = RelaySimulation()
            let cut = min(Self.speech.count, moment)
            simulation.speak(Array(Self.speech[..<cut]))
            if cut == Self.speech.count {
                simulation.finish()
                simulation.pass(.milliseconds(moment - cut))
            }
            simulation.fault(.ends(end))
            simulation.speak(Array(Self.speech[cut...]))
            simulation.finish()
            simulation.passUntilOver()
            simulation.expectAllWords(of: Self.speech, "\(end) after \(moment) ms")
            #expect(simulation.streams <= 2)
            #expect(simulation.greatestLead <= 15)
        }
    }

    @Test func aServiceThatIsAwayForHalfAMinuteCostsNothingButTime() {
        var simulation = RelaySimulation()
        let speech = IndexedAudio.speech(blocks: 600, spoken: 30, quiet: 8)
        simulation.speak(Array(speech[..<7_350]))
        simulation.fault(.isAway(.seconds(30)))
        simulation.speak(Array(speech[7_350...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
        #expect(simulation.streams == 2)
    }

    @Test func aServiceThatStaysAwayIsGivenUp() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<5_000]))
        simulation.fault(.isAway(.seconds(300)))
        let began = simulation.elapsed
        simulation.passUntilOver()
        #expect(simulation.failure == "away")
        let waited = simulation.elapsed - began
        #expect(waited >= RelayPolicy.simulated.patience && waited < RelayPolicy.simulated.patience + .seconds(12))
        let given = IndexedAudio.words(in: Self.speech[...], from: 0).prefix(simulation.words.count)
        #expect(simulation.words.map(\.text) == given.map(\.text), "finals that were given stay")
        #expect(simulation.send([1]) == .dropped)
    }

    @Test func aRefusalIsBelievedTheSecondTime() {
        var simulation = RelaySimulation()
        simulation.pass(.milliseconds(100))
        simulation.fault(.ends(.refused("no such key")))
        #expect(simulation.failure == nil)
        simulation.pass(.seconds(1))
        simulation.fault(.ends(.refused("no such key")))
        #expect(simulation.failure == "no such key")
    }

    @Test func aStreamToWhichOneSpeaksInVainIsReplaced() {
        var simulation = RelaySimulation()
        let speech = IndexedAudio.speech(blocks: 450, spoken: 30, quiet: 8)
        simulation.speak(Array(speech[..<5_000]))
        simulation.fault(.stalls)
        simulation.speak(Array(speech[5_000...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
        #expect(simulation.streams == 2)
        #expect(simulation.reports == [.failed("it does not answer")])
    }

    @Test func aStreamThatGivesNoLastWordsIsReplacedOnce() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<5_000]))
        simulation.fault(.stalls)
        simulation.speak(Array(Self.speech[5_000...8_000]))
        simulation.finish()
        simulation.passUntilOver(within: .seconds(30))
        simulation.expectAllWords(of: Array(Self.speech[...8_000]))
        #expect(simulation.streams == 2)
        #expect(simulation.reports.count == 1)
    }

    @Test func aServiceThatGivesNoLastWordsIsNotAskedForEver() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<5_000]))
        simulation.fault(.stalls)
        simulation.finish()
        simulation.pass(.seconds(11))
        simulation.fault(.stalls)
        simulation.passUntilOver(within: .seconds(20))
        #expect(simulation.isOver && simulation.failure == nil)
        #expect(simulation.streams == 2)
    }

    @Test func aStreamThatAlwaysFailsAtTheSamePlaceIsGivenUp() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<2_000]))
        simulation.fault(.ends(.failed("internal failure")))
        simulation.finish()
        let began = simulation.elapsed
        while !simulation.isOver, simulation.elapsed - began < .seconds(200) {
            let partials = simulation.partials
            simulation.pass(.milliseconds(50))
            // It says what it understood, and fails before it is sure of it.
            if simulation.partials > partials { simulation.fault(.ends(.failed("internal failure"))) }
        }
        #expect(simulation.failure == "internal failure")
        #expect(simulation.elapsed - began < RelayPolicy.simulated.patience + .seconds(15))
        #expect(simulation.streams < 20, "each is billed")
    }

    @Test func whatIsAskedForReachesToTheMomentOfTheQuestion() {
        var simulation = RelaySimulation()
        // Half a second of silence follows the words.
        simulation.speak(Array(Self.speech[..<3_000]) + Array(repeating: 0, count: 500))
        simulation.flush()
        simulation.pass(.seconds(3))
        let progress = simulation.events.lastIndex {
            $0.event == .progress(channel: 0, through: .milliseconds(3_500))
        }
        let flushed = simulation.events.lastIndex { $0.event == .flushed(channel: 0) }
        #expect(progress != nil && flushed == progress.map { $0 + 1 })
    }

    // MARK: Pauses and pace

    @Test func aSilentClientKeepsTheServiceAwakeAndTheClockStill() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<8_000]))
        simulation.pass(.seconds(40))
        #expect(simulation.silence >= 700 && simulation.silence <= 900, "little, since the service bills it")
        simulation.speak(Array(Self.speech[8_000...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: Self.speech)
        #expect(simulation.streams == 1)
    }

    @Test func audioSentAtOnceGoesAtTheServicesPace() {
        var simulation = RelaySimulation()
        let speech = IndexedAudio.speech(blocks: 300, spoken: 30, quiet: 8)
        #expect(simulation.send(speech) == .sent)
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
        #expect(simulation.greatestLead < 1.5)
        #expect(simulation.elapsed > .seconds(28))
    }

    @Test func aMinuteMayWaitAndThenTheClientIsHeldBack() {
        var simulation = RelaySimulation()
        simulation.pass(.seconds(1))
        var sent = 0
        while simulation.send(Array(repeating: 1_000, count: 1_000)) == .sent { sent += 1 }
        #expect((59...61).contains(sent))
        #expect(!simulation.events.contains { $0.event == .capacity })
        simulation.pass(.seconds(8))
        #expect(simulation.events.count { $0.event == .capacity } == 1)
        #expect(simulation.send([1]) == .sent)
    }

    /// Behind the client by no more than what a service's own delay and messages make.
    private func lag(_ simulation: borrowing RelaySimulation) -> Double {
        Double(simulation.relay.buffer.end - simulation.relay.buffer.position) / Double(IndexedAudio.sampleRate)
    }

    /// What an outage, a late connection or silence of ours held up is made good while the client goes on speaking.
    @Test func aDelayDoesNotStay() {
        var simulation = RelaySimulation()
        let speech = IndexedAudio.speech(blocks: 900, spoken: 30, quiet: 8)
        simulation.speak(Array(speech[..<10_000]))
        simulation.fault(.isAway(.seconds(8)))
        simulation.speak(Array(speech[10_000..<22_000]))
        #expect(lag(simulation) > 2)
        simulation.speak(Array(speech[22_000..<45_000]))
        #expect(lag(simulation) < 0.5)
        for start in stride(from: 45_000, to: 85_000, by: 2_000) {
            simulation.speak(Array(speech[start..<start + 2_000]))
            simulation.flush()
        }
        #expect(lag(simulation) < 1.5, "twenty requests for finals")
        simulation.speak(Array(speech[85_000...]))
        #expect(lag(simulation) < 0.5)
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
        #expect(simulation.flushes == 20)
    }

    /// Another engine has failed with the first audio: it is overdue, and what comes later is not.
    @Test func whatAnotherEngineFailedWithIsMadeGood() {
        var policy = RelayPolicy.simulated
        policy.beginsLate = true
        var simulation = RelaySimulation(policy: policy)
        let speech = IndexedAudio.speech(blocks: 600, spoken: 30, quiet: 8)
        _ = simulation.send(Array(speech[..<20_000]))
        simulation.speak(Array(speech[20_000..<42_000]))
        #expect(lag(simulation) < 0.5)
        simulation.speak(Array(speech[42_000...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
    }

    // MARK: A service that ends streams while nobody speaks

    /// Two ends with nothing between are no outage if the stream between them worked.
    @Test(arguments: [UpstreamEnd.clean, .failed("lost"), .refused("expired")])
    func endsFarApartAreNotOneOutage(_ end: UpstreamEnd) {
        var policy = RelayPolicy.simulated
        policy.patience = .seconds(5)
        var simulation = RelaySimulation(policy: policy)
        let quiet = [Int16](repeating: 0, count: 10_000)
        for _ in 0..<5 {
            simulation.speak(quiet)
            simulation.fault(.ends(end))
        }
        simulation.speak(quiet)
        #expect(simulation.failure == nil)
        #expect(simulation.streams == 6)
    }

    @Test func whatWasSeenLastIsKeptWhenNothingComesAfterIt() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<2_500]))
        #expect(simulation.words.isEmpty && simulation.partials > 2)
        simulation.fault(.isAway(.seconds(300)))
        simulation.passUntilOver()
        #expect(simulation.failure == "away")
        #expect(simulation.words.map(\.text) == (0..<20).map { "b\($0)" })
        var policy = RelayPolicy.simulated
        policy.givesLastPartials = false
        var other = RelaySimulation(policy: policy)
        other.speak(Array(Self.speech[..<2_500]))
        other.fault(.isAway(.seconds(300)))
        other.passUntilOver()
        #expect(other.words.isEmpty, "another engine hears them again")
    }

    @Test func tooManyStreamsAreTriedSlowly() {
        var simulation = RelaySimulation()
        simulation.pass(.seconds(1))
        simulation.fault(.ends(.limited("too many")))
        simulation.pass(.milliseconds(900))
        #expect(simulation.streams == 1)
        simulation.pass(.seconds(1))
        #expect(simulation.streams == 2)
    }

    /// A service may hear nothing in a noise: it is left once, and believed then.
    @Test func aNoiseIsNotTriedForEver() {
        var simulation = RelaySimulation()
        simulation.speak([Int16](repeating: 1_000, count: 120_000))
        #expect(simulation.streams == 2)
    }

    /// Who speaks without any pause, to a service that gives no finals at all, does not fill the memory.
    @Test func noMoreIsKeptThanMayBeReplayed() {
        var simulation = RelaySimulation()
        simulation.speak([Int16](repeating: 1_000, count: 200_000))
        #expect(simulation.relay.buffer.end - simulation.relay.buffer.start <= 62_000)
    }

    @Test func oneSilenceAnswersAllRequestsOfAMoment() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<1_500]))
        for _ in 0..<3 { simulation.flush() }
        simulation.pass(.seconds(3))
        #expect(simulation.flushes == 3)
        #expect(simulation.silence == 1_000)
    }

    // MARK: Finals on request

    @Test func aFlushIsAnsweredOnceWithTheWordsSoFar() {
        for moment in stride(from: 100, through: 4_000, by: 370) {
            var simulation = RelaySimulation()
            simulation.speak(Array(Self.speech[..<moment]))
            simulation.flush()
            simulation.pass(.seconds(3))
            #expect(simulation.flushes == 1, "after \(moment) ms")
            let whole = IndexedAudio.words(in: Self.speech[..<moment], from: 0)
            #expect(simulation.words.map(\.text) == whole.map(\.text), "after \(moment) ms")
        }
    }

    @Test func aFlushBetweenBlocksLosesNothing() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<1_500]))
        simulation.flush()
        simulation.speak(Array(Self.speech[1_500..<9_000]))
        simulation.flush()
        simulation.flush()
        simulation.speak(Array(Self.speech[9_000...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: Self.speech)
        #expect(simulation.flushes == 3)
    }

    @Test func aFlushThatMeetsAnEndOfTheStreamIsAnsweredAllTheSame() {
        var simulation = RelaySimulation()
        simulation.speak(Array(Self.speech[..<1_500]))
        simulation.flush()
        simulation.fault(.ends(.failed("lost")))
        simulation.speak(Array(Self.speech[1_500...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: Self.speech)
        #expect(simulation.flushes == 1)
    }

    /// Nobody pauses for two minutes: no more is kept than can be replayed, and no word is lost when the stream ends.
    @Test func endlessSpeechIsMadeFinalInTime() {
        var simulation = RelaySimulation()
        let speech = IndexedAudio.speech(blocks: 1_300, spoken: 2_000, quiet: 0)
        simulation.speak(Array(speech[..<100_000]))
        #expect(simulation.finals.count >= 2)
        simulation.fault(.ends(.clean))
        simulation.speak(Array(speech[100_000...]))
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
    }

    // MARK: Long streams

    @Test func anHourOverSeveralStreamsIsOneTimeLine() {
        var policy = RelayPolicy.simulated
        policy.streamLimit = .milliseconds(1_300_000)
        var simulation = RelaySimulation(policy: policy)
        let speech = IndexedAudio.speech(blocks: 36_000, spoken: 50, quiet: 9)
        var from = 0
        for moment in [400_000, 1_500_050, 3_000_730] {
            simulation.speak(Array(speech[from..<moment]), frames: 250)
            simulation.fault(.ends(moment == 400_000 ? .clean : .failed("lost")))
            from = moment
        }
        simulation.speak(Array(speech[from...]), frames: 250)
        simulation.finish()
        simulation.passUntilOver()
        simulation.expectAllWords(of: speech)
        #expect(simulation.streams >= 5)
        #expect(simulation.longestStream <= 1_301_000)
        #expect(simulation.metered.map { $0.milliseconds } == Int64(simulation.billed))
    }
}
