/// The checksum of event streams: CRC-32 of ISO 3309 (as in zlib and Ethernet), eight bytes at a step.
enum CRC32 {
    /// Table `k` holds what a byte becomes when `k` zero bytes follow it, so that eight look-ups advance eight bytes.
    private static let tables: [UInt32] = {
        let polynomial: UInt32 = 0xEDB8_8320
        var tables: [UInt32] = []
        for byte in 0..<UInt32(256) {
            var value = byte
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
            tables.append(value)
        }
        for index in 256..<2_048 {
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
            while index + 8 <= bytes.count {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                let low = UInt32(truncatingIfNeeded: word) ^ value
                let high = UInt32(truncatingIfNeeded: word >> 32)
                value = tables[1_792 + Int(low & 255)] ^ tables[1_536 + Int(low >> 8 & 255)]
                value ^= tables[1_280 + Int(low >> 16 & 255)] ^ tables[1_024 + Int(low >> 24)]
                value ^= tables[768 + Int(high & 255)] ^ tables[512 + Int(high >> 8 & 255)]
                value ^= tables[256 + Int(high >> 16 & 255)] ^ tables[Int(high >> 24)]
                index += 8
            }
            while index < bytes.count {
                value = value >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: value) ^ bytes[index])]
                index += 1
            }
            return ~value
        }
    }
}
