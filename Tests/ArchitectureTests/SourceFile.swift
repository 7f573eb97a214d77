import Foundation

/// A file of the package, as text.
struct SourceFile {
    /// From the package's root, `Sources/Hansard/Sessions/Session.swift`.
    let path: String
    /// As written.
    let text: String
    /// Without the contents of comments and strings.
    let code: String
    /// With bodies.
    let functions: [SwiftFunction]

    init(_ path: String, _ text: String) {
        self.path = path
        self.text = text
        code = SwiftText.code(of: text)
        functions = SwiftFunction.all(in: code)
    }

    /// `Hansard` of `Sources/Hansard/Sessions/Session.swift`.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

    var isTest: Bool { path.hasPrefix("Tests/") }

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var codeLines: [Substring] { code.split(separator: "\n", omittingEmptySubsequences: false) }

    /// The modules that it imports, with their lines.
    var imports: [(module: String, line: Int)] {
        let pattern =
            #/
            ^ \s* (?: @ \w+ (?: \( [^)]* \) )? \s+ )*
            (?: (?: public | package | internal | fileprivate | private ) \s+ )?
            import \s+ (?: (?: struct | class | enum | protocol | func | typealias | var | let ) \s+ )?
            (?<module> \w+ )
            /#
        return codeLines.enumerated().compactMap { index, line in
            line.firstMatch(of: pattern).map { (String($0.output.module), index + 1) }
        }
    }
}

/// The package on disk.
enum Package {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every Swift file below `Sources`.
    static let sources = swiftFiles(below: "Sources")
    /// Every Swift file below `Tests`.
    static let tests = swiftFiles(below: "Tests")

    /// The files of each target, by the target's name, with their paths below it.
    static var filesOfTargets: [String: [String]] {
        Dictionary(grouping: paths(below: "Sources").map { $0.split(separator: "/").map(String.init) }, by: { $0[1] })
            .mapValues { $0.map { $0.dropFirst(2).joined(separator: "/") }.sorted() }
    }

    private static func swiftFiles(below folder: String) -> [SourceFile] {
        paths(below: folder).filter { $0.hasSuffix(".swift") }.map { path in
            let data = FileManager.default.contents(atPath: root.appending(path: path).path) ?? Data()
            return SourceFile(path, String(decoding: data, as: UTF8.self))
        }
    }

    private static func paths(below folder: String) -> [String] {
        let found = FileManager.default.enumerator(atPath: root.appending(path: folder).path)
        let paths = (found?.compactMap { $0 as? String } ?? []).filter { path in
            var isFolder: ObjCBool = false
            let full = root.appending(path: "\(folder)/\(path)").path
            return FileManager.default.fileExists(atPath: full, isDirectory: &isFolder) && !isFolder.boolValue
        }
        return paths.map { "\(folder)/\($0)" }.sorted()
    }
}
