import Foundation
import Testing

@testable import Hansard

@Suite struct AudioTimeTests {
    @Test(
        arguments: [
            (0, 16_000, 0), (1, 16_000, 62), (16_000, 16_000, 1_000_000), (44_099, 44_100, 999_977),
            (44_100, 44_100, 1_000_000), (1, 44_100, 22), (11_025 * 3_600 * 1_000, 11_025, 3_600_000_000_000),
        ] as [(Int64, Int, Int64)]
    ) func framesAreRoundedDown(frames: Int64, rate: Int, microseconds: Int64) {
        #expect(AudioTime(frames: frames, sampleRate: rate).microseconds == microseconds)
    }

    @Test func noNumberOfFramesOverflows() {
        let years = Int64(48_000) * 3_600 * 24 * 365 * 100
        #expect(AudioTime(frames: years, sampleRate: 48_000).microseconds == 3_153_600_000 * 1_000_000)
    }

    /// `audio_ms` is floor(frames x 1000 / rate), which rounding down twice must not change.
    @Test(arguments: [8_000, 11_025, 16_000, 22_050, 44_100, 48_000]) func millisecondsAreTheBilledOnes(rate: Int) {
        for frames in Int64(0)..<5_000 {
            let expected = frames * 1_000 / Int64(rate)
            #expect(AudioTime(frames: frames, sampleRate: rate).milliseconds == expected)
        }
    }

    @Test(arguments: [(0, 0.0), (499, 0.0), (500, 0.001), (1_234_499, 1.234), (1_234_500, 1.235)] as [(Int64, Double)])
    func secondsAreRoundedToTheMillisecond(microseconds: Int64, seconds: Double) {
        #expect(AudioTime(microseconds: microseconds).seconds == seconds)
    }

    @Test func arithmeticAndOrder() {
        let one = AudioTime.milliseconds(1_000)
        #expect(one + .milliseconds(500) == .seconds(1.5))
        #expect(.milliseconds(500) - one == AudioTime(microseconds: -500_000))
        #expect(.zero < one && max(one, .zero) == one)
        #expect(AudioTime.seconds(0.0000014) == AudioTime(microseconds: 1))
    }

    /// Engines and documents from elsewhere give seconds as numbers of any size.
    @Test func secondsBeyondReasonAreBounded() {
        #expect(AudioTime.seconds(.nan) == .zero)
        for huge in [Double.infinity, 1e300, 1e15] {
            let time = AudioTime.seconds(huge)
            #expect(time > .seconds(1e9) && (time + time).seconds > 1e9)
            #expect(.seconds(-huge) == .zero - time)
        }
    }

    @Test func itIsCodedAsMicroseconds() throws {
        let data = try JSONEncoder().encode([AudioTime.milliseconds(3)])
        #expect(String(decoding: data, as: UTF8.self) == "[3000]")
        #expect(try JSONDecoder().decode([AudioTime].self, from: data) == [.milliseconds(3)])
    }
}
