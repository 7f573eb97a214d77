import Foundation
import Yams

/// JSON Schema in few words.
enum SchemaText {
    private static let bounds = [
        ("minimum", "at least ", ""), ("maximum", "at most ", ""), ("minLength", "at least ", " characters"),
        ("maxLength", "at most ", " characters"), ("maxItems", "at most ", " items"),
        ("maxProperties", "at most ", " names"), ("default", "by default ", ""),
    ]

    /// What a value is, as HTML.
    static func type(_ schema: Node?) -> String {
        guard let schema else { return "" }
        if let reference = schema["$ref"]?.string { return link(reference) }
        var words: [String] = []
        if let type = schema["type"] {
            words.append(HTML.escaped(type.string ?? type.array().compactMap(\.text).joined(separator: " or ")))
        }
        if let items = schema["items"] { words.append("of " + self.type(items)) }
        if let values = schema["enum"]?.array() ?? schema["const"].map({ [$0] }) {
            words.append(values.map { "<code>\(HTML.escaped($0.text ?? ""))</code>" }.joined(separator: ", "))
        }
        for list in ["oneOf", "allOf"] {
            let choices = (schema[list]?.array() ?? []).filter { $0["required"] == nil }.map { self.type($0) }
            if !choices.isEmpty { words.append(choices.joined(separator: list == "oneOf" ? " or " : " and ")) }
        }
        if let format = schema["format"]?.string { words.append("(\(HTML.escaped(format)))") }
        if let pattern = schema["pattern"]?.string { words.append("<code>\(HTML.escaped(pattern))</code>") }
        for (name, before, after) in bounds {
            if let value = schema[name]?.text { words.append(HTML.escaped(before + value + after)) }
        }
        return words.joined(separator: " ")
    }

    /// Its fields, if it has any.
    static func table(_ schema: Node?) -> String {
        let fields = schema?["properties"]?.pairs ?? []
        guard !fields.isEmpty else { return "" }
        let required = Set((schema?["required"]?.array() ?? []).compactMap(\.string))
        let rows = fields.map { name, field in
            "<tr><td><code>\(HTML.escaped(name))</code><td>\(required.contains(name) ? "required" : "")"
                + "<td>\(type(field))\(table(field))<td>\(description(field))"
        }
        return "<table>\(rows.joined())</table>"
    }

    /// What it says of itself, and what it is.
    static func description(_ schema: Node) -> String { HTML.prose(schema["description"]?.string ?? "") }

    /// To where the page has what a reference names.
    static func link(_ reference: String) -> String {
        let name = reference.split(separator: "/").last.map(String.init) ?? reference
        return "<a href=\"#\(HTML.escaped(DocumentPage.anchor(name)))\">\(HTML.escaped(name))</a>"
    }
}

/// An example of the document as the JSON that is sent.
enum JSONExample {
    static func text(_ node: Node, indent: String = "") -> String {
        let inner = indent + "  "
        switch node {
        case .mapping:
            let fields = node.pairs.map { "\(inner)\(quoted($0)): \(text($1, indent: inner))" }
            return fields.isEmpty ? "{}" : "{\n" + fields.joined(separator: ",\n") + "\n\(indent)}"
        case .sequence(let sequence):
            let items = sequence.map { inner + text($0, indent: inner) }
            return items.isEmpty ? "[]" : "[\n" + items.joined(separator: ",\n") + "\n\(indent)]"
        case .scalar(let scalar):
            let isLiteral = scalar.style == .plain || scalar.style == .any
            let isBare = isLiteral && (node.null != nil || node.bool != nil || node.int != nil || node.float != nil)
            return isBare ? scalar.string : quoted(scalar.string)
        case .alias: return "null"
        }
    }

    private static func quoted(_ text: String) -> String {
        String(decoding: (try? JSONEncoder().encode(text)) ?? Data("\"\"".utf8), as: UTF8.self)
            .replacing("\\/", with: "/")
    }
}
