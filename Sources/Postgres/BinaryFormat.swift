import FoundationEssentials

/// The binary format of the types that we use, as the server's `*send` and `*recv` functions define it
/// (https://github.com/postgres/postgres/tree/REL_15_STABLE/src/backend/utils/adt). All integers are big-endian.
enum BinaryFormat {
    /// Between Postgres' epoch, 2000-01-01, and Foundation's reference date, 2001-01-01: a leap year.
    private static let referenceMicroseconds: Int64 = 366 * 86_400 * 1_000_000

    // MARK: Parameters

    /// The type to declare for a parameter; 0 lets the server infer it, which is right only for null.
    static func oid(of value: PostgresValue) -> UInt32 {
        switch value {
        case .null: 0
        case .bool: PostgresType.bool.rawValue
        case .integer: PostgresType.integer.rawValue
        case .double: PostgresType.double.rawValue
        case .text: PostgresType.text.rawValue
        case .uuid: PostgresType.uuid.rawValue
        case .timestamp: PostgresType.timestamp.rawValue
        case .bytes: PostgresType.bytes.rawValue
        case .array(_, let element): element.arrayOID
        }
    }

    /// Appends a value that is not null.
    static func append(_ value: PostgresValue, to bytes: inout [UInt8]) {
        switch value {
        case .null: break
        case .bool(let value): bytes.append(value ? 1 : 0)
        case .integer(let value): append(value, to: &bytes)
        case .double(let value): append(value.bitPattern, to: &bytes)
        case .text(let value): bytes.append(contentsOf: value.utf8)
        case .uuid(let value): withUnsafeBytes(of: value.uuid) { bytes.append(contentsOf: $0) }
        case .timestamp(let value): append(microseconds(of: value), to: &bytes)
        case .bytes(let value): bytes.append(contentsOf: value)
        case .array(let elements, let type): append(elements, of: type, to: &bytes)
        }
    }

