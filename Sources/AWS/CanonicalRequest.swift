import HTTPClient

/// A request as both sides of a signature write it before they sign it: one spelling for all that mean the same.
///
/// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step 1
struct CanonicalRequest {
    /// Headers that proxies and tracers add or change on the way; the SDKs leave them unsigned. `authorization` is what
    /// is being made.
    static let unsignedHeaders: Set = [
        "authorization", "baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
    ]

    /// Everything but the payload's hash, up to and with the last line break.
    private var head: [UInt8] = []
    /// Names, sorted, with `;` between them.
    let signedHeaders: String

    /// The canonical form of a request. Its `Host` is that of its origin, if it is not among the headers.
    init(_ request: TransferRequest, pathRule: SigV4.PathRule) {
        let headers = Self.headers(of: request)
        signedHeaders = Self.names(headers)
        head.reserveCapacity(1_024)
        head += request.method.utf8
        head.append(Self.lineBreak)
        Self.appendPath(request.path, rule: pathRule, to: &head)
        head.append(Self.lineBreak)
        Self.appendQuery(request.query, to: &head)
        head.append(Self.lineBreak)
        Self.appendHeaders(headers, to: &head)
        head.append(Self.lineBreak)
        head += signedHeaders.utf8
        head.append(Self.lineBreak)
    }

    /// All of it.
    func bytes(payloadHash: String) -> [UInt8] { head + payloadHash.utf8 }

    /// What `SignedHeaders` will be, without the rest.
    static func signedHeaders(of request: TransferRequest) -> String { names(headers(of: request)) }

    private static let lineBreak = UInt8(ascii: "\n")

    // MARK: Path

    private static func appendPath(_ path: String, rule: SigV4.PathRule, to result: inout [UInt8]) {
        switch rule {
        case .asIs:
            result += (path.isEmpty ? "/" : path).utf8
        case .normalizedAndEncodedAgain:
            var segments: [Substring.UTF8View] = []
            for segment in path.utf8.split(separator: UInt8(ascii: "/")) {
                if segment.elementsEqual(".".utf8) { continue }
                if segment.elementsEqual("..".utf8) {
                    _ = segments.popLast()
                } else {
                    segments.append(segment)
                }
            }
            for segment in segments {
                result.append(UInt8(ascii: "/"))
                PercentEncoding.append(segment, keepsSlashes: false, to: &result)
            }
            if segments.isEmpty || path.utf8.last == UInt8(ascii: "/") { result.append(UInt8(ascii: "/")) }
        }
    }

    // MARK: Query

    private static func appendQuery(_ query: String, to result: inout [UInt8]) {
        guard !query.isEmpty else { return }
        var pairs: [(name: [UInt8], value: [UInt8])] = []
        for pair in Array(query.utf8).split(separator: UInt8(ascii: "&")) {
            let equals = pair.firstIndex(of: UInt8(ascii: "="))
            var name: [UInt8] = []
            var value: [UInt8] = []
            PercentEncoding.appendAgain(pair[..<(equals ?? pair.endIndex)], to: &name)
            if let equals { PercentEncoding.appendAgain(pair[(equals + 1)...], to: &value) }
            pairs.append((name, value))
        }
        // Names are compared first and alone: joined to values, `a=` would come after `a-=`.
        pairs.sort { left, right in
            left.name == right.name
                ? left.value.lexicographicallyPrecedes(right.value) : left.name.lexicographicallyPrecedes(right.name)
        }
        for (index, pair) in pairs.enumerated() {
            if index > 0 { result.append(UInt8(ascii: "&")) }
            result += pair.name
            result.append(UInt8(ascii: "="))
            result += pair.value
        }
    }

    // MARK: Headers

    private struct Header {
        /// In small letters.
        var name: String
        var value: String
        /// Values of one name keep their order.
        var index: Int
    }

    private static func headers(of request: TransferRequest) -> [Header] {
        var headers: [Header] = []
        headers.reserveCapacity(request.headers.count + 1)
        var hasHost = false
        for (index, header) in request.headers.enumerated() {
            let name = header.name.lowercased()
            if unsignedHeaders.contains(name) { continue }
            hasHost = hasHost || name == "host"
            headers.append(Header(name: name, value: header.value, index: index))
        }
        if !hasHost { headers.append(Header(name: "host", value: host(of: request.origin), index: headers.count)) }
        headers.sort { $0.name == $1.name ? $0.index < $1.index : $0.name < $1.name }
        return headers
    }

    private static func names(_ headers: [Header]) -> String {
        var names = ""
        for (index, header) in headers.enumerated() where index == 0 || headers[index - 1].name != header.name {
            if !names.isEmpty { names += ";" }
            names += header.name
        }
        return names
    }

    /// Each name once, with its values in their order and commas between them.
    private static func appendHeaders(_ headers: [Header], to result: inout [UInt8]) {
        for (index, header) in headers.enumerated() {
            if index > 0, headers[index - 1].name == header.name {
                result.append(UInt8(ascii: ","))
            } else {
                if index > 0 { result.append(lineBreak) }
                result += header.name.utf8
                result.append(UInt8(ascii: ":"))
            }
            appendCollapsed(header.value, to: &result)
        }
        result.append(lineBreak)
    }

    /// Without white space at the ends, and with one space for white space within.
    private static func appendCollapsed(_ value: String, to result: inout [UInt8]) {
        var value = value
        value.withUTF8 { bytes in
            guard needsCollapsing(bytes) else {
                // Nearly all values, and session tokens are long.
                result += bytes
                return
            }
            for word in bytes.split(whereSeparator: isSpace).enumerated() {
                if word.offset > 0 { result.append(UInt8(ascii: " ")) }
                result += word.element
            }
        }
    }

    private static func needsCollapsing(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        // As if a space went before, and another one came behind.
        var previous = UInt8(ascii: " ")
        for byte in bytes {
            if isSpace(byte), byte != UInt8(ascii: " ") || previous == UInt8(ascii: " ") { return true }
            previous = byte
        }
        return previous == UInt8(ascii: " ") && !bytes.isEmpty
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || (0x09...0x0D).contains(byte) }

    /// The `Host` that is sent to an origin: without the scheme's own port.
    static func host(of origin: String) -> String {
        let origin = origin.lowercased()
        let (ownPort, rest) =
            if origin.hasPrefix("https://") {
                (":443", origin.dropFirst(8))
            } else {
                (":80", origin.dropFirst(origin.hasPrefix("http://") ? 7 : 0))
            }
        return String(rest.hasSuffix(ownPort) ? rest.dropLast(ownPort.count) : rest)
    }
}
