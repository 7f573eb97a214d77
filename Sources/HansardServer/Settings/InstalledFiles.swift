import Foundation

/// Finds the files that come with the program: beside it in a source tree, or where a package installs them.
enum InstalledFiles {
    /// Where a package or an image installs them.
    static let installedFolder = "/usr/share/hansard"

    /// The first place that holds `name`; where a package would have put it if there is none, so that an error names it.
    ///
    /// A binary that SwiftPM built lies up to four folders below the root of the source tree.
    static func path(of name: String, executable: String = currentExecutable()) -> String {
        var candidates: [String] = []
        var folder = URL(filePath: executable).deletingLastPathComponent()
        for _ in 0...4 where folder.path != "/" {
            candidates.append(folder.appending(path: name).path)
            folder.deleteLastPathComponent()
        }
        candidates.append("\(installedFolder)/\(name)")
        return candidates.first { FileManager.default.fileExists(atPath: $0) } ?? "\(installedFolder)/\(name)"
    }

    /// The path of the running program, symbolic links resolved (proc(5)).
    static func currentExecutable() -> String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    }
}
