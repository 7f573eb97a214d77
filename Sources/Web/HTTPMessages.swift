import FoundationEssentials

/// Header fields in order; names compare without regard to case.
public struct HTTPHeaders: Sendable, Equatable, ExpressibleByDictionaryLiteral, Sequence {
    /// One field.
    public struct Field: Sendable, Equatable {
        /// The name as it was given; requests have it in lower case.
        public let name: String
        /// The value without surrounding spaces.
        public let value: String
    }

    private var fields: [Field] = []

    /// No fields.
    public init() {}

    /// From a literal such as `["Content-Type": "application/json"]`; a name may come several times.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (name, value) in elements { add(name, value) }
    }

    /// Appends a field.
    public mutating func add(_ name: String, _ value: String) { fields.append(Field(name: name, value: value)) }

    /// The value of the first field of that name. A request's fields of one name are already joined by `, `.
    public subscript(name: String) -> String? {
        fields.first { equalsIgnoringCase($0.name, name) }?.value
    }

    /// The fields in order.
    public func makeIterator() -> IndexingIterator<[Field]> { fields.makeIterator() }

    /// How many fields there are.
    public var count: Int { fields.count }
}

/// Whether two strings are equal when ASCII letters are compared without regard to case.
func equalsIgnoringCase(_ one: String, _ other: String) -> Bool {
    func lowered(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte }
    return one.utf8.count == other.utf8.count && zip(one.utf8, other.utf8).allSatisfy { lowered($0) == lowered($1) }
}

/// A complete HTTP request.
public struct HTTPRequest: Sendable {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`; others are refused before a responder sees them.
    public var method: String
    /// The path, percent-decoded, with `//`, `/./` and `/../` resolved; it begins with `/`.
    public var path: String
    /// The query without `?`, empty if there was none, percent-encoded in the one canonical way: a space is `%20`, the separator
    /// is `&` (a literal `;` separates too). It means the same as what was sent, but need not be the same bytes.
    public var query: String
    /// All standard fields, and those custom ones that `WebServerConfiguration.customHeaders` names; names in lower case.
    public var headers: HTTPHeaders
    /// The body, empty if there was none; at most `WebLimits.maxBodyBytes`.
    public var body: [UInt8]
    /// The client, or what a trusted proxy said it is.
    public var peer: PeerAddress
    /// Whether it came over TLS that this server terminates.
    public var isTLS: Bool

    /// A request made by hand, for tests of responders.
    public init(
        method: String,
        path: String,
        query: String = "",
        headers: HTTPHeaders = HTTPHeaders(),
        body: [UInt8] = [],
        peer: PeerAddress,
        isTLS: Bool = false
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer
        self.isTLS = isTLS
    }

    /// The path, percent-encoded again from `path`: libwebsockets does not keep the bytes that were sent.
    public var rawPath: String { percentEncoded(path.utf8, keeping: "/:@!$&'()*+,;=") }
}

/// What is sent back.
public struct HTTPResponse: Sendable, Equatable {
    /// 200 ... 599.
    public var status: Int
    /// `Content-Length`, `Connection` and `Date` are the server's business and ignored here.
    public var headers: HTTPHeaders
    /// The body. For `HEAD` its length is told and the bytes are left out; for 204 and 304 it is ignored.
    public var body: [UInt8]

    /// A response with bytes as body.
    public init(status: Int, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// A response with text as body; the content type is `text/plain; charset=utf-8` unless given.
    public init(status: Int, headers: HTTPHeaders = HTTPHeaders(), text: String) {
        self.init(status: status, headers: headers, body: Array(text.utf8))
        if headers["content-type"] == nil { self.headers.add("Content-Type", "text/plain; charset=utf-8") }
    }
}

extension HTTPResponse {
    /// A refusal that the server itself decides, before anybody else sees the request: a problem of RFC 9457.
    init(status: Int, headers: HTTPHeaders = HTTPHeaders(), problem detail: String) {
        struct Problem: Encodable {
            var type = "about:blank"
            var title = "Refused"
            var status: Int
            var detail: String
        }
        // Strings and an integer: there is nothing here that JSON could not say.
        let body = (try? JSONEncoder().encode(Problem(status: status, detail: detail))) ?? Data()
        self.init(status: status, headers: headers, body: Array(body))
        self.headers.add("Content-Type", "application/problem+json")
    }
}

/// Answers HTTP requests. It is called for each complete request and leaves the loop by that.
public protocol HTTPResponder: Sendable {
    /// Answers one request. Requests of one connection come one after the other; those of different connections, at once.
    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse
}

/// Percent-encodes everything but RFC 3986's unreserved characters and `kept`.
func percentEncoded(_ bytes: some Sequence<UInt8>, keeping kept: String = "") -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    let keptBytes = Array(kept.utf8)
    var result: [UInt8] = []
    for byte in bytes {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: result.append(byte)
        case _ where keptBytes.contains(byte): result.append(byte)
        default: result += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
    }
    return String(decoding: result, as: UTF8.self)
}
