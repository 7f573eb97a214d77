import Testing

@testable import Hansard

@Suite struct EndpointerTests {
    static func ms(_ value: Int) -> AudioTime { .milliseconds(value) }

    @Test func aSilenceLongEnoughIsAnEndpointOnce() {
        var endpointer = Endpointer(silence: Self.ms(300))
        endpointer.speechStarted()
        endpointer.speechStopped(at: Self.ms(1_000), voiceEnd: Self.ms(1_000))
        let found = [1_120, 1_299, 1_300, 1_310, 5_000].map { endpointer.heard(through: Self.ms($0)) }
        #expect(found == [false, false, true, false, false])
    }

    @Test func speechThatGoesOnIsNoEndpoint() {
        var endpointer = Endpointer(silence: Self.ms(300))
        endpointer.speechStopped(at: Self.ms(1_000), voiceEnd: Self.ms(1_000))
        endpointer.speechStarted()
        let found = endpointer.heard(through: Self.ms(9_000))
        #expect(!found)
    }

    @Test func withoutASilenceThereAreNoEndpoints() {
        var endpointer = Endpointer(silence: nil)
        endpointer.speechStopped(at: Self.ms(1_000), voiceEnd: Self.ms(1_000))
        let found = endpointer.heard(through: Self.ms(90_000))
        let reached = endpointer.reached(Self.ms(90_000))
        #expect(!found && !reached)
    }

    @Test func aFinalTakesTheEndpointsThatItReaches() {
        var endpointer = Endpointer(silence: Self.ms(10))
        for end in [1_000, 2_000, 3_000, 4_000] {
            endpointer.speechStopped(at: Self.ms(end), voiceEnd: Self.ms(end))
            _ = endpointer.heard(through: Self.ms(end + 200))
        }
        let reached = [849, 850, 900, 2_900, 3_000, 3_850, 9_000].map { endpointer.reached(Self.ms($0)) }
        #expect(reached == [false, true, false, true, false, true, false])
    }

    @Test func theVoicesEndCountsNotTheBreathAfterIt() {
        var endpointer = Endpointer(silence: Self.ms(10))
        endpointer.speechStopped(at: Self.ms(1_400), voiceEnd: Self.ms(1_000))
        let found = [1_409, 1_410].map { endpointer.heard(through: Self.ms($0)) }
        let reached = [849, 850].map { endpointer.reached(Self.ms($0)) }
        #expect(found == [false, true] && reached == [false, true])
    }

    @Test func wordsThatComeLaterPassEndpointsBy() {
        var endpointer = Endpointer(silence: Self.ms(10))
        for end in [1_000, 2_000, 3_000] {
            endpointer.speechStopped(at: Self.ms(end), voiceEnd: Self.ms(end))
            _ = endpointer.heard(through: Self.ms(end + 200))
        }
        let passed = [999, 2_500, 2_999, 3_000].map { endpointer.passed(before: Self.ms($0)) }
        #expect(passed == [nil, Self.ms(2_000), nil, Self.ms(3_000)])
    }

    @Test func endpointsThatNoFinalReachesAreBounded() {
        var endpointer = Endpointer(silence: Self.ms(10))
        for number in 1...(Endpointer.waitingLimit + 5) {
            endpointer.speechStopped(at: Self.ms(number * 1_000), voiceEnd: Self.ms(number * 1_000))
            _ = endpointer.heard(through: Self.ms(number * 1_000 + 10))
        }
        let forgotten = endpointer.reached(Self.ms(5_000))
        let kept = endpointer.reached(Self.ms(6_000))
        #expect(!forgotten && kept)
    }
}

@Suite struct WordGapDetectorTests {
    static func word(_ start: Int, _ end: Int) -> [Word] {
        [Word(text: "w", start: .milliseconds(start), end: .milliseconds(end))]
    }

    /// Runs steps and returns what each `heard` said, in milliseconds.
    static func gaps(_ steps: (inout WordGapDetector) -> [AudioTime?]) -> [Int64?] {
        var detector = WordGapDetector(gap: .milliseconds(1_000))
        return steps(&detector).map { $0?.milliseconds }
    }

    @Test func aGapIsToldOnceWhenItIsLongEnough() {
        let gaps = Self.gaps {
            $0.finalised(Self.word(0, 500))
            return Self.heard(&$0, [1_499, 1_500, 3_000])
        }
        #expect(gaps == [nil, 500, nil])
    }

    static func heard(_ detector: inout WordGapDetector, _ times: [Int]) -> [AudioTime?] {
        times.map { detector.heard(through: .milliseconds($0)) }
    }

    @Test func nothingIsToldBeforeAWord() {
        #expect(Self.gaps { Self.heard(&$0, [5_000]) } == [nil])
    }

    @Test func openWordsKeepTheGapFromEnding() {
        let gaps = Self.gaps {
            $0.finalised(Self.word(0, 500))
            $0.interim(Self.word(900, 1_300))
            let open = Self.heard(&$0, [2_000])
            $0.interim([])
            return open + Self.heard(&$0, [2_000])
        }
        #expect(gaps == [nil, 500])
    }

    @Test func theLastFinalisedWordCounts() {
        let gaps = Self.gaps {
            $0.finalised(Self.word(0, 500))
            $0.finalised(Self.word(600, 1_400))
            $0.finalised([])
            return Self.heard(&$0, [1_600, 2_400])
        }
        #expect(gaps == [nil, 1_400])
    }

    @Test func everyUtteranceHasItsGap() {
        let gaps = Self.gaps {
            $0.finalised(Self.word(0, 500))
            let first = Self.heard(&$0, [1_500])
            $0.finalised(Self.word(2_000, 2_500))
            return first + Self.heard(&$0, [3_400, 3_500])
        }
        #expect(gaps == [500, nil, 2_500])
    }

    @Test func withoutAGapNothingIsTold() {
        var detector = WordGapDetector(gap: nil)
        detector.finalised(Self.word(0, 500))
        let told = detector.heard(through: .milliseconds(90_000))
        #expect(told == nil)
    }
}
