import Foundation
import Testing

@testable import AWS

@Suite struct JSONReaderTests {
    /// Reads one whole value.
    private func read<Value>(
        _ text: [UInt8], _ value: (inout JSONReader) throws(JSONReader.Failure) -> Value
    ) throws -> Value {
        try text.withUnsafeBytes { bytes in
            var json = JSONReader(bytes)
            let result = try value(&json)
            try json.finish()
            return result
        }
    }

    private func number(_ text: String) throws -> Double? {
        try read(Array(text.utf8)) { json throws(JSONReader.Failure) in try json.number() }
    }

    private func string(_ text: String) throws -> String? {
        try read(Array(text.utf8)) { json throws(JSONReader.Failure) in try json.string() }
    }

    private func skip(_ text: String) throws {
        try read(Array(text.utf8)) { json throws(JSONReader.Failure) in try json.skip() }
    }

    @Test func numbers() throws {
        for text in [
            "0", "-0", "1", "-1", "0.1", "1.65", "4.165", "2.4225", "0.9993", "123456789012345678", "9007199254740991",
            "9007199254740992", "9007199254740993", "0.000000000000000001", "1234567890.12345678", "1e3", "1E+3",
            "1e-3",
            "1.5e300", "2.2250738585072014e-308", "5e-324", "1e-400", "1.7976931348623157e308", "-1e308",
            "123456789012345678901234567890", "0.1234567890123456789012345",
        ] {
            let value = try number(text)
            #expect(value?.bitPattern == Double(text)?.bitPattern, "\(text)")
        }
        #expect(try number("1e309") == nil && number("-1e999999999") == nil)
        #expect(try number(String(repeating: "9", count: 400)) == nil)
        for text in [
            "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "NaN", "Infinity", "1 2", "--1", "1.e1", "1,",
        ] {
            #expect(throws: JSONReader.Failure.self, "\(text)") { try number(text) }
        }
        #expect(try number("\"1\"") == nil && number("null") == nil && number("[1]") == nil && number(" 7\n") == 7)
    }

    @Test func randomNumbersAreTheNearestDoubles() throws {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<5_000 {
            let digits = String(
                UInt64.random(in: 0...(1 << 62), using: &random) >> UInt64.random(in: 0...61, using: &random))
            let fraction = String(UInt64.random(in: 0...99_999_999, using: &random))
            let text = Bool.random(using: &random) ? digits : "\(digits).\(fraction)"
            #expect(try number(text)?.bitPattern == Double(text)?.bitPattern, "\(text)")
        }
    }

    @Test func strings() throws {
        #expect(try string(#""""#) == "")
        #expect(try string(#" "ä🎙️" "#) == "ä🎙️")
        #expect(try string(#""\"\\\/\b\f\n\r\t""#) == "\"\\/\u{8}\u{c}\n\r\t")
        #expect(try string(#""\u00e4\u00E4\uD83C\uDF99\u0000""#) == "ää🎙\0")
        // Halves of pairs.
        #expect(try string(#""\ud83c""#) == "\u{FFFD}")
        #expect(try string(#""\ud83cx""#) == "\u{FFFD}x")
        #expect(try string(#""\ud83c\u0041""#) == "\u{FFFD}A")
        #expect(try string(#""\udf99\ud83c""#) == "\u{FFFD}\u{FFFD}")
        #expect(
            try read([0x22, 0x61, 0xFF, 0x22]) { json throws(JSONReader.Failure) in try json.string() } == "a\u{FFFD}")
        #expect(try string("1") == nil && string("{}") == nil)
        for text in [
            "\"", "\"a", #""\""#, #""\x""#, #""\u""#, #""\u12""#, #""\u12g4""#, #""\u+123""#, "\"\n\"",
            #""\ud83c\u12""#,
        ] { #expect(throws: JSONReader.Failure.self, "\(text)") { try string(text) } }
    }

    @Test func whatIsSkippedIsChecked() throws {
        for text in [
            "{}", "[]", "[[],{}]", #"{"a":1,"b":[true,false,null],"c":{"d":"e"}}"#, " [ 1 , 2 ] ", "\"x\"", "-0.5e1",
        ] { try skip(text) }
        for text in [
            "", " ", "{", "[", "{]", "[}", "[1", "[1,", "[1,]", "[,1]", "[1 2]", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#,
            #"{,"a":1}"#, "{1:2}", #"{"a" 1}"#, "tru", "truex", "nul", "True", "[]]", "{}x", "'a'", "\u{FEFF}{}", "}",
        ] { #expect(throws: JSONReader.Failure.self, "\(text)") { try skip(text) } }
    }

    @Test func depthHasALimit() throws {
        func nested(_ count: Int) -> String {
            String(repeating: "[", count: count) + String(repeating: "]", count: count)
        }
        try skip(nested(JSONReader.maximumDepth))
        let error = #expect(throws: JSONReader.Failure.self) { try skip(nested(JSONReader.maximumDepth + 1)) }
        #expect(error == JSONReader.Failure(problem: "values are nested too deep", offset: JSONReader.maximumDepth))
        #expect(throws: JSONReader.Failure.self) { try skip(String(repeating: "[{\"a\":", count: 100_000)) }
        // Values beside each other are not nested.
        try skip("[" + Array(repeating: "[[]]", count: 1_000).joined(separator: ",") + "]")
    }

    @Test func membersAreFoundByName() throws {
        let text = Array(#"{"a":"x","é":"y","\u0061b":"z","abc":"u"}"#.utf8)
        let found = try read(text) { json throws(JSONReader.Failure) in
            var found: [String] = []
            guard try json.enterObject() else { return found }
            while let key = try json.nextKey() {
                switch key {
                case "a": found.append("a=\(try json.string() ?? "")")
                case "ab": found.append("ab=\(try json.string() ?? "")")
                case "é": found.append("é=\(try json.string() ?? "")")
                default: try json.skip()
                }
            }
            return found
        }
        #expect(found == ["a=x", "é=y", "ab=z"])
    }

    /// Texts that Foundation takes are taken, and what it refuses is refused.
    @Test func mutatedTextsAreJudgedAsByFoundation() throws {
        var random = SeededGenerator(seed: 6)
        let seed = Array(
            #" {"a":[1,-2.5e3,true,null,"x\n\u00e4"],"b":{"c":[],"d":{}}, "e" : false , "f":[{"g":0}]} "#.utf8)
        var refused = 0
        for _ in 0..<20_000 {
            let text = random.mutated(seed)
            // Foundation also takes other encodings than UTF-8, and a comma behind the last element.
            guard let string = String(validating: text, as: UTF8.self), !text.contains(0),
                string.firstMatch(of: #/,\s*[\]}]/#) == nil
            else { continue }
            let theirs = (try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)) != nil
            let ours = (try? read(text) { json throws(JSONReader.Failure) in try json.skip() }) != nil
            if ours != theirs {
                Issue.record("\(ours) here, \(theirs) there: \(String(decoding: text, as: UTF8.self))")
                return
            }
            if !ours { refused += 1 }
        }
        #expect(refused > 5_000)
    }
}
