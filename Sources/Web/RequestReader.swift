internal import CLibwebsockets

/// Copies a request out of libwebsockets' header table, which is valid only during the callbacks of its request.
struct RequestReader {
    let wsi: OpaquePointer

    /// Why a request is refused before anybody looks at it.
    enum Failure: Error {
        /// 400 with this explanation.
        case malformed(String)
        /// A method nobody answers.
        case unsupportedMethod
    }

    func read(customHeaders: [String], peer: PeerAddress, isTLS: Bool) throws(Failure) -> HTTPRequest {
        let (method, path) = try methodAndPath()
        guard let version = value(of: WSI_TOKEN_HTTP), version.hasPrefix("HTTP/1.") else {
            throw .malformed("the request line must end with HTTP/1.1, and the query must not hold control characters")
        }
        // A space before the colon makes another name of it, by which two servers can come to read two different bodies.
        for name in ["content-length ", "transfer-encoding "] where custom(name) != nil {
            throw .malformed("a space before the colon of a header is not allowed")
        }
        var headers = HTTPHeaders()
        for (token, name) in standardTokens { try add(name, bytes(of: token), to: &headers) }
        for name in customHeaders { try add(name, customBytes(name), to: &headers) }
        return HTTPRequest(
            method: method,
            path: path,
            query: query(),
            headers: headers,
            peer: peer,
            isTLS: isTLS
        )
    }

    private func methodAndPath() throws(Failure) -> (String, String) {
        var start: UnsafeMutablePointer<CChar>?
        var count: Int32 = 0
        let index = lws_http_get_uri_and_method(wsi, &start, &count)
        guard index >= 0, let start, count > 0 else { throw .malformed("the request line is not understood") }
        let names: [(lws_token_indexes, String)] = [
            (WSI_TOKEN_GET_URI, "GET"), (WSI_TOKEN_POST_URI, "POST"), (WSI_TOKEN_HEAD_URI, "HEAD"),
            (WSI_TOKEN_PUT_URI, "PUT"), (WSI_TOKEN_PATCH_URI, "PATCH"), (WSI_TOKEN_DELETE_URI, "DELETE"),
            (WSI_TOKEN_OPTIONS_URI, "OPTIONS"),
        ]
        guard let method = names.first(where: { lws_hdr_total_length(wsi, $0.0) > 0 })?.1 else {
            throw .unsupportedMethod
        }
        let bytes = UnsafeRawBufferPointer(start: start, count: Int(count))
        guard isValidUTF8(bytes), bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
            throw .malformed("the path must be UTF-8 without control characters")
        }
        return (method, String(decoding: bytes, as: UTF8.self))
    }

    /// The library keeps each argument decoded; encoding them again keeps the separators apart from what was encoded.
    private func query() -> String {
        var parts: [String] = []
        var buffer = [CChar](repeating: 0, count: 1)
        for index in Int32(0)... {
            let length = Int(lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, index))
            if buffer.count < length + 1 { buffer = [CChar](repeating: 0, count: length + 1) }
            let count = lws_hdr_copy_fragment(wsi, &buffer, Int32(buffer.count), WSI_TOKEN_HTTP_URI_ARGS, index)
            guard count >= 0 else { break }
            let bytes = buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }
            guard let equals = bytes.firstIndex(of: 0x3d) else {
                parts.append(percentEncoded(bytes))
                continue
            }
            parts.append(percentEncoded(bytes[..<equals]) + "=" + percentEncoded(bytes[(equals + 1)...]))
        }
        return parts.joined(separator: "&")
    }

    /// The library copies a value up to its first NUL, and zeros for the rest: what is behind it would be lost in silence
    /// (RFC 9110 section 5.5).
    private func add(_ name: String, _ value: [UInt8]?, to headers: inout HTTPHeaders) throws(Failure) {
        guard let value else { return }
        guard !value.contains(0) else { throw .malformed("the header '\(name)' must not hold NUL") }
        headers.add(name, trimmed(value))
    }

    /// The value of a standard header, `nil` if there is none. An empty one counts as none: the library cannot tell.
    func value(of token: lws_token_indexes) -> String? { bytes(of: token).map(trimmed) }

    /// The value of a header the library has no token for.
    func custom(_ name: String) -> String? { customBytes(name).map(trimmed) }

    private func bytes(of token: lws_token_indexes) -> [UInt8]? {
        let length = Int(lws_hdr_total_length(wsi, token))
        guard length > 0 else { return nil }
        var buffer = [CChar](repeating: 0, count: length + 2)
        let count = lws_hdr_copy(wsi, &buffer, Int32(buffer.count), token)
        return count > 0 ? buffer.prefix(Int(count)).map(UInt8.init(bitPattern:)) : nil
    }

    private func customBytes(_ name: String) -> [UInt8]? {
        let key = name.lowercased() + ":"
        let length = Int(lws_hdr_custom_length(wsi, key, Int32(key.utf8.count)))
        guard length >= 0 else { return nil }
        var buffer = [CChar](repeating: 0, count: length + 2)
        let count = lws_hdr_custom_copy(wsi, &buffer, Int32(buffer.count), key, Int32(key.utf8.count))
        return count >= 0 ? buffer.prefix(Int(count)).map(UInt8.init(bitPattern:)) : nil
    }

    private func trimmed(_ value: [UInt8]) -> String {
        var bytes = value[...]
        while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
        while let first = bytes.first, first <= 0x20 { bytes.removeFirst() }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The tokens that are headers, with their names without the colon.
private let standardTokens: [(lws_token_indexes, String)] = {
    var tokens: [(lws_token_indexes, String)] = []
    for index in 0..<WSI_TOKEN_HTTP_URI_ARGS.rawValue {
        let token = lws_token_indexes(rawValue: index)
        guard let text = lws_token_to_string(token) else { continue }
        let name = UnsafeRawPointer(text).assumingMemoryBound(to: CChar.self)
        let string = String(cString: name)
        if string.count > 1, string.hasSuffix(":"), !string.hasPrefix(":") {
            tokens.append((token, String(string.dropLast())))
        }
    }
    return tokens
}()
