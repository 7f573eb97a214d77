import Web

/// Where events are sent: an address over TLS, or of this machine.
public struct EventDestination: Sendable, Equatable, CustomStringConvertible {
    /// Scheme, host and port, in small letters.
    let origin: String
    /// Begins with `/`.
    let path: String
    /// Without `?`.
    let query: String

    /// The hosts that need no TLS: what is said to them does not leave the machine.
    private static let ownHosts = ["localhost", "127.0.0.1", "[::1]"]

    /// Reads an address; nil if it is not `https://`, or `http://` and this machine.
    ///
    /// Certificates say that a host is the one that is meant, wherever its name leads: no address is refused for its number.
    /// Users, passwords and fragments are.
    init?(_ text: String) {
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !text.contains("#"),
            let colon = text.firstRange(of: "://")
        else { return nil }
        let scheme = text[..<colon.lowerBound].lowercased()
        let rest = text[colon.upperBound...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }.lowercased()
        guard let host = Self.host(of: authority),
            scheme == "https" || scheme == "http" && Self.ownHosts.contains(host)
        else { return nil }
        let target = rest.dropFirst(authority.count)
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        origin = "\(scheme)://\(authority)"
        path = target[..<mark].isEmpty ? "/" : String(target[..<mark])
        query = String(target[mark...].dropFirst())
    }

    /// As it is read.
    public var description: String { origin + path + (query.isEmpty ? "" : "?\(query)") }

    /// The host of `host`, `host:port` or `[address]:port`.
    private static func host(of authority: String) -> String? {
        var host = authority[...]
        if let colon = authority.lastIndex(of: ":"), authority.last != "]" {
            guard let port = UInt16(authority[authority.index(after: colon)...]), port > 0 else { return nil }
            host = authority[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            guard let address = IPAddress(String(host.dropFirst().dropLast())), !address.isIPv4 else { return nil }
            return String(host)
        }
        let isName = host.allSatisfy { $0.isLetter || $0.isNumber || "-._".contains($0) }
        return host.isEmpty || !isName ? nil : String(host)
    }
}
