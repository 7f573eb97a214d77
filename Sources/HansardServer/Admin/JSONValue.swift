import FoundationEssentials
import Hansard

/// A JSON value as it was sent, before anybody has asked what it should be.
enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// A number with a fraction, or beyond 64 bits.
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// What it is, for people who sent something else than was expected.
    var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// A field of a request's body and where it stands (RFC 6901), for whoever reads it as what it should be. Every method
/// throws `.invalid` that names the place and what would be right.
struct JSONField: Sendable {
    /// Characters of an operator's reason.
    static let reasonLength = 1...500

    let value: JSONValue
    let pointer: String

    /// What is wrong with it.
    func wrong(_ expected: String) -> HansardError {
        let name = pointer.isEmpty ? "the body" : pointer.split(separator: "/").last.map(String.init) ?? pointer
        return HansardError(.invalid, "\(name) must be \(expected)", field: pointer)
    }

    /// That it is well-formed and yet not possible here.
    func impossible(_ why: String) -> HansardError { HansardError(.contradictory, why, field: pointer) }

    /// Text of so many characters, without control characters.
    func text(_ length: ClosedRange<Int>) throws(HansardError) -> String {
        let expected = "a string of \(length.lowerBound) to \(length.upperBound) characters"
        guard case .string(let text) = value else { throw wrong("\(expected), not \(value.kind)") }
        guard length.contains(text.unicodeScalars.count) else { throw wrong(expected) }
        guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
            throw wrong("free of control characters")
        }
        return text
    }

    /// Why an operator does something, for those who read the audit log and invoices later: spaces would say nothing.
    func reason() throws(HansardError) -> String {
        let text = try text(Self.reasonLength)
        guard text.unicodeScalars.contains(where: { !$0.properties.isWhitespace }) else {
            throw wrong("a reason of 1 to \(Self.reasonLength.upperBound) characters, and not of spaces alone")
        }
        return text
    }

    /// Yes or no.
    func bool() throws(HansardError) -> Bool {
        guard case .bool(let value) = value else { throw wrong("true or false, not \(value.kind)") }
        return value
    }

    /// A whole number within a range; 5.0 is one.
    func integer(_ range: ClosedRange<Int>) throws(HansardError) -> Int {
        let expected = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        let number: Int? =
            switch value {
            case .integer(let value): Int(exactly: value)
            case .number(let value): Int(exactly: value)
            default: throw wrong("\(expected), not \(value.kind)")
            }
        guard let number, range.contains(number) else { throw wrong(expected) }
        return number
    }

    /// A number of seconds within a range; what is less than one is left out.
    func seconds(_ range: ClosedRange<Int>) throws(HansardError) -> Int {
        let expected = "a number from \(range.lowerBound) to \(range.upperBound)"
        let number: Double =
            switch value {
            case .integer(let value): Double(value)
            case .number(let value): value
            default: throw wrong("\(expected), not \(value.kind)")
            }
        guard Double(range.lowerBound)...Double(range.upperBound) ~= number else { throw wrong(expected) }
        return Int(number)
    }

    /// One of a type's names.
    func name<Name: RawRepresentable & CaseIterable>(
        _ type: Name.Type = Name.self
    ) throws(HansardError) -> Name where Name.RawValue == String {
        guard case .string(let text) = value, let name = Name(rawValue: text) else {
            throw wrong("one of " + Name.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", "))
        }
        return name
    }

    /// A moment as RFC 3339 writes it.
    func time() throws(HansardError) -> Date {
        guard case .string(let text) = value, let date = Timestamp.read(text) else {
            throw wrong(Timestamp.expected)
        }
        return date
    }

    /// A moment that is yet to come.
    ///
    /// - Throws: `.contradictory` if it is past.
    func time(after now: Date) throws(HansardError) -> Date {
        let time = try time()
        guard time > now else { throw impossible("\(pointer.dropFirst()) must be in the future") }
        return time
    }

    /// A list of at most so many.
    func list<Element>(
        _ limit: Int, _ read: (JSONField) throws -> Element
    ) throws -> [Element] { try list(0...limit, "at most \(limit)", read) }

    /// A list of so many.
    func list<Element>(
        _ count: ClosedRange<Int>, _ read: (JSONField) throws -> Element
    ) throws -> [Element] { try list(count, "\(count.lowerBound) to \(count.upperBound)", read) }

    private func list<Element>(
        _ count: ClosedRange<Int>, _ expected: String, _ read: (JSONField) throws -> Element
    ) throws -> [Element] {
        guard case .array(let values) = value else { throw wrong("an array, not \(value.kind)") }
        guard count.contains(values.count) else { throw wrong("an array of \(expected)") }
        var elements: [Element] = []
        for (index, value) in values.enumerated() {
            elements.append(try read(JSONField(value: value, pointer: "\(pointer)/\(index)")))
        }
        return elements
    }

    /// An object with fields of its own.
    func object() throws(HansardError) -> ObjectReader {
        guard case .object(let fields) = value else { throw wrong("an object, not \(value.kind)") }
        return ObjectReader(fields, pointer: pointer)
    }

    /// The operator's own labels: names and texts.
    func labels(_ limit: Int, length: Int) throws(HansardError) -> [String: String] {
        guard case .object(let values) = value else { throw wrong("an object of strings, not \(value.kind)") }
        guard values.count <= limit else { throw wrong("an object of at most \(limit) names") }
        var labels: [String: String] = [:]
        for (name, value) in values {
            let place = JSONField(value: .string(name), pointer: "\(pointer)/\(JSONPointer.escaped(name))")
            _ = try place.text(1...length)
            labels[name] = try JSONField(value: value, pointer: place.pointer).text(0...length)
        }
        return labels
    }
}

