import Hansard
import Web
import Yams

/// `/docs`: openapi.yaml as a page for people.
struct DocumentPage {
    private let document: Node

    /// - Throws: what Yams says of a text that is not YAML.
    init(_ document: [UInt8]) throws {
        guard let node = try Yams.compose(yaml: String(decoding: document, as: UTF8.self)) else {
            throw HansardError(.notFound, "this server has no document")
        }
        self.document = node
    }

    /// The page with its policy.
    ///
    /// - Throws: `.notFound` if there is no document.
    static func response(_ document: [UInt8]) throws -> HTTPResponse {
        let page = try DocumentPage(document)
        return .page(page.title, style: style, body: page.html)
    }

    static let style = """
        body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;\
        background:#fff}
        h1,h2,h3{line-height:1.2}h2{margin-top:3rem;border-bottom:1px solid #d0d7de}
        code,pre{font:13px/1.45 ui-monospace,monospace;background:#f3f5f7;border-radius:4px}code{padding:.1em .3em}
        pre{padding:.75rem;overflow-x:auto}details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;\
        padding:.5rem 1rem}
        summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}
        table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;\
        border-top:1px solid #e4e8ec}
        .needs{color:#57606a}
        @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code,pre{background:#1c2229}\
        details,h2,td,th{border-color:#30363d}.needs{color:#9aa4af}a{color:#6cb0ff}}
        """

    private var title: String { document["info"]?["title"]?.string ?? "API" }

    private var html: String {
        let info = document["info"]
        var parts = [
            "<h1>\(HTML.escaped(title)) <small>\(HTML.escaped(info?["version"]?.text ?? ""))</small></h1>",
            HTML.prose(info?["summary"]?.string ?? ""), HTML.prose(info?["description"]?.string ?? ""),
            "<p>The same for programs: <a href=\"/openapi.yaml\">openapi.yaml</a></p>", security,
        ]
        for tag in document["tags"]?.array() ?? [] {
            guard let name = tag["name"]?.string else { continue }
            parts.append("<h2>\(HTML.escaped(name))</h2>" + HTML.prose(tag["description"]?.string ?? ""))
            parts += operations(of: name)
        }
        parts.append("<h2>shared answers</h2>")
        for (name, response) in document["components"]?["responses"]?.pairs ?? [] {
            parts.append("<div id=\"\(HTML.escaped(Self.anchor(name)))\">" + answer(name, response) + "</div>")
        }
        parts.append("<h2>schemas</h2>")
        for (name, schema) in document["components"]?["schemas"]?.pairs ?? [] {
            parts.append(
                "<details id=\"\(HTML.escaped(Self.anchor(name)))\"><summary><code>\(HTML.escaped(name))</code></summary>"
                    + SchemaText.description(schema) + SchemaText.table(schema) + "</details>")
        }
        return parts.joined(separator: "\n")
    }

    /// The place of a schema or a shared answer within the page.
    static func anchor(_ name: String) -> String { "of-\(name)" }

    private var security: String {
        let rows = (document["components"]?["securitySchemes"]?.pairs ?? []).map { name, scheme in
            "<tr><td><code>\(HTML.escaped(name))</code><td>\(HTML.inline(scheme["description"]?.string ?? ""))"
        }
        return rows.isEmpty ? "" : "<table><tr><th>Authorization<th>" + rows.joined() + "</table>"
    }

    // MARK: Operations

    private static let methods = ["get", "post", "put", "patch", "delete"]

    private func operations(of tag: String) -> [String] {
        // What the server sends is told of like what it answers.
        ["paths", "webhooks"].flatMap { document[$0]?.pairs ?? [] }.flatMap { path, item in
            Self.methods.compactMap { method in
                guard let operation = item[method],
                    operation["tags"]?.array().contains(where: { $0.string == tag }) == true
                else { return nil }
                return self.operation(operation, method, path, of: item)
            }
        }
    }

