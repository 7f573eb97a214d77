/// AWS's way to write bytes into addresses and forms: all but the unreserved ones (RFC 3986, section 2.3) as `%XX`, in
/// capitals.
///
/// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (UriEncode)
enum PercentEncoding {
    /// The text, encoded.
    static func encode(_ text: String, keepsSlashes: Bool = false) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        append(text.utf8, keepsSlashes: keepsSlashes, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A form, as `application/x-www-form-urlencoded` bodies are made of.
    static func form(_ fields: [(String, String)]) -> [UInt8] {
        Array(fields.map { "\(encode($0))=\(encode($1))" }.joined(separator: "&").utf8)
    }

    /// Appends bytes, encoded; a `%` is a byte like others, so that what is encoded becomes encoded twice.
    static func append(_ text: some Sequence<UInt8>, keepsSlashes: Bool, to result: inout [UInt8]) {
        for byte in text { append(byte, keepsSlashes: keepsSlashes, to: &result) }
    }

    /// Appends what may be encoded already, in whatever style, in AWS's style.
    static func appendAgain(_ text: ArraySlice<UInt8>, to result: inout [UInt8]) {
        var rest = text
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2, let high = digit(rest[rest.startIndex]),
                let low = digit(rest[rest.startIndex + 1])
            {
                rest = rest.dropFirst(2)
                append(high << 4 | low, keepsSlashes: false, to: &result)
            } else {
                append(byte, keepsSlashes: false, to: &result)
            }
        }
    }

    private static func append(_ byte: UInt8, keepsSlashes: Bool, to result: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            result.append(byte)
        case UInt8(ascii: "/") where keepsSlashes:
            result.append(byte)
        default:
            result.append(UInt8(ascii: "%"))
            result.append(capital(byte >> 4))
            result.append(capital(byte & 15))
        }
    }

    private static func capital(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "A") + digit - 10
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
