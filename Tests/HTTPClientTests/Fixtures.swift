import EventLoops
import Foundation
import HTTPClient
import Testing
import Web

/// A client that is closed at the end. The environment names a proxy that nobody listens on, which the client must not use.
func withClient<Value>(
    _ change: (inout HTTPClient.Options) -> Void = { _ in }, _ body: (HTTPClient) async throws -> Value
) async throws -> Value {
    _ = hostileProxy
    var options = HTTPClient.Options()
    change(&options)
    let client = try HTTPClient(options: options)
    let result: Result<Value, any Error>
    do { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    return try result.get()
}

/// Set once, and before a client looks.
private let hostileProxy: Void = {
    setenv("all_proxy", "http://127.0.0.1:9", 1)
}()

/// A raw server that is stopped at the end.
func withRawServer<Value>(
    script: @escaping @Sendable (RawPeer, RawServer) throws -> Void, _ body: (RawServer) async throws -> Value
) async throws -> Value {
    let server = try RawServer(script: script)
    defer { server.stop() }
    return try await body(server)
}

/// The project's own server, on a free port of 127.0.0.1.
func withWebServer<Value>(
    tls: TLSFiles? = nil, _ body: (_ origin: String, _ server: WebServer) async throws -> Value
) async throws -> Value {
    let loop = try EventLoop(name: "web")
    var limits = WebLimits()
    limits.maxBodyBytes = 16 << 20
    let configuration = WebServerConfiguration(
        listen: SocketAddress(host: "127.0.0.1", port: 0), tls: tls, limits: limits)
    let server = try await WebServer.start(
        configuration: configuration, loops: [loop], responder: Mirror(), acceptor: NoWebSockets())
    let result: Result<Value, any Error>
    do {
        result = .success(try await body("\(tls == nil ? "http" : "https")://127.0.0.1:\(server.port)", server))
    } catch {
        result = .failure(error)
    }
    await server.stop(within: .zero)
    loop.stop()
    try await blocking { loop.join() }
    return try result.get()
}

/// Answers with what it got.
struct Mirror: HTTPResponder {
    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse {
        if let status = Int(request.path.dropFirst()), (200...599).contains(status) {
            return HTTPResponse(status: status, text: "status \(status)")
        }
        var headers: HTTPHeaders = ["X-Method": request.method, "X-Query": request.query, "ETag": "\"e\""]
        for name in ["content-type", "content-length", "accept", "expect", "user-agent", "idempotency-key", "host"] {
            headers.add("X-Got", "\(name)=\(request.headers[name] ?? "none")")
        }
        return HTTPResponse(status: 200, headers: headers, body: request.body)
    }
}

struct NoWebSockets: WebSocketAcceptor {
    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision {
        .refuse(HTTPResponse(status: 404))
    }
}

/// What a transfer failed with.
func failure(of client: HTTPClient, _ request: TransferRequest) async -> CurlError {
    do {
        let response = try await client.send(request)
        return CurlError(code: -1, message: "no failure but \(response.status)", wasNotSent: false)
    } catch let error as CurlError {
        return error
    } catch {
        return CurlError(code: -2, message: "\(error)", wasNotSent: false)
    }
}

/// A GET with time enough for a busy machine.
func get(_ origin: String, _ path: String = "/", timeout: Duration = .seconds(30)) -> TransferRequest {
    TransferRequest(method: "GET", origin: origin, path: path, timeout: timeout)
}

func eventually(_ comment: String, _ holds: @escaping @Sendable () -> Bool) async throws {
    for _ in 0..<10_000 {
        if holds() { return }
        try await Task.sleep(for: .milliseconds(2))
    }
    throw Failure(description: "waited in vain: \(comment)")
}

/// Runs blocking calls on a thread of their own.
@discardableResult
func blocking<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try work() }) }.start()
    }
}
