/// The header of version 2 of the PROXY protocol (haproxy's proxy-protocol.txt, section 2.2), with which a load balancer tells
/// for whom it has made a connection.
struct ProxyHeader: Equatable {
    /// What the first bytes of a connection amount to.
    enum Parsed: Equatable {
        /// All bytes so far fit; more are needed.
        case incomplete
        /// It is complete: consume exactly `length` bytes.
        case complete(ProxyHeader, length: Int)
        /// Close the connection.
        case malformed(String)
    }

    /// Whom the connection is for; `nil` if the proxy made it for itself (`LOCAL`, a health check) or does not say (`UNSPEC`, a
    /// family without addresses of ours): then the socket's other end counts.
    let source: PeerAddress?

    private static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
    /// 16 bytes of fixed part and the longest rest we take. Addresses need 36; the type-length-values behind are skipped.
    static let maxLength = 16 + 1_024

    static func parse(_ bytes: some RandomAccessCollection<UInt8>) -> Parsed {
        let bytes = bytes.prefix(maxLength)
        func byte(_ offset: Int) -> UInt8 { bytes[bytes.index(bytes.startIndex, offsetBy: offset)] }
        for (byte, expected) in zip(bytes, signature) where byte != expected {
            return .malformed("the connection does not begin with a PROXY protocol v2 signature")
        }
        if bytes.count > 12 {
            if byte(12) >> 4 != 2 { return .malformed("PROXY protocol version \(byte(12) >> 4), must be 2") }
            if byte(12) & 15 > 1 { return .malformed("unknown PROXY command \(byte(12) & 15)") }
        }
        guard bytes.count >= 16 else { return .incomplete }
        let rest = Int(byte(14)) << 8 | Int(byte(15))
        if 16 + rest > maxLength { return .malformed("the PROXY header of \(16 + rest) bytes exceeds \(maxLength)") }
        let isLocal = byte(12) & 15 == 0
        let family = byte(13) >> 4
        let transport = byte(13) & 15
        if family > 3 || transport > 2 { return .malformed("unknown PROXY address family or transport") }
        let addressBytes = family == 1 ? 4 : family == 2 ? 16 : 0
        let needed = family == 3 ? 216 : 2 * addressBytes + (addressBytes > 0 ? 4 : 0)
        if !isLocal && rest < needed { return .malformed("the PROXY header is too short for its addresses") }
        guard bytes.count >= 16 + rest else { return .incomplete }
        let length = 16 + rest
        // Only a stream can be what is connected here; anything else names nobody.
        guard !isLocal, addressBytes > 0, transport == 1 else {
            return .complete(ProxyHeader(source: nil), length: length)
        }
        let start = bytes.index(bytes.startIndex, offsetBy: 16)
        let port = 16 + 2 * addressBytes
        guard let address = IPAddress(bytes: bytes[start..<bytes.index(start, offsetBy: addressBytes)]) else {
            return .malformed("the PROXY header has no address")
        }
        let source = PeerAddress(address: address, port: UInt16(byte(port)) << 8 | UInt16(byte(port + 1)))
        return .complete(ProxyHeader(source: source), length: length)
    }
}
