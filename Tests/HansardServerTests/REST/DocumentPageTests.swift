import Crypto
import Foundation
import Testing
import Web

@testable import HansardServer

/// The document as a page for people.
@Suite struct DocumentPageTests {
    private func page(_ yaml: String) throws -> String { try DocumentPage.response(Array(yaml.utf8)).text }

    @Test func everyOperationAndSchemaOfOurDocumentIsOnThePage() throws {
        let yaml = try OpenAPITests.text()
        let page = try page(yaml)
        let operations = yaml.matches(of: /\n      operationId: (\w+)\n      (?:summary|x-)/).map { String($0.1) }
        #expect(operations.count > 30)
        for operation in operations { #expect(page.contains("<details id=\"\(operation)\">"), "\(operation)") }
        for schema in ["Problem", "Tenant", "KeyWithSecret", "Transcript"] {
            #expect(page.contains("<details id=\"of-\(schema)\">"), "\(schema)")
        }
    }

    @Test func everyLinkOfThePageLeadsSomewhere() throws {
        let page = try page(try OpenAPITests.text())
        let links = page.matches(of: /href="#([^"]+)"/).map { String($0.1) }
        #expect(links.count > 100)
        for link in Set(links) { #expect(page.contains("id=\"\(link)\""), "\(link)") }
    }

    @Test func everyElementIsClosed() throws {
        let page = try page(try OpenAPITests.text())
        for element in ["details", "summary", "table", "ul", "pre", "code", "h2", "h3", "p", "div", "b", "a"] {
            let opened = page.matches(of: try Regex("<\(element)[ >]")).count
            let closed = page.components(separatedBy: "</\(element)>").count - 1
            #expect(opened == closed, "\(element)")
        }
    }

    /// A page that browsers let load nothing, but for its own style sheet.
    @Test func nothingIsLoaded() throws {
        let response = try DocumentPage.response(Array(try OpenAPITests.text().utf8))
        let hash = Data(SHA256.hash(Array(DocumentPage.style.utf8))).base64EncodedString()
        #expect(
            response.headers["content-security-policy"]
                == "default-src 'none'; style-src 'sha256-\(hash)'; base-uri 'none'; form-action 'none'; "
                + "frame-ancestors 'none'")
        #expect(response.text.contains("<style>\(DocumentPage.style)</style>"), "the hash is of these very bytes")
        #expect(response.headers["content-type"] == "text/html; charset=utf-8")
        for word in ["<script", "<link", "<img", "src=", "@import", "url(", "style=\"", "onclick"] {
            #expect(!response.text.contains(word), "\(word)")
        }
    }

    /// Wherever the document has text, the page has text.
    @Test func nothingOfTheDocumentIsMarkup() throws {
        let evil = #"<script>alert("1")</script>'&"#
        let quoted = "'" + evil.replacing("'", with: "''") + "'"
        let page = try page(
            """
            openapi: 3.1.0
            info: { title: \(quoted), version: \(quoted), summary: \(quoted), description: \(quoted) }
            tags: [{ name: \(quoted), description: \(quoted) }]
            paths:
              \(quoted):
                post:
                  tags: [\(quoted)]
                  operationId: \(quoted)
                  summary: \(quoted)
                  description: \(quoted)
                  x-roles: [\(quoted)]
                  parameters: [{ name: \(quoted), in: \(quoted), description: \(quoted), schema: { pattern: \(quoted) } }]
                  requestBody: { content: { \(quoted): { schema: { $ref: \(quoted) }, example: { \(quoted): \(quoted) } } } }
                  responses:
                    \(quoted):
                      description: \(quoted)
                      headers: { \(quoted): { description: \(quoted) } }
                      content: { \(quoted): { examples: { one: { summary: \(quoted), value: \(quoted) } } } }
            components:
              securitySchemes: { \(quoted): { description: \(quoted) } }
              responses: { \(quoted): { description: \(quoted) } }
              schemas:
                \(quoted):
                  description: \(quoted)
                  properties:
                    \(quoted): { type: \(quoted), enum: [\(quoted)], format: \(quoted), default: \(quoted) }
            """)
        #expect(!page.contains("<script"))
        #expect(!page.contains(evil))
        #expect(page.components(separatedBy: "&lt;script&gt;").count > 25)
    }

    @Test func proseMayHaveCodeBoldTextAndLists() {
        #expect(
            HTML.prose("One `a<b`\ntwo.\n\n- x **y**\n- `z`")
                == "<p>One <code>a&lt;b</code>\ntwo.</p>\n<ul><li>x <b>y</b><li><code>z</code></ul>")
        #expect(HTML.inline("a ` b ** c") == "a ` b ** c")
    }

    @Test func examplesAreJSON() throws {
        let page = try page(
            """
            tags: [{ name: a }]
            paths:
              /a:
                get:
                  tags: [a]
                  responses:
                    "200":
                      description: x
                      content:
                        application/json:
                          example: { text: "5", number: 5, nothing: null, yes: true, list: [1.5, a/b], none: {}, few: [] }
            """)
        let json = try #require(page.firstMatch(of: /<pre>([^<]*)<\/pre>/)).1.replacing("&quot;", with: "\"")
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? NSDictionary)
        let expected: NSDictionary = [
            "text": "5", "number": 5, "nothing": NSNull(), "yes": true, "list": [1.5, "a/b"],
            "none": [:] as NSDictionary, "few": [] as NSArray,
        ]
        #expect(parsed == expected)
    }

    @Test func withoutADocumentThereIsNoPage() {
        #expect(throws: (any Error).self) { try DocumentPage.response([]) }
    }
}
