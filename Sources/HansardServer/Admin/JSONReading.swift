import Hansard

/// Reads a request's body as JSON, and nothing but JSON (RFC 8259): what one reader lets pass another may read otherwise, so
/// that trailing commas, comments, names that come twice and halves of characters are all refused, with their place.
struct JSONReading {
    /// Arrays and objects within each other.
    static let maximumDepth = 32
    /// Characters of a number.
    static let maximumNumber = 64

    private let bytes: [UInt8]
    private var position = 0
    /// Where the value stands that is being read (RFC 6901), step by step.
    private var place: [String?] = []

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The value that the bytes are.
    ///
    /// - Throws: `.invalid` with the pointer of the value in which something is wrong, and the byte at which.
    static func value(_ bytes: [UInt8]) throws(HansardError) -> JSONValue {
        var reading = JSONReading(bytes)
        let value = try reading.value()
        reading.skipSpace()
        guard reading.position == bytes.count else { throw reading.wrong("there is something after the value") }
        return value
    }

    // MARK: Values

    private mutating func value() throws(HansardError) -> JSONValue {
        skipSpace()
        guard let byte = next else { throw wrong("a value is expected\(hint)") }
        switch byte {
        case UInt8(ascii: "{"): return .object(try object())
        case UInt8(ascii: "["): return .array(try array())
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), 0x30...0x39: return try number()
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: throw wrong("a value is expected\(hint)")
        }
    }

    /// What may have been meant by something that is no value.
    private var hint: String {
        switch next {
        case nil: ", and the body ends"
        case UInt8(ascii: "/"), UInt8(ascii: "#"): "; JSON has no comments"
        case UInt8(ascii: "N"), UInt8(ascii: "I"), UInt8(ascii: "+"): "; JSON has no NaN, Infinity or plus sign"
        case UInt8(ascii: "'"): "; strings are in double quotes"
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"): "; a comma stands between two values"
        default: ""
        }
    }

    private mutating func object() throws(HansardError) -> [String: JSONValue] {
        try enter()
        defer { leave() }
        var fields: [String: JSONValue] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return fields }
        repeat {
            place[place.count - 1] = nil
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw wrong("a name in double quotes is expected\(hint)") }
            let name = try string()
            place[place.count - 1] = name
            // Names that are the same to a reader count as the same, however they are composed.
            guard fields[name] == nil else { throw wrong("this name comes twice in one object") }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw wrong("a colon is expected after the name") }
            fields[name] = try value()
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw wrong("a comma or the object's end is expected") }
        return fields
    }

    private mutating func array() throws(HansardError) -> [JSONValue] {
        try enter()
        defer { leave() }
        var values: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return values }
        repeat {
            place[place.count - 1] = String(values.count)
            values.append(try value())
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw wrong("a comma or the array's end is expected") }
        return values
    }

    /// Past the bracket; what is read next has a step of its own in `place`.
    private mutating func enter() throws(HansardError) {
        guard place.count < Self.maximumDepth else {
            throw wrong("arrays and objects may lie \(Self.maximumDepth) deep within each other, not deeper")
        }
        position += 1
        place.append(nil)
    }

    private mutating func leave() { place.removeLast() }

    private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(HansardError) -> JSONValue {
        let word = text.withUTF8Buffer { Array($0) }
        guard bytes[position...].starts(with: word) else { throw wrong("a value is expected, such as \(text)") }
        position += word.count
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(HansardError) -> JSONValue {
        let start = position
        _ = take(UInt8(ascii: "-"))
        let isZero = next == UInt8(ascii: "0")
        let whole = digits()
        guard whole > 0, whole == 1 || !isZero else {
            throw wrong(whole == 0 ? "a digit is expected after the sign" : "a number has no zero before its digits")
        }
        var isWhole = true
        if take(UInt8(ascii: ".")) {
            isWhole = false
            guard digits() > 0 else { throw wrong("a digit is expected after the point") }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            isWhole = false
            position += 1
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            guard digits() > 0 else { throw wrong("a digit is expected in the exponent") }
        }
        guard position - start <= Self.maximumNumber else {
            throw wrong("a number has at most \(Self.maximumNumber) characters")
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let number = Int64(text) { return .integer(number) }
        guard let number = Double(text), number.isFinite else { throw wrong("this number is too large") }
        return .number(number)
    }

    /// - Returns: how many there were.
    private mutating func digits() -> Int {
        let start = position
        while let byte = next, 0x30...0x39 ~= byte { position += 1 }
        return position - start
    }

    // MARK: Strings

    private mutating func string() throws(HansardError) -> String {
        position += 1
        var text: [UInt8] = []
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: text, as: UTF8.self) else {
                    throw wrong("this string holds bytes that are not UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): text += try escaped().utf8
            case 0..<0x20:
                position -= 1
                throw wrong("a control character in a string is written as an escape")
            default: text.append(byte)
            }
        }
        throw wrong("a string is not closed")
    }

    /// What an escape stands for; its backslash is read.
    private mutating func escaped() throws(HansardError) -> String {
        guard let byte = next else { throw wrong("a string is not closed") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return String(UnicodeScalar(byte))
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return String(try scalar())
        default: throw wrong("there is no such escape")
        }
    }

    private mutating func scalar() throws(HansardError) -> UnicodeScalar {
        let first = try codeUnit()
        if let scalar = UnicodeScalar(first) { return scalar }
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else { throw half }
        let second = try codeUnit()
        guard 0xDC00...0xDFFF ~= second,
            let scalar = UnicodeScalar(0x10000 + (UInt32(first) - 0xD800) << 10 + UInt32(second) - 0xDC00)
        else { throw half }
        return scalar
    }

    private var half: HansardError { wrong("half of a surrogate pair stands alone") }

    private mutating func codeUnit() throws(HansardError) -> UInt16 {
        let end = position + 4
        guard end <= bytes.count, bytes[position..<end].allSatisfy(\.isHexadecimal),
            let number = UInt16(String(decoding: bytes[position..<end], as: UTF8.self), radix: 16)
        else { throw wrong("four hexadecimal digits are expected") }
        position = end
        return number
    }

    // MARK: Bytes

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { position += 1 }
    }

    private func wrong(_ what: String) -> HansardError {
        let pointer = place.compactMap { $0.map { "/" + JSONPointer.escaped($0) } }.joined()
        return HansardError(
            .invalid, "the body is not JSON as RFC 8259 has it: at byte \(position), \(what)", field: pointer)
    }
}

extension UInt8 {
    fileprivate var isHexadecimal: Bool {
        0x30...0x39 ~= self || 0x41...0x46 ~= self || 0x61...0x66 ~= self
    }
}
