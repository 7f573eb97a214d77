/// How long a request's body is, decided from its headers alone (RFC 9112 section 6).
enum RequestFraming: Equatable {
    /// No body. Without a `Content-Length` on a method that usually has one, the library goes on waiting for a body, so that
    /// the connection cannot be kept.
    case none(canKeepAlive: Bool)
    /// This many bytes, at least one.
    case length(Int)
    /// Answer and close.
    case refused(status: Int, String)

    init(_ request: HTTPRequest, maxBodyBytes: Int) {
        let expectsBody = ["POST", "PUT", "PATCH"].contains(request.method)
        if let coding = request.headers["transfer-encoding"] {
            self = .refused(
                status: 411,
                "Transfer-Encoding: \(coding) is not supported; send the body with a Content-Length"
            )
            return
        }
        guard let text = request.headers["content-length"] else {
            self = .none(canKeepAlive: !expectsBody)
            return
        }
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let length = Int(text)
        else {
            self = .refused(status: 400, "Content-Length must be one decimal number")
            return
        }
        if length > maxBodyBytes {
            self = .refused(status: 413, "the body must not exceed \(maxBodyBytes) bytes")
        } else if length == 0 {
            self = .none(canKeepAlive: true)
        } else {
            self = .length(length)
        }
    }
}

/// Whether the connection ends with the response (RFC 9112 section 9.3), in the way libwebsockets decides it.
func closesAfterResponse(version: String, connection: String?) -> Bool {
    let value = connection.map { $0.lowercased() }
    return version == "HTTP/1.1" ? value == "close" : value != "keep-alive"
}

/// The offered subprotocols in order (RFC 6455 section 4.1).
func offeredSubprotocols(_ header: String?) -> [String] {
    guard let header else { return [] }
    return header.split(separator: ",").map { part in
        var part = part
        while part.first == " " || part.first == "\t" { part.removeFirst() }
        while part.last == " " || part.last == "\t" { part.removeLast() }
        return String(part)
    }
}
