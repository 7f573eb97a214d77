public import EventLoops
import Foundation

/// An HTTP/1.1 and WebSocket server on one port, over libwebsockets, on one or several event loops.
///
/// Each loop has a listening socket of its own on the same port, among which the kernel divides the connections; a connection stays on its
/// loop. Its owner calls `stop()` before the loops are stopped.
///
/// Known gaps of libwebsockets 4.1.6: a method it does not know is answered with its own 403; a header block that is too large
/// is cut off without an answer; `%00` in a path is left out; a request with a body that
/// is pipelined behind another is answered with 400; a header whose whole name is the beginning of a standard one's (`X:`) takes
/// the line after it as its own; unmasked frames of clients are accepted; of two pings that come
/// together one is answered; a close frame with 1012 or 1013 is seen, and answered, as 1002.
public final class WebServer: Sendable {
    /// The port it listens on.
    public let port: Int

    private let parts: [LoopBound<ServerLoop>]
    private let shared: ServerShared

    private init(port: Int, parts: [LoopBound<ServerLoop>], shared: ServerShared) {
        self.port = port
        self.parts = parts
        self.shared = shared
    }

    /// Opens the sockets and begins to accept.
    ///
    /// - Parameters:
    ///   - loops: at least one. They may carry other servers and clients as well.
    ///   - responder: answers requests, outside of the loops.
    ///   - acceptor: decides about handshakes, on the loops.
    public static func start(
        configuration: WebServerConfiguration,
        loops: [EventLoop],
        responder: any HTTPResponder,
        acceptor: any WebSocketAcceptor
    ) async throws(WebServerError) -> WebServer {
        guard !loops.isEmpty else { throw WebServerError("a server needs at least one event loop") }
        try checkReadable(configuration.tls)
        let shared = ServerShared(configuration.limits)
        var address = configuration.listen
        var parts: [LoopBound<ServerLoop>] = []
        for loop in loops {
            let part = await startPart(
                address,
                configuration: configuration,
                loop: loop,
                responder: responder,
                acceptor: acceptor,
                shared: shared
            )
            switch part {
            case .success(let (port, part)):
                address.port = port
                parts.append(part)
            case .failure(let error):
                await WebServer(port: address.port, parts: parts, shared: shared).stop(within: .zero)
                throw error
            }
        }
        return WebServer(port: address.port, parts: parts, shared: shared)
    }

    private static func startPart(
        _ address: SocketAddress,
        configuration: WebServerConfiguration,
        loop: EventLoop,
        responder: any HTTPResponder,
        acceptor: any WebSocketAcceptor,
        shared: ServerShared
    ) async -> Result<(Int, LoopBound<ServerLoop>), WebServerError> {
        let result = try? await loop.run { () -> Result<(Int, LoopBound<ServerLoop>), WebServerError> in
            do throws(WebServerError) {
                let (descriptor, port) = try ListeningSocket.open(address)
                let part: ServerLoop
                do throws(WebServerError) {
                    part = try ServerLoop(
                        loop: loop,
                        configuration: configuration,
                        responder: responder,
                        acceptor: acceptor,
                        shared: shared
                    )
                } catch {
                    Foundation.close(descriptor)
                    throw error
                }
                do throws(EventLoopError) {
                    try part.listen(on: descriptor)
                } catch {
                    Foundation.close(descriptor)
                    part.stop(grace: .zero) {}
                    throw WebServerError("cannot watch the listening socket: \(error)")
                }
                return .success((port, LoopBound(part, on: loop)))
            } catch {
                return .failure(error)
            }
        }
        return result ?? .failure(WebServerError("the event loop '\(loop.name)' has been stopped"))
    }

    /// libwebsockets goes on without a certificate it cannot read, and fails every handshake.
    private static func checkReadable(_ tls: TLSFiles?) throws(WebServerError) {
        guard let tls else { return }
        for path in [tls.certificate, tls.key] where access(path, R_OK) != 0 {
            throw WebServerError("cannot read the TLS file \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Closes the listening sockets; connections go on. Any thread may call it.
    public func stopAccepting() {
        for part in parts { part.loop.execute { part.value.stopAccepting() } }
    }

    /// Stops accepting, closes connections that wait for a request, lets requests be answered and WebSockets be closed by
    /// their handlers for `grace`, then closes what is left (WebSockets with 1001), and returns when all is gone.
    public func stop(within grace: Duration = .seconds(10)) async {
        await withTaskGroup { group in
            for part in parts {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        let accepted = part.loop.execute { part.value.stop(grace: grace) { continuation.resume() } }
                        if !accepted { continuation.resume() }
                    }
                }
            }
        }
    }

    /// A reading of the counters. Any thread may call it.
    public var counters: WebServerCounters { shared.counters.reading }
}
