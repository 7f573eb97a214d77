internal import CLibwebsockets
internal import EventLoops
internal import Synchronization

/// The contexts of one loop's clients, one for each set of trusted authorities; made at first use, gone with the loop.
final class ClientLoops {
    private let loop: EventLoop
    private var loops: [String?: ClientLoop] = [:]

    init(_ loop: EventLoop) {
        self.loop = loop
        loop.whenStopping { [self] in
            for client in loops.values { client.library.retire() }
            loops = [:]
        }
    }

    func of(_ trust: WebSocketTrust) throws(WebServerError) -> ClientLoop {
        if let found = loops[trust.authoritiesFile] { return found }
        let made = try ClientLoop(loop, authoritiesFile: trust.authoritiesFile)
        loops[trust.authoritiesFile] = made
        return made
    }
}

/// A context for clients on one loop.
final class ClientLoop {
    /// What a client may add to its handshake; the library builds the whole request in one buffer of `scratchBytes`.
    static let maxHeaderBytes = 4_096
    nonisolated(unsafe) static let alpn = UnsafePointer<CChar>(strdup("http/1.1"))

    let library: LibraryContext
    let scratch = SendScratch()
    let counters = TransportCounters()
    let maskKeys = MaskKeys()

    init(_ loop: EventLoop, authoritiesFile: String?) throws(WebServerError) {
        library = try LibraryContext(
            LibraryContext.Settings(
                protocolName: "client",
                callback: clientCallback,
                maxHeaderBytes: 16_384,
                scratchBytes: 16_384,
                clientAuthorities: authoritiesFile,
                isServer: false
            ),
            on: loop
        )
    }

    static func of(_ loop: EventLoop, trust: WebSocketTrust) throws(WebServerError) -> ClientLoop {
        try loop.attachment(ClientLoops.self) { ClientLoops($0) }.of(trust)
    }
}

/// What libwebsockets calls for everything on a client: it finds the connection and calls a method, nothing else.
private func clientCallback(
    _ wsi: OpaquePointer?,
    _ reason: lws_callback_reasons,
    _ user: UnsafeMutableRawPointer?,
    _ input: UnsafeMutableRawPointer?,
    _ count: Int
) -> Int32 {
    switch reason {
    case LWS_CALLBACK_CLIENT_RECEIVE: connection(wsi)?.webSocket?.received(input, count)
    case LWS_CALLBACK_CLIENT_WRITEABLE: return connection(wsi)?.webSocket?.becameWritable() ?? 0
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG: connection(wsi)?.webSocket?.receivedPong()
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE: return connection(wsi)?.webSocket?.peerClosed(input, count) ?? -1
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        guard let input, let connection = connection(wsi) else { return -1 }
        return connection.addHeaders(input.assumingMemoryBound(to: UnsafeMutablePointer<UInt8>?.self), room: count)
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        guard let wsi, let connection = connection(wsi) else { return -1 }
        return connection.answered(wsi)
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        guard let wsi, let connection = connection(wsi) else { return -1 }
        return connection.established(wsi)
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        let text = input.map {
            String(decoding: UnsafeRawBufferPointer(start: $0, count: count).prefix { $0 != 0 }, as: UTF8.self)
        }
        connection(wsi)?.attemptFailed(wsi, ConnectFault(libraryText: text ?? "unknown reason"))
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        connection(wsi)?.attemptFailed(wsi, .peerClosed)
    case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
        // `user` is OpenSSL's state, `count` whether it accepts the certificate; 0 leaves it at that.
        if count == 0, let user { connection(wsi)?.certificateRejected(String(cString: clws_verify_error(user))) }
    case LWS_CALLBACK_CLIENT_CLOSED:
        if let wsi { connection(wsi)?.ended(wsi) }
    case LWS_CALLBACK_WSI_DESTROY:
        if let wsi { lastOwner(of: wsi, as: ClientConnection.self)?.ended(wsi) }
    default: break
    }
    return 0
}

private func connection(_ wsi: OpaquePointer?) -> ClientConnection? { owner(of: wsi, as: ClientConnection.self) }
