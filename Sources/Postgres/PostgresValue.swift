public import FoundationEssentials

/// A value as it goes to or comes from the server, in the binary format.
///
/// Binary because it is exact and needs no quoting: a timestamp is an integer of microseconds, bytes are bytes.
public enum PostgresValue: Sendable, Hashable {
    /// SQL's null.
    case null
    /// `boolean`.
    case bool(Bool)
    /// `bigint`; `smallint` and `integer` when reading.
    case integer(Int64)
    /// `double precision` and `real`, when reading; as parameters too, though money is never one.
    case double(Double)
    /// `text`; `varchar`, `name`, `json` and `jsonb` when reading. Must not contain U+0000, which Postgres cannot store.
    case text(String)
    /// `uuid`.
    case uuid(UUID)
    /// `timestamptz`, rounded to the microsecond.
    case timestamp(Date)
    /// `bytea`.
    case bytes([UInt8])
    /// A one-dimensional array; elements are of the type or null.
    indirect case array([PostgresValue], of: PostgresType)
}

/// A type of the server that parameters can have, by its OID in
/// https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat (they never change).
public enum PostgresType: UInt32, Sendable, Hashable, CaseIterable {
    /// `boolean`.
    case bool = 16
    /// `bytea`.
    case bytes = 17
    /// `bigint`.
    case integer = 20
    /// `text`.
    case text = 25
    /// `double precision`.
    case double = 701
    /// `timestamptz`.
    case timestamp = 1184
    /// `uuid`.
    case uuid = 2950

    /// The OID of the type's array type.
    var arrayOID: UInt32 {
        switch self {
        case .bool: 1000
        case .bytes: 1001
        case .integer: 1016
        case .text: 1009
        case .double: 1022
        case .timestamp: 1185
        case .uuid: 2951
        }
    }
}

/// A Swift type that stands for a type of the server, both as a parameter and as a column.
public protocol PostgresConvertible: Sendable {
    /// The value to send.
    var postgresValue: PostgresValue { get }
    /// Reads a column; nil if the column holds another type, or null.
    init?(postgresValue: PostgresValue)
}

/// What an array of it stands for; `UInt8` is one because `[UInt8]` is `bytea`.
public protocol PostgresElement: Sendable {
    /// The value of a whole array.
    static func postgresValue(of elements: [Self]) -> PostgresValue
    /// Reads a whole array; nil if it holds another type or a null.
    static func elements(of value: PostgresValue) -> [Self]?
}

/// An element of an array type of the server.
public protocol PostgresArrayElement: PostgresElement, PostgresConvertible {
    /// The elements' type.
    static var postgresType: PostgresType { get }
}

extension PostgresArrayElement {
    /// An array of the elements' type.
    public static func postgresValue(of elements: [Self]) -> PostgresValue {
        .array(elements.map(\.postgresValue), of: postgresType)
    }

    /// Reads an array of the elements' type.
    public static func elements(of value: PostgresValue) -> [Self]? {
        guard case .array(let values, of: postgresType) = value else { return nil }
        var result: [Self] = []
        result.reserveCapacity(values.count)
        for value in values {
            guard let element = Self(postgresValue: value) else { return nil }
            result.append(element)
        }
        return result
    }
}

extension Bool: PostgresArrayElement {
    /// `boolean`.
    public static var postgresType: PostgresType { .bool }
    /// The value to send.
    public var postgresValue: PostgresValue { .bool(self) }
    /// Reads `boolean`.
    public init?(postgresValue: PostgresValue) {
        guard case .bool(let value) = postgresValue else { return nil }
        self = value
    }
}

extension Int64: PostgresArrayElement {
    /// `bigint`.
    public static var postgresType: PostgresType { .integer }
    /// The value to send.
    public var postgresValue: PostgresValue { .integer(self) }
    /// Reads any integer.
    public init?(postgresValue: PostgresValue) {
        guard case .integer(let value) = postgresValue else { return nil }
        self = value
    }
}

extension Int: PostgresArrayElement {
    /// `bigint`.
    public static var postgresType: PostgresType { .integer }
    /// The value to send.
    public var postgresValue: PostgresValue { .integer(Int64(self)) }
    /// Reads any integer.
    public init?(postgresValue: PostgresValue) {
        guard case .integer(let value) = postgresValue else { return nil }
        self = Int(value)
    }
}

extension Double: PostgresArrayElement {
    /// `double precision`.
    public static var postgresType: PostgresType { .double }
    /// The value to send.
    public var postgresValue: PostgresValue { .double(self) }
    /// Reads `double precision` and `real`.
    public init?(postgresValue: PostgresValue) {
        guard case .double(let value) = postgresValue else { return nil }
        self = value
    }
}

extension String: PostgresArrayElement {
    /// `text`.
    public static var postgresType: PostgresType { .text }
    /// The value to send.
    public var postgresValue: PostgresValue { .text(self) }
    /// Reads any text.
    public init?(postgresValue: PostgresValue) {
        guard case .text(let value) = postgresValue else { return nil }
        self = value
    }
}

extension UUID: PostgresArrayElement {
    /// `uuid`.
    public static var postgresType: PostgresType { .uuid }
    /// The value to send.
    public var postgresValue: PostgresValue { .uuid(self) }
    /// Reads `uuid`.
    public init?(postgresValue: PostgresValue) {
        guard case .uuid(let value) = postgresValue else { return nil }
        self = value
    }
}

extension Date: PostgresArrayElement {
    /// `timestamptz`.
    public static var postgresType: PostgresType { .timestamp }
    /// The value to send.
    public var postgresValue: PostgresValue { .timestamp(self) }
    /// Reads `timestamptz`.
    public init?(postgresValue: PostgresValue) {
        guard case .timestamp(let value) = postgresValue else { return nil }
        self = value
    }
}

extension UInt8: PostgresElement {
    /// `bytea`.
    public static func postgresValue(of elements: [UInt8]) -> PostgresValue { .bytes(elements) }
    /// Reads `bytea`.
    public static func elements(of value: PostgresValue) -> [UInt8]? {
        guard case .bytes(let bytes) = value else { return nil }
        return bytes
    }
}

extension Array: PostgresConvertible where Element: PostgresElement {
    /// `bytea` for bytes, else an array of the elements' type.
    public var postgresValue: PostgresValue { Element.postgresValue(of: self) }
    /// Reads `bytea` for bytes, else an array of the elements' type.
    public init?(postgresValue: PostgresValue) {
        guard let elements = Element.elements(of: postgresValue) else { return nil }
        self = elements
    }
}

extension Array: PostgresElement, PostgresArrayElement where Element == UInt8 {
    /// `bytea`.
    public static var postgresType: PostgresType { .bytes }
}

extension Optional: PostgresConvertible where Wrapped: PostgresConvertible {
    /// The wrapped value, or null.
    public var postgresValue: PostgresValue { self?.postgresValue ?? .null }
    /// Reads the wrapped type or null.
    public init?(postgresValue: PostgresValue) {
        if case .null = postgresValue {
            self = nil
        } else if let wrapped = Wrapped(postgresValue: postgresValue) {
            self = wrapped
        } else {
            return nil
        }
    }
}
