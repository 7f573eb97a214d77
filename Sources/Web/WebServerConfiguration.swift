/// An address to listen on.
public struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    /// An IPv4 or IPv6 address, for instance `127.0.0.1`, `0.0.0.0` or `::` (which takes IPv4 too).
    public var host: String
    /// 0 ... 65535; 0 lets the system choose.
    public var port: Int

    /// A host and a port.
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`.
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// The PEM files of a TLS server.
public struct TLSFiles: Sendable, Equatable {
    /// The certificate, followed by its chain.
    public var certificate: String
    /// The private key, not encrypted.
    public var key: String

    /// Two paths.
    public init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// What a web server is started with.
public struct WebServerConfiguration: Sendable {
    /// Where to listen.
    public var listen: SocketAddress
    /// `nil` for plain TCP. With TLS: 1.2 and 1.3, and HTTP/1.1 alone is offered.
    public var tls: TLSFiles?
    /// Who must, and alone may, begin each connection with a header of PROXY protocol version 2.
    public var trustedProxies: [AddressRange]
    /// Names of headers beyond the standard ones that requests shall carry. libwebsockets 4.1.6 can look headers up but not
    /// list them, so they must be known.
    public var customHeaders: [String]
    /// The limits.
    public var limits: WebLimits

    /// A configuration; everything but the address has a default.
    public init(
        listen: SocketAddress,
        tls: TLSFiles? = nil,
        trustedProxies: [AddressRange] = [],
        customHeaders: [String] = WebServerConfiguration.usualCustomHeaders,
        limits: WebLimits = WebLimits()
    ) {
        self.listen = listen
        self.tls = tls
        self.trustedProxies = trustedProxies
        self.customHeaders = customHeaders
        self.limits = limits
    }

    /// Custom headers that API clients send.
    public static let usualCustomHeaders = [
        "idempotency-key", "x-request-id", "x-deepgram-session-id", "traceparent", "sec-fetch-site", "sec-fetch-mode",
        "access-control-request-method", "access-control-request-headers",
    ]
}

/// Every limit of the server, with a default that suits a public service.
public struct WebLimits: Sendable {
    /// Request line and headers as libwebsockets stores them, in bytes, up to 65,535. A longer block is cut off without an
    /// answer.
    public var maxHeaderBytes = 8_192
    /// A request's body, in bytes; more is answered with 413 as soon as the header says so.
    public var maxBodyBytes = 1 << 20
    /// One WebSocket message, in bytes; more closes with 1009.
    public var maxMessageBytes = 1 << 20
    /// What may wait to be sent on one WebSocket, in bytes; what would exceed it is dropped.
    public var sendQueueBytes = 1 << 20
    /// Below this `drained()` is called and above it `send` answers `.backpressure`, in bytes.
    public var sendQueueLowWater = 64 << 10
    /// The headers an acceptor may add to a 101 response, in bytes.
    public var maxAcceptHeaderBytes = 4_096
    /// New connections from one address (IPv6: one /64) per second, in the long run; `nil` for no limit.
    public var handshakesPerAddressPerSecond: Double?
    /// New connections from one address at once.
    public var handshakeBurst = 50
    /// Connections of all kinds at once; those beyond are closed when accepted.
    public var maxConnections = 20_000
    /// From accepting until the header of the first request is complete, TLS handshake included.
    public var headerTimeout: Duration = .seconds(10)
    /// From the header until the body is complete.
    public var bodyTimeout: Duration = .seconds(30)
    /// From a response until the header of the next request is complete.
    public var keepAliveTimeout: Duration = .seconds(30)
    /// Until the client has taken a response.
    public var responseTimeout: Duration = .seconds(30)
    /// Between pings to a WebSocket.
    public var pingInterval: Duration = .seconds(20)
    /// After a ping, until something, not necessarily the pong, must have come.
    public var pongTimeout: Duration = .seconds(20)
    /// From `close` until the connection is cut, whether the queue is sent and the other side has answered or not.
    public var closeTimeout: Duration = .seconds(5)
    /// How long a trusted proxy may take for its header.
    public var proxyHeaderTimeout: Duration = .seconds(3)
    /// How long what a refused client still sends is thrown away, so that it gets to see the answer.
    public var lingerTimeout: Duration = .seconds(2)

    /// The defaults.
    public init() {}
}

/// Why a server could not be started.
public struct WebServerError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was attempted and why it failed.
    public let description: String

    init(_ description: String) { self.description = description }
}

/// A reading of the server's counters; all but the gauge only grow.
public struct WebServerCounters: Sendable, Equatable {
    /// Connections accepted.
    public var accepted = 0
    /// Connections open now (a gauge).
    public var open = 0
    /// Connections closed at once because there were too many.
    public var refusedByConnectionLimit = 0
    /// Connections answered with 429 or closed because their address made too many.
    public var refusedByAddressLimit = 0
    /// Connections closed because a proxy's header was malformed, missing or late.
    public var badProxyHeaders = 0
    /// Connections cut because a header, a body or the reading of a response took too long.
    public var timedOut = 0
    /// HTTP requests given to the responder.
    public var requests = 0
    /// Handshakes accepted.
    public var webSocketsAccepted = 0
    /// Handshakes refused by the acceptor.
    public var webSocketsRefused = 0
    /// Payload bytes received in bodies and messages.
    public var bytesReceived = 0
    /// Payload bytes given to the system or the queue in responses and messages.
    public var bytesSent = 0

    /// All zero.
    public init() {}
}
