internal import CLibwebsockets
internal import EventLoops
import Foundation
internal import Synchronization

/// One connection of the server, from being adopted to being gone; confined to its loop.
///
/// libwebsockets holds one reference to it, until the callback that says its own object is destroyed.
final class ServerConnection {
    let server: ServerLoop
    let peer: PeerAddress
    /// The answer this connection gets in any case: its address has made too many.
    let retryAfter: Int?

    private(set) var wsi: OpaquePointer?
    private var phase = Phase.awaitingRequest
    private var deadline: LoopTimer?
    private var requestNumber = 0
    private var isHead = false
    private var closesAfterResponse = false
    private var draining: ResponseDrain?

    private enum Phase {
        /// Nothing, or a part of a header, has come. To `receivingBody`, `responding`, `upgrading`, `discarding`.
        case awaitingRequest
        /// The header has come. To `responding`.
        case receivingBody(HTTPRequest, length: Int)
        /// A responder works, or its response is being sent; reading is paused. To `awaitingRequest`.
        case responding
        /// A refusal is sent; what still comes is thrown away until the connection ends.
        case discarding
        /// The handshake was accepted and is being answered. To `webSocket`.
        case upgrading(any WebSocketHandler, subprotocol: String?, headers: String)
        case webSocket(WebSocket)
        case ended
    }

    init(server: ServerLoop, peer: PeerAddress, retryAfter: Int?) {
        self.server = server
        self.peer = peer
        self.retryAfter = retryAfter
        setDeadline(server.limits.headerTimeout)
    }

    func adopted(_ wsi: OpaquePointer) {
        if case .ended = phase { return }
        self.wsi = wsi
    }

    // MARK: HTTP

