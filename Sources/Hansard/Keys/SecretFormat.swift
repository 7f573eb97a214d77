/// How secrets look: `hsk_live_` or `hsk_test_` (API keys) or `hsa_` (admin tokens), 43 base62 characters of 32 random
/// bytes, and 6 base62 characters of the CRC-32 of all that precedes them.
///
/// The prefix tells people and scanners what it is; the checksum lets the gateway refuse junk without a look-up (GitHub's
/// scheme: https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/).
public enum SecretFormat {
    /// What a secret is for.
    public enum Kind: String, Sendable, CaseIterable {
        /// A tenant's key.
        case liveKey = "hsk_live_"
        /// A tenant's key for trials.
        case testKey = "hsk_test_"
        /// An operator's token.
        case adminToken = "hsa_"
    }

    /// Random bytes in a secret.
    public static let randomBytes = 32
    /// Random bytes in a public name (`key_...`, `adm_...`).
    public static let nameBytes = 16
    static let bodyLength = 43
    static let checksumLength = 6
    static let nameLength = 22

    /// Writes a secret from `randomBytes` bytes of a cryptographic source.
    public static func make(_ kind: Kind, random: [UInt8]) -> String {
        precondition(random.count == randomBytes, "a secret is made of \(randomBytes) random bytes")
        let head = kind.rawValue + Base62.encode(random, length: bodyLength)
        return head + String(decoding: checksum(of: head.utf8), as: UTF8.self)
    }

    /// The kind of a well-formed secret; nil if the form or the checksum is wrong. It says nothing about whether the
    /// secret was ever issued.
    public static func kind(of secret: String) -> Kind? {
        let text = secret.utf8
        guard let kind = Kind.allCases.first(where: { text.starts(with: $0.rawValue.utf8) }) else { return nil }
        let headLength = kind.rawValue.utf8.count + bodyLength
        guard text.count == headLength + checksumLength,
            text.dropFirst(kind.rawValue.utf8.count).allSatisfy(Base62.isDigit)
        else { return nil }
        return text.suffix(checksumLength).elementsEqual(checksum(of: text.prefix(headLength))) ? kind : nil
    }

    /// A public name from `nameBytes` random bytes: `prefix` and 22 base62 characters.
    public static func makeName(prefix: String, random: [UInt8]) -> String {
        precondition(random.count == nameBytes, "a name is made of \(nameBytes) random bytes")
        return prefix + Base62.encode(random, length: nameLength)
    }

    /// The bytes of a public name that `makeName` wrote; nil if it is of another form.
    public static func nameBytes(of name: String, prefix: String) -> [UInt8]? {
        guard name.hasPrefix(prefix) else { return nil }
        let digits = name.dropFirst(prefix.count)
        return digits.utf8.count == nameLength ? Base62.decode(digits.utf8, byteCount: nameBytes) : nil
    }

    /// What a list shows of a secret: its prefix with four characters, and its last four.
    public static func display(_ secret: String, kind: Kind) -> (prefix: String, suffix: String) {
        (String(secret.prefix(kind.rawValue.count + 4)), String(secret.suffix(4)))
    }

    private static func checksum(of head: some Sequence<UInt8>) -> [UInt8] {
        Base62.encode(CRC32.ieee.checksum(head), length: checksumLength)
    }
}

/// Base 62 with the digits 0-9, A-Z, a-z: what a double click selects whole.
enum Base62 {
    private static let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    static func isDigit(_ byte: UInt8) -> Bool { value(of: byte) != nil }

    /// The bytes as one big-endian number, padded with leading zeros to `length` digits.
    static func encode(_ bytes: [UInt8], length: Int) -> String {
        var number = bytes
        var output = [UInt8](repeating: digits[0], count: length)
        for position in output.indices.reversed() {
            var remainder = 0
            for index in number.indices {
                let value = remainder << 8 | Int(number[index])
                number[index] = UInt8(value / 62)
                remainder = value % 62
            }
            output[position] = digits[remainder]
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// The number, padded with leading zeros to `length` digits.
    static func encode(_ number: UInt32, length: Int) -> [UInt8] {
        var (rest, output) = (Int(number), [UInt8](repeating: digits[0], count: length))
        for position in output.indices.reversed() {
            output[position] = digits[rest % 62]
            rest /= 62
        }
        return output
    }

    /// The inverse of `encode`; nil for other characters or a number that does not fit.
    static func decode(_ text: some Collection<UInt8>, byteCount: Int) -> [UInt8]? {
        var number = [UInt8](repeating: 0, count: byteCount)
        for character in text {
            guard var carry = value(of: character) else { return nil }
            for index in number.indices.reversed() {
                carry += Int(number[index]) * 62
                number[index] = UInt8(carry & 0xFF)
                carry >>= 8
            }
            if carry != 0 { return nil }
        }
        return number
    }

    private static func value(of byte: UInt8) -> Int? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(byte - UInt8(ascii: "A")) + 10
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(byte - UInt8(ascii: "a")) + 36
        default: nil
        }
    }
}
