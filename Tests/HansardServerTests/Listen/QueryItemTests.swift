import Foundation
import Testing

@testable import HansardServer

/// `application/x-www-form-urlencoded` (WHATWG URL standard), as far as a query string needs it.
@Suite struct QueryItemTests {
    @Test(arguments: [
        ("", []), ("&&", []), ("a", [("a", "")]), ("a=", [("a", "")]), ("=b", [("", "b")]), ("a=b=c", [("a", "b=c")]),
        ("a=b&c=d&a=e", [("a", "b"), ("c", "d"), ("a", "e")]), ("keyterm=a+b%20c", [("keyterm", "a b c")]),
        ("a%26b=%3D%2B", [("a&b", "=+")]), ("a=%c3%A9", [("a", "é")]), ("a=%", [("a", "%")]), ("a=%4", [("a", "%4")]),
        ("a=%zz%41", [("a", "%zzA")]), ("a=%41", [("a", "A")]), ("a=%ff", [("a", "\u{FFFD}")]), ("é=ü", [("é", "ü")]),
        ("a=%00", [("a", "\0")]),
    ])
    func isRead(_ query: String, _ expected: [(String, String)]) {
        #expect(QueryItem.parse(query) == expected.map { QueryItem(name: $0.0, value: $0.1) })
    }

    /// What is encoded in the strictest way reads back the same, whatever it was.
    @Test(arguments: 0..<10) func encodedTextComesBack(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let items = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                QueryItem(name: Self.text(using: &random), value: Self.text(using: &random))
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

    private static func text(using random: inout SeededGenerator) -> String {
        let scalars: [Unicode.Scalar] = [
            "a", "&", "=", "+", "%", " ", "é", "\0", "\u{2028}", "😀", "\"", "\\", "4", "1",
        ]
        return (0..<Int.random(in: 0...6, using: &random)).reduce(into: "") { text, _ in
            text.unicodeScalars.append(scalars.randomElement(using: &random) ?? "a")
        }
    }

    private static func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            let digits = String(byte, radix: 16)
            return "%" + (digits.count == 1 ? "0" : "") + digits
        }.joined()
    }
}
