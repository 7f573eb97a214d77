internal import CLibwebsockets
internal import EventLoops

/// One connection of a client, from the wish to the end; confined to its loop, and kept alive by a timer or by libwebsockets.
final class ClientConnection {
    private let request: WebSocketClientRequest
    private let loop: EventLoop
    private var handler: (any WebSocketClientHandler)?
    private var wsi: OpaquePointer?
    private var timer: LoopTimer?
    private var addresses: ArraySlice<IPAddress> = []
    private var peer: PeerAddress?
    private var chosenSubprotocol: String?
    private(set) var webSocket: WebSocket?
    /// Why the server's certificate is not accepted, in OpenSSL's words.
    private var certificateProblem: String?
    /// An address is being tried, and it is not known yet what comes of it.
    private var isTrying = false

    init(_ request: WebSocketClientRequest, loop: EventLoop, handler: any WebSocketClientHandler) {
        self.request = request
        self.loop = loop
        self.handler = handler
    }

    func start() {
        timer = loop.schedule(after: request.connectTimeout) { [self] in
            fail(WebSocketConnectError(.timedOut, "no connection to \(place) within \(request.connectTimeout)"))
        }
        if let problem = problemOfRequest {
            loop.schedule(after: .zero) { [self] in fail(WebSocketConnectError(.invalidRequest, problem)) }
            return
        }
        let bound = LoopBound(self, on: loop)
        NameResolver.resolve(request.url.host) { result in
            bound.loop.execute { bound.value.resolved(result) }
        }
    }

    func cancel() {
        loop.preconditionIsCurrent()
        fail(WebSocketConnectError(.cancelled, "connecting to \(place) was cancelled"))
    }

    /// Host and port, without the query, which may hold a signature.
    private var place: String { "\(request.url.host):\(request.url.port)" }

    private var problemOfRequest: String? {
        if !request.url.target.hasPrefix("/") || !request.url.target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) {
            return "the target must begin with / and be percent-encoded"
        }
        for (name, value) in request.headers where !isToken(name) || HTTPResponse.clean(value) != value {
            return "the header '\(HTTPResponse.clean(name))' has a name or value that cannot be sent"
        }
        if !request.subprotocols.allSatisfy(isToken) { return "a subprotocol must be a token (RFC 9110)" }
        if headerText.utf8.count > ClientLoop.maxHeaderBytes {
            return "the headers must not exceed \(ClientLoop.maxHeaderBytes) bytes"
        }
        return nil
    }

    private var headerText: String { request.headers.map { "\($0.0): \($0.1)\r\n" }.joined() }

    // MARK: Connecting

    private func resolved(_ result: Result<[IPAddress], WebSocketConnectError>) {
        guard handler != nil, webSocket == nil else { return }
        switch result {
        case .success(let addresses):
            self.addresses = addresses[...]
            connectToNext(WebSocketConnectError(.nameNotResolved, "\(request.url.host) has no address"))
        case .failure(let error): fail(error)
        }
    }

    /// - Parameter last: what to tell if no address is left.
    private func connectToNext(_ last: WebSocketConnectError) {
        guard handler != nil else { return }
        guard let address = addresses.popFirst() else { return fail(last) }
        peer = PeerAddress(address: address, port: UInt16(clamping: request.url.port))
        let client: ClientLoop
        do {
            client = try ClientLoop.of(loop, trust: request.trust)
        } catch {
            return fail(WebSocketConnectError(.connectionFailed, "\(error)"))
        }
        (isTrying, certificateProblem) = (true, nil)
        let wsi = open(address, client)
        if isTrying, let wsi {
            self.wsi = wsi
        } else {
            attemptFailed(nil, .library("it could not be begun"))
        }
    }

    /// The address goes in as text, so that the library does not resolve a name, which would block the loop.
    private func open(_ address: IPAddress, _ client: ClientLoop) -> OpaquePointer? {
        let offered = request.subprotocols.joined(separator: ", ")
        return withStrings([address.description, request.url.target, request.url.authority, offered]) { strings in
            var info = lws_client_connect_info()
            info.context = client.library.context
            info.vhost = client.library.vhost
            info.address = strings[0]
            info.port = Int32(request.url.port)
            info.path = strings[1]
            info.host = strings[2]
            info.`protocol` = offered.isEmpty ? nil : strings[3]
            info.ietf_version_or_minus_one = -1
            info.local_protocol_name = UnsafePointer(client.library.protocolName)
            info.alpn = ClientLoop.alpn
            info.ssl_connection = flags
            info.opaque_user_data = Unmanaged.passRetained(self).toOpaque()
            return lws_client_connect_via_info(&info)
        }
    }

    private var flags: Int32 {
        var flags = LCCSCF_HTTP_NO_FOLLOW_REDIRECT.rawValue
        if request.url.isTLS {
            flags |= LCCSCF_USE_SSL.rawValue
            if !request.trust.verifies {
                flags |=
                    LCCSCF_ALLOW_SELFSIGNED.rawValue | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK.rawValue
                    | LCCSCF_ALLOW_INSECURE.rawValue | LCCSCF_ALLOW_EXPIRED.rawValue
            }
        }
        return Int32(bitPattern: flags)
    }

    // MARK: What the library tells

    func addHeaders(_ place: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>, room: Int) -> Int32 {
        let bytes = Array(headerText.utf8)
        guard bytes.count <= room, let start = place.pointee else { return -1 }
        for (index, byte) in bytes.enumerated() { start[index] = byte }
        place.pointee = start + bytes.count
        return 0
    }

    func answered(_ wsi: OpaquePointer) -> Int32 {
        self.wsi = wsi
        chosenSubprotocol = RequestReader(wsi: wsi).value(of: WSI_TOKEN_PROTOCOL)
        return 0
    }

    func established(_ wsi: OpaquePointer) -> Int32 {
        guard let handler, let peer, let client = try? ClientLoop.of(loop, trust: request.trust) else { return -1 }
        timer?.cancel()
        self.wsi = wsi
        self.handler = nil
        isTrying = false
        let socket = WebSocket(
            wsi: wsi,
            loop: loop,
            peer: peer,
            subprotocol: chosenSubprotocol,
            handler: handler,
            limits: request.limits,
            scratch: client.scratch,
            counters: client.counters,
            maskKeys: client.maskKeys
        )
        webSocket = socket
        handler.opened(socket)
        return 0
    }

    func certificateRejected(_ why: String) { certificateProblem = why }

    /// The attempt has failed; the header table of the answer, if there is one, can still be read. Told once of each attempt,
    /// whatever the library calls on its way.
    func attemptFailed(_ wsi: OpaquePointer?, _ fault: ConnectFault) {
        guard handler != nil, isTrying else { return }
        isTrying = false
        self.wsi = nil
        if let wsi, let refusal = refusal(wsi) { return fail(refusal) }
        let text = certificateProblem.map { "the server's certificate is not accepted: \($0)" } ?? fault.description
        let error = WebSocketConnectError(.connectionFailed, "no connection to \(place): \(text)")
        // Not from inside this callback, in which the library is taking the failed attempt apart.
        loop.schedule(after: .zero) { [self] in connectToNext(error) }
    }

    private func refusal(_ wsi: OpaquePointer) -> WebSocketConnectError? {
        let status = Int(lws_http_client_http_response(wsi))
        guard status >= 100, status != 101 else { return nil }
        let reader = RequestReader(wsi: wsi)
        return WebSocketConnectError(
            .refused(status: status),
            "\(place) answered the handshake with \(status)",
            dgError: reader.custom("dg-error"),
            retryAfter: reader.value(of: WSI_TOKEN_HTTP_RETRY_AFTER),
            amazonErrorType: reader.custom("x-amzn-errortype")
        )
    }

    /// An object of the library is gone, though not necessarily that of the attempt that is going on.
    func ended(_ ended: OpaquePointer) {
        guard ended == wsi else { return }
        wsi = nil
        if let webSocket { webSocket.ended() } else { attemptFailed(nil, .peerClosed) }
    }

    private func fail(_ error: WebSocketConnectError) {
        guard let handler else { return }
        self.handler = nil
        timer?.cancel()
        if let wsi {
            self.wsi = nil
            cutConnection(wsi)
        }
        handler.connectFailed(error)
        handler.closed(WebSocketClosure(cause: .handshakeFailed, reason: error.description))
    }
}