    /// `array_recv`: dimensions, whether there are nulls, element type, then per dimension its size and lower bound.
    private static func append(_ elements: [PostgresValue], of type: PostgresType, to bytes: inout [UInt8]) {
        append(Int32(elements.isEmpty ? 0 : 1), to: &bytes)
        append(Int32(elements.contains(.null) ? 1 : 0), to: &bytes)
        append(type.rawValue, to: &bytes)
        if elements.isEmpty { return }
        append(Int32(elements.count), to: &bytes)
        append(Int32(1), to: &bytes)
        for element in elements {
            if element == .null {
                append(Int32(-1), to: &bytes)
                continue
            }
            let lengthAt = bytes.count
            append(Int32(0), to: &bytes)
            append(element, to: &bytes)
            let length = Int32(bytes.count - lengthAt - 4)
            withUnsafeBytes(of: length.bigEndian) { bytes.replaceSubrange(lengthAt..<lengthAt + 4, with: $0) }
        }
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    /// Microseconds since 2000-01-01, which is what `timestamptz` counts. Dates outside of what it can hold
    /// (4714 BC to 294276 AD) become its infinities.
    static func microseconds(of date: Date) -> Int64 {
        let microseconds = (date.timeIntervalSinceReferenceDate * 1_000_000).rounded()
        if microseconds >= 9.2e18 { return .max }
        if microseconds <= -2.1e17 { return .min }
        return Int64(microseconds) + referenceMicroseconds
    }

    // MARK: Columns

    /// Reads a column that is not null.
    ///
    /// - Throws: `.protocol` for a type that is not among ours; the statement should cast it to `text`.
    static func value(_ bytes: UnsafeRawBufferPointer, oid: UInt32) throws(PostgresError) -> PostgresValue {
        switch oid {
        case 16: return .bool(try integer(bytes, UInt8.self) != 0)
        case 17: return .bytes(Array(bytes))
        case 20: return .integer(try integer(bytes, Int64.self))
        case 21: return .integer(Int64(try integer(bytes, Int16.self)))
        case 23: return .integer(Int64(try integer(bytes, Int32.self)))
        case 700: return .double(Double(Float(bitPattern: try integer(bytes, UInt32.self))))
        case 701: return .double(Double(bitPattern: try integer(bytes, UInt64.self)))
        case 18, 19, 25, 114, 1042, 1043, 705: return .text(String(decoding: bytes, as: UTF8.self))
        // jsonb is preceded by the number of its format.
        case 3802: return .text(String(decoding: bytes.dropFirst(), as: UTF8.self))
        case 1184: return .timestamp(date(microseconds: try integer(bytes, Int64.self)))
        case 2950: return .uuid(try uuid(bytes))
        // A function that returns void.
        case 2278: return .null
        case 1000, 1001, 1005, 1007, 1009, 1015, 1016, 1022, 1185, 2951: return try array(bytes)
        default:
            throw PostgresError(.protocol, "a column has the type with OID \(oid), which is not read; cast it to text")
        }
    }

    /// The date of a `timestamptz`; its infinities become the distant past and future.
    static func date(microseconds: Int64) -> Date {
        if microseconds == .max { return .distantFuture }
        if microseconds == .min { return .distantPast }
        return Date(timeIntervalSinceReferenceDate: Double(microseconds - referenceMicroseconds) / 1_000_000)
    }

    private static func array(_ bytes: UnsafeRawBufferPointer) throws(PostgresError) -> PostgresValue {
        var rest = bytes
        let dimensions = try next(&rest, Int32.self)
        _ = try next(&rest, Int32.self)
        let oid = try next(&rest, UInt32.self)
        guard let type = elementType(oid) else {
            throw PostgresError(.protocol, "an array's elements have the type with OID \(oid), which is not read")
        }
        if dimensions == 0 { return .array([], of: type) }
        guard dimensions == 1 else {
            throw PostgresError(.protocol, "an array has \(dimensions) dimensions; only one is read")
        }
        let count = try next(&rest, Int32.self)
        _ = try next(&rest, Int32.self)
        var elements: [PostgresValue] = []
        for _ in 0..<max(0, count) {
            let length = Int(try next(&rest, Int32.self))
            if length < 0 {
                elements.append(.null)
                continue
            }
            guard length <= rest.count else { throw truncated }
            elements.append(try value(UnsafeRawBufferPointer(rebasing: rest[..<length]), oid: oid))
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
        }
        return .array(elements, of: type)
    }

    private static func elementType(_ oid: UInt32) -> PostgresType? {
        switch oid {
        case 21, 23: .integer
        case 19, 1043: .text
        default: PostgresType(rawValue: oid)
        }
    }

    private static func uuid(_ bytes: UnsafeRawBufferPointer) throws(PostgresError) -> UUID {
        guard bytes.count == 16 else { throw truncated }
        return UUID(uuid: bytes.loadUnaligned(as: uuid_t.self))
    }

    private static func integer<Value: FixedWidthInteger>(
        _ bytes: UnsafeRawBufferPointer,
        _ type: Value.Type
    ) throws(PostgresError) -> Value {
        guard bytes.count == MemoryLayout<Value>.size else { throw truncated }
        return Value(bigEndian: bytes.loadUnaligned(as: Value.self))
    }

    private static func next<Value: FixedWidthInteger>(
        _ bytes: inout UnsafeRawBufferPointer,
        _ type: Value.Type
    ) throws(PostgresError) -> Value {
        let size = MemoryLayout<Value>.size
        guard bytes.count >= size else { throw truncated }
        let value = try integer(UnsafeRawBufferPointer(rebasing: bytes[..<size]), type)
        bytes = UnsafeRawBufferPointer(rebasing: bytes[size...])
        return value
    }

    private static var truncated: PostgresError {
        PostgresError(.protocol, "a column's binary value has another length than its type")
    }
}
