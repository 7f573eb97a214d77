import Crypto
import Foundation
import Testing

@testable import AWS

/// Both directions against AWS's own package for Python.
@Suite struct EventStreamReferenceTests {
    private static let count = 3_000

    private struct Encoded: Decodable {
        /// Name in hexadecimal, type, spelling.
        var headers: [[String]]
        var payload: String
        var frame: String
    }

    private struct Decoded: Decodable {
        /// Name in hexadecimal, spelling.
        var headers: [[String]]
        var payload: String
    }

    private static func spelled(_ value: EventStreamValue) -> (type: String, text: String) {
        switch value {
        case .bool(let value): ("bool", String(value))
        case .int8(let value): ("int8", String(value))
        case .int16(let value): ("int16", String(value))
        case .int32(let value): ("int32", String(value))
        case .int64(let value): ("int64", String(value))
        case .bytes(let value): ("bytes", value.hexadecimal)
        case .string(let value): ("string", Array(value.utf8).hexadecimal)
        case .timestamp(let value): ("timestamp", String(value))
        case .uuid(let value): ("uuid", value.uuidString)
        }
    }

    private static func spelled(_ headers: [EventStreamMessage.Header]) -> [[String]] {
        headers.map { header in
            let value = spelled(header.value)
            return [Array(header.name.utf8).hexadecimal, value.type, value.text]
        }
    }

    @Test(
        .enabled(if: TranscribeReference.isNeeded, "needs .venvs/tests, which `make venv` makes"),
        .timeLimit(.minutes(10)))
    func whatItWritesIsReadAndWrittenAlike() throws {
        let lines = try TranscribeReference.lines(of: Encoded.self, ["messages", "42", String(Self.count)])
        #expect(lines.count > Self.count * 9 / 10)
        for line in lines {
            let frame = [UInt8](hexadecimal: line.frame)
            let message = try EventStreamMessage(decoding: frame)
            guard Self.spelled(message.headers) == line.headers, message.payload.hexadecimal == line.payload,
                try message.encoded() == frame
            else {
                Issue.record("differs: \(line.frame.prefix(2_000))")
                return
            }
        }
    }

    @Test(
        .enabled(if: TranscribeReference.isNeeded, "needs .venvs/tests, which `make venv` makes"),
        .timeLimit(.minutes(10)))
    func whatIsWrittenItReadsAlike() throws {
        var random = SeededGenerator(seed: 43)
        let messages = (0..<Self.count).map { _ in EventStreamMessage.random(&random) }
        let frames = try messages.map { try $0.encoded().hexadecimal }
        let lines = try TranscribeReference.lines(of: Decoded.self, ["decode"], input: frames)
        try #require(lines.count == messages.count)
        for (message, line) in zip(messages, lines) {
            // The package reads a UUID as its bytes.
            let expected = message.headers.map { header in
                let value = Self.spelled(header.value)
                let text = value.type == "uuid" ? value.text.replacing("-", with: "").lowercased() : value.text
                return [Array(header.name.utf8).hexadecimal, text]
            }
            guard line.headers == expected, line.payload == message.payload.hexadecimal else {
                Issue.record("differs: \(message)")
                return
            }
        }
    }

    @Test func everyLetterOfAFrameIsHexadecimal() {
        #expect([UInt8](hexadecimal: "00ff7Fa1") == [0, 255, 127, 161])
    }
}

extension EventStreamMessage {
    /// Any valid message, mostly small ones.
    static func random(_ random: inout SeededGenerator) -> EventStreamMessage {
        let alphabet = Array(":-aZ09ä中🎙\u{301}\0".unicodeScalars)
        func text(_ longest: Int, _ random: inout SeededGenerator) -> String {
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 0...longest, using: &random) {
                text.append(alphabet[Int.random(in: 0..<alphabet.count, using: &random)])
            }
            return String(text)
        }
        func bytes(_ longest: Int, _ random: inout SeededGenerator) -> [UInt8] {
            (0..<Int.random(in: 0...longest, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        }
        var message = EventStreamMessage(payload: bytes(40, &random))
        for index in 0..<Int.random(in: 0...5, using: &random) {
            let value: EventStreamValue =
                switch Int.random(in: 0..<9, using: &random) {
                case 0: .bool(Bool.random(using: &random))
                case 1: .int8(Int8.random(in: .min ... .max, using: &random))
                case 2: .int16(Int16.random(in: .min ... .max, using: &random))
                case 3: .int32(Int32.random(in: .min ... .max, using: &random))
                case 4: .int64(Int64.random(in: .min ... .max, using: &random))
                case 5: .bytes(bytes(20, &random))
                case 6: .string(text(20, &random))
                case 7: .timestamp(milliseconds: Int64.random(in: .min ... .max, using: &random))
                default: .uuid(UUID(uuid: bytes16(&random)))
                }
            message.headers.append(Header(text(9, &random) + String(index), value))
        }
        return message
    }

    private static func bytes16(_ random: inout SeededGenerator) -> uuid_t {
        var id: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &id) { bytes in
            for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &random) }
        }
        return id
    }
}
