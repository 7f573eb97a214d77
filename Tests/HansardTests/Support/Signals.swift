import Foundation

/// Synthetic mono audio, built end to end.
struct Signal {
    let sampleRate: Int
    private(set) var samples: [Int16] = []
    private var random: SeededGenerator

    init(sampleRate: Int = 16_000, seed: UInt64 = 1) {
        self.sampleRate = sampleRate
        random = SeededGenerator(seed: seed)
    }

    var seconds: Double { Double(samples.count) / Double(sampleRate) }

    /// Zeros: a muted line.
    mutating func digitalSilence(seconds: Double) {
        samples += [Int16](repeating: 0, count: count(seconds))
    }

    /// White noise of that power relative to full scale.
    mutating func noise(seconds: Double, decibels: Double) {
        samples += (0..<count(seconds)).map { _ in Self.clipped(white() * Self.amplitude(decibels)) }
    }

    /// A stand-in for speech: a tone with the slow swell of syllables (4 per second, never silent), over noise.
    mutating func speech(seconds: Double, decibels: Double, noiseDecibels: Double = -70) {
        let peak = Self.amplitude(decibels) * 2.squareRoot()
        samples += (0..<count(seconds)).map { index in
            let time = Double(index) / Double(sampleRate)
            let swell = 0.75 - 0.25 * cos(2 * .pi * 4 * time)
            return Self.clipped(
                peak * swell * sin(2 * .pi * 220 * time) + white() * Self.amplitude(noiseDecibels)
            )
        }
    }

    /// A click: `milliseconds` of full-scale noise.
    mutating func click(milliseconds: Double) { noise(seconds: milliseconds / 1_000, decibels: -6) }

    mutating func append(_ more: [Int16]) { samples += more }

    /// The same audio with white noise added.
    func with(noise decibels: Double, gain: Double = 1) -> [Int16] {
        var copy = self
        return samples.map { Self.clipped(Double($0) * gain + copy.white() * Self.amplitude(decibels)) }
    }

    private func count(_ seconds: Double) -> Int { Int((seconds * Double(sampleRate)).rounded()) }

    /// White noise of power 1: uniform, which costs less than Gaussian and differs in nothing that matters here.
    private mutating func white() -> Double {
        Double(Int64(bitPattern: random.next())) / 0x1p63 * 3.0.squareRoot()
    }

    static func amplitude(_ decibels: Double) -> Double { 32_768 * pow(10, decibels / 20) }

    static func clipped(_ value: Double) -> Int16 { Int16(max(-32_768, min(32_767, value.rounded()))) }
}
