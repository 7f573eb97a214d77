import Foundation

/// A recording with its transcript: 16 kHz mono, from the shared samples beside the project.
struct SampleRecording: Sendable, CustomStringConvertible {
    let name: String
    let transcript: String
    var samples: [Int16]

    var description: String { name }

    private static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "../shared/audio").standardizedFileURL

    static let all: [SampleRecording] = {
        guard let list = try? String(contentsOf: folder.appending(path: "transcripts.tsv"), encoding: .utf8) else {
            return []
        }
        return list.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "\t")
            guard parts.count == 2, let bytes = try? Data(contentsOf: folder.appending(path: String(parts[0]))) else {
                return nil
            }
            return SampleRecording(name: String(parts[0]), transcript: String(parts[1]), samples: samples(ofWAV: bytes))
        }
    }()

    static func named(_ name: String) throws -> SampleRecording {
        guard let recording = all.first(where: { $0.name == name }) else {
            throw MissingRecording(name: name, folder: folder.path)
        }
        return recording
    }

    struct MissingRecording: Error {
        let name: String
        let folder: String
    }

    /// The samples after the "data" chunk's head; these files have no other surprises.
    private static func samples(ofWAV bytes: Data) -> [Int16] {
        guard let mark = bytes.range(of: Data("data".utf8)) else { return [] }
        let body = bytes[(mark.upperBound + 4)...]
        return stride(from: body.startIndex, to: body.endIndex - 1, by: 2).map {
            Int16(bitPattern: UInt16(body[$0]) | UInt16(body[$0 + 1]) << 8)
        }
    }

    /// The same with white noise, always the same, whose power is `decibels` below the recording's.
    func withNoise(below decibels: Double) -> SampleRecording {
        let power = samples.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(max(samples.count, 1))
        let deviation = (power / pow(10, decibels / 10)).squareRoot()
        var noise = SeededNoise(state: 20)
        var copy = self
        copy.samples = samples.map { Int16(clamping: Int((Double($0) + deviation * noise.gaussian()).rounded())) }
        return copy
    }
}

/// Deterministic random numbers (SplitMix64).
struct SeededNoise: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Of mean 0 and variance 1 (Box and Muller).
    mutating func gaussian() -> Double {
        let first = Double.random(in: Double.leastNonzeroMagnitude..<1, using: &self)
        let second = Double.random(in: 0..<1, using: &self)
        return (-2 * log(first)).squareRoot() * cos(2 * .pi * second)
    }
}

/// Words to insert, delete or replace to make `heard` of `said`.
func wordErrors(said: String, heard: String) -> Int {
    let said = said.split(separator: " ")
    let heard = heard.split(separator: " ")
    var row = Array(0...heard.count)
    for (line, word) in said.enumerated() {
        var diagonal = row[0]
        row[0] = line + 1
        for (column, other) in heard.enumerated() {
            let replaced = diagonal + (word == other ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, row[column] + 1, row[column + 1] + 1)
        }
    }
    return row[heard.count]
}
