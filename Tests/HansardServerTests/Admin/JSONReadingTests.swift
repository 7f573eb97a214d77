import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Bodies are JSON, and whatever is only nearly so is refused with its place.
@Suite struct JSONReadingTests {
    private func value(_ text: String) throws -> JSONValue { try JSONReading.value(Array(text.utf8)) }

    private func refusal(_ bytes: [UInt8]) -> HansardError? {
        do throws(HansardError) {
            _ = try JSONReading.value(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func whatIsJSONIsRead() throws {
        let text = #"""
             {"a": [1, -0, 1.5, 1E2, -9223372036854775808, 9223372036854775808, true, false, null, [], {}],
            "\u0041\/\"\\\b\f\n\r\t": "é\u00e9𝄞\ud834\udd1e", "": {"b": " "}}
            """#
        #expect(
            try value(text)
                == .object([
                    "a": .array([
                        .integer(1), .integer(0), .number(1.5), .number(100), .integer(.min),
                        .number(9_223_372_036_854_775_808), .bool(true), .bool(false), .null, .array([]), .object([:]),
                    ]),
                    "A/\"\\\u{8}\u{c}\n\r\t": .string("éé𝄞𝄞"), "": .object(["b": .string(" ")]),
                ]))
        for text in ["null", " true\n", "0", "\"\"", "\t[]\r\n"] { _ = try value(text) }
    }

    @Test(arguments: [
        // Trailing commas and commas too many.
        (#"{"a":1,}"#, ""), (#"{"a":[1,]}"#, "/a/1"), ("[,1]", "/0"), ("[1,,2]", "/1"), (#"{,}"#, ""), ("[1 2]", "/0"),
        (#"{"a":1 "b":2}"#, "/a"),
        // Comments.
        (#"{"a":1}//"#, ""), (#"{"a":/**/1}"#, "/a"), ("#\n1", ""), (#"{/*"*/"a":1}"#, ""),
        // Names that come twice, also when they are composed otherwise.
        (#"{"a":1,"a":2}"#, "/a"), (#"{"x":{"a":1,"\u0061":2}}"#, "/x/a"), (#"[{"é":1,"e\u0301":2}]"#, "/0/e\u{301}"),
        // Numbers.
        ("NaN", ""), ("-NaN", ""), ("[Infinity]", "/0"), ("-Infinity", ""), ("+1", ""), ("01", ""), ("-", ""),
        ("1.", ""),
        (".5", ""), ("1e", ""), ("1e+", ""), ("0x10", ""), ("1_000", ""), ("1e400", ""), ("-1e400", ""),
        ("1" + String(repeating: "0", count: 64), ""),
        // Strings and names.
        ("'a'", ""), (#"{a:1}"#, ""), (#"{1:1}"#, ""), (#"{"a""#, "/a"), (#"{"a":"b"#, "/a"), (#""\x41""#, ""),
        (#""\u12""#, ""), (#""\u12G4""#, ""), (#""\u+123""#, ""), ("\"\n\"", ""), ("\"\u{0}\"", ""), ("\"\\", ""),
        // Halves of characters.
        (#"["\ud800"]"#, "/0"), (#""\udc00""#, ""), (#""\ud800\ud800""#, ""), (#""\ud800x""#, ""), (#""\ud800\n""#, ""),
        (#"{"\udfff":1}"#, ""),
        // Other things.
        ("", ""), (" ", ""), ("nul", ""), ("True", ""), ("undefined", ""), ("{}{}", ""), ("[]]", ""),
        ("\u{feff}{}", ""),
        ("{} \u{0}", ""), ("\u{a0}{}", ""), (#"{"a":}"#, "/a"), (#"{"a/b~c":[0,{"d":x}]}"#, "/a~1b~0c/1/d"),
    ])
    func whatIsNotIsRefusedWithItsPlace(_ text: String, _ pointer: String) {
        let error = refusal(Array(text.utf8))
        #expect(error?.code == .invalid, "\(text)")
        #expect(error?.field == pointer, "\(text)")
        #expect(error?.message.contains("byte ") == true)
    }

    @Test func bytesThatAreNoUTF8AreRefused() {
        for bytes: [UInt8] in [[0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82]] {
            #expect(refusal(Array("{\"a\":\"".utf8) + bytes + Array("\"}".utf8))?.field == "/a")
            #expect(refusal(bytes) != nil)
        }
    }

    @Test func depthHasALimit() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        #expect(refusal(nested(JSONReading.maximumDepth)) == nil)
        let error = refusal(nested(JSONReading.maximumDepth + 1))
        #expect(error?.field == String(repeating: "/0", count: JSONReading.maximumDepth))
        #expect(error?.message.contains("\(JSONReading.maximumDepth) deep") == true)
        #expect(refusal([UInt8](repeating: UInt8(ascii: "["), count: 1 << 20)) != nil)
        #expect(refusal(Array(String(repeating: #"{"a":"#, count: 100_000).utf8)) != nil)
    }

    // MARK: Against Foundation's reader

    private static let rounds =
        ProcessInfo.processInfo.environment["HANSARD_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 20_000

    /// What Foundation reads of it; numbers as doubles, since Foundation does not say how they were written.
    private static func reference(_ bytes: [UInt8]) -> NSObject? {
        let options: JSONSerialization.ReadingOptions = [.fragmentsAllowed]
        return (try? JSONSerialization.jsonObject(with: Data(bytes), options: options)) as? NSObject
    }

    private static func plain(_ value: JSONValue) -> NSObject {
        switch value {
        case .null: NSNull()
        case .bool(let value): NSNumber(value: value)
        case .integer(let value): NSNumber(value: value)
        case .number(let value): NSNumber(value: value)
        case .string(let value): NSString(string: value)
        case .array(let values): NSArray(array: values.map(plain))
        case .object(let fields): NSDictionary(dictionary: fields.mapValues(plain))
        }
    }

    /// Pieces of which most joins are nearly JSON.
    private static let pieces: [[UInt8]] =
        [
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"b\":", "\"\\u0041\"", "\\ud83d", "\\ude00", "1", "-",
            "0", ".5",
            "e9", "true", "false", "null", " ", "\n", "/", "'", "NaN", "é", "{\"a\":[1,{\"b\":\"c\"}]}",
        ].map { Array($0.utf8) } + [[0], [0xFF], [0xC3], [0xED, 0xA0, 0x80]]

    /// Whatever comes is read or refused, and what is read is what another strict reader reads.
    @Test func anythingIsReadAsFoundationReadsItOrRefused() {
        var random = SeededGenerator(seed: 20_261_129)
        let sample = Array(
            #"{"name":"Acmé","metadata":{"a":"\u00e9\ud83d\ude00","b":""},"list":[1,-2.5e3,true,null,["x",{}]],"n":10}"#
                .utf8)
        var read = 0
        for round in 0..<Self.rounds {
            var bytes = round.isMultiple(of: 2) ? sample : []
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0...bytes.count, using: &random)
                let end = min(bytes.count, place + Int.random(in: 0...3, using: &random))
                let piece = Self.pieces[Int.random(in: 0..<Self.pieces.count, using: &random)]
                bytes.replaceSubrange(place..<end, with: piece)
            }
            guard let value = try? JSONReading.value(bytes) else { continue }
            read += 1
            guard Self.reference(bytes) == Self.plain(value) else {
                Issue.record("\(String(decoding: bytes, as: UTF8.self)) was read as \(value)")
                return
            }
        }
        #expect(read > Self.rounds / 50, "\(read) of \(Self.rounds) were JSON")
    }
}
