/// The value of an attribute of a DynamoDB item, in the types that are used here.
///
/// Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
public enum AttributeValue: Sendable, Hashable {
    /// `S`: text.
    case string(String)
    /// `N`: a number, in decimal digits.
    case number(String)
    /// `BOOL`.
    case bool(Bool)
    /// Of a type that nothing here writes: somebody else's. One such attribute must not make all other items unreadable.
    case other

    /// A whole number.
    public static func number(_ value: some BinaryInteger) -> AttributeValue { .number("\(value)") }

    /// The text, if it is text.
    public var string: String? {
        if case .string(let text) = self { text } else { nil }
    }
    /// The number, if it is a whole one that fits.
    public var integer: Int64? {
        if case .number(let digits) = self { Int64(digits) } else { nil }
    }
    /// The truth value, if it is one.
    public var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }
}

extension AttributeValue: ExpressibleByStringLiteral, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral
{
    /// Text.
    public init(stringLiteral text: String) { self = .string(text) }
    /// A whole number.
    public init(integerLiteral value: Int64) { self = .number(value) }
    /// A truth value.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
}

extension AttributeValue: Codable {
    private enum Kind: String, CodingKey {
        case string = "S"
        case number = "N"
        case bool = "BOOL"
        case null = "NULL"
    }

    /// Reads `{"S": "text"}` and so on.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Kind.self)
        if let text = try container.decodeIfPresent(String.self, forKey: .string) {
            self = .string(text)
        } else if let digits = try container.decodeIfPresent(String.self, forKey: .number) {
            self = .number(digits)
        } else if let value = try container.decodeIfPresent(Bool.self, forKey: .bool) {
            self = .bool(value)
        } else {
            self = .other
        }
    }

    /// Writes `{"S": "text"}` and so on; what is of another type cannot be written back and becomes `{"NULL": true}`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Kind.self)
        switch self {
        case .string(let text): try container.encode(text, forKey: .string)
        case .number(let digits): try container.encode(digits, forKey: .number)
        case .bool(let value): try container.encode(value, forKey: .bool)
        case .other: try container.encode(true, forKey: .null)
        }
    }
}

/// An item, or the part of one that names it.
public typealias DynamoDBItem = [String: AttributeValue]

/// A condition or an update in DynamoDB's expression language, with what its placeholders stand for. Names that the
/// language reserves are written `#name` and are put in.
///
/// Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
public struct DynamoDBExpression: Sendable, Equatable {
    /// The text; `#name` stands for the attribute `name`.
    public var text: String
    /// What `:placeholders` stand for, without the colon.
    public var values: [String: AttributeValue]

    /// An expression.
    public init(_ text: String, _ values: [String: AttributeValue] = [:]) {
        self.text = text
        self.values = values
    }

    /// The `#names` in the text.
    static func names(in texts: [String]) -> [String: String] {
        var names: [String: String] = [:]
        for text in texts {
            for piece in text.split(separator: "#", omittingEmptySubsequences: false).dropFirst() {
                let name = String(piece.prefix { $0.isLetter || $0.isNumber || $0 == "_" })
                names["#\(name)"] = name
            }
        }
        return names
    }
}

extension KeyedEncodingContainer {
    /// Encodes what the placeholders of all expressions of a request stand for; the API refuses empty lists.
    mutating func encodePlaceholders(of expressions: [DynamoDBExpression], names: Key, values: Key) throws {
        let own = DynamoDBExpression.names(in: expressions.map(\.text))
        if !own.isEmpty { try encode(own, forKey: names) }
        var given: [String: AttributeValue] = [:]
        for expression in expressions {
            for (name, value) in expression.values { given[":\(name)"] = value }
        }
        if !given.isEmpty { try encode(given, forKey: values) }
    }
}
