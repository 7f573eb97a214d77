import FoundationEssentials
import HTTPClient

/// What an answer of a service says has failed, in either of the ways they say it.
struct AWSErrorBody: Equatable {
    /// Without namespace; the status, if nothing is said.
    var code: String
    /// In the service's words; empty if it has none.
    var message: String

    /// Reads it from an answer, whatever it holds.
    init(_ response: TransferResponse) {
        let first = response.body.first { !XMLText.isSpace($0) }
        let found =
            switch first {
            case UInt8(ascii: "{"): Self.json(response.body)
            case UInt8(ascii: "<"): Self.xml(response.body)
            default: (code: nil as String?, message: nil as String?)
            }
        let code = found.code ?? response.header("x-amzn-errortype")
        self.code = code.map(Self.plain).flatMap { $0.isEmpty ? nil : $0 } ?? String(response.status)
        message = found.message ?? ""
    }

    private static func json(_ body: [UInt8]) -> (code: String?, message: String?) {
        struct Fields: Decodable {
            var type: String?
            var code: String?
            var message: String?
            var capitalMessage: String?
            enum CodingKeys: String, CodingKey {
                case type = "__type"
                case code
                case message
                case capitalMessage = "Message"
            }
        }
        guard let fields = try? JSONDecoder().decode(Fields.self, from: Data(body)) else { return (nil, nil) }
        return (fields.type ?? fields.code, fields.message ?? fields.capitalMessage)
    }

    private static func xml(_ body: [UInt8]) -> (code: String?, message: String?) {
        (XMLText.first("Code", in: body), XMLText.first("Message", in: body))
    }

    /// `com.amazonaws.dynamodb.v20120810#ThrottlingException` and `ThrottlingException:http://...` without the rest.
    private static func plain(_ code: String) -> String {
        let name = code.split(separator: ":", omittingEmptySubsequences: false).first ?? ""
        return String(name.split(separator: "#", omittingEmptySubsequences: false).last ?? "")
    }
}

/// The text of single elements in the small XML answers of STS and in errors. Not a parser: it knows names that hold text
/// alone, and gives nothing for what it does not understand.
enum XMLText {
    /// Longer values are none of those that are asked for.
    static let maximumLength = 64 << 10

    /// The text of the first `<name>...</name>` without attributes; nil if there is none, or if it holds something else.
    static func first(_ name: String, in document: [UInt8]) -> String? {
        let start = Array("<\(name)>".utf8)
        let end = Array("</\(name)>".utf8)
        guard let begin = index(of: start, in: document[...]) else { return nil }
        let content = document[begin.upperBound...]
        guard let length = content.firstIndex(of: UInt8(ascii: "<")), document[length...].starts(with: end),
            length - content.startIndex <= maximumLength
        else { return nil }
        return String(validating: content[..<length], as: UTF8.self).flatMap(resolved)
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private static func index(of pattern: [UInt8], in text: ArraySlice<UInt8>) -> Range<Int>? {
        var rest = text
        while let candidate = rest.firstIndex(of: pattern[0]) {
            rest = rest[candidate...]
            if rest.starts(with: pattern) { return candidate..<(candidate + pattern.count) }
            rest = rest.dropFirst()
        }
        return nil
    }

    /// With the predefined entities and character references replaced; nil if there are others.
    private static func resolved(_ text: String) -> String? {
        guard text.utf8.contains(UInt8(ascii: "&")) else { return text }
        let pieces = text.split(separator: "&", omittingEmptySubsequences: false)
        var result = String(pieces[0])
        for piece in pieces.dropFirst() {
            guard let semicolon = piece.firstIndex(of: ";"), let scalar = entity(piece[..<semicolon]) else {
                return nil
            }
            result.unicodeScalars.append(scalar)
            result += piece[piece.index(after: semicolon)...]
        }
        return result
    }

    private static func entity(_ name: Substring) -> Unicode.Scalar? {
        switch name {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default:
            guard name.hasPrefix("#") else { return nil }
            let isHexadecimal = name.hasPrefix("#x")
            let digits = name.dropFirst(isHexadecimal ? 2 : 1)
            guard digits.first?.isHexDigit == true else { return nil }
            return UInt32(digits, radix: isHexadecimal ? 16 : 10).flatMap(Unicode.Scalar.init)
        }
    }
}
