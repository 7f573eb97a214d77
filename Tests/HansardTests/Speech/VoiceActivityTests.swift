import Testing

@testable import Hansard

@Suite struct VoiceActivityTests {
    /// One second of speech from the fourth on, in noise.
    static func burst(speech: Double, noise: Double, sampleRate: Int = 16_000) -> [Int16] {
        var signal = Signal(sampleRate: sampleRate)
        signal.noise(seconds: 4, decibels: noise)
        signal.speech(seconds: 1, decibels: speech, noiseDecibels: noise)
        signal.noise(seconds: 2, decibels: noise)
        return signal.samples
    }

    @Test(arguments: [-20.0, -30, -40, -60, -75]) func noiseIsNotSpeech(decibels: Double) {
        for sampleRate in [8_000, 16_000, 48_000] {
            var signal = Signal(sampleRate: sampleRate)
            signal.noise(seconds: 20, decibels: decibels)
            // Very loud noise may pass for speech until a window of it has been heard.
            let hearing = Hearing(signal.samples, sampleRate: sampleRate)
            #expect(hearing.onsets.allSatisfy { $0 < 0.1 && decibels > -30 })
            #expect(hearing.ends.count == hearing.onsets.count)
            #expect(hearing.ends.allSatisfy { $0 < 3.2 })
        }
    }

    @Test func digitalSilenceIsNotSpeech() {
        let hearing = Hearing([Int16](repeating: 0, count: 160_000))
        #expect(hearing.onsets.isEmpty && hearing.ends.isEmpty)
    }

    @Test(arguments: [(-10.0, -70.0), (-20, -60), (-20, -40), (-30, -50), (-40, -65), (-10, -25)])
    func speechIsFoundInNoise(speech: Double, noise: Double) throws {
        let hearing = Hearing(Self.burst(speech: speech, noise: noise))
        let onsets = hearing.onsets.filter { $0 > 3.5 }
        #expect(onsets.count == 1 && hearing.ends.last.map { $0 > 4 } == true)
        #expect(abs(try #require(onsets.first) - 4) <= 0.1)
        #expect(abs(try #require(hearing.ends.last) - 5) <= 0.1)
    }

