/// The framing of records in a spool file: length (4 bytes, little endian), CRC-32C of the payload (4 bytes), payload.
///
/// A file may end in the middle of a record, after a crash: what precedes the torn record is good. It may be damaged as well, by a
/// disk or a memory that is not to be trusted: the frames behind that are as good as those before.
public enum SpoolFraming {
    /// A payload's largest size: a transcript of some hours of dense speech has a few MiB.
    public static let maximumPayload = 64 << 20
    /// What precedes the payload.
    public static let headerBytes = 8
    /// So many times a file's length, in bytes, is summed for nothing before no more is looked for. A damaged length costs the rest
    /// of the file at most; nothing in JSON text looks like a header, since control characters are escaped in it.
    static let patience = 4

    /// What a file's bytes are.
    public struct Reading: Sendable {
        /// The payloads of the frames that are intact, in order.
        public internal(set) var payloads: [ArraySlice<UInt8>] = []
        /// Where something is that is no frame, with intact ones behind it.
        public internal(set) var damaged: [Range<Int>] = []
        /// How many of the payloads are behind damage.
        public internal(set) var payloadsBehindDamage = 0
        /// What the intact frames take, headers and all.
        public internal(set) var intactBytes = 0
        /// What follows the last of them: a crash leaves that, in the middle of a record.
        public internal(set) var tornBytes = 0
        /// What was summed for nothing.
        var wastedBytes = 0

        /// Whether the file is not as a crash would leave it.
        public var isDamaged: Bool { !damaged.isEmpty }
    }

    /// Frames one payload of 1...`maximumPayload` bytes.
    public static func frame(_ payload: [UInt8]) -> [UInt8] {
        precondition(
            (1...maximumPayload).contains(payload.count), "a spool record has 1 to \(maximumPayload) bytes")
        let checksum = CRC32.castagnoli.checksum(payload)
        return littleEndian(UInt32(payload.count)) + littleEndian(checksum) + payload
    }

    /// Reads all frames of a file's bytes that are intact.
    ///
    /// Where one is not, its length is not believed: it could lead past others. The next one is where a header's length fits, its
    /// payload looks like a record and the checksum is right. The work is bounded: where too much looks like a header and is none, all
    /// that follows counts as damaged.
    public static func read(_ bytes: [UInt8]) -> Reading {
        var reading = Reading()
        var offset = 0
        while offset < bytes.count {
            if let payload = payload(at: offset, in: bytes, &reading) {
                reading.payloads.append(payload)
                reading.payloadsBehindDamage += reading.isDamaged ? 1 : 0
                reading.intactBytes += headerBytes + payload.count
                offset = payload.endIndex
            } else if let next = nextFrame(in: bytes, from: offset + 1, &reading) {
                reading.damaged.append(offset..<next)
                offset = next
            } else if reading.wastedBytes > patience * bytes.count {
                reading.damaged.append(offset..<bytes.count)
                break
            } else {
                reading.tornBytes = bytes.count - offset
                break
            }
        }
        return reading
    }

    /// Where the next intact frame of a record begins.
    private static func nextFrame(in bytes: [UInt8], from start: Int, _ reading: inout Reading) -> Int? {
        let (brace, quote, end) = (UInt8(ascii: "{"), UInt8(ascii: "\""), UInt8(ascii: "}"))
        var offset = start
        while offset + headerBytes + 1 < bytes.count, reading.wastedBytes <= patience * bytes.count {
            if bytes[offset + headerBytes] == brace, bytes[offset + headerBytes + 1] == quote,
                let range = payloadRange(at: offset, in: bytes), bytes[range.upperBound - 1] == end,
                payload(at: offset, in: bytes, &reading) != nil
            {
                return offset
            }
            offset += 1
        }
        return nil
    }

    /// The payload of the frame that begins there; nil if that is none, or not intact.
    private static func payload(at offset: Int, in bytes: [UInt8], _ reading: inout Reading) -> ArraySlice<UInt8>? {
        guard let range = payloadRange(at: offset, in: bytes) else { return nil }
        let payload = bytes[range]
        let checksum = number(bytes[offset + 4..<offset + headerBytes])
        guard CRC32.castagnoli.checksum(payload) == checksum else {
            reading.wastedBytes += payload.count
            return nil
        }
        return payload
    }

    /// Where the payload is if a frame begins there; nil if its length does not fit.
    private static func payloadRange(at offset: Int, in bytes: [UInt8]) -> Range<Int>? {
        let start = offset + headerBytes
        guard start <= bytes.count else { return nil }
        let length = Int(number(bytes[offset..<offset + 4]))
        // Zeros, as a power failure leaves them, would pass for an empty record: its checksum is 0.
        guard (1...maximumPayload).contains(length), bytes.count - start >= length else { return nil }
        return start..<start + length
    }

    private static func littleEndian(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}
