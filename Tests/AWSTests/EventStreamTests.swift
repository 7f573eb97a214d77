import Crypto
import Foundation
import Testing

@testable import AWS

@Suite struct CRC32Tests {
    private func checksum(_ text: String) -> UInt32 { Array(text.utf8).withUnsafeBytes { CRC32.checksum($0) } }

    @Test func knownChecksums() {
        #expect(checksum("") == 0)
        #expect(checksum("a") == 0xE8B7_BE43)
        #expect(checksum("123456789") == 0xCBF4_3926)
        #expect(checksum("The quick brown fox jumps over the lazy dog") == 0x414F_A339)
    }

    @Test func piecesGiveTheWhole() {
        var random = SeededGenerator(seed: 1)
        let bytes = (0..<67).map { _ in UInt8.random(in: 0...255, using: &random) }
        bytes.withUnsafeBytes { bytes in
            let whole = CRC32.checksum(bytes)
            for split in 0...bytes.count {
                let first = CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<split]))
                #expect(CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[split...]), after: first) == whole)
            }
        }
    }
}

@Suite struct EventStreamTests {
    /// Computed by an independent implementation.
    static let emptyAudio = """
        0000006800000058a9d03a230d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d0b3a\
        6576656e742d7479706507000a417564696f4576656e740d3a6d6573736167652d747970650700056576656e745cc64095
        """
    static let audioHeaders = [
        EventStreamMessage.Header(":content-type", .string("application/octet-stream")),
        EventStreamMessage.Header(":event-type", .string("AudioEvent")),
        EventStreamMessage.Header(":message-type", .string("event")),
    ]
    static let everyType = EventStreamMessage(
        headers: [
            .init("true", .bool(true)), .init("false", .bool(false)), .init("i8", .int8(-128)),
            .init("i16", .int16(-2)), .init("i32", .int32(.max)), .init("i64", .int64(.min)),
            .init("bytes", .bytes([0, 255])), .init("nothing", .bytes([])), .init("text", .string("ä🎙️\0")),
            .init("time", .timestamp(milliseconds: 1_440_938_160_000)),
            .init("id", .uuid(UUID(uuid: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))),
        ], payload: [1, 2, 3])

    private func problem(_ bytes: [UInt8]) -> EventStreamError? {
        do throws(EventStreamError) {
            _ = try EventStreamMessage(decoding: bytes)
            return nil
        } catch {
            return error
        }
    }

    /// A message around these header bytes, with right lengths and checksums.
    static func sealed(headers: [UInt8], payload: [UInt8] = []) -> [UInt8] {
        var bytes = Array(repeating: UInt8(0), count: EventStreamMessage.preludeBytes) + headers + payload
        EventStreamMessage.seal(&bytes, from: 0, headersCount: headers.count)
        return bytes
    }

    @Test func audioIsWrittenAsTheVectors() throws {
        var buffer: [UInt8] = []
        TranscribeAudio.appendEnd(to: &buffer)
        #expect(buffer.hexadecimal == Self.emptyAudio)
        [UInt8](arrayLiteral: 1, 2, 3, 4).withUnsafeBytes { TranscribeAudio.append($0, to: &buffer) }
        let headers = Self.emptyAudio.dropFirst(24).dropLast(8)
        #expect(Array(buffer[104...]).hexadecimal == "0000006c000000585c509ce3\(headers)01020304744c824a")
        #expect(buffer.count == 2 * TranscribeAudio.overheadBytes + 4)
        for (payload, bytes) in [([], buffer[..<104]), ([1, 2, 3, 4], buffer[104...])] as [([UInt8], ArraySlice)] {
            let message = EventStreamMessage(headers: Self.audioHeaders, payload: payload)
            #expect(try message.encoded() == Array(bytes))
            #expect(try EventStreamMessage(decoding: Array(bytes)) == message)
        }
    }

    @Test func audioIntoABufferWithRoomMovesNothing() {
        let audio = [UInt8](repeating: 7, count: 3_200)
        var buffer: [UInt8] = []
        buffer.reserveCapacity(TranscribeAudio.overheadBytes + audio.count)
        let place = buffer.withUnsafeBytes { $0.baseAddress }
        for _ in 0..<3 {
            buffer.removeAll(keepingCapacity: true)
            audio.withUnsafeBytes { TranscribeAudio.append($0, to: &buffer) }
            #expect(buffer.withUnsafeBytes { $0.baseAddress } == place)
        }
    }

