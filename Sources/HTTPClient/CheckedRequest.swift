/// A request that may be sent as it is: nothing in it breaks out of its place in the message.
struct CheckedRequest: Sendable {
    /// The whole address.
    let url: String
    /// In lower case, without path.
    let origin: String
    /// Host and port, for messages.
    let authority: String
    /// The method.
    let method: String
    /// In curl's notation.
    let headerLines: [String]
    /// The body.
    let body: [UInt8]
    /// Limit of the response's body.
    let maximumResponseBytes: Int
    /// The whole time, for messages.
    let timeout: Duration

    /// Fields that say how the message is framed and connected, which is curl's business.
    static let reservedHeaders: Set = [
        "connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    ]

    /// Checks a request.
    ///
    /// - Throws: `CurlError` of code 0, which says what is wrong.
    init(_ request: TransferRequest) throws(CurlError) {
        guard Self.isToken(request.method), request.method != "CONNECT" else {
            throw Self.refused("the method must be an HTTP token and not CONNECT")
        }
        guard request.method != "HEAD" || request.body.isEmpty else {
            throw Self.refused("a HEAD request has no body")
        }
        guard request.maximumResponseBytes >= 0 else {
            throw Self.refused("maximumResponseBytes must not be negative")
        }
        origin = request.origin.lowercased()
        authority = try Self.authority(of: origin)
        guard request.path.first == "/", Self.isTarget(request.path), !request.path.contains("?") else {
            throw Self.refused("the path must begin with / and be percent-encoded")
        }
        guard Self.isTarget(request.query) else { throw Self.refused("the query must be percent-encoded") }
        url = origin + request.path + (request.query.isEmpty ? "" : "?" + request.query)
        method = request.method
        body = request.body
        maximumResponseBytes = request.maximumResponseBytes
        timeout = request.timeout
        headerLines = try Self.headerLines(of: request, authority: authority)
    }

    /// A body is announced, if only as empty, where the method gives it a meaning (RFC 9110, section 8.6).
    var announcesBody: Bool { !body.isEmpty || ["POST", "PUT", "PATCH"].contains(method) }

    /// curl's notation: `name: value`, `name;` for an empty value, and `name:` takes one of curl's own fields away
    /// (https://curl.se/libcurl/c/CURLOPT_HTTPHEADER.html).
    private static func headerLines(of request: TransferRequest, authority: String) throws(CurlError) -> [String] {
        var lines: [String] = []
        for header in request.headers {
            let name = header.name.lowercased()
            guard isToken(header.name) else { throw refused("a header's name must be an HTTP token") }
            guard header.value.utf8.allSatisfy({ (0x20...0x7e).contains($0) || $0 == 9 }) else {
                throw refused("the header \(name) must be visible ASCII, spaces and tabs")
            }
            guard !reservedHeaders.contains(name) else { throw refused("the header \(name) cannot be set") }
            switch name {
            case "host":
                guard header.value.lowercased() == authority else {
                    throw refused("the header host is not the origin's")
                }
            case "content-length":
                guard header.value == String(request.body.count) else {
                    throw refused("the header content-length is not the body's")
                }
            default:
                let isEmpty = header.value.allSatisfy { $0 == " " || $0 == "\t" }
                lines.append(isEmpty ? "\(header.name);" : "\(header.name): \(header.value)")
            }
        }
        for own in ["Accept", "Content-Type"] where request.header(own) == nil { lines.append("\(own):") }
        return lines + ["Expect:"]
    }

    /// `origin` is in lower case.
    private static func authority(of origin: String) throws(CurlError) -> String {
        for scheme in ["https://", "http://"] where origin.hasPrefix(scheme) {
            let authority = String(origin.dropFirst(scheme.count))
            let allowed = authority.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x61...0x7a: true
                default: "-._:[]".utf8.contains(byte)
                }
            }
            if allowed, !authority.isEmpty { return authority }
        }
        throw refused("the origin must be http:// or https://, a host and at most a port")
    }

    private static func isTarget(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "#") }
    }

    private static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    private static func refused(_ reason: String) -> CurlError {
        CurlError(code: 0, message: reason, wasNotSent: true)
    }
}
