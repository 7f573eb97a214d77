/// A short-lived, stateless token that stands for its parent key: what `/v1/auth/grant` hands out for browsers.
///
/// Clients treat it as opaque. It is at most 60 characters, since libwebsockets drops longer subprotocol values:
/// `hst_` and the base64url form of version (1 byte), key name (16), expiry in Unix seconds (5), scope bits (1) and the
/// first 16 bytes of an HMAC-SHA-256 over all of them.
public struct AccessToken: Sendable, Equatable {
    /// Tells a token from a key.
    public static let prefix = "hst_"
    /// Bytes of the authentication code that are kept.
    public static let authenticationBytes = 16
    /// The longest life that may be asked for, in seconds.
    public static let maximumSeconds = 3_600
    static let version: UInt8 = 1
    static let payloadBytes = 23

    /// The key that it stands for.
    public var key: KeyID
    /// Unix time from which it is refused.
    public var expiresAt: Int64
    /// What it may be used for; never more than its key.
    public var scopes: Set<Scope>

    /// A token as it is granted.
    public init(key: KeyID, expiresAt: Int64, scopes: Set<Scope>) {
        self.key = key
        self.expiresAt = expiresAt
        self.scopes = scopes
    }

    /// Writes the token.
    ///
    /// - Parameter authenticate: the HMAC-SHA-256 of the bytes under the server's secret.
    /// - Returns: nil if the key's name is not of the form that `SecretFormat` writes.
    public func encoded(authenticate: ([UInt8]) -> [UInt8]) -> String? {
        guard let name = SecretFormat.nameBytes(of: key.rawValue, prefix: "key_") else { return nil }
        var bytes = [Self.version] + name
        bytes += (0..<5).map { UInt8(truncatingIfNeeded: expiresAt >> (32 - 8 * Int64($0))) }
        bytes.append(scopeBits)
        bytes += authenticate(bytes).prefix(Self.authenticationBytes)
        return Self.prefix + Base64URL.encode(bytes)
    }

    /// Reads a token.
    ///
    /// - Parameter isAuthentic: compares, in constant time, the code with that of the bytes under any accepted secret.
    /// - Returns: nil if the form or the code is wrong. Expiry is the caller's to judge.
    public init?(_ text: String, isAuthentic: (_ payload: [UInt8], _ code: [UInt8]) -> Bool) {
        guard text.hasPrefix(Self.prefix), let bytes = Base64URL.decode(text.utf8.dropFirst(Self.prefix.utf8.count)),
            bytes.count == Self.payloadBytes + Self.authenticationBytes, bytes[0] == Self.version
        else { return nil }
        let payload = Array(bytes[..<Self.payloadBytes])
        guard isAuthentic(payload, Array(bytes[Self.payloadBytes...])) else { return nil }
        key = KeyID(SecretFormat.makeName(prefix: "key_", random: Array(payload[1..<17])))
        expiresAt = payload[17..<22].reduce(0) { $0 << 8 | Int64($1) }
        scopes = Set(Scope.allCases.enumerated().filter { payload[22] & 1 << $0.offset != 0 }.map(\.element))
    }

    private var scopeBits: UInt8 {
        Scope.allCases.enumerated().reduce(0) { scopes.contains($1.element) ? $0 | 1 << $1.offset : $0 }
    }
}

/// RFC 4648 section 5 without padding.
enum Base64URL {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                output.append(digits[Int(buffer >> bits & 63)])
            }
        }
        if bits > 0 { output.append(digits[Int(buffer << (6 - bits) & 63)]) }
        return String(decoding: output, as: UTF8.self)
    }

    static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for character in text {
            guard let value = digits.firstIndex(of: character) else { return nil }
            buffer = buffer << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                output.append(UInt8(truncatingIfNeeded: buffer >> bits))
            }
        }
        // What is left over must be zero bits and no whole digit, so that a token has one spelling only.
        return bits < 6 && buffer & (1 << bits - 1) == 0 ? output : nil
    }
}
