/// A 32-bit cyclic redundancy check in its reflected form, by table.
struct CRC32: Sendable {
    /// ISO 3309, as in zlib: the checksum of keys.
    static let ieee = CRC32(polynomial: 0xEDB8_8320)
    /// Castagnoli (RFC 3720 appendix B.4): the checksum of spool records.
    static let castagnoli = CRC32(polynomial: 0x82F6_3B78)

    private let table: [UInt32]

    private init(polynomial: UInt32) {
        table = (0..<256).map { byte in
            (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
        }
    }

    func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~0) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }
}
