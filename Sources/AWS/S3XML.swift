/// An element of one of S3's XML documents.
struct S3Element: Equatable {
    /// Without its namespace's declaration: S3 uses no prefixes.
    var name: String
    /// All text directly in it, entities resolved.
    var text = ""
    /// In order.
    var children: [S3Element] = []

    /// The text of the first child of that name.
    func text(of name: String) -> String? { children.first { $0.name == name }?.text }
}

/// Why a document cannot be read.
struct S3XMLError: Error, Equatable, CustomStringConvertible {
    var reason: String
    /// Bytes from the document's begin.
    var offset: Int
    var description: String { "the XML is wrong at byte \(offset): \(reason)" }
}

/// Reads the part of XML 1.0 that S3's documents are written in: elements, text, the predefined entities and character
/// references, CDATA sections and comments; attributes are checked and passed over. Document types, further entities
/// and processing instructions, through which documents reach outside of themselves, are refused.
struct S3XMLParser {
    /// Elements within elements. S3's own documents have at most five.
    static let maximumDepth = 16
    /// Elements in a document; a full list of 1,000 keys has some 10,000.
    static let maximumElements = 100_000
    /// Bytes of a name.
    static let maximumNameLength = 128

    private let bytes: [UInt8]
    private var index = 0
    private var elements = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The root element of a document.
    static func parse(_ bytes: [UInt8]) throws(S3XMLError) -> S3Element {
        var parser = S3XMLParser(bytes)
        return try parser.document()
    }

    private mutating func document() throws(S3XMLError) -> S3Element {
        if isAt("\u{FEFF}") { index += 3 }
        // S3 sends white space while it completes an upload, and the declaration may come after it.
        skipSpace()
        if isAt("<?xml"), index + 5 < bytes.count, Self.isSpace(bytes[index + 5]) { try skip(past: "?>") }
        try skipSpaceAndComments()
        guard let root = try startTag() else { throw error("an element was expected") }
        let element = root.isClosed ? root.element : try content(of: root.element)
        try skipSpaceAndComments()
        guard index == bytes.count else { throw error("something follows the root element") }
        return element
    }

    /// Everything up to the end tag of an element whose start tag has been read. Not recursive: how deep a document
    /// goes is the sender's choice, how deep the stack goes is not.
    private mutating func content(of root: S3Element) throws(S3XMLError) -> S3Element {
        var open = [root]
        while true {
            if isAt("</") {
                let closed = open.removeLast()
                try endTag(closed.name)
                guard !open.isEmpty else { return closed }
                open[open.count - 1].children.append(closed)
            } else if isAt("<!--") {
                try skipComment()
            } else if isAt("<![CDATA[") {
                index += 9
                let start = index
                try skip(past: "]]>")
                open[open.count - 1].text += try text(start..<(index - 3))
            } else if let child = try startTag() {
                if child.isClosed {
                    open[open.count - 1].children.append(child.element)
                } else {
                    guard open.count < Self.maximumDepth else {
                        throw error("more than \(Self.maximumDepth) elements within each other")
                    }
                    open.append(child.element)
                }
            } else {
                open[open.count - 1].text += try characters()
            }
        }
    }

    // MARK: Tags

    /// A start tag and whether it is an end tag too; nil if there is none here.
    private mutating func startTag() throws(S3XMLError) -> (element: S3Element, isClosed: Bool)? {
        guard isAt("<") else { return nil }
        index += 1
        let element = S3Element(name: try name())
        elements += 1
        guard elements <= Self.maximumElements else { throw error("more than \(Self.maximumElements) elements") }
        while true {
            let hadSpace = skipSpace()
            if isAt("/>") {
                index += 2
                return (element, true)
            }
            if isAt(">") {
                index += 1
                return (element, false)
            }
            guard hadSpace else { throw error("the tag <\(element.name) does not end") }
            try attribute()
        }
    }

    private mutating func endTag(_ name: String) throws(S3XMLError) {
        index += 2
        let found = try self.name()
        guard found == name else { throw error("</\(found)> ends <\(name)>") }
        skipSpace()
        try expect(">")
    }

