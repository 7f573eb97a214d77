/// One header field. Names compare without regard to case.
public struct TransferHeader: Sendable, Equatable {
    /// As it is sent.
    public var name: String
    /// As it is sent; visible ASCII, spaces and tabs.
    public var value: String
    /// A field.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// A request to an HTTP server, in the parts that signatures are made of.
public struct TransferRequest: Sendable, Equatable {
    /// `GET`, `PUT` and so on.
    public var method: String
    /// Scheme, host and, if it is not the scheme's own, port: `https://s3.eu-west-1.amazonaws.com`.
    public var origin: String
    /// Percent-encoded as it is sent; begins with `/`.
    public var path: String
    /// Percent-encoded as it is sent, without `?`; empty is none.
    public var query: String
    /// In order. `Host` and `Content-Length` are added.
    public var headers: [TransferHeader]
    /// The body; empty is none, unless the method demands one.
    public var body: [UInt8]
    /// How long the whole transfer may take, name look-up and connection included.
    public var timeout: Duration
    /// How large the response's body may be.
    public var maximumResponseBytes: Int

    /// A request with the limits of a small API call.
    public init(
        method: String, origin: String, path: String = "/", query: String = "", headers: [TransferHeader] = [],
        body: [UInt8] = [], timeout: Duration = .seconds(5), maximumResponseBytes: Int = 16 << 20
    ) {
        self.method = method
        self.origin = origin
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.timeout = timeout
        self.maximumResponseBytes = maximumResponseBytes
    }

    /// The whole address.
    public var url: String { origin + path + (query.isEmpty ? "" : "?" + query) }

    /// The first field of that name.
    public func header(_ name: String) -> String? { headers.value(of: name) }
}

/// What a server answered, of whatever status.
public struct TransferResponse: Sendable, Equatable {
    /// 100 ... 599.
    public var status: Int
    /// In order, as they came.
    public var headers: [TransferHeader]
    /// The whole body.
    public var body: [UInt8]

    /// A response.
    public init(status: Int, headers: [TransferHeader] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first field of that name.
    public func header(_ name: String) -> String? { headers.value(of: name) }
}

extension [TransferHeader] {
    func value(of name: String) -> String? {
        first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// A transfer that brought no response.
public struct CurlError: Error, Sendable, Equatable, CustomStringConvertible {
    /// curl's code, a `CURLcode` (https://curl.se/libcurl/c/libcurl-errors.html); 0 if curl was never asked.
    public var code: Int32
    /// What curl says of it, with the host it concerns; holds no header and no query.
    public var message: String
    /// Whether the request cannot have reached the server: nothing of it was sent.
    public var wasNotSent: Bool

    /// A failure.
    public init(code: Int32, message: String, wasNotSent: Bool) {
        self.code = code
        self.message = message
        self.wasNotSent = wasNotSent
    }

    /// For logs.
    public var description: String { code == 0 ? message : "\(message) (curl \(code))" }

    /// Whether time ran out (CURLE_OPERATION_TIMEDOUT).
    public var isTimeout: Bool { code == 28 }
}

/// Who sends requests: `HTTPClient`, or what tests put in its place to make faults.
public protocol HTTPTransport: Sendable {
    /// Sends a request once and gives the response, of whatever status. Never follows redirects.
    ///
    /// - Throws: `CurlError`; `CancellationError` if the task was cancelled.
    func send(_ request: TransferRequest) async throws -> TransferResponse
}
