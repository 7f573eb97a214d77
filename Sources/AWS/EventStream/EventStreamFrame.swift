import FoundationEssentials

/// A message where it lies: its headers read, its payload only found.
struct EventStreamFrame {
    let headers: [EventStreamMessage.Header]
    /// Where the payload is in the bytes.
    let payload: Range<Int>

    /// Reads one message and checks all there is to check.
    init(_ bytes: UnsafeRawBufferPointer) throws(EventStreamError) {
        let headersEnd = try Self.checkedHeadersEnd(bytes)
        var reader = EventStreamHeaderReader(bytes, from: EventStreamMessage.preludeBytes, to: headersEnd)
        var headers: [EventStreamMessage.Header] = []
        var names = EventStreamNames()
        while !reader.isAtEnd {
            let offset = reader.offset
            let header = try reader.header()
            guard names.insert(header.name) else {
                throw EventStreamError(.duplicateName(header.name), at: offset)
            }
            headers.append(header)
        }
        self.headers = headers
        payload = headersEnd..<(bytes.count - 4)
    }

    /// Checks lengths and checksums, and gives where the headers end.
    private static func checkedHeadersEnd(_ bytes: UnsafeRawBufferPointer) throws(EventStreamError) -> Int {
        guard bytes.count >= EventStreamMessage.overheadBytes else {
            throw EventStreamError(.tooShort(bytes.count), at: 0)
        }
        // The prelude's checksum comes first: without it the lengths mean nothing.
        let declaredPrelude: UInt32 = bytes.bigEndian(at: 8)
        let prelude = CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<8]))
        guard declaredPrelude == prelude else {
            throw EventStreamError(.preludeChecksum(declared: declaredPrelude, computed: prelude), at: 8)
        }
        let total = Int(bytes.bigEndian(at: 0) as UInt32)
        guard total == bytes.count else {
            throw EventStreamError(.totalLength(declared: total, actual: bytes.count), at: 0)
        }
        let headers = Int(bytes.bigEndian(at: 4) as UInt32)
        guard headers <= EventStreamMessage.maximumHeadersBytes else {
            throw EventStreamError(.headersTooLong(headers), at: 4)
        }
        guard headers <= total - EventStreamMessage.overheadBytes else {
            throw EventStreamError(.headersBeyondMessage(headers), at: 4)
        }
        let payload = total - EventStreamMessage.overheadBytes - headers
        guard payload <= EventStreamMessage.maximumPayloadBytes else {
            throw EventStreamError(.payloadTooLong(payload), at: EventStreamMessage.preludeBytes + headers)
        }
        let declared: UInt32 = bytes.bigEndian(at: total - 4)
        let computed = CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[8..<(total - 4)]), after: prelude)
        guard declared == computed else {
            throw EventStreamError(.messageChecksum(declared: declared, computed: computed), at: total - 4)
        }
        return EventStreamMessage.preludeBytes + headers
    }
}

/// Reads headers one after the other, and never beyond their end.
private struct EventStreamHeaderReader {
    private let bytes: UnsafeRawBufferPointer
    private let end: Int
    private(set) var offset: Int

    /// - Precondition: the range is within the bytes: `take`, by which all is read, checks against its end alone.
    init(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) {
        self.bytes = bytes
        self.end = end
        offset = start
    }

    var isAtEnd: Bool { offset == end }

    mutating func header() throws(EventStreamError) -> EventStreamMessage.Header {
        let start = offset
        let count = Int(try take(1)[0])
        guard count > 0 else { throw EventStreamError(.emptyName, at: start) }
        guard let name = String(validating: try take(count), as: UTF8.self) else {
            throw EventStreamError(.nameNotUTF8, at: start + 1)
        }
        return EventStreamMessage.Header(name, try value())
    }

