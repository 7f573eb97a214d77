import Audio
import Foundation
import Testing

@Suite struct ResamplerTests {
    private func sine(_ frequency: Double, rate: Int, seconds: Double, amplitude: Double = 10_000) -> [Int16] {
        (0..<Int(Double(rate) * seconds)).map {
            Int16((amplitude * sin(2 * .pi * frequency * Double($0) / Double(rate))).rounded())
        }
    }

    private func resample(_ samples: [Int16], from source: Int, to target: Int, piece: Int = .max) throws -> [Int16] {
        let resampler = try Resampler(from: source, to: target)
        var output: [Int16] = []
        var start = 0
        while start < samples.count {
            let end = start + min(piece, samples.count - start)
            samples.withUnsafeBufferPointer {
                resampler.process(UnsafeBufferPointer(rebasing: $0[start..<end]), appendingTo: &output)
            }
            start = end
        }
        resampler.flush(appendingTo: &output)
        return output
    }

    @Test(arguments: [8_000, 11_025, 16_001, 22_050, 24_000, 32_000, 44_100, 48_000])
    func aSineStaysTheSameSine(rate: Int) throws {
        let output = try resample(sine(1_000, rate: rate, seconds: 1), from: rate, to: 16_000)
        #expect(abs(output.count - 16_000) <= 1)
        // Away from the ends, every sample is that of the same sine: frequency, level and delay are right at once.
        // A delay of 1/16 ms would be an error of up to 3,800.
        let ideal = sine(1_000, rate: 16_000, seconds: 1)
        let worst = (400..<15_600).map { abs(Int(output[$0]) - Int(ideal[$0])) }.max() ?? .max
        #expect(worst <= 60, "worst error \(worst) of 10000")
    }

    @Test(arguments: [8_000, 44_100, 48_000]) func aClickStaysWhereItWas(rate: Int) throws {
        var samples = [Int16](repeating: 0, count: rate)
        for index in 0..<4 { samples[rate / 2 + index] = 20_000 }
        let output = try resample(samples, from: rate, to: 16_000)
        let loudest = output.indices.max { abs(Int(output[$0])) < abs(Int(output[$1])) } ?? 0
        #expect(abs(loudest - 8_000) <= 16, "within 1 ms")
    }

    @Test(arguments: [8_000, 44_100]) func theOutputDoesNotDependOnTheCut(rate: Int) throws {
        var random = SeededGenerator(state: 3)
        let samples = (0..<rate).map { _ in Int16.random(in: -20_000...20_000, using: &random) }
        let whole = try resample(samples, from: rate, to: 16_000)
        for piece in [1, 7, 160, 5_000] {
            #expect(try resample(samples, from: rate, to: 16_000, piece: piece) == whole)
        }
    }

    @Test func whatIsAboveTheNewBandIsGone() throws {
        let output = try resample(sine(12_000, rate: 48_000, seconds: 0.5), from: 48_000, to: 16_000)
        #expect(output[400..<7_600].allSatisfy { abs(Int($0)) < 100 })
    }

    @Test func equalRatesPassThrough() throws {
        let samples = sine(440, rate: 16_000, seconds: 0.1)
        #expect(try resample(samples, from: 16_000, to: 16_000, piece: 13) == samples)
    }

    @Test func shortAndEmptyStreamsKeepTheirLength() throws {
        for (rate, count) in [
            (8_000, 0), (8_000, 1), (8_000, 5), (44_100, 1), (44_100, 3), (48_000, 100), (44_100, 441),
        ] {
            let output = try resample([Int16](repeating: 100, count: count), from: rate, to: 16_000)
            #expect(abs(Double(output.count) - Double(count) * 16_000 / Double(rate)) <= 1, "\(count) at \(rate) Hz")
        }
    }

    @Test func afterFlushANewStreamBegins() throws {
        let samples = sine(700, rate: 8_000, seconds: 0.2)
        let resampler = try Resampler(from: 8_000)
        var first: [Int16] = []
        var second: [Int16] = []
        samples.withUnsafeBufferPointer { resampler.process($0, appendingTo: &first) }
        resampler.flush(appendingTo: &first)
        samples.withUnsafeBufferPointer { resampler.process($0, appendingTo: &second) }
        resampler.flush(appendingTo: &second)
        #expect(first == second)
    }

    @Test func ratesOutOfRangeAreRefused() {
        #expect(throws: AudioError.self) { _ = try Resampler(from: 4_000) }
        #expect(throws: AudioError.self) { _ = try Resampler(from: 16_000, to: 96_000) }
    }

    @Test func channelsAreTakenApartAndMixed() {
        let frames: [Int16] = [1, -1, 32_767, 32_767, -32_768, -32_768, 100, 200, 9]
        var left: [Int16] = [42]
        left.appendChannel(0, of: frames, channels: 2)
        #expect(left == [42, 1, 32_767, -32_768, 100])
        var right: [Int16] = []
        right.appendChannel(1, of: frames, channels: 2)
        #expect(right == [-1, 32_767, -32_768, 200])
        var mixed: [Int16] = []
        mixed.appendDownmix(of: frames, channels: 2)
        #expect(mixed == [0, 32_767, -32_768, 150])
        mixed.removeAll()
        mixed.appendDownmix(of: frames, channels: 1)
        #expect(mixed == frames)
    }
}
