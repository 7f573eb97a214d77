/// How a request says which bucket it means.
public enum S3Addressing: String, Sendable, CaseIterable {
    /// By host where the endpoint's name allows it, else by path.
    case automatic = "auto"
    /// `https://bucket.s3.eu-west-1.amazonaws.com/key`.
    case virtualHosted = "virtual"
    /// `https://s3.eu-west-1.amazonaws.com/bucket/key`; what most S3-compatible servers want.
    case path

    /// Whether the bucket is named in the path.
    ///
    /// `automatic` says so where a host below the endpoint's cannot exist or cannot be certified: addresses,
    /// `localhost`, names without a dot as container networks give them, and buckets with dots, which a certificate's
    /// `*.` does not cover.
    func isByPath(origin: String, bucket: String) -> Bool {
        switch self {
        case .path: return true
        case .virtualHosted: return false
        case .automatic:
            let host = Self.host(of: origin)
            let isAddress = host.hasPrefix("[") || host.split(separator: ".").allSatisfy { UInt8($0) != nil }
            return isAddress || !host.contains(".") || host.hasSuffix(".localhost") || bucket.contains(".")
        }
    }

    /// The origin and the path of a key, or of the bucket itself.
    func address(origin: String, bucket: String, key: String?) -> (origin: String, path: String) {
        let key = key.map { "/" + S3Encoding.path($0) } ?? ""
        guard !isByPath(origin: origin, bucket: bucket), let scheme = origin.firstRange(of: "://") else {
            return (origin, "/" + S3Encoding.path(bucket) + key)
        }
        let hosted = "\(origin[..<scheme.upperBound])\(bucket).\(origin[scheme.upperBound...])"
        return (hosted, key.isEmpty ? "/" : key)
    }

    private static func host(of origin: String) -> Substring {
        let authority = origin.firstRange(of: "://").map { origin[$0.upperBound...] } ?? origin[...]
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") { return authority[...end] }
        return authority.prefix { $0 != ":" }
    }
}

/// Keys in addresses: encoded once, and in lists as `encoding-type=url` writes them.
enum S3Encoding {
    static func path(_ key: String) -> String { PercentEncoding.encode(key, keepsSlashes: true) }

    static func query(_ items: [(String, String)]) -> String {
        items.map { "\(PercentEncoding.encode($0))=\(PercentEncoding.encode($1))" }.joined(separator: "&")
    }

    /// What `encoding-type=url` made of a key: `%XX`, and `+` for a space. Nil if it is not that.
    static func decode(_ text: String) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                    return nil
                }
                bytes.append(high << 4 | low)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? { Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init) }
}
