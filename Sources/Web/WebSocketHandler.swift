public import EventLoops

/// Decides about WebSocket handshakes.
public protocol WebSocketAcceptor: Sendable {
    /// Decides at once, from memory: it runs on the loop, in the middle of the handshake, and must not block.
    ///
    /// - Parameters:
    ///   - request: the handshake, with an empty body.
    ///   - loop: the loop the connection lives on; the handler's too.
    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision
}

/// The answer to a handshake.
public enum HandshakeDecision {
    /// The connection becomes a WebSocket that the handler owns.
    ///
    /// `subprotocol` is echoed as `Sec-WebSocket-Protocol`; it must be one of those the client offered, or the handshake is
    /// answered with 500. `headers` are added to the 101 response, at most `WebLimits.maxAcceptHeaderBytes` in all.
    case accept(any WebSocketHandler, subprotocol: String? = nil, headers: [(String, String)] = [])
    /// The response is sent and the connection closed.
    case refuse(HTTPResponse)
}

/// What a WebSocket connection tells its owner. All calls come on the loop's thread.
public protocol WebSocketHandler: AnyObject {
    /// The handshake is done; the socket can be used until `closed`.
    func opened(_ socket: WebSocket)
    /// A piece of a binary message as it was read; the bytes are valid during the call only, and no copy was made of them.
    ///
    /// A message of length 0 gives one call with no bytes, `isFirst` and `isLast` both true.
    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool)
    /// A complete text message, valid UTF-8; the bytes are valid during the call only.
    func receivedText(_ text: UnsafeRawBufferPointer)
    /// The send queue fell to the low-water mark after a send had answered `.backpressure` or `.dropped`.
    func drained()
    /// The connection is over. Called exactly once for every handler that an acceptor or a client has given, also if the
    /// connection ended before `opened`.
    func closed(_ reason: WebSocketClosure)
}

extension WebSocketHandler {
    /// Most handlers are content with what `send` answers.
    public func drained() {}
}

/// What became of something given to `WebSocket.send`.
public enum SendOutcome: Sendable, Equatable {
    /// Sent, or queued below the low-water mark.
    case sent
    /// Queued, and the queue is above the low-water mark: wait for `drained()`.
    case backpressure
    /// Not sent: the queue would exceed its limit, or the socket is closing or closed.
    case dropped
}

/// How a WebSocket connection ended.
public struct WebSocketClosure: Sendable, Equatable {
    /// Who or what ended it.
    public enum Cause: Sendable, Equatable {
        /// The other side sent a close frame first.
        case peer
        /// `WebSocket.close` or `terminate` was called, or the server stopped.
        case local
        /// The other side broke the protocol or a limit; `code` is what it was told: 1002, 1007 or 1009.
        case violation
        /// The TCP connection ended without a close frame.
        case connectionLost
        /// Nothing came for the pong timeout after a ping.
        case timeout
        /// The connection ended after the handshake was accepted and before `opened`.
        case handshakeFailed
    }

    /// Who or what ended it.
    public let cause: Cause
    /// The code of the close frame that decided, if there was one; 1005 if it had none.
    public let code: UInt16?
    /// The reason in that frame, or an explanation.
    public let reason: String

    /// A closure; for tests of handlers.
    public init(cause: Cause, code: UInt16? = nil, reason: String = "") {
        self.cause = cause
        self.code = code
        self.reason = reason
    }
}