    private mutating func value() throws(EventStreamError) -> EventStreamValue {
        let start = offset
        let type = try take(1)[0]
        switch type {
        case 0: return .bool(true)
        case 1: return .bool(false)
        case 2: return .int8(try integer())
        case 3: return .int16(try integer())
        case 4: return .int32(try integer())
        case 5: return .int64(try integer())
        case 6: return .bytes(Array(try counted()))
        case 7:
            guard let text = String(validating: try counted(), as: UTF8.self) else {
                throw EventStreamError(.valueNotUTF8, at: start + 3)
            }
            return .string(text)
        case 8: return .timestamp(milliseconds: try integer())
        case 9: return .uuid(UUID(uuid: try take(16).loadUnaligned(as: uuid_t.self)))
        default: throw EventStreamError(.unknownType(type), at: start)
        }
    }

    private mutating func integer<Number: FixedWidthInteger & BitwiseCopyable>() throws(EventStreamError) -> Number {
        try take(Number.bitWidth / 8).bigEndian(at: 0)
    }

    private mutating func counted() throws(EventStreamError) -> UnsafeRawBufferPointer {
        let start = offset
        let count = Int(try integer() as UInt16)
        guard count <= EventStreamMessage.maximumValueBytes else {
            throw EventStreamError(.valueTooLong(count), at: start)
        }
        return try take(count)
    }

    private mutating func take(_ count: Int) throws(EventStreamError) -> UnsafeRawBufferPointer {
        guard count <= end - offset else { throw EventStreamError(.headerCutOff, at: offset) }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
    }
}

/// The names that a message has already. They are compared by their bytes, which for Swift's strings is not the same:
/// `é` in one scalar and in two are equal there.
struct EventStreamNames {
    /// Up to here a look at each is the fastest; beyond, it would take quadratic time.
    private static let comparedCount = 16

    private var few: [String] = []
    private var many: Set<[UInt8]> = []

    /// Whether it was not there yet.
    mutating func insert(_ name: String) -> Bool {
        if few.count < Self.comparedCount {
            guard !few.contains(where: { $0.utf8.elementsEqual(name.utf8) }) else { return false }
            few.append(name)
            return true
        }
        if many.isEmpty { many = Set(few.map { Array($0.utf8) }) }
        return many.insert(Array(name.utf8)).inserted
    }
}

extension EventStreamValue {
    /// Bytes of the value, without type and length.
    var byteCount: Int {
        switch self {
        case .bool: 0
        case .int8: 1
        case .int16: 2
        case .int32: 4
        case .int64, .timestamp: 8
        case .bytes(let bytes): bytes.count
        case .string(let text): text.utf8.count
        case .uuid: 16
        }
    }

    /// Appends type and value; nothing, and gives false, if it is too long.
    func append(to buffer: inout [UInt8]) -> Bool {
        guard byteCount <= EventStreamMessage.maximumValueBytes else { return false }
        switch self {
        case .bool(let value): buffer.append(value ? 0 : 1)
        case .int8(let value): buffer.append(type: 2, value)
        case .int16(let value): buffer.append(type: 3, value)
        case .int32(let value): buffer.append(type: 4, value)
        case .int64(let value): buffer.append(type: 5, value)
        case .bytes(let value):
            buffer.append(type: 6, UInt16(value.count))
            buffer += value
        case .string(let value):
            buffer.append(type: 7, UInt16(value.utf8.count))
            buffer += value.utf8
        case .timestamp(let value): buffer.append(type: 8, value)
        case .uuid(let value):
            buffer.append(9)
            withUnsafeBytes(of: value.uuid) { buffer += $0 }
        }
        return true
    }
}

extension [UInt8] {
    fileprivate mutating func append(type: UInt8, _ value: some FixedWidthInteger) {
        append(type)
        Swift.withUnsafeBytes(of: value.bigEndian) { self += $0 }
    }
}

extension UnsafeRawBufferPointer {
    /// - Precondition: the number is within the bytes; optimized code does not check it.
    func bigEndian<Number: FixedWidthInteger & BitwiseCopyable>(at offset: Int) -> Number {
        Number(bigEndian: loadUnaligned(fromByteOffset: offset, as: Number.self))
    }
}

extension UnsafeMutableRawBufferPointer {
    /// - Precondition: the number is within the bytes; optimized code does not check it.
    func storeBigEndian(_ number: UInt32, at offset: Int) {
        storeBytes(of: number.bigEndian, toByteOffset: offset, as: UInt32.self)
    }
}
