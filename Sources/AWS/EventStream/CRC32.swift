/// The checksum of event streams: CRC-32 of ISO 3309 (as in zlib and Ethernet), sixteen bytes at a step.
enum CRC32 {
    /// Table `k` holds what a byte becomes when `k` zero bytes follow it, so that sixteen look-ups advance sixteen bytes.
    private static let tables: [UInt32] = {
        let polynomial: UInt32 = 0xEDB8_8320
        var tables: [UInt32] = []
        for byte in 0..<UInt32(256) {
            var value = byte
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
            tables.append(value)
        }
        for index in 256..<16 * 256 {
            let previous = tables[index - 256]
            tables.append(previous >> 8 ^ tables[Int(previous & 255)])
        }
        return tables
    }()

    /// The checksum of bytes that follow others.
    ///
    /// - Parameter previous: the checksum of what comes before; 0 is nothing.
    static func checksum(_ bytes: UnsafeRawBufferPointer, after previous: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { tables in
            var value = ~previous
            var index = 0
            while index + 16 <= bytes.count {
                var first = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                let second = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index + 8, as: UInt64.self))
                first ^= UInt64(value)
                value = 0
                for byte in 0..<8 {
                    value ^= tables[(15 - byte) << 8 | Int(first >> (8 * byte) & 255)]
                    value ^= tables[(7 - byte) << 8 | Int(second >> (8 * byte) & 255)]
                }
                index += 16
            }
            while index < bytes.count {
                value = value >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: value) ^ bytes[index])]
                index += 1
            }
            return ~value
        }
    }
}