    private mutating func attribute() throws(S3XMLError) {
        _ = try name()
        skipSpace()
        try expect("=")
        skipSpace()
        guard index < bytes.count, let quote = ["\"", "'"].first(where: { isAt($0) }) else {
            throw error("a quoted value was expected")
        }
        index += 1
        let start = index
        try skip(past: quote)
        guard !bytes[start..<index].contains(UInt8(ascii: "<")) else { throw error("'<' in a value") }
    }

    private mutating func name() throws(S3XMLError) -> String {
        let start = index
        while index < bytes.count, Self.isNameByte(bytes[index], isFirst: index == start) { index += 1 }
        guard index > start else { throw error("a name was expected") }
        guard index - start <= Self.maximumNameLength else { throw error("a name is too long") }
        return try text(start..<index)
    }

    // MARK: Text

    /// Text up to the next tag, with its entities resolved.
    private mutating func characters() throws(S3XMLError) -> String {
        var result = ""
        var start = index
        while index < bytes.count, bytes[index] != UInt8(ascii: "<") {
            if bytes[index] == UInt8(ascii: "&") {
                result += try text(start..<index)
                result.unicodeScalars.append(try reference())
                start = index
            } else {
                index += 1
            }
        }
        guard index < bytes.count else { throw error("the document ends within an element") }
        return result + (try text(start..<index))
    }

    private mutating func reference() throws(S3XMLError) -> Unicode.Scalar {
        // The longest that means anything is `&#x10FFFF;`, and leading zeros are let pass.
        let end = bytes[index...].prefix(16).firstIndex(of: UInt8(ascii: ";"))
        guard let end else { throw error("'&' begins no entity") }
        let body = try text((index + 1)..<end)
        let scalar: Unicode.Scalar? =
            switch body {
            case "amp": "&"
            case "lt": "<"
            case "gt": ">"
            case "quot": "\""
            case "apos": "'"
            case let body where body.hasPrefix("#x"): Self.scalar(body.dropFirst(2), radix: 16)
            case let body where body.hasPrefix("#"): Self.scalar(body.dropFirst(), radix: 10)
            default: nil
            }
        guard let scalar else { throw error("&\(body); is no known entity") }
        index = end + 1
        return scalar
    }

    private static func scalar(_ digits: Substring, radix: Int) -> Unicode.Scalar? {
        guard digits.first != "+", digits.first != "-" else { return nil }
        return UInt32(digits, radix: radix).flatMap(Unicode.Scalar.init).flatMap { $0.value == 0 ? nil : $0 }
    }

    private func text(_ range: Range<Int>) throws(S3XMLError) -> String {
        guard let text = String(validating: bytes[range], as: UTF8.self) else { throw error("the text is not UTF-8") }
        let isAllowed = { (byte: UInt8) in byte >= 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D }
        guard bytes[range].allSatisfy(isAllowed) else { throw error("a control character") }
        return text
    }

    // MARK: Bytes

    private func error(_ reason: String) -> S3XMLError { S3XMLError(reason: reason, offset: min(index, bytes.count)) }

    private func isAt(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes[min(index, bytes.count)...].starts(with: $0) }
    }

    private mutating func expect(_ text: StaticString) throws(S3XMLError) {
        guard isAt(text) else { throw error("'\(text)' was expected") }
        index += text.utf8CodeUnitCount
    }

    private mutating func skip(past end: StaticString) throws(S3XMLError) {
        while index < bytes.count, !isAt(end) { index += 1 }
        try expect(end)
    }

    private mutating func skipComment() throws(S3XMLError) {
        index += 4
        try skip(past: "-->")
    }

    private mutating func skipSpaceAndComments() throws(S3XMLError) {
        skipSpace()
        while isAt("<!--") {
            try skipComment()
            skipSpace()
        }
    }

    @discardableResult private mutating func skipSpace() -> Bool {
        let start = index
        while index < bytes.count, Self.isSpace(bytes[index]) { index += 1 }
        return index > start
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D }

    private static func isNameByte(_ byte: UInt8, isFirst: Bool) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
            UInt8(ascii: ":"), 0x80...:
            true
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."): !isFirst
        default: false
        }
    }
}
