import Foundation

/// An IPv4 or IPv6 address without port. An IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`) is held as IPv4.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    /// The 4 or 16 bytes in network order.
    public let bytes: [UInt8]

    /// From 4 or 16 bytes in network order; `nil` for any other count.
    public init?(bytes: some Collection<UInt8>) {
        let array = Array(bytes)
        switch array.count {
        case 4: self.bytes = array
        case 16:
            let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
            self.bytes = array.starts(with: mapped) ? Array(array[12...]) : array
        default: return nil
        }
    }

    /// From text such as `192.0.2.7` or `2001:db8::1`; names are not resolved.
    public init?(_ text: String) {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            self.init(bytes: withUnsafeBytes(of: four) { Array($0) })
            return
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        self.init(bytes: withUnsafeBytes(of: six) { Array($0) })
    }

    /// Whether it is IPv4.
    public var isIPv4: Bool { bytes.count == 4 }

    /// Whom limits by address count as one: who has one IPv6 address usually has the whole /64, of which this is the first.
    public var subscriber: IPAddress {
        guard !isIPv4 else { return self }
        return IPAddress(bytes: bytes.prefix(8) + [UInt8](repeating: 0, count: 8)) ?? self
    }

    /// The usual text form, as of `inet_ntop`.
    public var description: String {
        var text = [CChar](repeating: 0, count: 64)
        let family = isIPv4 ? AF_INET : AF_INET6
        _ = bytes.withUnsafeBytes { inet_ntop(family, $0.baseAddress, &text, socklen_t(text.count)) }
        return text.withUnsafeBufferPointer { String(decoding: $0.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self) }
    }
}

/// Where a connection comes from: the socket's other end, or what a trusted proxy said it is.
public struct PeerAddress: Sendable, Hashable, CustomStringConvertible {
    /// The address.
    public let address: IPAddress
    /// The TCP port, 0 ... 65535.
    public let port: UInt16

    /// An address and a port.
    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// From what `accept` or `getpeername` filled in; `nil` for families other than IPv4 and IPv6.
    init?(_ storage: sockaddr_storage) {
        var storage = storage
        switch Int32(storage.ss_family) {
        case AF_INET:
            let four = withUnsafeBytes(of: &storage) { $0.loadUnaligned(as: sockaddr_in.self) }
            guard let address = IPAddress(bytes: withUnsafeBytes(of: four.sin_addr) { Array($0) }) else { return nil }
            self.init(address: address, port: UInt16(bigEndian: four.sin_port))
        case AF_INET6:
            let six = withUnsafeBytes(of: &storage) { $0.loadUnaligned(as: sockaddr_in6.self) }
            guard let address = IPAddress(bytes: withUnsafeBytes(of: six.sin6_addr) { Array($0) }) else { return nil }
            self.init(address: address, port: UInt16(bigEndian: six.sin6_port))
        default: return nil
        }
    }

    /// `192.0.2.7:443` or `[2001:db8::1]:443`.
    public var description: String { address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
}

/// A range of addresses in CIDR notation, for instance `10.0.0.0/8`.
public struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    /// The first address of the range.
    public let base: IPAddress
    /// How many leading bits are fixed: 0 ... 32, or 0 ... 128.
    public let prefixLength: Int

    /// From `10.0.0.0/8`, `2001:db8::/32`, or an address alone, which is a range of one. Bits behind the prefix are ignored.
    ///
    /// IPv4 addresses mapped into IPv6 are IPv4 here as everywhere: `::ffff:10.0.0.0/104` is `10.0.0.0/8`. A prefix of them
    /// shorter than the 96 bits of the mapping is no range of addresses that a peer can have, and not accepted.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = parts.first, let base = IPAddress(String(first)), parts.count <= 2 else { return nil }
        let bits = base.bytes.count * 8
        let mappingBits = base.isIPv4 && first.contains(":") ? 96 : 0
        var length = bits
        if parts.count == 2 {
            let isPlain = !parts[1].isEmpty && parts[1].utf8.allSatisfy { (0x30...0x39).contains($0) }
            guard isPlain, let given = Int(parts[1]).map({ $0 - mappingBits }), (0...bits).contains(given) else {
                return nil
            }
            length = given
        }
        self.base = base
        prefixLength = length
    }

    /// Whether the address lies in the range; never across families.
    public func contains(_ address: IPAddress) -> Bool {
        guard address.bytes.count == base.bytes.count else { return false }
        var left = prefixLength
        for (one, other) in zip(address.bytes, base.bytes) {
            if left <= 0 { return true }
            let mask: UInt8 = left >= 8 ? 0xff : ~(0xff >> UInt8(left))
            if one & mask != other & mask { return false }
            left -= 8
        }
        return true
    }

    /// The CIDR notation.
    public var description: String { "\(base)/\(prefixLength)" }
}
