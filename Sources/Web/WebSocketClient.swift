public import EventLoops

/// Where a client connects to.
public struct WebSocketURL: Sendable, Equatable, CustomStringConvertible {
    /// A name or an IP address (IPv6 without brackets).
    public var host: String
    /// 1 ... 65535.
    public var port: Int
    /// The path and query, encoded, beginning with `/`.
    public var target: String
    /// Whether to use TLS (`wss`).
    public var isTLS: Bool

    /// From its parts.
    public init(host: String, port: Int, target: String, isTLS: Bool) {
        self.host = host
        self.port = port
        self.target = target
        self.isTLS = isTLS
    }

    /// From text such as `wss://host:port/path?query`; `http` and `https` stand for `ws` and `wss`. `nil` if it is not one.
    public init?(_ text: String) {
        guard let colon = text.firstRange(of: "://") else { return nil }
        switch text[..<colon.lowerBound].lowercased() {
        case "ws", "http": isTLS = false
        case "wss", "https": isTLS = true
        default: return nil
        }
        let rest = text[colon.upperBound...]
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        var target = String(rest[end...].prefix { $0 != "#" })
        if !target.hasPrefix("/") { target = "/" + target }
        guard let (host, port) = WebSocketURL.split(rest[..<end], defaultPort: isTLS ? 443 : 80),
            target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else { return nil }
        self.host = host
        self.port = port
        self.target = target
    }

    private static func split(_ authority: Substring, defaultPort: Int) -> (String, Int)? {
        var host = authority
        var port = defaultPort
        let end = authority.lastIndex(of: "]") ?? authority.startIndex
        if let colon = authority[end...].lastIndex(of: ":") {
            guard let given = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(given) else {
                return nil
            }
            port = given
            host = authority[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x40 }) else { return nil }
        return (String(host), port)
    }

    /// The host and, unless it is the scheme's own, the port.
    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isTLS ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// The usual form.
    public var description: String { "\(isTLS ? "wss" : "ws")://\(authority)\(target)" }
}

/// Whom a client trusts.
public struct WebSocketTrust: Sendable, Hashable {
    /// A PEM file with authorities that are believed besides those of the system.
    public var authoritiesFile: String?
    /// `false` accepts any certificate: for tests with a server of one's own alone.
    public var verifies: Bool

    /// The default trusts the system's authorities.
    public init(authoritiesFile: String? = nil, verifies: Bool = true) {
        self.authoritiesFile = authoritiesFile
        self.verifies = verifies
    }
}

/// What a client asks for.
public struct WebSocketClientRequest: Sendable {
    /// Where to.
    public var url: WebSocketURL
    /// Header fields beyond those of the handshake itself, at most 4,096 bytes in all.
    public var headers: [(String, String)]
    /// Offered in this order; the server may choose one.
    public var subprotocols: [String]
    /// Whom to trust, with TLS.
    public var trust: WebSocketTrust
    /// From the call to the end of the handshake, name resolution included.
    public var connectTimeout: Duration
    /// Of the message limits, the queue's, ping, pong and close timeouts.
    public var limits: WebLimits

    /// A request with the usual defaults.
    public init(
        url: WebSocketURL,
        headers: [(String, String)] = [],
        subprotocols: [String] = [],
        trust: WebSocketTrust = WebSocketTrust(),
        connectTimeout: Duration = .seconds(10),
        limits: WebLimits = WebLimits()
    ) {
        self.url = url
        self.headers = headers
        self.subprotocols = subprotocols
        self.trust = trust
        self.connectTimeout = connectTimeout
        self.limits = limits
    }
}

/// Why a connection could not be made.
public struct WebSocketConnectError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kinds of failure.
    public enum Kind: Sendable, Equatable {
        /// The request itself cannot be sent, for instance for a header with a line break.
        case invalidRequest
        /// The name is not known, or the resolver failed.
        case nameNotResolved
        /// No connection, or it broke, or TLS failed.
        case connectionFailed
        /// The connect timeout passed.
        case timedOut
        /// The server answered with something else than 101.
        case refused(status: Int)
        /// `WebSocketConnecting.cancel` was called, or the loop stopped.
        case cancelled
    }

    /// The kind.
    public let kind: Kind
    /// An explanation without secrets.
    public let description: String
    /// `dg-error` of the answer.
    public let dgError: String?
    /// `Retry-After` of the answer.
    public let retryAfter: String?
    /// `x-amzn-errortype` of the answer, with which services of AWS say what was wrong.
    public let amazonErrorType: String?

    /// An error made by hand, for tests of handlers.
    public init(
        _ kind: Kind,
        _ description: String,
        dgError: String? = nil,
        retryAfter: String? = nil,
        amazonErrorType: String? = nil
    ) {
        self.kind = kind
        self.description = description
        self.dgError = dgError
        self.retryAfter = retryAfter
        self.amazonErrorType = amazonErrorType
    }
}

/// What a client's handler hears besides what every `WebSocketHandler` does. All calls come on the loop's thread.
public protocol WebSocketClientHandler: WebSocketHandler {
    /// No connection was made. Called instead of `opened`; `closed` with the cause `.handshakeFailed` follows at once.
    func connectFailed(_ error: WebSocketConnectError)
}

/// Makes WebSocket connections to servers.
public enum WebSocketClient {
    /// Starts to connect and returns; the handler hears of the end in a later turn. Loop thread only.
    ///
    /// Names are resolved on a thread of their own, and addresses are tried in the resolver's order until one answers.
    ///
    /// - Returns: what can be cancelled until `opened`.
    @discardableResult
    public static func connect(
        _ request: WebSocketClientRequest,
        on loop: EventLoop,
        handler: any WebSocketClientHandler
    ) -> WebSocketConnecting {
        loop.preconditionIsCurrent()
        let connection = ClientConnection(request, loop: loop, handler: handler)
        connection.start()
        return WebSocketConnecting(connection)
    }
}

/// A connection being made; confined to its loop.
public final class WebSocketConnecting {
    private weak var connection: ClientConnection?

    init(_ connection: ClientConnection) { self.connection = connection }

    /// Gives up. The handler hears `connectFailed` with `.cancelled` unless the connection was made or has failed before.
    public func cancel() { connection?.cancel() }
}
