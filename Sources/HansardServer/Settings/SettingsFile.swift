import Foundation
import Yams

/// A YAML file of settings: a mapping of keys such as `listen` to values as the environment would hold them; lists are
/// written with commas or as YAML sequences.
public struct SettingsFile: Sendable {
    /// A value and the line it was found on, from 1.
    struct Entry: Sendable, Equatable {
        var text: String
        var line: Int
    }

    /// As it was named on the command line, for errors.
    let path: String
    let entries: [String: Entry]
    /// What is wrong with the file itself; told together with what is wrong with its values.
    let problems: [SettingsError.Problem]

    /// The largest file that is read, in bytes.
    static let limit = 1 << 20

    /// Reads a file. What is wrong with it, is told when the settings are loaded.
    public init(path: String) {
        guard let bytes = FileManager.default.contents(atPath: path) else {
            self.init(path: path, entries: [:], problems: [.init(place: path, message: "cannot be read")])
            return
        }
        guard bytes.count <= Self.limit, let text = String(data: bytes, encoding: .utf8) else {
            let message = "expected YAML in UTF-8 of at most \(Self.limit) bytes"
            self.init(path: path, entries: [:], problems: [.init(place: path, message: message)])
            return
        }
        self.init(path: path, yaml: text)
    }

    /// Reads YAML.
    init(path: String, yaml: String) {
        do {
            guard let root = try Yams.compose(yaml: yaml) else {
                self.init(path: path, entries: [:], problems: [])
                return
            }
            self.init(path: path, root: root)
        } catch {
            self.init(path: path, entries: [:], problems: [Self.problem(error, path: path)])
        }
    }

    private init(path: String, root: Node) {
        // An empty document is a null.
        guard case .mapping(let mapping) = root else {
            let isEmpty = root.null != nil
            let message = "expected a mapping of settings, for example `listen: 127.0.0.1:8080`"
            self.init(path: path, entries: [:], problems: isEmpty ? [] : [.init(place: path, message: message)])
            return
        }
        var entries: [String: Entry] = [:]
        var problems: [SettingsError.Problem] = []
        for (key, value) in mapping {
            let line = key.mark?.line ?? 1
            let name = key.string ?? ""
            let place = "\(path):\(line)"
            if let unknown = Self.complaint(aboutKey: name) {
                problems.append(.init(place: place, message: unknown))
            } else if let text = Self.text(of: value) {
                entries[name] = Entry(text: text, line: line)
            } else {
                let message = "\(name): expected a single value or a list of them"
                problems.append(.init(place: place, message: message))
            }
        }
        self.init(path: path, entries: entries, problems: problems)
    }

    private init(path: String, entries: [String: Entry], problems: [SettingsError.Problem]) {
        self.path = path
        self.entries = entries
        self.problems = problems
    }

    /// Nil for the key of a setting.
    private static func complaint(aboutKey key: String) -> String? {
        let keys = Setting.all.map(\.key)
        if keys.contains(key) { return nil }
        let bare = key.uppercased().hasPrefix(Setting.prefix) ? String(key.dropFirst(Setting.prefix.count)) : key
        let hint = nearest(to: bare.lowercased(), among: keys).map { "; did you mean `\($0)`?" } ?? ""
        return "\(quotedForPeople(key)) is not a setting\(hint)"
    }

    /// The text as written, whatever YAML would make of it; empty for null. Nil for a mapping or a list of lists.
    private static func text(of node: Node) -> String? {
        switch node {
        case .scalar: node.null != nil ? "" : node.string
        case .sequence(let items): join(items)
        default: nil
        }
    }

    private static func join(_ items: Node.Sequence) -> String? {
        let texts = items.map(\.string)
        return texts.contains(nil) ? nil : texts.compactMap { $0 }.joined(separator: ",")
    }

    /// Only the place and the kind: Yams' own description quotes the file, which may hold secrets.
    private static func problem(_ error: any Error, path: String) -> SettingsError.Problem {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            .init(place: "\(path):\(mark.line)", message: "is not YAML: \(problem)")
        case YamlError.duplicatedKeysInMapping(_, let context):
            .init(place: "\(path):\(context.mark.line)", message: "the same setting is given twice")
        default: .init(place: path, message: "is not YAML")
        }
    }
}
