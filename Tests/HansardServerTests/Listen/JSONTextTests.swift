import Foundation
import Hansard
import Testing

@testable import HansardServer

/// The writer's output, read back by a parser that is not ours.
@Suite struct JSONTextTests {
    static func parsed(_ bytes: [UInt8]) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    private func written(_ body: (inout JSONText) -> Void) -> String {
        var text = JSONText()
        text.object(body)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    @Test func objectsNest() throws {
        let text = written { text in
            text.field("a", true)
            text.object("b") { _ in }
            text.array("c") { text in
                text.object { $0.field("d", 1) }
                text.object { $0.field("d", -2) }
            }
            text.array("e") { _ in }
            text.field("f", 0, 20)
            text.field("g", false)
            text.field(dynamic: "h\"", "i")
        }
        #expect(text == #"{"a":true,"b":{},"c":[{"d":1},{"d":-2}],"e":[],"f":[0,20],"g":false,"h\"":"i"}"#)
    }

    @Test(arguments: [
        (0, "0.0"), (1_000, "0.001"), (499, "0.0"), (500, "0.001"), (999_500, "1.0"), (1_500_000, "1.5"),
        (12_340_000, "12.34"), (100_000_000, "100.0"), (86_400_000_000, "86400.0"), (-1_500_000, "-1.5"),
        (-1_000, "-0.001"), (9_007_199_254_740_993, "9007199254.741"), (10_010_000, "10.01"),
    ])
    func secondsAreWrittenToTheMillisecond(_ microseconds: Int64, _ expected: String) {
        #expect(written { $0.field("s", AudioTime(microseconds: microseconds)) } == "{\"s\":\(expected)}")
    }

    @Test(arguments: [
        (0.0, "0.0"), (1.0, "1.0"), (0.5, "0.5"), (0.12345, "0.1235"), (0.00004, "0.0"), (0.99999, "1.0"),
        (-3.0, "0.0"),
        (7.0, "1.0"), (Double.infinity, "1.0"), (-Double.infinity, "0.0"), (Double.nan, "0.0"),
    ])
    func confidencesStayBetweenZeroAndOne(_ confidence: Double, _ expected: String) {
        #expect(written { $0.field("c", confidence: confidence) } == "{\"c\":\(expected)}")
    }

    /// Every scalar below U+0100 and some beyond, alone and between letters.
    @Test(arguments: [
        (0, "0.0"), (1, "0.000000278"), (2, "0.000000556"), (3_600_000, "1.0"), (1_800_000, "0.5"),
        (1_200_000, "0.333333333"), (2_400_000, "0.666666667"), (3_599_999, "0.999999722"),
        (3_600_000 * 9_000_000_000 + 1, "9000000000.000000278"),
    ])
    func hoursTellMillisecondsApart(_ milliseconds: Int64, _ expected: String) {
        #expect(written { $0.field("a", hours: milliseconds) } == #"{"a":\#(expected)}"#)
    }

    @Test func nullsAndListsOfTexts() {
        #expect(
            written { text in
                text.field(dynamic: "a", orNull: nil)
                text.field(dynamic: "b", orNull: "c")
                text.field("d", ["e", "\""])
                text.field("f", [])
            } == #"{"a":null,"b":"c","d":["e","\""],"f":[]}"#)
        var alone = JSONText()
        alone.texts(["a", "b"])
        #expect(String(decoding: alone.bytes, as: UTF8.self) == #"["a","b"]"#)
    }

    @Test func everyCharacterComesBack() throws {
        let others: [Unicode.Scalar] = [
            "\u{2028}", "\u{2029}", "\u{FEFF}", "\u{FFFD}", "\u{FFFF}", "é", "语", "😀", "\u{10FFFF}",
        ]
        for scalar in (0..<0x100).compactMap(Unicode.Scalar.init) + others {
            var text = "a"
            text.unicodeScalars.append(scalar)
            text += "z"
            var json = JSONText()
            json.object { json in
                json.field("value", text)
                json.field(dynamic: text, "name")
            }
            let object = try Self.parsed(json.bytes)
            #expect(object["value"] as? String == text, "U+\(String(scalar.value, radix: 16))")
            #expect(object[text] as? String == "name", "U+\(String(scalar.value, radix: 16))")
            #expect(json.bytes.allSatisfy { $0 >= 0x20 }, "control characters are escaped")
        }
    }

    @Test func aClearedBufferBeginsAnew() {
        var text = JSONText()
        text.object { $0.field("a", 1) }
        text.clear()
        text.object { $0.field("b", 2) }
        #expect(String(decoding: text.bytes, as: UTF8.self) == #"{"b":2}"#)
    }
}
