/// Swift source with the contents of comments and string literals blanked, line for line: what is left is code.
///
/// It knows line and nested block comments, plain, multi-line and raw strings, and interpolations, whose code it blanks
/// too. It does not know regex literals; one with a quote in it would have to be written as `#/.../#` or a `Regex`.
struct SwiftText {
    private let source: [Character]
    private var index = 0
    private var output: [Character] = []

    /// The code of a source.
    static func code(of source: String) -> String {
        var text = SwiftText(source: Array(source))
        text.readCode()
        return String(text.output)
    }

    private init(source: [Character]) { self.source = source }

    private func starts(_ text: String) -> Bool { source[index...].starts(with: text) }

    private mutating func keep(_ count: Int = 1) {
        output += source[index..<min(source.count, index + count)]
        index += count
    }

    private mutating func blank(_ count: Int = 1) {
        for character in source[index..<min(source.count, index + count)] {
            output.append(character.isNewline ? character : " ")
        }
        index += count
    }

    private mutating func readCode() {
        while index < source.count {
            if starts("//") {
                while index < source.count, !source[index].isNewline { blank() }
            } else if starts("/*") {
                readBlockComment()
            } else if let hashes = rawStringHashes() {
                readString(hashes: hashes)
            } else {
                keep()
            }
        }
    }

    private mutating func readBlockComment() {
        var depth = 0
        repeat {
            if starts("/*") {
                depth += 1
                blank(2)
            } else if starts("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && index < source.count
    }

    /// The number of `#` before a quote that starts here; nil if none does.
    private func rawStringHashes() -> Int? {
        let hashes = source[index...].prefix { $0 == "#" }.count
        let quote = index + hashes
        return quote < source.count && source[quote] == "\"" ? hashes : nil
    }

    private mutating func readString(hashes: Int) {
        let marks = String(repeating: "#", count: hashes)
        keep(hashes)
        let quotes = starts("\"\"\"") ? "\"\"\"" : "\""
        keep(quotes.count)
        while index < source.count {
            if starts(quotes + marks) { return keep(quotes.count + hashes) }
            if quotes.count == 1, source[index].isNewline { return }
            if starts("\\" + marks + "(") {
                blank(hashes + 1)
                readInterpolation()
            } else {
                blank(starts("\\" + marks) ? hashes + 2 : 1)
            }
        }
    }

    private mutating func readInterpolation() {
        var depth = 0
        repeat {
            if let hashes = rawStringHashes() {
                let kept = output.count
                readString(hashes: hashes)
                output.replaceSubrange(kept..., with: output[kept...].map { $0.isNewline ? $0 : " " })
                continue
            }
            if source[index] == "(" { depth += 1 }
            if source[index] == ")" { depth -= 1 }
            blank()
        } while depth > 0 && index < source.count
    }
}

/// A function, initializer or property with a body.
struct SwiftFunction {
    /// `heard`, `init`, `deinit`, `subscript`, or the property's name.
    var name: String
    /// From 1.
    var line: Int
    /// From the line with the name to the closing brace.
    var lineCount: Int
    /// The code between the braces.
    var body: String

    /// The functions of code without comments and strings, in order of their ends; those within others included.
    static func all(in code: String) -> [SwiftFunction] {
        var scopes: [Scope] = []
        var header = ""
        var headerLine = 1
        var line = 1
        var functions: [SwiftFunction] = []
        for character in code {
            for index in scopes.indices { scopes[index].body.append(character) }
            switch character {
            case "{":
                scopes.append(Scope(header: header, headerLine: headerLine))
                header = ""
                headerLine = line
            case "}":
                guard let scope = scopes.popLast() else { continue }
                if let function = scope.function(endLine: line) { functions.append(function) }
                // A default argument or a macro's argument: the declaration around it goes on.
                header = scope.isWithinParentheses ? scope.header : ""
                headerLine = scope.isWithinParentheses ? scope.headerLine : line
            default:
                header.append(character)
            }
            if character.isNewline { line += 1 }
        }
        return functions
    }

    private struct Scope {
        let header: String
        let headerLine: Int
        var body = ""

        var isWithinParentheses: Bool {
            header.count(where: { $0 == "(" || $0 == "[" }) != header.count(where: { $0 == ")" || $0 == "]" })
        }

        /// What the last keyword before the brace declares, if that is a function or a property.
        func function(endLine: Int) -> SwiftFunction? {
            guard !isWithinParentheses else { return nil }
            let pattern =
                #/
                (?: ^ | [^.\w`] )
                (?:
                    (?<keyword> func | var | let | class | struct | enum | protocol | extension | actor )
                    \s+ (?<name> [^\s(<:={]+ | [<>=]+ )
                    | (?<special> init | deinit | subscript ) \b
                )
                /#
            guard let match = header.matches(of: pattern).last else { return nil }
            let keyword = match.output.keyword.map(String.init)
            guard keyword == nil || keyword == "func" || keyword == "var" else { return nil }
            // The match may begin with the newline before the keyword.
            let before = header[..<match.range.lowerBound] + (header[match.range].first?.isNewline == true ? "\n" : "")
            let line = headerLine + before.count(where: \.isNewline)
            return SwiftFunction(
                name: String(match.output.name ?? match.output.special ?? ""),
                line: line,
                lineCount: endLine - line + 1,
                body: String(body.dropLast())
            )
        }
    }
}