/// RFC 6901 section 3.
enum JSONPointer {
    static func escaped(_ name: String) -> String {
        String(name.flatMap { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) })
    }
}

/// Reads a request's body field by field. Fields that nobody has asked for are wrong: `end` says so.
struct ObjectReader {
    private let fields: [String: JSONValue]
    private let pointer: String
    private var asked: Set<String> = []

    /// An empty body is an empty object.
    ///
    /// - Throws: `.invalid` if the body is not a JSON object, as `JSONReading` has it.
    init(_ body: [UInt8]) throws(HansardError) {
        guard !body.isEmpty else {
            self.init([:], pointer: "")
            return
        }
        let value = try JSONReading.value(body)
        guard case .object(let fields) = value else {
            throw HansardError(.invalid, "the body must be a JSON object, not \(value.kind)", field: "")
        }
        self.init(fields, pointer: "")
    }

    fileprivate init(_ fields: [String: JSONValue], pointer: String) {
        self.fields = fields
        self.pointer = pointer
    }

    /// A field that must be there.
    mutating func required<Value>(
        _ name: String, _ read: (JSONField) throws -> Value
    ) throws -> Value {
        guard let value = try optional(name, read) else {
            throw HansardError(.invalid, "\(name) is missing", field: "\(pointer)/\(name)")
        }
        return value
    }

    /// A field that may be absent, but is not null.
    mutating func optional<Value>(
        _ name: String, _ read: (JSONField) throws -> Value
    ) throws -> Value? {
        asked.insert(name)
        guard let value = fields[name] else { return nil }
        return try read(JSONField(value: value, pointer: "\(pointer)/\(name)"))
    }

    /// A field that may be absent, then `change` is not called, or null.
    mutating func nullable<Value>(
        _ name: String, _ read: (JSONField) throws -> Value, change: (Value?) -> Void
    ) throws {
        asked.insert(name)
        guard let value = fields[name] else { return }
        change(value == .null ? nil : try read(JSONField(value: value, pointer: "\(pointer)/\(name)")))
    }

    /// Throws `.invalid` if there are fields that nobody asked for.
    func end() throws(HansardError) {
        guard let unknown = fields.keys.filter({ !asked.contains($0) }).min() else { return }
        let known = asked.isEmpty ? "there are none here" : "known are " + asked.sorted().joined(separator: ", ")
        throw HansardError(
            .invalid, "'\(unknown.prefix(64))' is not a field here: \(known)",
            field: "\(pointer)/\(JSONPointer.escaped(unknown))")
    }
}
