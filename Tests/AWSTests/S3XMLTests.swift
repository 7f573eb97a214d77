import Testing

@testable import AWS

@Suite struct S3XMLTests {
    private func parse(_ text: String) throws(S3XMLError) -> S3Element { try S3XMLParser.parse(Array(text.utf8)) }

    @Test func aDocumentIsATree() throws {
        let document = try parse(
            """
            <?xml version="1.0" encoding="UTF-8"?>
            <!-- a > comment -->
            <List xmlns="http://s3.amazonaws.com/doc/2006-03-01/" a = 'x>"y' >
              <Key>a&amp;b &lt;&gt;&quot;&apos; &#233;&#x1F600;</Key >
              <Empty/><Empty2 /><Data><![CDATA[<&]] >]]>!</Data><Mixed>a<b/>c<!-- x -->d</Mixed>
              <N:a.b-c_1>1</N:a.b-c_1>
            </List>
            """)
        #expect(document.name == "List")
        #expect(document.children.map(\.name) == ["Key", "Empty", "Empty2", "Data", "Mixed", "N:a.b-c_1"])
        #expect(document.text(of: "Key") == "a&b <>\"' é😀")
        #expect(document.text(of: "Empty") == "")
        #expect(document.text(of: "Data") == "<&]] >!")
        #expect(document.text(of: "Mixed") == "acd")
        #expect(document.text(of: "Absent") == nil)
    }

    @Test(arguments: ["<a/>", " \n<a></a>\n", "\u{FEFF}<a/>", "  <?xml version='1.0'?><a/><!-- end -->"])
    func smallDocumentsAreRead(text: String) throws {
        #expect(try parse(text) == S3Element(name: "a"))
    }

    @Test(arguments: [
        "", " ", "text", "<", "<a", "<a>", "<a><b></a></b>", "<a></b>", "<a/><b/>", "<a/>text", "</a>", "<a></a",
        "<1/>", "< a/>", "<a b/>", "<a b=c/>", "<a b='x'c='y'/>", "<a b='<'/>", "<a b='/>", "<a>&nbsp;</a>", "<a>&</a>",
        "<a>&#0;</a>", "<a>&#xD800;</a>", "<a>&#x110000;</a>", "<a>&#-5;</a>", "<a>&#+5;</a>", "<a>&#;</a>",
        "<a>\u{1}</a>", "<a>\u{0}</a>", "<a><![CDATA[x]]</a>", "<a><!-- x</a>", "<?xml version='1.0'", "<?php ?><a/>",
        "<a><?pi?></a>", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<a><!ELEMENT b></a>",
    ]) func whatIsNotXMLIsRefused(text: String) {
        #expect(throws: S3XMLError.self) { try parse(text) }
    }

    @Test func badUTF8IsRefused() {
        for bytes: [UInt8] in [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80]] {
            #expect(throws: S3XMLError.self) { try S3XMLParser.parse(Array("<a>".utf8) + bytes + Array("</a>".utf8)) }
        }
    }

    @Test func depthNumberAndNamesAreBounded() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "<a>", count: depth) + String(repeating: "</a>", count: depth)
        }
        _ = try parse(nested(S3XMLParser.maximumDepth))
        #expect(throws: S3XMLError.self) { try parse(nested(S3XMLParser.maximumDepth + 1)) }
        #expect(throws: S3XMLError.self) { try parse(nested(100_000)) }
        _ = try parse("<r>" + String(repeating: "<a/>", count: S3XMLParser.maximumElements - 1) + "</r>")
        #expect(throws: S3XMLError.self) {
            try parse("<r>" + String(repeating: "<a/>", count: S3XMLParser.maximumElements) + "</r>")
        }
        let name = String(repeating: "n", count: S3XMLParser.maximumNameLength)
        _ = try parse("<\(name)/>")
        #expect(throws: S3XMLError.self) { try parse("<\(name)n/>") }
    }

    /// Documents that are broken at random give a tree or an error that points into them, and never trap.
    @Test func brokenDocumentsAreErrors() throws {
        let whole = Array(S3ListingTests.document(count: 3, token: "t&amp;").utf8)
        let pieces = [
            "<", ">", "/", "&", ";", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "\"", "&#x", "</Key>", "\u{0}",
        ]
        var random = S3Random(seed: 7)
        var read = 0
        for _ in 0..<4_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...40, using: &random)))
                case 1: bytes.insert(contentsOf: pieces.randomElement(using: &random)?.utf8 ?? "".utf8, at: at)
                case 2 where at < bytes.count: bytes[at] = UInt8.random(in: 0...255, using: &random)
                default: bytes = Array(bytes[..<at])
                }
            }
            do throws(S3XMLError) {
                // What is read as a list, if it is one, must not trap either.
                let document = try S3XMLParser.parse(bytes)
                read += 1
                _ = try? S3Page(document)
            } catch {
                #expect((0...bytes.count).contains(error.offset))
                #expect(!error.reason.isEmpty)
            }
        }
        #expect(read > 20 && read < 3_800, "the faults should neither all pass nor all fail: \(read)")
    }

    @Test func anyTextSurvivesEscaping() throws {
        var random = S3Random(seed: 3)
        for _ in 0..<1_000 {
            let scalars = (0..<8).map { _ in random.scalar() }.filter { $0.value >= 0x20 }
            let text = String(String.UnicodeScalarView(scalars))
            #expect(try parse("<a>\(S3XML.escape(text))</a>").text == text)
        }
    }
}
