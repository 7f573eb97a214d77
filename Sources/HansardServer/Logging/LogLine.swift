import Foundation
import Logging

/// One message as bytes: redacted, escaped, and short enough for one write.
struct LogLine {
    private let timestamp: String
    private let level: Logger.Level
    private let label: String
    private let message: String
    /// Redacted, in the order of the names.
    private let fields: [(name: String, value: Logger.Metadata.Value)]

    /// Names that metadata cannot take.
    private static let reserved = ["ts", "level", "message", "logger", "truncated"]
    /// The longest message, in bytes; a longer one is cut, so that there is room for the metadata, which says whose it is.
    private static let maximumMessageBytes = 2_048
    /// The longest text in metadata, in bytes.
    private static let maximumValueBytes = 512

    /// - Parameter label: the logger's.
    init(
        at time: Date,
        level: Logger.Level,
        label: String,
        message: String,
        metadata: Logger.Metadata,
        redaction: LogRedaction
    ) {
        timestamp = Self.timestamp(time)
        self.level = level
        self.label = label
        self.message = Self.short(message, to: Self.maximumMessageBytes, redaction)
        fields = metadata.sorted { $0.key < $1.key }.map { name, value in
            let name = Self.reserved.contains(name) ? "metadata.\(name)" : Self.cut(name, to: 64)
            return (name, Self.redacted(value, name: name, redaction))
        }
    }

    /// A JSON object and a line feed.
    var json: [UInt8] {
        let truncated = Array(#","truncated":true"#.utf8)
        // Room for the note, the brace and the line feed.
        let limit = LogOutput.maximumBytes - truncated.count - 2
        var bytes = Array(#"{"ts":"\#(timestamp)","level":"\#(level.rawValue)","message":"#.utf8)
        var isWhole = Self.appendQuoted(message, to: &bytes, limit: limit - label.utf8.count)
        for (name, value) in [(name: "logger", value: .string(label))] + fields {
            var field = Array(",".utf8)
            Self.appendQuoted(name, to: &field)
            field.append(UInt8(ascii: ":"))
            Self.append(value, to: &field)
            // What does not fit is left out as a whole: half a field is not JSON.
            if bytes.count + field.count <= limit { bytes += field } else { isWhole = false }
        }
        return bytes + (isWhole ? [] : truncated) + "}\n".utf8
    }

    /// For people: what happened first, whose it is last.
    var text: [UInt8] {
        var bytes = Array("\(timestamp) \(level.rawValue.uppercased()) ".utf8)
        Self.appendEscaped(message, to: &bytes)
        for (name, value) in fields {
            bytes.append(UInt8(ascii: " "))
            Self.appendEscaped(name, to: &bytes)
            bytes.append(UInt8(ascii: "="))
            if case .string(let text) = value {
                Self.appendEscaped(text, to: &bytes)
            } else {
                Self.append(value, to: &bytes)
            }
        }
        // A character that the cut halves is left out by the decoding, or rather replaced by U+FFFD of three bytes.
        return Array(String(decoding: bytes.prefix(LogOutput.maximumBytes - 4), as: UTF8.self).utf8) + "\n".utf8
    }

    // MARK: Values

    private static func redacted(
        _ value: Logger.Metadata.Value,
        name: String,
        _ redaction: LogRedaction
    ) -> Logger.Metadata.Value {
        if redaction.isSecret(name: name) { return .string("***") }
        switch value {
        case .string(let text): return .string(short(text, to: maximumValueBytes, redaction))
        case .stringConvertible(let value): return .string(short("\(value)", to: maximumValueBytes, redaction))
        case .array(let values): return .array(values.map { redacted($0, name: name, redaction) })
        case .dictionary(let values):
            let pairs = values.map { ($0.key, redacted($0.value, name: $0.key, redaction)) }
            return .dictionary(Dictionary(uniqueKeysWithValues: pairs))
        }
    }

    /// Redacted and cut. What is far beyond the limit is not even looked at, so that a huge message costs no more.
    private static func short(_ text: String, to limit: Int, _ redaction: LogRedaction) -> String {
        cut(redaction.redact(cut(text, to: 4 * limit)), to: limit)
    }

    private static func cut(_ text: String, to limit: Int) -> String {
        guard text.utf8.count > limit else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: limit - 3)
        // Back to the beginning of a character.
        while text.utf8[end] & 0xc0 == 0x80 { end = text.utf8.index(before: end) }
        return text[..<end] + "..."
    }

    private static func append(_ value: Logger.Metadata.Value, to bytes: inout [UInt8]) {
        switch value {
        case .string(let text): appendQuoted(text, to: &bytes)
        case .stringConvertible(let value): appendQuoted("\(value)", to: &bytes)
        case .array(let values):
            bytes.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                append(value, to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .dictionary(let values):
            bytes.append(UInt8(ascii: "{"))
            for (index, pair) in values.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                appendQuoted(pair.key, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                append(pair.value, to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    @discardableResult
    private static func appendQuoted(_ text: String, to bytes: inout [UInt8], limit: Int = .max) -> Bool {
        bytes.append(UInt8(ascii: "\""))
        let isWhole = appendEscaped(text, to: &bytes, limit: limit - 1)
        bytes.append(UInt8(ascii: "\""))
        return isWhole
    }

    /// RFC 8259 section 7, and everything else that a terminal might obey: DEL and the controls U+0080 to U+009F.
    ///
    /// - Returns: false if the text was cut because `bytes` would have become longer than `limit`.
    @discardableResult
    private static func appendEscaped(_ text: String, to bytes: inout [UInt8], limit: Int = .max) -> Bool {
        for scalar in text.unicodeScalars {
            let escaped: String
            switch scalar.value {
            case 0x22, 0x5c: escaped = "\\\(scalar)"
            case 0x0a: escaped = "\\n"
            case 0x09: escaped = "\\t"
            case 0..<0x20, 0x7f...0x9f:
                let digits = String(scalar.value, radix: 16)
                escaped = "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: escaped = String(scalar)
            }
            guard bytes.count + escaped.utf8.count <= limit else { return false }
            bytes += escaped.utf8
        }
        return true
    }

    /// RFC 3339 in UTC with milliseconds.
    static func timestamp(_ time: Date) -> String {
        let milliseconds = Int64((time.timeIntervalSince1970 * 1_000).rounded(.down))
        let (second, rest) = milliseconds.quotientAndRemainder(dividingBy: 1_000)
        var clock = time_t(second)
        var parts = tm()
        gmtime_r(&clock, &parts)
        func digits(_ number: some BinaryInteger, _ count: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let date = "\(digits(parts.tm_year + 1_900, 4))-\(digits(parts.tm_mon + 1))-\(digits(parts.tm_mday))"
        return "\(date)T\(digits(parts.tm_hour)):\(digits(parts.tm_min)):\(digits(parts.tm_sec)).\(digits(rest, 3))Z"
    }
}
