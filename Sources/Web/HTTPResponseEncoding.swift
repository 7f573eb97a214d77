extension HTTPResponse {
    /// The bytes of the response as HTTP/1.1 wants them, with `Content-Length` and `Connection`.
    func encoded(isHead: Bool, closes: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(status) \(reasonPhrase(status))\r\n"
        for field in headers where !HTTPResponse.isOurs(field.name) {
            text += "\(HTTPResponse.clean(field.name)): \(HTTPResponse.clean(field.value))\r\n"
        }
        let hasBody = status >= 200 && status != 204 && status != 304
        if hasBody { text += "Content-Length: \(body.count)\r\n" }
        text += closes ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n"
        var bytes = Array(text.utf8)
        if hasBody && !isHead { bytes += body }
        return bytes
    }

    private static func isOurs(_ name: String) -> Bool {
        ["content-length", "connection", "transfer-encoding"].contains { equalsIgnoringCase($0, name) }
    }

    /// A field must not be able to end its line, whatever was put into it.
    static func clean(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) { return text }
        return String(decoding: text.utf8.map { $0 < 0x20 || $0 == 0x7f ? 0x20 : $0 }, as: UTF8.self)
    }
}

/// RFC 9110 section 15 and RFC 6585; the phrase carries no meaning.
func reasonPhrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 201: "Created"
    case 202: "Accepted"
    case 204: "No Content"
    case 301: "Moved Permanently"
    case 302: "Found"
    case 303: "See Other"
    case 304: "Not Modified"
    case 307: "Temporary Redirect"
    case 308: "Permanent Redirect"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 402: "Payment Required"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 406: "Not Acceptable"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 410: "Gone"
    case 411: "Length Required"
    case 412: "Precondition Failed"
    case 413: "Content Too Large"
    case 415: "Unsupported Media Type"
    case 422: "Unprocessable Content"
    case 426: "Upgrade Required"
    case 428: "Precondition Required"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 502: "Bad Gateway"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    default: "Status"
    }
}