    private func operation(_ operation: Node, _ method: String, _ path: String, of item: Node) -> String {
        let parameters = (item["parameters"]?.array() ?? []) + (operation["parameters"]?.array() ?? [])
        let parts = [
            """
            <details id="\(HTML.escaped(operation["operationId"]?.string ?? ""))"><summary><b>\(method.uppercased())</b>
            <code>\(HTML.escaped(path))</code> \(HTML.inline(operation["summary"]?.string ?? ""))</summary>
            """,
            needs(operation), HTML.prose(operation["description"]?.string ?? ""),
            table("Parameters", parameters.map(resolved).map(parameter)), body(operation["requestBody"]),
            "<h3>Answers</h3>",
            (operation["responses"]?.pairs ?? []).map(answer).joined(separator: "\n"),
        ]
        return parts.joined(separator: "\n") + "</details>"
    }

    /// Who may call it.
    private func needs(_ operation: Node) -> String {
        for (name, words) in [("x-roles", "Roles"), ("x-scopes", "Scope of the key")] {
            guard let list = operation[name]?.array() else { continue }
            let names = list.compactMap(\.string).map { "<code>\(HTML.escaped($0))</code>" }
            return "<p class=\"needs\">\(words): \(names.joined(separator: ", "))</p>"
        }
        return operation["security"]?.array().isEmpty == true ? "<p class=\"needs\">Without credentials</p>" : ""
    }

    private func parameter(_ parameter: Node) -> String {
        let isRequired = parameter["required"]?.bool ?? false
        return "<tr><td><code>\(HTML.escaped(parameter["name"]?.string ?? ""))</code>"
            + "<td>\(HTML.escaped(parameter["in"]?.string ?? ""))\(isRequired ? ", required" : "")"
            + "<td>\(SchemaText.type(parameter["schema"]))<td>\(HTML.inline(parameter["description"]?.string ?? ""))"
    }

    private func table(_ title: String, _ rows: [String]) -> String {
        rows.isEmpty ? "" : "<h3>\(title)</h3><table>\(rows.joined())</table>"
    }

    private func body(_ body: Node?) -> String {
        guard let body else { return "" }
        let isRequired = body["required"]?.bool ?? false
        return "<h3>Body\(isRequired ? "" : ", optional")</h3>" + content(body["content"])
    }

    /// Shared ones are shown once, in a place of their own.
    private func answer(_ status: String, _ response: Node) -> String {
        if let reference = response["$ref"]?.string {
            return "<p><b>\(HTML.escaped(status))</b> \(SchemaText.link(reference)): "
                + "\(HTML.inline(resolved(response)["description"]?.string ?? ""))</p>"
        }
        let headers = (response["headers"]?.pairs ?? []).map { name, header in
            "<tr><td><code>\(HTML.escaped(name))</code><td>\(HTML.inline(resolved(header)["description"]?.string ?? ""))"
        }
        return "<details><summary><b>\(HTML.escaped(status))</b> "
            + "\(HTML.inline(response["description"]?.string ?? ""))</summary>"
            + table("Headers", headers) + content(response["content"]) + "</details>"
    }

    /// What a body may be: its type, its schema and its examples.
    private func content(_ content: Node?) -> String {
        (content?.pairs ?? []).map { type, media in
            var examples = media["example"].map { [("", $0)] } ?? []
            for (_, example) in media["examples"]?.pairs ?? [] {
                if let value = example["value"] { examples.append((example["summary"]?.string ?? "", value)) }
            }
            return "<p><code>\(HTML.escaped(type))</code>: \(SchemaText.type(media["schema"]))</p>"
                + SchemaText.table(media["schema"])
                + examples.map { summary, value in
                    HTML.prose(summary) + "<pre>\(HTML.escaped(JSONExample.text(value)))</pre>"
                }.joined()
        }.joined()
    }

    /// What a reference to another place of the document leads to.
    private func resolved(_ node: Node) -> Node {
        guard let reference = node["$ref"]?.string, reference.hasPrefix("#/") else { return node }
        return reference.dropFirst(2).split(separator: "/").reduce(document) { $0[String($1)] ?? [:] }
    }
}

extension Node {
    /// A mapping's pairs in the order of the document.
    var pairs: [(String, Node)] {
        (mapping ?? [:]).compactMap { key, value in key.string.map { ($0, value) } }
    }

    /// A scalar as it is written.
    var text: String? { scalar?.string }
}
