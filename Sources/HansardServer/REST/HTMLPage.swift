import Crypto
import Foundation
import Web

extension HTTPResponse {
    /// A page that loads nothing, from here or elsewhere, and runs nothing: the one style sheet is in it, and the policy that browsers
    /// get allows that one alone (https://www.w3.org/TR/CSP3/).
    ///
    /// - Parameters:
    ///   - title: plain text.
    ///   - body: HTML, of which whatever came from elsewhere was escaped.
    static func page(_ title: String, style: String, body: String) -> HTTPResponse {
        let hash = Data(SHA256.hash(Array(style.utf8))).base64EncodedString()
        let page = """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <title>\(HTML.escaped(title))</title><style>\(style)</style></head><body>
            \(body)
            </body></html>

            """
        return HTTPResponse(
            status: 200,
            headers: [
                "Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy":
                    "default-src 'none'; style-src 'sha256-\(hash)'; base-uri 'none'; form-action 'none'; "
                    + "frame-ancestors 'none'",
            ], body: Array(page.utf8))
    }
}

/// Text for a page: whatever comes from elsewhere goes through `escaped`.
enum HTML {
    /// Text and attribute values in double quotes.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// One line with Markdown's `code` and **bold**.
    static func inline(_ text: String) -> String {
        let pieces = text.split(separator: "`", omittingEmptySubsequences: false)
        // An odd number of ticks: the last one is one.
        guard pieces.count % 2 == 1 else { return escaped(text) }
        return pieces.enumerated().map { index, piece in
            index % 2 == 1 ? "<code>\(escaped(String(piece)))</code>" : bold(String(piece))
        }.joined()
    }

    private static func bold(_ text: String) -> String {
        let pieces = text.components(separatedBy: "**")
        guard pieces.count % 2 == 1 else { return escaped(text) }
        return pieces.enumerated().map { index, piece in
            index % 2 == 1 ? "<b>\(escaped(piece))</b>" : escaped(piece)
        }.joined()
    }

    /// Paragraphs, and lists whose items begin with `- `.
    static func prose(_ text: String) -> String {
        text.components(separatedBy: "\n\n").map { block in
            let block = block.trimmingCharacters(in: .whitespacesAndNewlines)
            guard block.hasPrefix("- ") else { return block.isEmpty ? "" : "<p>\(inline(block))</p>" }
            let items = ("\n" + block).components(separatedBy: "\n- ").dropFirst()
            return "<ul>" + items.map { "<li>\(inline($0))" }.joined() + "</ul>"
        }.joined(separator: "\n")
    }
}
