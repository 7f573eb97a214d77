extension HTTPClient {
    /// The limits of a client, and whom it trusts.
    public struct Options: Sendable, Equatable {
        /// Transfers under way at once, each of which may have a connection of its own, and connections kept open; at
        /// least 1.
        public var maximumConnections = 256
        /// Transfers under way at once to one origin, so that a server that hangs leaves room for the others; at least
        /// 1.
        public var maximumConnectionsPerOrigin = 64
        /// Requests that may wait for their turn; the next is refused.
        public var maximumWaiting = 2_048
        /// Requests to one origin that may wait for their turn; the next is refused.
        public var maximumWaitingPerOrigin = 1_024
        /// How long a connection may have been idle and still be used again, in whole seconds; AWS closes after about a
        /// minute.
        public var idleConnectionAge: Duration = .seconds(50)
        /// How long name look-up, TCP and TLS handshake may take, within the request's own time.
        public var connectTimeout: Duration = .seconds(3)
        /// A response's status lines and header fields, in bytes, informational responses included.
        public var maximumHeaderBytes = 64 << 10
        /// A PEM file with authorities that are believed besides those of the system.
        public var authoritiesFile: String?
        /// Whether HTTP/2 is offered in TLS handshakes.
        public var offersHTTP2 = true

        /// The defaults.
        public init() {}
    }
}

/// A reading of a client's counters; all but the gauges only grow.
public struct HTTPClientStatistics: Sendable, Equatable {
    /// Transfers that brought a response, of whatever status.
    public var responses = 0
    /// Transfers that failed, those refused because too many waited included.
    public var failures = 0
    /// Transfers whose task was cancelled.
    public var cancellations = 0
    /// Connections that were opened, or attempted.
    public var connectionsOpened = 0
    /// Heads and bodies of requests, before TLS.
    public var bytesSent = 0
    /// Heads and bodies of responses, after TLS.
    public var bytesReceived = 0
    /// Transfers under way (a gauge).
    public var underWay = 0
    /// Requests that wait for their turn (a gauge).
    public var waiting = 0

    /// All zero.
    public init() {}
}
