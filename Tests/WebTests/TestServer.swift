import EventLoops
import Foundation
import Synchronization
import Testing
import Web

/// A server with loops of its own on a free port of 127.0.0.1, ended by `withServer`.
struct TestServer: Sendable {
    let server: WebServer
    let loops: [EventLoop]
    let acceptor: TestAcceptor
    let responder: TestResponder
    var port: Int { server.port }
}

func withServer<Value>(
    loops count: Int = 1,
    limits: WebLimits = WebLimits(),
    tls: TLSFiles? = nil,
    trustedProxies: [AddressRange] = [],
    stopWithin grace: Duration = .zero,
    customHeaders: [String] = WebServerConfiguration.usualCustomHeaders,
    _ body: (TestServer) async throws -> Value
) async throws -> Value {
    let loops = try (0..<count).map { try EventLoop(name: "loop \($0)") }
    let acceptor = TestAcceptor()
    let responder = TestResponder()
    let configuration = WebServerConfiguration(
        listen: SocketAddress(host: "127.0.0.1", port: 0),
        tls: tls,
        trustedProxies: trustedProxies,
        customHeaders: customHeaders,
        limits: limits
    )
    let server = try await WebServer.start(
        configuration: configuration,
        loops: loops,
        responder: responder,
        acceptor: acceptor
    )
    let result: Result<Value, any Error>
    do {
        result = .success(
            try await body(TestServer(server: server, loops: loops, acceptor: acceptor, responder: responder))
        )
    } catch {
        result = .failure(error)
    }
    responder.gate.open()
    await server.stop(within: grace)
    #expect(server.counters.open == 0)
    for loop in loops { loop.stop() }
    try await blocking { for loop in loops { loop.join() } }
    return try result.get()
}

/// Something a test waits for.
final class Gate: Sendable {
    private let state = Locked<(isOpen: Bool, waiters: [CheckedContinuation<Void, Never>])>((true, []))

    func close() { state.withLock { $0.isOpen = false } }

    func open() {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            state.isOpen = true
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    func pass() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiters.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}

/// Describes the request it got, one item per line; waits at `gate` for paths that begin with `/slow`.
final class TestResponder: HTTPResponder {
    let gate = Gate()
    let started = Atomic<Int>(0)

    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse {
        started.add(1, ordering: .sequentiallyConsistent)
        if request.path.hasPrefix("/slow") { await gate.pass() }
        if request.path == "/large" {
            return HTTPResponse(status: 200, body: [UInt8](repeating: 0x78, count: Int(request.query) ?? 0))
        }
        if request.path == "/empty" { return HTTPResponse(status: 204) }
        if request.path == "/split" {
            return HTTPResponse(status: 200, headers: ["X-One": "a\r\nX-Two: b"], text: "split\n")
        }
        if request.path == "/mirror" { return HTTPResponse(status: 200, body: request.body) }
        let body = "\(request.method) \(request.path)|\(request.query)|\(request.body.count)|\(request.peer.address)"
        return HTTPResponse(
            status: 200,
            headers: ["X-Echo": request.headers["idempotency-key"] ?? "none"],
            text: body
        )
    }
}

/// What a test wants to know of one WebSocket; filled on the loop, read anywhere.
final class SocketRecord: Sendable {
    struct State {
        var opened = 0
        var binary: [UInt8] = []
        var pieces: [(count: Int, isFirst: Bool, isLast: Bool)] = []
        var texts: [String] = []
        var drained = 0
        var closures: [WebSocketClosure] = []
        var outcomes: [SendOutcome] = []
        var keepsBinary = true
        var binaryCount = 0
    }
    let state = Locked(State())
    let socket = Locked<LoopBound<WebSocket>?>(nil)

    /// Runs `action` with the socket, on its loop, and waits for it.
    func onLoop<Value: Sendable>(_ action: @escaping @Sendable (WebSocket) -> Value) async throws -> Value {
        // The client may see the end of the handshake before the handler does.
        try await eventually("opened") { self.state.withLock { $0.opened > 0 } }
        guard let bound = socket.withLock({ $0 }) else { throw RawClient.Failure(description: "already closed") }
        return try await bound.loop.run { action(bound.value) }
    }

    /// Waits until something holds, for 20 s at most.
    func wait(_ comment: String = "", until holds: @escaping @Sendable (State) -> Bool) async throws {
        try await eventually(comment) { self.state.withLock { holds($0) } }
    }
}

func eventually(_ comment: String = "", _ holds: @escaping @Sendable () -> Bool) async throws {
    for _ in 0..<10_000 {
        if holds() { return }
        try await Task.sleep(for: .milliseconds(2))
    }
    Issue.record("waited in vain: \(comment)")
    throw RawClient.Failure(description: "waited in vain: \(comment)")
}

/// Records everything, echoes texts that begin with `echo`, and closes on `close`.
final class TestHandler: WebSocketHandler {
    let record: SocketRecord
    private let answers: Bool
    private var socket: WebSocket?

    init(_ record: SocketRecord, answers: Bool = true) {
        self.record = record
        self.answers = answers
    }

    func opened(_ socket: WebSocket) {
        self.socket = socket
        record.socket.withLock { $0 = LoopBound(socket, on: socket.loop) }
        record.state.withLock { $0.opened += 1 }
    }

    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        record.state.withLock { state in
            if state.keepsBinary { state.binary += bytes }
            state.binaryCount += bytes.count
            state.pieces.append((bytes.count, isFirst, isLast))
        }
    }

    func receivedText(_ text: UnsafeRawBufferPointer) {
        let string = String(decoding: text, as: UTF8.self)
        record.state.withLock { $0.texts.append(string) }
        guard answers else { return }
        if string.hasPrefix("echo") { socket?.send(text: text) }
        if string == "close" { socket?.close(code: 4_321, reason: "you said so") }
    }

    func drained() { record.state.withLock { $0.drained += 1 } }

    func closed(_ reason: WebSocketClosure) {
        socket = nil
        record.socket.withLock { $0 = nil }
        record.state.withLock { $0.closures.append(reason) }
    }
}

/// Accepts everything but `/refuse`; keeps a record per socket in the order of handshakes.
final class TestAcceptor: WebSocketAcceptor {
    let records = Locked<[SocketRecord]>([])
    let requests = Locked<[HTTPRequest]>([])

    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision {
        loop.preconditionIsCurrent()
        requests.withLock { $0.append(request) }
        if request.path == "/refuse" {
            return .refuse(
                HTTPResponse(
                    status: 401,
                    headers: ["dg-error": "no key", "Retry-After": "7"],
                    text: #"{"err_code":"INVALID_AUTH"}"#
                )
            )
        }
        let record = SocketRecord()
        records.withLock { $0.append(record) }
        let offered = request.headers["sec-websocket-protocol"].map { $0.split(separator: ",") }
        let subprotocol = request.path == "/nosub" ? nil : offered?.first.map(String.init)
        return .accept(
            TestHandler(record),
            subprotocol: request.path == "/badsub" ? "other" : subprotocol,
            headers: [("dg-request-id", "id-1")]
        )
    }

    func record(_ index: Int = 0) async throws -> SocketRecord {
        try await eventually("handshake \(index)") { self.records.withLock { $0.count > index } }
        return records.withLock { $0[index] }
    }
}