    @Test(arguments: [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
    func everySampleRateHearsTheSame(sampleRate: Int) throws {
        let hearing = Hearing(Self.burst(speech: -20, noise: -60, sampleRate: sampleRate), sampleRate: sampleRate)
        #expect(hearing.onsets.count == 1 && hearing.ends.count == 1)
        #expect(abs(try #require(hearing.onsets.first) - 4) <= 0.05)
        #expect(abs(try #require(hearing.ends.first) - 5) <= 0.1)
    }

    @Test(arguments: [8_000, 11_025, 22_050]) func speechFromTheFirstSampleBeginsAtZero(sampleRate: Int) {
        var signal = Signal(sampleRate: sampleRate)
        signal.speech(seconds: 1, decibels: -15)
        var voice = VoiceActivity(sampleRate: sampleRate)
        var onset: AudioTime?
        voice.heard(signal.samples.span, from: 0, by: 1) { if case .started(let at) = $0 { onset = at } }
        #expect(onset == .zero)
    }

    @Test(arguments: [1, 3, 159, 160, 161, 4_000, 80_000]) func theCutOfTheAudioDoesNotMatter(size: Int) {
        let samples = Self.burst(speech: -20, noise: -50)
        #expect(Hearing(samples, piece: size) == Hearing(samples))
    }

    @Test func aClickIsNotSpeech() {
        var signal = Signal()
        for milliseconds in [1.0, 5, 10, 20] {
            signal.noise(seconds: 1, decibels: -60)
            signal.click(milliseconds: milliseconds)
        }
        signal.noise(seconds: 1, decibels: -60)
        #expect(Hearing(signal.samples).onsets.isEmpty)
    }

    @Test func aClickInThePauseDoesNotProlongTheSpeech() throws {
        var signal = Signal()
        signal.noise(seconds: 1, decibels: -60)
        signal.speech(seconds: 1, decibels: -20)
        signal.noise(seconds: 0.08, decibels: -60)
        signal.click(milliseconds: 4)
        signal.noise(seconds: 1, decibels: -60)
        #expect(abs(try #require(Hearing(signal.samples).ends.first) - 2) <= 0.05)
    }

    @Test func aGapWithinAWordDoesNotEndIt() {
        var signal = Signal()
        signal.noise(seconds: 1, decibels: -60)
        for _ in 0..<5 {
            signal.speech(seconds: 0.2, decibels: -20)
            signal.noise(seconds: 0.08, decibels: -60)
        }
        signal.noise(seconds: 1, decibels: -60)
        #expect(Hearing(signal.samples).onsets.count == 1)
    }

    @Test func theFloorFollowsNoiseThatBecomesLouder() {
        var signal = Signal()
        signal.noise(seconds: 4, decibels: -65)
        signal.noise(seconds: 8, decibels: -45)
        signal.speech(seconds: 1, decibels: -20, noiseDecibels: -45)
        signal.noise(seconds: 2, decibels: -45)
        let hearing = Hearing(signal.samples)
        // The step itself passes for speech until the quiet has left the window.
        #expect(hearing.ends.filter { $0 < 11 }.allSatisfy { $0 <= 7.2 })
        #expect(hearing.onsets.filter { $0 > 11 }.count == 1)
    }

    @Test func aMutedLineDoesNotMakeTheRoomLoud() {
        var signal = Signal()
        for _ in 0..<4 {
            signal.noise(seconds: 2, decibels: -45)
            signal.digitalSilence(seconds: 2)
        }
        #expect(Hearing(signal.samples).onsets.isEmpty)
    }

    @Test func aLouderRoomAfterAMutedLineIsLearntAnew() {
        var signal = Signal()
        signal.noise(seconds: 2, decibels: -65)
        signal.digitalSilence(seconds: 1.5)
        signal.noise(seconds: 2, decibels: -42)
        #expect(Hearing(signal.samples).onsets.isEmpty)
    }

    @Test func theBlockInWhichALineOpensSaysNothingOfTheRoom() {
        var signal = Signal()
        signal.digitalSilence(seconds: 0.5035)
        signal.noise(seconds: 0.007, decibels: -60)
        signal.noise(seconds: 3, decibels: -42)
        #expect(Hearing(signal.samples).onsets.isEmpty)
    }

    // MARK: Channels

    /// Speech on the left in the second second, on the right in the fourth.
    static var stereo: [Int16] {
        var left = Signal(seed: 1)
        var right = Signal(seed: 2)
        left.noise(seconds: 1, decibels: -60)
        left.speech(seconds: 1, decibels: -20)
        left.noise(seconds: 3, decibels: -60)
        right.noise(seconds: 3, decibels: -60)
        right.speech(seconds: 1, decibels: -20)
        right.noise(seconds: 1, decibels: -60)
        return zip(left.samples, right.samples).flatMap { [$0, $1] }
    }

    @Test func oneChannelIsHeardAlone() {
        let left = Hearing(Self.stereo, channels: 2, channel: 0, piece: 777)
        let right = Hearing(Self.stereo, channels: 2, channel: 1, piece: 777)
        #expect(left.onsets.map { $0.rounded() } == [1] && left.ends.map { $0.rounded() } == [2])
        #expect(right.onsets.map { $0.rounded() } == [3] && right.ends.map { $0.rounded() } == [4])
    }

    @Test func mixedChannelsAreHeardTogether() {
        let both = Hearing(Self.stereo, channels: 2, mixing: true, piece: 777)
        #expect(both.onsets.map { $0.rounded() } == [1, 3] && both.ends.map { $0.rounded() } == [2, 4])
    }

    @Test func quietIsToldThroughTheEndOfTheAudio() {
        var signal = Signal()
        signal.noise(seconds: 1, decibels: -60)
        var voice = VoiceActivity(sampleRate: 16_000)
        var last: AudioTime?
        var count = 0
        voice.heard(signal.samples.span, from: 0, by: 1) { event in
            guard case .quiet(let through) = event else { return }
            last = through
            count += 1
        }
        #expect(last == .milliseconds(1_000) && count == 100)
        #expect(voice.heardThrough == .milliseconds(1_000) && !voice.isSpeech)
    }
}

@Suite struct SlidingMinimumTests {
    @Test func itIsTheLeastOfTheWindow() {
        var random = SeededGenerator(seed: 7)
        for window in [1, 2, 5, 300] {
            let values = (0..<1_000).map { _ in Double.random(in: 0...1, using: &random) }
            var minimum = SlidingMinimum(window: window)
            for (index, value) in values.enumerated() {
                let least = values[max(0, index - window + 1)...index].min()
                #expect(minimum.add(value) == least)
                #expect(minimum.isFull == (index + 1 >= window))
            }
        }
    }
}
