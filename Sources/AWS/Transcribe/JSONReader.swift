/// Reads a JSON text (RFC 8259) from its beginning to its end, value by value, where it lies.
///
/// Results come several times a second for each stream, and Foundation's decoder takes many times as long for them.
/// Values of another kind than asked for are passed over and read as nil; what is no JSON is an error.
struct JSONReader {
    /// Why a text is no JSON, and at which byte.
    struct Failure: Error, Equatable {
        var problem: StaticString
        var offset: Int

        static func == (left: Failure, right: Failure) -> Bool {
            left.offset == right.offset && left.problem.description == right.problem.description
        }
    }

    /// A member's name, compared with literals by their bytes.
    struct Key {
        private let bytes: UnsafeRawBufferPointer
        /// Only of names with escapes.
        private let unescaped: String?

        fileprivate init(_ bytes: UnsafeRawBufferPointer, unescaped: String?) {
            self.bytes = bytes
            self.unescaped = unescaped
        }

        static func ~= (name: StaticString, key: Key) -> Bool {
            if let unescaped = key.unescaped { return unescaped == name.description }
            guard key.bytes.count == name.utf8CodeUnitCount else { return false }
            return key.bytes.elementsEqual(UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        }
    }

    /// How deep values may be nested.
    static let maximumDepth = 64

    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0
    private var depth = 0
    /// Whether an object or array was just entered, so that no comma comes before the next value.
    private var isFirst = false

    /// A reader of these bytes, which must outlive it.
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    // MARK: Structure

    /// Enters an object; false passes over a value that is none.
    mutating func enterObject() throws(Failure) -> Bool { try enter(UInt8(ascii: "{")) }

    /// Enters an array; false passes over a value that is none.
    mutating func enterArray() throws(Failure) -> Bool { try enter(UInt8(ascii: "[")) }

    /// The next member's name, after which its value is to be read or skipped; nil leaves the object.
    mutating func nextKey() throws(Failure) -> Key? {
        guard try next(before: UInt8(ascii: "}")) else { return nil }
        guard peek() == UInt8(ascii: "\"") else { throw failure("a member has no name") }
        let (range, hasEscapes) = try stringRange()
        let name = UnsafeRawBufferPointer(rebasing: bytes[range])
        guard peek() == UInt8(ascii: ":") else { throw failure("a member has no value") }
        offset += 1
        return Key(name, unescaped: hasEscapes ? try Self.unescaped(name, at: range.lowerBound) : nil)
    }

    /// Whether another element comes, which is then to be read or skipped; false leaves the array.
    mutating func nextElement() throws(Failure) -> Bool { try next(before: UInt8(ascii: "]")) }

    /// Checks that nothing but white space is left.
    mutating func finish() throws(Failure) {
        if peek() != nil { throw failure("something follows the value") }
    }

    private mutating func enter(_ opening: UInt8) throws(Failure) -> Bool {
        guard peek() == opening else {
            try skip()
            return false
        }
        guard depth < Self.maximumDepth else { throw failure("values are nested too deep") }
        offset += 1
        depth += 1
        isFirst = true
        return true
    }

    private mutating func next(before closing: UInt8) throws(Failure) -> Bool {
        let wasFirst = isFirst
        isFirst = false
        switch peek() {
        case closing:
            offset += 1
            depth -= 1
            return false
        case UInt8(ascii: ",") where !wasFirst:
            offset += 1
            return true
        case nil: throw failure("it is cut off")
        default:
            if wasFirst { return true }
            throw failure("a comma is missing")
        }
    }

    // MARK: Values

    /// A string; nil for a value that is none. What is not UTF-8 becomes U+FFFD.
    mutating func string() throws(Failure) -> String? {
        guard peek() == UInt8(ascii: "\"") else {
            try skip()
            return nil
        }
        let (range, hasEscapes) = try stringRange()
        let text = UnsafeRawBufferPointer(rebasing: bytes[range])
        return hasEscapes ? try Self.unescaped(text, at: range.lowerBound) : String(decoding: text, as: UTF8.self)
    }

    /// A boolean; nil for a value that is none.
    mutating func bool() throws(Failure) -> Bool? {
        switch peek() {
        case UInt8(ascii: "t"):
            try literal("true")
            return true
        case UInt8(ascii: "f"):
            try literal("false")
            return false
        default:
            try skip()
            return nil
        }
    }

    /// A finite number; nil for a value that is none, and for numbers beyond those of a double.
    mutating func number() throws(Failure) -> Double? {
        switch peek() {
        case UInt8(ascii: "-"), (UInt8(ascii: "0")...UInt8(ascii: "9"))?: return try scanNumber()
        default:
            try skip()
            return nil
        }
    }

    /// Passes over one value of any kind, and checks it.
    mutating func skip() throws(Failure) {
        switch peek() {
        case UInt8(ascii: "{"):
            guard try enterObject() else { return }
            while try nextKey() != nil { try skip() }
        case UInt8(ascii: "["):
            guard try enterArray() else { return }
            while try nextElement() { try skip() }
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "t"): try literal("true")
        case UInt8(ascii: "f"): try literal("false")
        case UInt8(ascii: "n"): try literal("null")
        case UInt8(ascii: "-"), (UInt8(ascii: "0")...UInt8(ascii: "9"))?: _ = try scanNumber()
        case nil: throw failure("it is cut off")
        default: throw failure("no value begins so")
        }
    }

