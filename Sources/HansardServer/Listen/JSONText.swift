import Hansard

/// Writes JSON into one buffer that is used again and again: the messages of the listen protocol have four fixed shapes
/// and are written for every interim result, so they cost neither a tree nor an allocation each.
struct JSONText {
    private(set) var bytes: [UInt8] = []
    private var needsComma = false

    /// Empties the buffer and keeps its memory.
    mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        needsComma = false
    }

    mutating func object(_ body: (inout JSONText) -> Void) { enclosed("{", "}", body) }
    mutating func object(_ name: StaticString, _ body: (inout JSONText) -> Void) {
        key(name)
        enclosed("{", "}", body)
    }
    mutating func array(_ name: StaticString, _ body: (inout JSONText) -> Void) {
        key(name)
        enclosed("[", "]", body)
    }

    mutating func field(_ name: StaticString, _ value: String) {
        key(name)
        string(value)
    }
    mutating func field(_ name: StaticString, _ value: Bool) {
        key(name)
        bytes += (value ? "true" : "false").utf8
        needsComma = true
    }
    mutating func field(_ name: StaticString, _ value: Int) {
        key(name)
        bytes += String(value).utf8
        needsComma = true
    }
    /// Seconds, to the millisecond.
    mutating func field(_ name: StaticString, _ value: AudioTime) {
        key(name)
        // Half a millisecond goes up, also below zero, where division alone would cut towards it.
        let shifted = value.microseconds + 500
        decimal((shifted >= 0 ? shifted : shifted - 999) / 1_000, places: 3)
    }
    /// A confidence, to four places; 0 if an engine's arithmetic gave no number.
    mutating func field(_ name: StaticString, confidence: Double) {
        key(name)
        decimal(confidence.isNaN ? 0 : Int64((min(max(confidence, 0), 1) * 10_000).rounded()), places: 4)
    }
    /// Hours, to nine places, which tell milliseconds apart.
    mutating func field(_ name: StaticString, hours milliseconds: Int64) {
        key(name)
        let (hours, rest) = milliseconds.quotientAndRemainder(dividingBy: 3_600_000)
        decimal(hours * 1_000_000_000 + (rest * 1_000_000_000 + 1_800_000) / 3_600_000, places: 9)
    }
    /// A pair of whole numbers.
    mutating func field(_ name: StaticString, _ first: Int, _ second: Int) {
        key(name)
        bytes += "[\(first),\(second)]".utf8
        needsComma = true
    }
    mutating func field(_ name: StaticString, _ values: [String]) {
        key(name)
        texts(values)
    }
    /// An array that is a document by itself, or what a key is followed by.
    mutating func texts(_ values: [String]) {
        enclosed("[", "]") { text in
            for value in values {
                text.comma()
                text.string(value)
            }
        }
    }
    /// Text, or null.
    mutating func field(_ name: StaticString, orNull value: String?) {
        guard let value else { return null(name) }
        field(name, value)
    }
    /// A whole number, or null.
    mutating func field(_ name: StaticString, orNull value: Int?) {
        guard let value else { return null(name) }
        field(name, value)
    }
    /// Texts, or null.
    mutating func field(_ name: StaticString, orNull values: [String]?) {
        guard let values else { return null(name) }
        field(name, values)
    }
    /// A document that is JSON already.
    mutating func field(_ name: StaticString, json: [UInt8]) {
        key(name)
        bytes += json
        needsComma = true
    }
    private mutating func null(_ name: StaticString) { field(name, json: Array("null".utf8)) }

    mutating func field(dynamic name: String, _ value: String) {
        dynamicKey(name)
        string(value)
    }
    /// Text, or null.
    mutating func field(dynamic name: String, orNull value: String?) {
        if let value { return field(dynamic: name, value) }
        dynamicKey(name)
        bytes += "null".utf8
        needsComma = true
    }

    private mutating func dynamicKey(_ name: String) {
        comma()
        string(name)
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func enclosed(_ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONText) -> Void) {
        comma()
        bytes.append(UInt8(ascii: open))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: close))
        needsComma = true
    }

    private mutating func comma() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = false
    }

    private mutating func key(_ name: StaticString) {
        comma()
        bytes.append(UInt8(ascii: "\""))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    /// `value` divided by 10 to the power of `places`, without trailing zeros but with one digit after the point, so that
    /// parsers that tell integers from floats see a float.
    private mutating func decimal(_ value: Int64, places: Int) {
        let divisor = (0..<places).reduce(Int64(1)) { product, _ in product * 10 }
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        let magnitude = value.magnitude
        bytes += String(magnitude / divisor.magnitude).utf8
        bytes.append(UInt8(ascii: "."))
        var rest = magnitude % divisor.magnitude
        var unit = divisor.magnitude / 10
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(rest / unit))
            rest %= unit
            unit /= 10
        } while rest > 0
        needsComma = true
    }

    /// RFC 8259 section 7.
    private mutating func string(_ value: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0..<0x20:
                bytes += "\\u00".utf8
                bytes.append(Self.hex[Int(byte >> 4)])
                bytes.append(Self.hex[Int(byte & 15)])
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
        needsComma = true
    }

    private static let hex = Array("0123456789abcdef".utf8)
}
