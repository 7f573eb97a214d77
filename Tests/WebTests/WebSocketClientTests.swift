import EventLoops
import Foundation
import Testing
import Web

/// Records as `TestHandler` does, and failures to connect besides.
final class TestClientHandler: WebSocketClientHandler {
    let record: SocketRecord
    private let inner: TestHandler
    let failures: Failures

    init(_ record: SocketRecord, _ failures: Failures) {
        self.record = record
        inner = TestHandler(record, answers: false)
        self.failures = failures
    }

    func opened(_ socket: WebSocket) { inner.opened(socket) }
    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        inner.receivedBinary(bytes, isFirst: isFirst, isLast: isLast)
    }
    func receivedText(_ text: UnsafeRawBufferPointer) { inner.receivedText(text) }
    func drained() { inner.drained() }
    func closed(_ reason: WebSocketClosure) { inner.closed(reason) }
    func connectFailed(_ error: WebSocketConnectError) { failures.value.withLock { $0.append(error) } }
}

/// Failures that can be shared.
final class Failures: Sendable {
    let value = Locked<[WebSocketConnectError]>([])
}

/// Starts a client connection on `loop`.
func connect(_ request: WebSocketClientRequest, on loop: EventLoop) async throws -> (SocketRecord, Failures) {
    let record = SocketRecord()
    let failures = Failures()
    try await loop.run {
        _ = WebSocketClient.connect(request, on: loop, handler: TestClientHandler(record, failures))
    }
    return (record, failures)
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct WebSocketClientTests {
    func request(_ server: TestServer, _ path: String = "/", subprotocols: [String] = []) -> WebSocketClientRequest {
        WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: server.port, target: path, isTLS: false),
            headers: [("Authorization", "Token abc"), ("X-Request-Id", "r-1")],
            subprotocols: subprotocols
        )
    }

    @Test func connectsSendsMaskedAndReceives() async throws {
        try await withServer { server in
            let (record, _) = try await connect(
                request(server, "/x?a=b%20c", subprotocols: ["one", "two"]),
                on: server.loops[0]
            )
            try await record.wait("opened") { $0.opened == 1 }
            let seen = server.acceptor.requests.withLock { $0[0] }
            #expect(seen.headers["authorization"] == "Token abc")
            #expect(seen.headers["x-request-id"] == "r-1")
            #expect(seen.headers["host"] == "127.0.0.1:\(server.port)")
            #expect(seen.query == "a=b%20c")
            #expect(try await record.onLoop { $0.subprotocol } == "one")
            let payload = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            let outcomes = try await record.onLoop {
                [$0.send(text: "echo"), $0.send(binary: payload), $0.send(binary: [])]
            }
            #expect(!outcomes.contains(.dropped))
            try await record.wait("echo") { $0.texts == ["echo"] }
            let other = try await server.acceptor.record()
            try await other.wait("binary") { $0.pieces.last.map { $0.isLast && $0.count == 0 } ?? false }
            #expect(other.state.withLock { $0.binary } == payload)
            _ = try await record.onLoop { $0.close(code: 1000, reason: "done") }
            try await record.wait("closed") { $0.closures.count == 1 }
            try await other.wait("closed") { $0.closures.count == 1 }
            #expect(record.state.withLock { $0.closures } == [.init(cause: .local, code: 1000, reason: "done")])
            #expect(other.state.withLock { $0.closures } == [.init(cause: .peer, code: 1000, reason: "done")])
        }
    }

    @Test func theServersCloseIsToldToTheClient() async throws {
        try await withServer { server in
            let (record, _) = try await connect(request(server), on: server.loops[0])
            try await record.wait("opened") { $0.opened == 1 }
            _ = try await record.onLoop { $0.send(text: "close") }
            try await record.wait("closed") { $0.closures.count == 1 }
            #expect(record.state.withLock { $0.closures } == [.init(cause: .peer, code: 4_321, reason: "you said so")])
        }
    }

    @Test func aRefusalTellsStatusAndHeaders() async throws {
        try await withServer { server in
            let (record, failures) = try await connect(request(server, "/refuse"), on: server.loops[0])
            try await record.wait("closed") { $0.closures.count == 1 }
            let failure = failures.value.withLock { $0 }
            #expect(failure.map(\.kind) == [.refused(status: 401)])
            #expect(failure.first?.dgError == "no key")
            #expect(failure.first?.retryAfter == "7")
            #expect(record.state.withLock { $0.closures.map(\.cause) } == [.handshakeFailed])
            #expect(record.state.withLock { $0.opened } == 0)
        }
    }

    @Test func failuresToConnectAreTold() async throws {
        let loop = try EventLoop(name: "client")
        let socket = try RawListener()
        let closedPort = try RawListener().port
        var silent = WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: socket.port, target: "/", isTLS: false)
        )
        silent.connectTimeout = .milliseconds(200)
        var bad = silent
        bad.headers = [("a", "b\r\nc: d")]
        let refused = WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: closedPort, target: "/", isTLS: false)
        )
        let unknown = WebSocketClientRequest(
            url: WebSocketURL(host: "no-such-name.invalid", port: 1, target: "/", isTLS: false)
        )
        let cases: [(WebSocketClientRequest, WebSocketConnectError.Kind)] = [
            (silent, .timedOut), (bad, .invalidRequest), (refused, .connectionFailed), (unknown, .nameNotResolved),
        ]
        for (request, kind) in cases {
            let (record, failures) = try await connect(request, on: loop)
            try await record.wait("closed \(kind)") { $0.closures.count == 1 }
            #expect(failures.value.withLock { $0.map(\.kind) } == [kind])
        }
        let record = SocketRecord()
        let failures = Failures()
        try await loop.run { [silent] in
            let attempt = WebSocketClient.connect(silent, on: loop, handler: TestClientHandler(record, failures))
            attempt.cancel()
        }
        try await record.wait("cancelled") { $0.closures.count == 1 }
        #expect(failures.value.withLock { $0.map(\.kind) } == [.cancelled])
        loop.stop()
        try await blocking { loop.join() }
    }

    @Test(arguments: [
        ("ws://h/p?q#f", "h", 80, "/p?q", false), ("wss://h:8443", "h", 8_443, "/", true),
        ("https://[::1]:9/x", "::1", 9, "/x", true), ("http://[::1]?x=1", "::1", 80, "/?x=1", false),
    ])
    func readsURLs(text: String, host: String, port: Int, target: String, isTLS: Bool) {
        #expect(WebSocketURL(text) == WebSocketURL(host: host, port: port, target: target, isTLS: isTLS))
    }

    @Test(arguments: ["", "h:1", "ftp://h", "ws://", "ws://h:0", "ws://h:70000", "ws://h:x", "ws://h/a b", "ws://u@h/"])
    func refusesWhatIsNoURL(text: String) { #expect(WebSocketURL(text) == nil) }
}

/// A listening socket that never answers.
final class RawListener: Sendable {
    let descriptor: Int32
    let port: Int

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let code = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) | listen(descriptor, 8) | getsockname(descriptor, $0, &length)
            }
        }
        guard code == 0 else { throw RawClient.Failure(description: "listen: \(errno)") }
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
}
