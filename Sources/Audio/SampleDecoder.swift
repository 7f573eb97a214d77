/// Converts samples of one format to 16-bit, carrying the bytes of a frame that was cut.
struct SampleDecoder: Sendable {
    private let encoding: AudioEncoding
    private let bytesPerFrame: Int
    private let channels: Int
    private var carried: [UInt8] = []

    /// Bytes of an incomplete frame; less than a frame's.
    var carriedBytes: Int { carried.count }

    init(format: AudioFormat) {
        encoding = format.encoding
        bytesPerFrame = format.bytesPerFrame
        channels = format.channels
        // `linear16` is copied as it is, so the machine must be little-endian as the samples are.
        precondition(Int16(littleEndian: 1) == 1, "Audio is written for little-endian machines")
    }

    /// - Returns: the number of whole frames appended.
    mutating func decode(_ bytes: UnsafeRawBufferPointer, appendingTo samples: inout [Int16]) -> Int {
        var bytes = bytes
        var frames = 0
        if !carried.isEmpty {
            let missing = min(bytesPerFrame - carried.count, bytes.count)
            carried.append(contentsOf: bytes.prefix(missing))
            bytes = UnsafeRawBufferPointer(rebasing: bytes.dropFirst(missing))
            guard carried.count == bytesPerFrame else { return 0 }
            carried.withUnsafeBytes { append($0, to: &samples) }
            carried.removeAll(keepingCapacity: true)
            frames = 1
        }
        let whole = bytes.count / bytesPerFrame
        let length = whole * bytesPerFrame
        append(UnsafeRawBufferPointer(rebasing: bytes.prefix(length)), to: &samples)
        if length < bytes.count {
            carried.reserveCapacity(bytesPerFrame)
            carried.append(contentsOf: bytes.dropFirst(length))
        }
        return frames + whole
    }

    private func append(_ bytes: UnsafeRawBufferPointer, to samples: inout [Int16]) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        let count = bytes.count / encoding.bytesPerSample
        if encoding == .linear16 && Int(bitPattern: base) % MemoryLayout<Int16>.alignment == 0 {
            bytes.withMemoryRebound(to: Int16.self) { samples.append(contentsOf: $0) }
            return
        }
        let start = samples.count
        samples.append(contentsOf: repeatElement(0, count: count))
        samples.withUnsafeMutableBufferPointer { whole in
            let target = UnsafeMutableBufferPointer(rebasing: whole[start...])
            switch encoding {
            case .linear16: UnsafeMutableRawBufferPointer(target).copyMemory(from: bytes)
            case .mulaw: lookUp(bytes, in: G711.mulaw, into: target)
            case .alaw: lookUp(bytes, in: G711.alaw, into: target)
            case .wavUnsigned8:
                for index in target.indices { target[index] = (Int16(bytes[index]) - 128) << 8 }
            case .wavSigned24:
                // The upper two of three bytes are the 16-bit sample, rounded down.
                for index in target.indices {
                    target[index] = bytes.loadUnaligned(fromByteOffset: 3 * index + 1, as: Int16.self)
                }
            case .wavSigned32:
                for index in target.indices {
                    target[index] = bytes.loadUnaligned(fromByteOffset: 4 * index + 2, as: Int16.self)
                }
            case .linear32:
                for index in target.indices {
                    target[index] = int16(bytes.loadUnaligned(fromByteOffset: 4 * index, as: Float.self))
                }
            }
        }
    }

    private func lookUp(
        _ bytes: UnsafeRawBufferPointer,
        in table: [Int16],
        into target: UnsafeMutableBufferPointer<Int16>
    ) {
        table.withUnsafeBufferPointer { table in
            for index in target.indices { target[index] = table[Int(bytes[index])] }
        }
    }
}

/// Full scale is 1.0; louder is clipped, and what is not a number is silence.
private func int16(_ sample: Float) -> Int16 {
    guard !sample.isNaN else { return 0 }
    return Int16(min(max((sample * 32_768).rounded(), -32_768), 32_767))
}

/// ITU-T G.711: the 256 values of each law, as 16-bit samples.
enum G711 {
    static let mulaw: [Int16] = (0...255).map { (code: Int) in
        let bits = ~code & 0xFF
        let magnitude = (((bits & 0x0F) << 3) + 0x84) << ((bits & 0x70) >> 4) - 0x84
        return Int16(bits & 0x80 != 0 ? -magnitude : magnitude)
    }

    static let alaw: [Int16] = (0...255).map { (code: Int) in
        let bits = code ^ 0x55
        let segment = (bits & 0x70) >> 4
        let step = (bits & 0x0F) << 4
        let magnitude = segment == 0 ? step + 0x08 : (step + 0x108) << (segment - 1)
        return Int16(bits & 0x80 != 0 ? magnitude : -magnitude)
    }
}
