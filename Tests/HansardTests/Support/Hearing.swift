@testable import Hansard

/// What a detector decided about audio, in seconds.
struct Hearing: Equatable {
    var onsets: [Double] = []
    var ends: [Double] = []

    /// Hears one channel, in pieces of `size` frames.
    init(
        _ samples: [Int16],
        sampleRate: Int = 16_000,
        channels: Int = 1,
        channel: Int = 0,
        mixing: Bool = false,
        piece size: Int = 320
    ) {
        var voice = VoiceActivity(sampleRate: sampleRate, mixing: mixing ? channels : 1)
        for start in stride(from: 0, to: samples.count, by: size * channels) {
            let piece = samples.span.extracting(start..<min(samples.count, start + size * channels))
            voice.heard(piece, from: mixing ? 0 : channel, by: mixing ? 1 : channels) { event in
                switch event {
                case .started(let at): onsets.append(at.seconds)
                case .stopped(let at, _, _): ends.append(at.seconds)
                case .quiet: break
                }
            }
        }
    }

    /// Speech that stays apart once gaps below `gap` seconds are closed.
    func utterances(gap: Double) -> Int {
        onsets.indices.filter { $0 == 0 || onsets[$0] - ends[$0 - 1] >= gap }.count
    }
}