    private mutating func literal(_ text: StaticString) throws(Failure) {
        let end = offset + text.utf8CodeUnitCount
        let expected = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        guard end <= bytes.count, bytes[offset..<end].elementsEqual(expected) else {
            throw failure("no value begins so")
        }
        offset = end
    }

    // MARK: Bytes

    private func failure(_ problem: StaticString) -> Failure { Failure(problem: problem, offset: offset) }

    /// The next byte that is no white space, which stays; nil at the end.
    private mutating func peek() -> UInt8? {
        while offset < bytes.count {
            let byte = bytes[offset]
            switch byte {
            case 0x20, 0x0A, 0x0D, 0x09: offset += 1
            default: return byte
            }
        }
        return nil
    }

    /// Passes over a string and gives what is between its quotes.
    private mutating func stringRange() throws(Failure) -> (Range<Int>, hasEscapes: Bool) {
        let start = offset + 1
        var index = start
        var hasEscapes = false
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") {
                offset = index + 1
                return (start..<index, hasEscapes)
            }
            if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                // What is escaped may be a quote.
                index += 1
            } else if byte < 0x20 {
                offset = index
                throw failure("a string holds a control character")
            }
            index += 1
        }
        offset = bytes.count
        throw failure("it is cut off")
    }
}

// MARK: - Numbers

extension JSONReader {
    /// Up to here every power of ten is a double exactly.
    private static let powersOfTen: [Double] = (0...22).map { exponent in
        (0..<exponent).reduce(1.0) { value, _ in value * 10 }
    }

    private mutating func scanNumber() throws(Failure) -> Double? {
        let start = offset
        let isNegative = bytes[offset] == UInt8(ascii: "-")
        if isNegative { offset += 1 }
        var mantissa: UInt64 = 0
        let wholeStart = offset
        let wholeCount = try digits(into: &mantissa)
        if wholeCount > 1, bytes[wholeStart] == UInt8(ascii: "0") { throw failure("a number begins with zeros") }
        var fractionCount = 0
        if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
            offset += 1
            fractionCount = try digits(into: &mantissa)
        }
        var hasExponent = false
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            hasExponent = true
            offset += 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
                offset += 1
            }
            var ignored: UInt64 = 0
            _ = try digits(into: &ignored)
        }
        // Below 2^53 both sides of the division are exact, so that it is rounded once: the nearest double.
        if !hasExponent, wholeCount + fractionCount <= 18, mantissa < 1 << 53 {
            let value = Double(mantissa) / Self.powersOfTen[fractionCount]
            return isNegative ? -value : value
        }
        let text = UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
        return Double(String(decoding: text, as: UTF8.self)).flatMap { $0.isFinite ? $0 : nil }
    }

    /// Passes over digits, of which there must be one, and gives how many. Past 18 the value is none, but does not trap.
    private mutating func digits(into value: inout UInt64) throws(Failure) -> Int {
        let start = offset
        while offset < bytes.count, case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[offset] {
            value = value &* 10 &+ UInt64(bytes[offset] - UInt8(ascii: "0"))
            offset += 1
        }
        guard offset > start else { throw failure("a number has no digit here") }
        return offset - start
    }
}

// MARK: - Escapes

extension JSONReader {
    /// A string without its escapes. Halves of surrogate pairs become U+FFFD.
    fileprivate static func unescaped(_ text: UnsafeRawBufferPointer, at start: Int) throws(Failure) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var index = 0
        while index < text.count {
            let byte = text[index]
            guard byte == UInt8(ascii: "\\") else {
                result.append(byte)
                index += 1
                continue
            }
            // A string ends with a quote, so that something follows each backslash.
            let wrong = Failure(problem: "a string holds an unknown escape", offset: start + index)
            index += 2
            switch text[index - 1] {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(text[index - 1])
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "u"):
                guard let scalar = scalar(text, at: &index) else { throw wrong }
                result += Character(scalar).utf8
            default: throw wrong
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// The scalar of `\uXXXX`, or of two of them; nil without four digits.
    private static func scalar(_ text: UnsafeRawBufferPointer, at index: inout Int) -> Unicode.Scalar? {
        guard let first = unit(text, at: index) else { return nil }
        index += 4
        guard 0xD800..<0xDC00 ~= first else { return Unicode.Scalar(first) ?? "\u{FFFD}" }
        guard index + 1 < text.count, text[index] == UInt8(ascii: "\\"), text[index + 1] == UInt8(ascii: "u"),
            let second = unit(text, at: index + 2), 0xDC00..<0xE000 ~= second
        else { return "\u{FFFD}" }
        index += 6
        return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? "\u{FFFD}"
    }

    private static func unit(_ text: UnsafeRawBufferPointer, at index: Int) -> UInt32? {
        guard index + 4 <= text.count else { return nil }
        var value: UInt32 = 0
        for byte in text[index..<(index + 4)] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }
}
