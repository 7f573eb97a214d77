/// The rules of docs/architecture.md that can be read off the sources. Each takes files and returns what breaks it, a
/// line for each breach, so that every rule can be shown a planted one.
enum Rules {
    // MARK: Imports

    /// A C module is imported by its owner alone; nobody else sees its types.
    static func cModules(_ files: [SourceFile], owners: [String: String]) -> [String] {
        files.flatMap { file in
            file.imports.compactMap { module, line in
                guard let owner = owners[module], file.isTest || file.target != owner else { return nil }
                return "\(file.path):\(line): \(module) belongs to \(owner)"
            }
        }
    }

    /// Plain libraries have never heard of the product.
    static func librariesWithoutProduct(_ files: [SourceFile]) -> [String] {
        files.filter { !$0.target.hasPrefix("Hansard") }.flatMap { file in
            file.imports.compactMap { module, line in
                module.hasPrefix("Hansard") ? "\(file.path):\(line): a plain library imports \(module)" : nil
            }
        }
    }

    /// The domain imports nothing but these.
    static func domainImports(_ files: [SourceFile], allowed: Set<String>) -> [String] {
        files.filter { $0.target == "Hansard" }.flatMap { file in
            file.imports.compactMap { module, line in
                allowed.contains(module) ? nil : "\(file.path):\(line): the domain imports \(module)"
            }
        }
    }

    // MARK: Purity

    /// The domain has no clock, thread, task or random source of its own.
    static func domainPurity(_ files: [SourceFile], banned: [String]) -> [String] {
        files.filter { $0.target == "Hansard" }.flatMap { file in
            file.codeLines.enumerated().flatMap { index, line in
                banned.filter { occurs($0, in: line) }.map { "\(file.path):\(index + 1): the domain has \($0)" }
            }
        }
    }

    /// Functions that carry audio do not suspend and start nothing. A listed function that is gone is a breach too: the
    /// list would no longer say what it guards.
    static func audioFunctions(_ files: [SourceFile], listed: [(path: String, name: String)]) -> [String] {
        listed.flatMap { path, name in
            let functions = files.first { $0.path == path }?.functions.filter { $0.name == name } ?? []
            if functions.isEmpty { return ["\(path): the audio function \(name) does not exist"] }
            return functions.flatMap { function in
                ["await", "Task"].filter { occurs($0, in: function.body) }.map {
                    "\(path):\(function.line): the audio function \(name) holds \($0)"
                }
            }
        }
    }

    // MARK: Form

    static func fileLength(_ files: [SourceFile], maximum: Int, tolerated: Set<String>) -> [String] {
        files.compactMap { file in
            let count = file.text.count(where: \.isNewline)
            guard count > maximum, !tolerated.contains(file.path) else { return nil }
            return "\(file.path): \(count) lines, of at most \(maximum)"
        }
    }

    static func functionLength(_ files: [SourceFile], maximum: Int, tolerated: Set<String>) -> [String] {
        files.flatMap { file in
            file.functions.compactMap { function in
                guard function.lineCount > maximum, !tolerated.contains("\(file.path) \(function.name)") else {
                    return nil
                }
                let place = "\(file.path):\(function.line)"
                return "\(place): \(function.name) has \(function.lineCount) lines, of at most \(maximum)"
            }
        }
    }

    /// Every public declaration says what it is.
    static func documentation(_ files: [SourceFile]) -> [String] {
        let declaration =
            #/
            ^ \s* (?: @ \w+ (?: \( [^)]* \) )? \s+ )*
            (?: (?! (?: let | var | func | case ) \b ) [\w()]+ \s+ )*?
            (?: public | open ) \s+ (?= [\w@] ) (?! (?: import | extension ) \b )
            /#
        return files.flatMap { file in
            let lines = file.lines
            return file.codeLines.enumerated().compactMap { index, line -> String? in
                guard line.firstMatch(of: declaration) != nil else { return nil }
                var above = index - 1
                while above >= 0, trimmed(lines[above]).hasPrefix("@") { above -= 1 }
                let isDocumented = above >= 0 && trimmed(lines[above]).hasPrefix("///")
                return isDocumented ? nil : "\(file.path):\(index + 1): no doc comment: \(trimmed(lines[index]))"
            }
        }
    }

    /// Names that say nothing.
    static func typeNames(_ files: [SourceFile], bannedSuffixes: [String]) -> [String] {
        let declaration = #/\b(?:class|struct|enum|protocol|actor|typealias)\s+(?<name>\w+)/#
        return files.flatMap { file in
            file.codeLines.enumerated().flatMap { index, line in
                line.matches(of: declaration).map { String($0.output.name) }
                    .filter { name in bannedSuffixes.contains { name.hasSuffix($0) } }
                    .map { "\(file.path):\(index + 1): \($0) is a name that says nothing" }
            }
        }
    }

    /// C targets are a module map and a shim.
    static func cTargets(_ files: [String: [String]], modules: Set<String>) -> [String] {
        let cTargets = files.keys.filter { $0.first == "C" && $0.dropFirst().first?.isUppercase == true }
        let shapes = cTargets.filter { files[$0] != ["module.modulemap", "shim.h"] }.sorted().map {
            "Sources/\($0) holds \(files[$0] ?? []), not just module.modulemap and shim.h"
        }
        let unowned = Set(cTargets).subtracting(modules).sorted().map { "Sources/\($0) has no owner in the table" }
        let gone = modules.subtracting(cTargets).sorted().map { "\($0) is in the table of owners but not in Sources" }
        return shapes + unowned + gone
    }

    /// `@unchecked Sendable` is for event loops and for the files that own a C handle, with the reason beside it.
    static func unchecked(_ files: [SourceFile], handleOwners: Set<String>) -> [String] {
        let users = files.filter { $0.code.contains("@unchecked Sendable") }
        let misplaced = users.filter { $0.target != "EventLoops" && !handleOwners.contains($0.path) }.map {
            "\($0.path): @unchecked Sendable in a file that is not in the table of handle owners"
        }
        let silent = users.filter { !$0.text.contains("`@unchecked Sendable`") }.map {
            "\($0.path): @unchecked Sendable without a comment that gives its reason"
        }
        let stale = handleOwners.subtracting(users.map(\.path)).sorted().map {
            "\($0) is in the table of handle owners without need"
        }
        return misplaced + silent + stale
    }

    // MARK: Text

    private static func trimmed(_ line: Substring) -> Substring {
        line.drop { $0 == " " || $0 == "\t" }
    }

    /// Whether `text` occurs in the code as itself and not as the end or the beginning of a longer name.
    private static func occurs(_ text: String, in code: some StringProtocol) -> Bool {
        let code = String(code)
        return code.ranges(of: text).contains { range in
            let before = code[..<range.lowerBound].last
            let after = code[range.upperBound...].first
            let beginsName = text.first.map(isNamePart) ?? false
            let endsName = text.last.map(isNamePart) ?? false
            return !(beginsName && before.map(isNamePart) == true) && !(endsName && after.map(isNamePart) == true)
        }
    }

    private static func isNamePart(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }
}
