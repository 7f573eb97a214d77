import Foundation
import Testing

/// Real speech, kept beside the project: 16-bit mono WAV at 16 kHz.
struct RecordedAudio {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "../shared/audio").standardized
    static let isPresent = FileManager.default.fileExists(atPath: folder.path)
    static let names = [
        "goforward", "jfk", "librivox-0870", "librivox-0880", "librivox-0890", "librivox-0930",
    ]
    static let whyAbsent: Comment = "needs the recordings of ../shared/audio beside the package"

    let name: String
    let samples: [Int16]
    let sampleRate = 16_000

    /// Reads the samples of a WAV file: the `data` chunk, wherever it is.
    init(_ name: String) throws {
        self.name = name
        let bytes = [UInt8](try Data(contentsOf: Self.folder.appending(path: name + ".wav")))
        func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
        var offset = 12
        while Array(bytes[offset..<offset + 4]) != Array("data".utf8) { offset += 8 + (number(offset + 4) + 1) / 2 * 2 }
        let end = min(bytes.count, offset + 8 + number(offset + 4))
        samples = stride(from: offset + 8, to: end - 1, by: 2).map {
            Int16(bitPattern: UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8)
        }
    }

    /// Where speech begins and ends, by a measure that has nothing in common with the detector's but energy: it sees
    /// the whole file, and draws the line at 30 % of the way, in decibels, from the quiet tenth to the loud twentieth.
    var measured: (onset: Double, end: Double) {
        let hop = sampleRate / 50
        let levels = stride(from: 0, to: samples.count - hop, by: hop).map { start in
            let power = samples[start..<start + hop].reduce(0.0) { $0 + Double($1) * Double($1) }
            return 10 * log10(max(1e-10, power / Double(hop) / (32_768 * 32_768)))
        }
        let sorted = levels.sorted()
        let quiet = sorted[sorted.count / 10]
        let threshold = quiet + 0.3 * (sorted[sorted.count * 95 / 100] - quiet)
        let loud = levels.indices.filter { levels[$0] > threshold }
        return (Double(loud.first ?? 0) * 0.02, Double((loud.last ?? 0) + 1) * 0.02)
    }
}
