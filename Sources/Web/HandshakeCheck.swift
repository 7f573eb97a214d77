/// What libwebsockets would let pass or would answer by hanging up, checked before it gets to decide (RFC 6455 section 4.2.1, and the
/// sizes of its own buffers); `nil` if nothing is wrong.
func handshakeProblem(_ request: HTTPRequest, upgrade: String) -> HTTPResponse? {
    func bad(_ text: String) -> HTTPResponse { HTTPResponse(status: 400, problem: text) }
    guard equalsIgnoringCase(upgrade, "websocket") else {
        return bad("Upgrade: \(upgrade) is not supported; send the request without it")
    }
    guard request.method == "GET" else { return bad("a WebSocket handshake must be a GET") }
    guard request.headers["host"] != nil else { return bad("the Host header is missing") }
    let connection = request.headers["connection"] ?? ""
    guard connection.utf8.count <= 120,
        offeredSubprotocols(connection).contains(where: { equalsIgnoringCase($0, "upgrade") })
    else { return bad("the Connection header must contain Upgrade and at most 120 bytes") }
    guard request.headers["sec-websocket-version"] == "13" else {
        return HTTPResponse(
            status: 426,
            headers: ["Sec-WebSocket-Version": "13", "Upgrade": "websocket"],
            problem: "Sec-WebSocket-Version must be 13"
        )
    }
    guard request.headers["sec-websocket-key"]?.utf8.count == 24 else {
        return bad("Sec-WebSocket-Key must be 24 characters")
    }
    guard let list = request.headers["sec-websocket-protocol"] else { return nil }
    // The library copies the list into 128 bytes and each name into 64, and hangs up if they do not fit.
    guard list.utf8.count <= 126 else { return bad("Sec-WebSocket-Protocol must not exceed 126 bytes") }
    for item in offeredSubprotocols(list) where item.utf8.count > 63 || !isToken(item) {
        return bad("each item of Sec-WebSocket-Protocol must be a token (RFC 9110) of at most 63 bytes")
    }
    return nil
}

/// RFC 9110 section 5.6.2.
func isToken(_ text: String) -> Bool {
    !text.isEmpty
        && text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
}