    @Test func everyTypeOfValue() throws {
        let bytes = try Self.everyType.encoded()
        #expect(try EventStreamMessage(decoding: bytes) == Self.everyType)
        #expect(Self.everyType["i16"] == .int16(-2) && Self.everyType["gone"] == nil)
        let text = bytes.hexadecimal
        for part in [
            "047472756500", "0566616c736501", "0269380280", "0369313603fffe", "03693332047fffffff",
            "03693634058000000000000000", "0562797465730600" + "0200ff", "076e6f7468696e67060000",
            "0474696d65080000014f7e9b6f80", "0269640901020304" + "05060708090a0b0c0d0e0f10",
        ] { #expect(text.contains(part), "\(part)") }
        #expect(try EventStreamMessage(decoding: EventStreamMessage().encoded()) == EventStreamMessage())
    }

    @Test func messagesAreAppended() throws {
        var buffer: [UInt8] = [9]
        try Self.everyType.encode(into: &buffer)
        let first = buffer.count
        try EventStreamMessage(payload: [5]).encode(into: &buffer)
        #expect(buffer[0] == 9)
        #expect(try Array(buffer[1..<first]) == Self.everyType.encoded())
        #expect(try EventStreamMessage(decoding: Array(buffer[first...])).payload == [5])
    }

    @Test func whatIsAgainstALimitIsNotWritten() throws {
        let header = EventStreamMessage.Header("a", .bool(true))
        let long = String(repeating: "x", count: EventStreamMessage.maximumValueBytes)
        let tooMany = (0..<5).map { EventStreamMessage.Header("h\($0)", .string(long)) }
        let cases: [(EventStreamMessage, EventStreamError)] = [
            (.init(headers: [.init("", .bool(true))]), .init(.emptyName, at: 12)),
            (.init(headers: [header, .init("a", .int8(1))]), .init(.duplicateName("a"), at: 15)),
            (
                .init(headers: [.init(String(repeating: "é", count: 128), .bool(true))]),
                .init(.nameTooLong(256), at: 12)
            ),
            (.init(headers: [.init("a", .string(long + "x"))]), .init(.valueTooLong(32_768), at: 14)),
            (
                .init(headers: [.init("a", .bytes(Array(repeating: 0, count: 40_000)))]),
                .init(.valueTooLong(40_000), at: 14)
            ),
            (.init(headers: tooMany), .init(.headersTooLong(4 * (32_767 + 6)), at: 4)),
            (
                .init(payload: Array(repeating: 0, count: EventStreamMessage.maximumPayloadBytes + 1)),
                .init(.payloadTooLong(16_777_217), at: 12)
            ),
        ]
        for (message, error) in cases {
            var buffer: [UInt8] = [1, 2]
            #expect(throws: error) { try message.encode(into: &buffer) }
            #expect(buffer == [1, 2])
        }
        #expect(
            try EventStreamMessage(headers: [.init("a", .string(long))]).encoded().count == 16 + 5 + long.utf8.count)
        #expect(
            try EventStreamMessage(headers: [.init(String(repeating: "x", count: 255), .bool(true))]).encoded().count
                == 273)
        // The same letters in other scalars are another name.
        let accents = EventStreamMessage(headers: [.init("\u{e9}", .bool(true)), .init("e\u{301}", .bool(false))])
        #expect(try EventStreamMessage(decoding: accents.encoded()).headers.count == 2)
    }

    @Test func whatIsWrongIsSaid() throws {
        let good = try Self.everyType.encoded()
        #expect(problem([]) == .init(.tooShort(0), at: 0))
        #expect(problem(Array(good[..<15])) == .init(.tooShort(15), at: 0))
        #expect(
            problem(Array(good[..<(good.count / 2)]))
                == .init(.totalLength(declared: good.count, actual: good.count / 2), at: 0))
        #expect(problem(good + [0]) == .init(.totalLength(declared: good.count, actual: good.count + 1), at: 0))
        // Each bit counts.
        for index in good.indices {
            var bytes = good
            bytes[index] ^= 1 << UInt8(index % 8)
            switch problem(bytes)?.problem {
            case .preludeChecksum: #expect(index < 12)
            case .messageChecksum: #expect(index >= 12)
            case let other: Issue.record("byte \(index): \(String(describing: other))")
            }
        }
        var bytes = good
        bytes[0] = 1
        #expect(
            problem(bytes)?.description.hasPrefix("event-stream message, byte 8: the prelude's checksum is ") == true)
    }

    @Test(
        arguments: [
            ([0], EventStreamError(.emptyName, at: 12)),
            ([1], EventStreamError(.headerCutOff, at: 13)),
            ([2, 0x61], EventStreamError(.headerCutOff, at: 13)),
            ([1, 0xFF, 0], EventStreamError(.nameNotUTF8, at: 13)),
            ([1, 0x61], EventStreamError(.headerCutOff, at: 14)),
            ([1, 0x61, 10], EventStreamError(.unknownType(10), at: 14)),
            ([1, 0x61, 255], EventStreamError(.unknownType(255), at: 14)),
            ([1, 0x61, 2], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 3, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 4, 0, 0, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 5, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 6, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 6, 0, 2, 0], EventStreamError(.headerCutOff, at: 17)),
            ([1, 0x61, 7, 0x80, 0], EventStreamError(.valueTooLong(32_768), at: 15)),
            ([1, 0x61, 7, 0, 1, 0x80], EventStreamError(.valueNotUTF8, at: 17)),
            ([1, 0x61, 8, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 9, 0], EventStreamError(.headerCutOff, at: 15)),
            ([1, 0x61, 0, 1, 0x61, 1], EventStreamError(.duplicateName("a"), at: 15)),
        ] as [([UInt8], EventStreamError)])
    func wrongHeaders(headers: [UInt8], error: EventStreamError) {
        // The payload would complete what is cut off, if it were read.
        #expect(problem(Self.sealed(headers: headers, payload: Array(repeating: 0, count: 64))) == error)
        #expect(problem(Self.sealed(headers: headers)) == error)
        #expect(!error.description.isEmpty)
    }

    @Test func lengthsThatCannotBe() {
        func bytes(_ lengths: [UInt32], _ count: Int) -> [UInt8] {
            var bytes = lengths.flatMap { length in withUnsafeBytes(of: length.bigEndian) { Array($0) } }
            let prelude = bytes.withUnsafeBytes { CRC32.checksum($0) }
            withUnsafeBytes(of: prelude.bigEndian) { bytes += $0 }
            bytes += Array(repeating: 0, count: count - 16)
            let checksum = bytes.withUnsafeBytes { CRC32.checksum($0) }
            withUnsafeBytes(of: checksum.bigEndian) { bytes += $0 }
            return bytes
        }
        #expect(problem(bytes([16, 0], 16)) == nil)
        #expect(problem(bytes([16, 1], 16)) == .init(.headersBeyondMessage(1), at: 4))
        #expect(problem(bytes([.max, 0], 16)) == .init(.totalLength(declared: 4_294_967_295, actual: 16), at: 0))
        #expect(problem(bytes([0, 0], 16)) == .init(.totalLength(declared: 0, actual: 16), at: 0))
        #expect(problem(bytes([20, .max], 20)) == .init(.headersTooLong(4_294_967_295), at: 4))
        #expect(problem(bytes([131_100, 131_073], 131_100)) == .init(.headersTooLong(131_073), at: 4))
        let large = EventStreamMessage.maximumPayloadBytes
        #expect(problem(bytes([UInt32(large) + 16, 0], large + 16)) == nil)
        #expect(problem(bytes([UInt32(large) + 17, 0], large + 17)) == .init(.payloadTooLong(large + 1), at: 12))
    }

    @Test(.timeLimit(.minutes(10))) func manySmallHeadersTakeLittleTime() throws {
        let headers = (0..<20_000).map { EventStreamMessage.Header(String($0, radix: 36), .bool(true)) }
        let bytes = try EventStreamMessage(headers: headers).encoded()
        #expect(try EventStreamMessage(decoding: bytes).headers.count == headers.count)
        let twice = Self.sealed(headers: Array(bytes[12..<(bytes.count - 4)]) + [1, UInt8(ascii: "z"), 0])
        #expect(problem(twice) == .init(.duplicateName("z"), at: bytes.count - 4))
    }
}