    /// A header is complete. Answers 0 to go on and anything else to close.
    func requestReceived(_ wsi: OpaquePointer) -> Int32 {
        lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0)
        guard case .awaitingRequest = phase else { return -1 }
        cancelDeadline()
        let request: HTTPRequest
        switch read(wsi) {
        case .success(let read): request = read
        case .failure(let refusal): return refuse(refusal, wsi)
        }
        let reader = RequestReader(wsi: wsi)
        isHead = request.method == "HEAD"
        closesAfterResponse = Web.closesAfterResponse(
            version: reader.value(of: WSI_TOKEN_HTTP) ?? "",
            connection: request.headers["connection"]
        )
        switch RequestFraming(request, maxBodyBytes: server.limits.maxBodyBytes) {
        case .none(let canKeepAlive):
            if !canKeepAlive { closesAfterResponse = true }
            respond(to: request, wsi)
            return 0
        case .length(let length):
            phase = .receivingBody(request, length: length)
            setDeadline(server.limits.bodyTimeout)
            return request.headers["expect"].map { equalsIgnoringCase($0, "100-continue") } == true
                ? write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), wsi) : 0
        case .refused(let status, let text):
            let response = HTTPResponse(status: status, problem: text)
            return status == 400 || !["POST", "PUT", "PATCH"].contains(request.method) && status == 411
                ? refuse(response, wsi) : refuseAndDiscard(response, wsi)
        }
    }

    private enum Reading {
        case success(HTTPRequest)
        case failure(HTTPResponse)
    }

    private func read(_ wsi: OpaquePointer) -> Reading {
        if let retryAfter {
            return .failure(
                HTTPResponse(
                    status: 429,
                    headers: ["Retry-After": "\(retryAfter)"],
                    problem: "too many connections from this address; try again in \(retryAfter) s"
                )
            )
        }
        do throws(RequestReader.Failure) {
            let reader = RequestReader(wsi: wsi)
            return .success(
                try reader.read(customHeaders: server.configuration.customHeaders, peer: peer, isTLS: server.isTLS)
            )
        } catch {
            switch error {
            case .malformed(let text): return .failure(HTTPResponse(status: 400, problem: text))
            case .unsupportedMethod:
                return .failure(HTTPResponse(status: 501, problem: "this method is not supported"))
            }
        }
    }

    private func refuse(_ response: HTTPResponse, _ wsi: OpaquePointer) -> Int32 {
        _ = write(response.encoded(isHead: isHead, closes: true), wsi)
        return -1
    }

    /// A client that is still sending would meet a reset before it had read the answer, so what it sends is taken for a while.
    private func refuseAndDiscard(_ response: HTTPResponse, _ wsi: OpaquePointer) -> Int32 {
        phase = .discarding
        setDeadline(server.limits.lingerTimeout)
        return write(response.encoded(isHead: isHead, closes: true), wsi)
    }

    func bodyReceived(_ start: UnsafeMutableRawPointer?, _ count: Int) {
        guard case .receivingBody(var request, let length) = phase, let start, count > 0 else { return }
        phase = .discarding  // So that the body is not copied with every piece.
        if request.body.isEmpty { request.body.reserveCapacity(length) }
        request.body.append(contentsOf: UnsafeRawBufferPointer(start: start, count: count))
        server.counters.bytesReceived.add(count, ordering: .relaxed)
        phase = .receivingBody(request, length: length)
    }

    /// The library says so again whenever more comes, hence the phase.
    func bodyCompleted(_ wsi: OpaquePointer) -> Int32 {
        switch phase {
        case .receivingBody(let request, _):
            cancelDeadline()
            respond(to: request, wsi)
            return 0
        case .discarding: return -1
        default: return 0
        }
    }

    private func respond(to request: HTTPRequest, _ wsi: OpaquePointer) {
        phase = .responding
        requestNumber += 1
        // While a response is made nothing more is read: the library would turn in circles on a pipelined request.
        lws_rx_flow_control(wsi, 0)
        server.counters.requests.add(1, ordering: .relaxed)
        let number = requestNumber
        let bound = LoopBound(self, on: server.loop)
        let responder = server.responder
        Task {
            let response = await responder.respond(to: request)
            bound.loop.execute { bound.value.responded(response, toRequest: number) }
        }
    }

    private func responded(_ response: HTTPResponse, toRequest number: Int) {
        guard let wsi, case .responding = phase, number == requestNumber else { return }
        if server.isStopping || UnreadInput(wsi: wsi).isThere { closesAfterResponse = true }
        setDeadline(server.limits.responseTimeout)
        if write(response.encoded(isHead: isHead, closes: closesAfterResponse), wsi) != 0 {
            cutConnection(wsi)
        } else if lws_partial_buffered(wsi) != 0 {
            drainResponse(wsi)
        } else {
            complete(wsi)
        }
    }

    /// Reading stays paused until the client has taken the response, and so the library, which by that neither sends, needs help.
    private func drainResponse(_ wsi: OpaquePointer) {
        draining = ResponseDrain(lws_get_socket_fd(wsi), loop: server.loop) { [weak self] in
            guard let self, let wsi = self.wsi else { return }
            if UnreadInput(wsi: wsi).isThere { closesAfterResponse = true }
            if lws_write(wsi, nil, 0, LWS_WRITE_HTTP) < 0 { return cutConnection(wsi) }
            if lws_partial_buffered(wsi) == 0 {
                draining?.end()
                draining = nil
                complete(wsi)
            }
        }
        if draining == nil { cutConnection(wsi) }
    }

    /// The response is sent. Never called from one of the library's callbacks, hence the direct calls.
    ///
    /// Reading begins only after the library has been told, because it takes what it reads before that for something else.
    private func complete(_ wsi: OpaquePointer) {
        phase = .awaitingRequest
        isHead = false
        if closesAfterResponse || server.isStopping || lws_http_transaction_completed(wsi) != 0 {
            UnreadInput(wsi: wsi).discard()
            lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC)
            return
        }
        setDeadline(server.limits.keepAliveTimeout)
        lws_rx_flow_control(wsi, 1)
    }

    private func write(_ bytes: [UInt8], _ wsi: OpaquePointer) -> Int32 {
        var bytes = bytes
        server.counters.bytesSent.add(bytes.count, ordering: .relaxed)
        return bytes.withUnsafeMutableBufferPointer {
            lws_write(wsi, $0.baseAddress, $0.count, LWS_WRITE_HTTP_FINAL) < 0 ? -1 : 0
        }
    }

    // MARK: WebSocket

    /// Answers 0 to let the handshake go on, 1 if a refusal was sent, -1 to close.
    func upgradeRequested(_ wsi: OpaquePointer, to name: String) -> Int32 {
        guard case .awaitingRequest = phase, equalsIgnoringCase(name, "websocket") || name == "h2c" else { return -1 }
        cancelDeadline()
        switch read(wsi) {
        case .success(let request):
            if let problem = handshakeProblem(request, upgrade: name) { return refuseUpgrade(problem, wsi) }
            return decide(request, wsi)
        case .failure(let refusal): return refuseUpgrade(refusal, wsi)
        }
    }

    private func decide(_ request: HTTPRequest, _ wsi: OpaquePointer) -> Int32 {
        let offered = offeredSubprotocols(request.headers["sec-websocket-protocol"])
        switch server.acceptor.admit(request, on: server.loop) {
        case .refuse(let response):
            server.counters.webSocketsRefused.add(1, ordering: .relaxed)
            return refuseUpgrade(response, wsi)
        case .accept(let handler, let subprotocol, let headers):
            let text = headers.map { "\(HTTPResponse.clean($0.0)): \(HTTPResponse.clean($0.1))\r\n" }.joined()
            guard subprotocol.map(offered.contains) ?? true, text.utf8.count <= server.limits.maxAcceptHeaderBytes
            else {
                handler.closed(
                    WebSocketClosure(cause: .handshakeFailed, reason: "the acceptor's answer cannot be sent")
                )
                return refuseUpgrade(HTTPResponse(status: 500, problem: "internal error"), wsi)
            }
            server.counters.webSocketsAccepted.add(1, ordering: .relaxed)
            phase = .upgrading(handler, subprotocol: subprotocol, headers: text)
            // The library goes on only with a subprotocol it knows by name, and echoes that name.
            if let name = subprotocol ?? offered.first { server.library.write(name: name) }
            setDeadline(server.limits.headerTimeout)
            return 0
        }
    }

    private func refuseUpgrade(_ response: HTTPResponse, _ wsi: OpaquePointer) -> Int32 {
        phase = .discarding
        setDeadline(server.limits.lingerTimeout)
        return write(response.encoded(isHead: false, closes: true), wsi) == 0 ? 1 : -1
    }

    /// The moment between choosing the protocol and echoing it: an empty name is not echoed.
    func protocolChosen() {
        if case .upgrading(_, nil, _) = phase { server.library.write(name: "") }
    }

    func addHeaders(_ arguments: UnsafeMutablePointer<lws_process_html_args>) -> Int32 {
        server.library.write(name: ServerLoop.protocolName)
        guard case .upgrading(_, _, let text) = phase else { return 0 }
        let count = text.utf8.count
        guard count < Int(arguments.pointee.max_len), let start = arguments.pointee.p else { return -1 }
        for (index, byte) in text.utf8.enumerated() { start[index] = CChar(bitPattern: byte) }
        arguments.pointee.p = start + count
        return 0
    }

    func established(_ wsi: OpaquePointer) -> Int32 {
        guard case .upgrading(let handler, let subprotocol, _) = phase else { return -1 }
        cancelDeadline()
        let socket = WebSocket(
            wsi: wsi,
            loop: server.loop,
            peer: peer,
            subprotocol: subprotocol,
            handler: handler,
            limits: server.limits,
            scratch: server.scratch,
            counters: server.counters
        )
        phase = .webSocket(socket)
        handler.opened(socket)
        return 0
    }

    var webSocket: WebSocket? {
        if case .webSocket(let socket) = phase { return socket }
        return nil
    }

    // MARK: Ending

    /// The server stops: what waits for a request ends now, and what is being answered, after that.
    func serverStops() {
        guard let wsi else { return }
        switch phase {
        case .awaitingRequest, .discarding: cutConnection(wsi)
        default: break
        }
    }

    /// The server has waited long enough.
    func endNow() {
        guard let wsi else { return }
        if let webSocket {
            webSocket.close(code: 1001, reason: "server is stopping")
        } else {
            cutConnection(wsi)
        }
    }

    /// The connection is gone, or as good as: `wsi` must not be touched any more. May be told several times.
    func ended() {
        if case .ended = phase { return }
        let last = phase
        phase = .ended
        wsi = nil
        cancelDeadline()
        draining?.end()
        draining = nil
        switch last {
        case .webSocket(let socket): socket.ended()
        case .upgrading(let handler, _, _):
            server.library.write(name: ServerLoop.protocolName)
            handler.closed(WebSocketClosure(cause: .handshakeFailed, reason: "the connection ended in the handshake"))
        default: break
        }
    }

    private func setDeadline(_ duration: Duration) {
        cancelDeadline()
        deadline = server.loop.schedule(after: duration) { [weak self] in
            guard let self, let wsi = self.wsi else { return }
            if case .discarding = phase {} else { server.counters.timedOut.add(1, ordering: .relaxed) }
            cutConnection(wsi)
        }
    }

    private func cancelDeadline() {
        deadline?.cancel()
        deadline = nil
    }
}

/// Watches a copy of a socket's descriptor, because libuv lets one watch have one descriptor, and that one is the library's.
private final class ResponseDrain {
    private let descriptor: Int32
    private var watch: FileDescriptorWatch?

    init?(_ original: Int32, loop: EventLoop, whenWritable: @escaping () -> Void) {
        descriptor = dup(original)
        guard descriptor >= 0 else { return nil }
        watch = try? loop.watch(fileDescriptor: descriptor, events: [.writable]) { _ in whenWritable() }
        if watch == nil {
            Foundation.close(descriptor)
            return nil
        }
    }

    func end() {
        guard let watch else { return }
        watch.cancel()
        self.watch = nil
        Foundation.close(descriptor)
    }
}
