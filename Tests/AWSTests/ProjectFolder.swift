import Foundation

/// Places of the package and beside it.
enum ProjectFolder {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().standardizedFileURL

    static func url(_ path: String) -> URL { root.appending(path: path).standardizedFileURL }
}
