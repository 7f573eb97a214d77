internal import CLibwebsockets

/// What libwebsockets calls for everything on the server: it finds the connection and calls a method, nothing else.
func serverCallback(
    _ wsi: OpaquePointer?,
    _ reason: lws_callback_reasons,
    _ user: UnsafeMutableRawPointer?,
    _ input: UnsafeMutableRawPointer?,
    _ count: Int
) -> Int32 {
    switch reason {
    case LWS_CALLBACK_RECEIVE: connection(wsi)?.webSocket?.received(input, count)
    case LWS_CALLBACK_SERVER_WRITEABLE: return connection(wsi)?.webSocket?.becameWritable() ?? -1
    case LWS_CALLBACK_RECEIVE_PONG: connection(wsi)?.webSocket?.receivedPong()
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE: return connection(wsi)?.webSocket?.peerClosed(input, count) ?? -1
    case LWS_CALLBACK_ESTABLISHED:
        guard let wsi, let connection = connection(wsi) else { return -1 }
        return connection.established(wsi)
    case LWS_CALLBACK_HTTP:
        guard let wsi, let connection = connection(wsi) else { return -1 }
        return connection.requestReceived(wsi)
    case LWS_CALLBACK_HTTP_BODY: connection(wsi)?.bodyReceived(input, count)
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        guard let wsi, let connection = connection(wsi) else { return -1 }
        return connection.bodyCompleted(wsi)
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        guard let wsi, let input, let connection = connection(wsi) else { return -1 }
        return connection.upgradeRequested(wsi, to: String(cString: input.assumingMemoryBound(to: CChar.self)))
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: connection(wsi)?.protocolChosen()
    case LWS_CALLBACK_ADD_HEADERS:
        guard let input, let connection = connection(wsi) else { return 0 }
        return connection.addHeaders(input.assumingMemoryBound(to: lws_process_html_args.self))
    case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
        if let wsi { connection(wsi)?.adopted(wsi) }
    case LWS_CALLBACK_CLOSED, LWS_CALLBACK_CLOSED_HTTP: connection(wsi)?.ended()
    case LWS_CALLBACK_RAW_ADOPT, LWS_CALLBACK_RAW_RX: return -1  // CONNECT would make a raw socket of it.
    case LWS_CALLBACK_WSI_DESTROY:
        guard let connection = lastOwner(of: wsi, as: ServerConnection.self) else { return 0 }
        connection.ended()
        connection.server.gone(connection)
    default: break
    }
    return 0
}

private func connection(_ wsi: OpaquePointer?) -> ServerConnection? { owner(of: wsi, as: ServerConnection.self) }
