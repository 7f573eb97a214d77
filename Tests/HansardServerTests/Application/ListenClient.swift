import EventLoops
import Foundation
import Testing
import Web

/// A client of `/v1/listen` over a real socket, which keeps what it hears.
final class ListenClient: Sendable {
    struct Heard: Sendable {
        var isOpen = false
        var texts: [String] = []
        var closure: WebSocketClosure?
        var refusal: WebSocketConnectError?
    }

    private let loop: EventLoop
    private let heard: Locked<Heard>
    private let socket: Locked<LoopBound<WebSocket>?>

    var now: Heard { heard.withLock { $0 } }
    var messages: [[String: Any]] { now.texts.map { (try? JSONTextTests.parsed(Array($0.utf8))) ?? [:] } }

    /// The messages of a type, in order.
    func messages(_ type: String) -> [[String: Any]] { messages.filter { $0["type"] as? String == type } }

    /// The transcripts of the finals that are not empty.
    var finals: [String] {
        messages("Results").filter { $0["is_final"] as? Bool == true }.compactMap { result in
            let alternatives = (result["channel"] as? [String: Any])?["alternatives"] as? [[String: Any]]
            return alternatives?.first?["transcript"] as? String
        }.filter { !$0.isEmpty }
    }

    private init(loop: EventLoop) {
        self.loop = loop
        heard = Locked(Heard())
        socket = Locked(nil)
    }

    /// Starts to connect; the handshake may be refused.
    static func connect(
        to port: Int, query: String, headers: [(String, String)], subprotocols: [String] = [], on loop: EventLoop
    ) async throws -> ListenClient {
        let client = ListenClient(loop: loop)
        let request = WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: port, target: "/v1/listen?\(query)", isTLS: false),
            headers: headers, subprotocols: subprotocols)
        try await loop.run { _ = WebSocketClient.connect(request, on: loop, handler: Handler(client)) }
        return client
    }

    func wait(_ what: String, until holds: (Heard) -> Bool) async throws {
        do {
            try await eventually(what) { holds(now) }
        } catch {
            throw TimedOut(description: "\(error); heard: \(now)")
        }
    }

    func opened() async throws { try await wait("the handshake") { $0.isOpen } }

    func closed() async throws -> WebSocketClosure {
        try await wait("the close") { $0.closure != nil }
        return try #require(now.closure)
    }

    func send(text: String) async throws { try await onSocket { _ = $0.send(text: text) } }

    /// Silence of 16-bit samples at 8 kHz, in pieces of a tenth of a second.
    func send(seconds: Double) async throws {
        for _ in 0..<Int(seconds * 10) {
            try await onSocket { _ = $0.send(binary: [UInt8](repeating: 0, count: 1_600)) }
        }
    }

    /// Begins the closing handshake.
    func close() async throws { try await onSocket { $0.close(code: 1000, reason: "") } }

    /// Goes away without a word.
    func vanish() async throws { try await onSocket { $0.terminate() } }

    private func onSocket(_ body: @escaping @Sendable (WebSocket) -> Void) async throws {
        let socket = try #require(socket.withLock { $0 })
        try await loop.run { body(socket.value) }
    }

    private final class Handler: WebSocketClientHandler {
        let client: ListenClient
        init(_ client: ListenClient) { self.client = client }

        func opened(_ socket: WebSocket) {
            let bound = LoopBound(socket, on: client.loop)
            client.socket.withLock { $0 = bound }
            client.heard.withLock { $0.isOpen = true }
        }
        func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {}
        func receivedText(_ text: UnsafeRawBufferPointer) {
            let text = String(decoding: text, as: UTF8.self)
            client.heard.withLock { $0.texts.append(text) }
        }
        func connectFailed(_ error: WebSocketConnectError) { client.heard.withLock { $0.refusal = error } }
        func closed(_ reason: WebSocketClosure) {
            client.socket.withLock { $0 = nil }
            client.heard.withLock { $0.closure = reason }
        }
    }
}