/// Why an attempt to connect came to nothing.
enum ConnectFault: Equatable, CustomStringConvertible {
    /// The peer closed or reset the connection before the handshake was done. On a reset the library says so neither by
    /// `LWS_CALLBACK_CLIENT_CONNECTION_ERROR` nor in time: libuv reports it as an error of the descriptor, and what is called is
    /// `LWS_CALLBACK_CLOSED_CLIENT_HTTP` (lib/core-net/close.c of 4.1.6).
    case peerClosed
    /// The same during the TLS handshake, or that failed; the library has thrown away which.
    case handshakeOfTLS
    /// In the library's words.
    case library(String)

    /// What the library tells with `LWS_CALLBACK_CLIENT_CONNECTION_ERROR`.
    init(libraryText text: String) {
        switch text {
        // lib/roles/http/client/client-http.c and lib/core-net/close.c, all of them after the connection was made.
        case "read failed", "Peer hung up", "Closed before conn": self = .peerClosed
        // lib/tls/openssl/openssl-client.c.
        case _ where text.hasPrefix("connect SYSCALL"): self = .peerClosed
        case _ where text.hasPrefix("connect SSL err"): self = .handshakeOfTLS
        default: self = .library(text)
        }
    }

    var description: String {
        switch self {
        case .peerClosed: "the peer closed the connection during the handshake"
        case .handshakeOfTLS: "TLS failed, or the peer closed the connection during its handshake"
        case .library(let text): text
        }
    }
}

/// Strings as C has them, for the duration of a call.
private func withStrings<Value>(_ strings: [String], _ body: ([UnsafePointer<CChar>?]) -> Value) -> Value {
    func next(_ rest: ArraySlice<String>, _ done: [UnsafePointer<CChar>?]) -> Value {
        guard let first = rest.first else { return body(done) }
        return first.withCString { next(rest.dropFirst(), done + [$0]) }
    }
    return next(strings[...], [])
}
