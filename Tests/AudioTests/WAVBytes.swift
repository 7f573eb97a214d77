import Audio

/// Writes WAV files of every kind the decoder reads, and of some it must refuse.
struct WAVBytes {
    var tag: UInt16 = 1
    var channels: UInt16 = 1
    var sampleRate: UInt32 = 16_000
    var bits: UInt16 = 16
    var isExtensible = false
    var chunksBefore: [(String, [UInt8])] = []
    var dataSize: UInt32?
    var data: [UInt8] = []
    var trailer: [UInt8] = []

    var header: [UInt8] {
        var format: [UInt8] = []
        let frame = channels &* (bits / 8)
        format += little(isExtensible ? 0xFFFE : tag) + little(channels) + little(sampleRate)
        format += little(sampleRate &* UInt32(frame)) + little(frame) + little(bits)
        if isExtensible {
            format += little(UInt16(22)) + little(bits) + little(UInt32(0)) + little(tag)
            format += [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]
        }
        var bytes = Array("RIFF".utf8) + little(UInt32(0)) + Array("WAVE".utf8)
        for (name, body) in chunksBefore { bytes += chunk(name, body) }
        bytes += chunk("fmt ", format)
        return bytes + Array("data".utf8) + little(dataSize ?? UInt32(data.count))
    }

    var bytes: [UInt8] { header + data + trailer }

    private func chunk(_ name: String, _ body: [UInt8]) -> [UInt8] {
        Array(name.utf8) + little(UInt32(body.count)) + body + (body.count % 2 == 0 ? [] : [0])
    }
}

func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
}

func little16(_ samples: [Int16]) -> [UInt8] { samples.flatMap { little($0) } }

extension AudioDecoder {
    /// Decodes `bytes` in pieces of `piece` bytes.
    mutating func decodeAll(_ bytes: [UInt8], piece: Int = .max) throws -> [Int16] {
        var samples: [Int16] = []
        var start = 0
        repeat {
            let end = min(bytes.count, start + min(piece, bytes.count))
            try bytes[start..<end].withUnsafeBytes { raw in
                let before = samples.count
                let frames = try decode(raw, appendingTo: &samples)
                guard frames * (format?.channels ?? 1) == samples.count - before else {
                    throw AudioTestFailure(what: "decode() returned \(frames) for \(samples.count - before) samples")
                }
            }
            start = end
        } while start < bytes.count
        return samples
    }
}

struct AudioTestFailure: Error {
    let what: String
}

/// A small deterministic generator (SplitMix64), so that every run sees the same numbers.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
