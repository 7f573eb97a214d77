public import FoundationEssentials

/// The value of a header of an event-stream message.
public enum EventStreamValue: Sendable, Equatable {
    /// Types 0 (true) and 1 (false): the type is the value.
    case bool(Bool)
    /// Type 2.
    case int8(Int8)
    /// Type 3.
    case int16(Int16)
    /// Type 4.
    case int32(Int32)
    /// Type 5.
    case int64(Int64)
    /// Type 6, at most `EventStreamMessage.maximumValueBytes`.
    case bytes([UInt8])
    /// Type 7, at most `EventStreamMessage.maximumValueBytes` as UTF-8.
    case string(String)
    /// Type 8: milliseconds since 1970.
    case timestamp(milliseconds: Int64)
    /// Type 9.
    case uuid(UUID)
}

/// A message of AWS's event streams, which carry audio to Amazon Transcribe and results back.
///
///     total length u32 | headers' length u32 | CRC-32 of these 8 bytes
///     headers: name length u8 | name | type u8 | value
///     payload
///     CRC-32 of all bytes before it
///
/// All numbers are big-endian. A value without effects; any thread may use it.
/// Source: https://smithy.io/2.0/aws/amazon-eventstream.html
public struct EventStreamMessage: Sendable, Equatable {
    /// A name with its value.
    public struct Header: Sendable, Equatable {
        /// 1 ... `maximumNameBytes` bytes of UTF-8; those that begin with `:` are the protocol's own.
        public var name: String
        /// What it says.
        public var value: EventStreamValue
        /// A header.
        public init(_ name: String, _ value: EventStreamValue) {
            self.name = name
            self.value = value
        }
    }

    /// Bytes of a message beside its headers and payload.
    public static let overheadBytes = 16
    /// Bytes of the lengths and of their checksum.
    static let preludeBytes = 12
    /// Bytes of all headers.
    public static let maximumHeadersBytes = 128 << 10
    /// Bytes of a payload.
    public static let maximumPayloadBytes = 16 << 20
    /// Bytes of a header's name: its length is one byte.
    public static let maximumNameBytes = 255
    /// Bytes of a header's string or byte string.
    public static let maximumValueBytes = 32_767

    /// In their order; no two of one name.
    public var headers: [Header]
    /// At most `maximumPayloadBytes`.
    public var payload: [UInt8]

    /// A message of these parts; they are checked when it is encoded.
    public init(headers: [Header] = [], payload: [UInt8] = []) {
        self.headers = headers
        self.payload = payload
    }

    /// The value of the header of that name.
    public subscript(name: String) -> EventStreamValue? { headers.first { $0.name == name }?.value }

    // MARK: Decoding

    /// Reads exactly one message. Nothing is read beyond the given bytes, whatever they say.
    ///
    /// - Throws: what is wrong and where; both checksums and all limits are checked.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(EventStreamError) {
        let frame = try EventStreamFrame(bytes)
        headers = frame.headers
        payload = Array(bytes[frame.payload])
    }

    /// Reads exactly one message; see the other form.
    public init(decoding bytes: [UInt8]) throws(EventStreamError) {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(EventStreamError) in try EventStreamMessage(decoding: bytes) }
        }
        self = try result.get()
    }

    // MARK: Encoding

    /// The bytes of the message.
    ///
    /// - Throws: for parts that are against a limit; the offset is that in the message.
    public func encoded() throws(EventStreamError) -> [UInt8] {
        var buffer: [UInt8] = []
        try encode(into: &buffer)
        return buffer
    }

    /// Appends the bytes of the message to a buffer, which is as before if an error is thrown.
    ///
    /// - Throws: for parts that are against a limit; the offset is that in the message.
    public func encode(into buffer: inout [UInt8]) throws(EventStreamError) {
        let start = buffer.count
        do throws(EventStreamError) {
            guard payload.count <= Self.maximumPayloadBytes else {
                throw EventStreamError(.payloadTooLong(payload.count), at: Self.preludeBytes)
            }
            // Into a buffer that holds messages already, growing by exact sizes would copy them each time.
            if start == 0 { buffer.reserveCapacity(Self.overheadBytes + 64 * headers.count + payload.count) }
            buffer.append(contentsOf: repeatElement(0, count: Self.preludeBytes))
            try appendHeaders(to: &buffer, from: start)
            let headersCount = buffer.count - start - Self.preludeBytes
            buffer += payload
            Self.seal(&buffer, from: start, headersCount: headersCount)
        } catch {
            buffer.removeLast(buffer.count - start)
            throw error
        }
    }

    private func appendHeaders(to buffer: inout [UInt8], from start: Int) throws(EventStreamError) {
        var names = EventStreamNames()
        for header in headers {
            let offset = buffer.count - start
            let name = header.name.utf8
            guard !name.isEmpty else { throw EventStreamError(.emptyName, at: offset) }
            guard name.count <= Self.maximumNameBytes else {
                throw EventStreamError(.nameTooLong(name.count), at: offset)
            }
            guard names.insert(header.name) else {
                throw EventStreamError(.duplicateName(header.name), at: offset)
            }
            buffer.append(UInt8(name.count))
            buffer += name
            guard header.value.append(to: &buffer) else {
                throw EventStreamError(.valueTooLong(header.value.byteCount), at: buffer.count - start)
            }
            guard buffer.count - start - Self.preludeBytes <= Self.maximumHeadersBytes else {
                throw EventStreamError(.headersTooLong(buffer.count - start - Self.preludeBytes), at: 4)
            }
        }
    }

    /// Writes lengths and checksums of a message that begins at `start` and is complete but for them.
    static func seal(_ buffer: inout [UInt8], from start: Int, headersCount: Int) {
        let total = buffer.count - start + 4
        let checksum = buffer.withUnsafeMutableBytes { bytes in
            let message = UnsafeMutableRawBufferPointer(rebasing: bytes[start...])
            // Both are far below 2^32: the limits were checked by whoever calls this.
            message.storeBigEndian(UInt32(total), at: 0)
            message.storeBigEndian(UInt32(headersCount), at: 4)
            let prelude = CRC32.checksum(UnsafeRawBufferPointer(rebasing: message[..<8]))
            message.storeBigEndian(prelude, at: 8)
            return CRC32.checksum(UnsafeRawBufferPointer(rebasing: message[8...]), after: prelude)
        }
        withUnsafeBytes(of: checksum.bigEndian) { buffer.append(contentsOf: $0) }
    }
}
