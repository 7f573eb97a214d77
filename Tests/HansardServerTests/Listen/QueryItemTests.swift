import Foundation
import Hansard
import Testing

@testable import HansardServer

/// `application/x-www-form-urlencoded` (WHATWG URL standard), as far as a query string needs it.
@Suite struct QueryItemTests {
    @Test(arguments: [
        ("", []), ("&&", []), ("a", [("a", "")]), ("a=", [("a", "")]), ("=b", [("", "b")]), ("a=b=c", [("a", "b=c")]),
        ("a=b&c=d&a=e", [("a", "b"), ("c", "d"), ("a", "e")]), ("keyterm=a+b%20c", [("keyterm", "a b c")]),
        ("a%26b=%3D%2B", [("a&b", "=+")]), ("a=%c3%A9", [("a", "é")]), ("a=%", [("a", "%")]), ("a=%4", [("a", "%4")]),
        ("a=%zz%41", [("a", "%zzA")]), ("a=%41", [("a", "A")]), ("é=ü", [("é", "ü")]),
    ])
    func isRead(_ query: String, _ expected: [(String, String)]) {
        #expect(QueryItem.parse(query) == expected.map { QueryItem(name: $0.0, value: $0.1) })
    }

    /// What Postgres cannot hold, and what would be read as something else, is known as such: NUL and all that is no UTF-8,
    /// overlong forms, surrogates and what is beyond Unicode among it.
    @Test(arguments: [
        ("a=%00", "a", "\0"), ("a=b%00c", "a", "b\0c"), ("%00=1", "\0", "1"), ("a=%ff", "a", "\u{FFFD}"),
        ("a=%C0%80", "a", "\u{FFFD}\u{FFFD}"), ("%ff", "\u{FFFD}", ""), ("a=%C3", "a", "\u{FFFD}"),
        ("a=%ED%A0%80", "a", "\u{FFFD}\u{FFFD}\u{FFFD}"), ("a=%C3%", "a", "\u{FFFD}%"),
        ("a=%F4%90%80%80", "a", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
    ])
    func whatIsNoTextIsKnown(_ query: String, _ name: String, _ value: String) {
        #expect(QueryItem.parse(query) == [QueryItem(name: name, value: value, isText: false)])
        #expect(throws: HansardError.self) { try QueryItem.requireText("b=1&" + query) }
    }

    /// What is encoded in the strictest way reads back the same, whatever it was.
    @Test(arguments: 0..<10) func encodedTextComesBack(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let items = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                let (name, value) = (Self.text(using: &random), Self.text(using: &random))
                return QueryItem(name: name, value: value, isText: !(name + value).contains("\0"))
            }
            let query = items.map { Self.encoded($0.name) + "=" + Self.encoded($0.value) }.joined(separator: "&")
            #expect(QueryItem.parse(query) == items)
        }
    }

    /// Bytes that are no encoding of anything are read all the same, one item between each two `&`.
    @Test(arguments: 0..<10) func anythingIsRead(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("%+=&;aF09zé\0".utf8)
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
            let query = String(decoding: bytes, as: UTF8.self)
            #expect(QueryItem.parse(query).count == query.split(separator: "&").count)
        }
    }

    /// Whatever bytes are escaped: an item is text exactly if they are UTF-8 without NUL, and a refusal names it.
    @Test(arguments: 0..<10) func anyBytesAreTextOrRefusedByName(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let pieces: [[UInt8]] = [
            [0], [0x41], [0x25], [0x2B], [0x7F], [0x80], [0xC0, 0x80], [0xC3, 0xA9], [0xC3], [0xE2, 0x80, 0xA8],
            [0xED, 0xA0, 0x80], [0xF0, 0x9F, 0x98, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xFF], [0xEF, 0xBB, 0xBF],
        ]
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0...4, using: &random)).flatMap { _ in
                pieces.randomElement(using: &random) ?? []
            }
            let isText = !bytes.contains(0) && String(validating: bytes, as: UTF8.self) != nil
            let query = "first=1&name=" + Self.escaped(bytes) + "&last="
            #expect(QueryItem.parse(query).map(\.isText) == [true, isText, true], "\(query)")
            do throws(HansardError) {
                try QueryItem.requireText(query)
                #expect(isText, "\(query)")
            } catch {
                #expect(!isText && error.code == .invalid && error.field == "name", "\(query)")
            }
        }
    }

    private static func text(using random: inout SeededGenerator) -> String {
        let scalars: [Unicode.Scalar] = [
            "a", "&", "=", "+", "%", " ", "é", "\0", "\u{2028}", "😀", "\"", "\\", "4", "1",
        ]
        return (0..<Int.random(in: 0...6, using: &random)).reduce(into: "") { text, _ in
            text.unicodeScalars.append(scalars.randomElement(using: &random) ?? "a")
        }
    }

    private static func encoded(_ text: String) -> String { escaped(Array(text.utf8)) }

    private static func escaped(_ bytes: [UInt8]) -> String {
        bytes.map { byte in
            let digits = String(byte, radix: 16)
            return "%" + (digits.count == 1 ? "0" : "") + digits
        }.joined()
    }
}
