import EventLoops
import Web

/// A client's session at a server: sends pieces of audio one after the other, each when there is room for it.
///
/// What the server says is handed over on the loop's thread. A consumer that takes its time there holds up the
/// connection, and with it the server: that is how a paused terminal slows the stream down instead of filling memory.
struct ListenConnection: Sendable {
    private let socket: LoopBound<ListenSocket>
    private var loop: EventLoop { socket.loop }

    /// Connects.
    ///
    /// - Parameter received: is called on the loop with each text message.
    /// - Throws: `WebSocketConnectError`.
    static func open(
        _ request: WebSocketClientRequest,
        on loop: EventLoop,
        received: @escaping @Sendable ([UInt8]) -> Void
    ) async throws -> ListenConnection {
        let socket = try await loop.run { LoopBound(ListenSocket(received: received), on: loop) }
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            loop.execute {
                socket.value.opening = continuation
                WebSocketClient.connect(request, on: loop, handler: socket.value)
            }
        }
        return ListenConnection(socket: socket)
    }

    /// Sends a piece of audio and waits until there is room for the next one.
    ///
    /// - Returns: false once the connection has ended or `interrupt` was called.
    func send(_ piece: [UInt8]) async -> Bool {
        await withCheckedContinuation { continuation in
            loop.execute { socket.value.send(piece, then: continuation) }
        }
    }

    /// Makes a `send` that waits return, and every later one.
    func interrupt() { loop.execute { socket.value.interrupt() } }

    /// Says that no more audio will come.
    func closeStream() { loop.execute { socket.value.closeStream() } }

    /// Gives up: closes from this side.
    func giveUp() { loop.execute { socket.value.giveUp() } }

    /// Waits for the connection's end. For one caller.
    func ended() async -> WebSocketClosure {
        await withCheckedContinuation { continuation in
            loop.execute { socket.value.end(then: continuation) }
        }
    }
}

/// The part of `ListenConnection` that lives on the loop.
private final class ListenSocket: WebSocketClientHandler {
    /// Who waits for the handshake.
    var opening: CheckedContinuation<Void, any Error>?
    /// Who waits for room.
    private var sending: CheckedContinuation<Bool, Never>?
    /// Who waits for the end.
    private var ending: CheckedContinuation<WebSocketClosure, Never>?

    private let received: ([UInt8]) -> Void
    private var socket: WebSocket?
    private var closure: WebSocketClosure?
    private var isInterrupted = false

    init(received: @escaping ([UInt8]) -> Void) { self.received = received }

    func send(_ piece: [UInt8], then continuation: CheckedContinuation<Bool, Never>) {
        guard !isInterrupted, closure == nil, let socket else { return continuation.resume(returning: false) }
        switch socket.send(binary: piece) {
        case .sent: continuation.resume(returning: true)
        case .backpressure: sending = continuation
        // The queue is empty enough, as every sender waits, so the socket is closing.
        case .dropped: continuation.resume(returning: false)
        }
    }

    func interrupt() {
        isInterrupted = true
        resumeSender(false)
    }

    func closeStream() { socket?.send(text: #"{"type":"CloseStream"}"#) }

    func giveUp() { socket?.close(code: 1000, reason: "interrupted") }

    func end(then continuation: CheckedContinuation<WebSocketClosure, Never>) {
        if let closure { continuation.resume(returning: closure) } else { ending = continuation }
    }

    private func resumeSender(_ mayGoOn: Bool) {
        sending?.resume(returning: mayGoOn)
        sending = nil
    }

    // MARK: WebSocketClientHandler

    func opened(_ socket: WebSocket) {
        self.socket = socket
        opening?.resume()
        opening = nil
    }

    func connectFailed(_ error: WebSocketConnectError) {
        opening?.resume(throwing: error)
        opening = nil
    }

    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        // The protocol has no binary messages from the server.
    }

    func receivedText(_ text: UnsafeRawBufferPointer) { received(Array(text)) }

    func drained() { resumeSender(true) }

    func closed(_ reason: WebSocketClosure) {
        closure = reason
        socket = nil
        resumeSender(false)
        ending?.resume(returning: reason)
        ending = nil
    }
}
