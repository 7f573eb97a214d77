import Foundation

/// A folder of its own for each test, removed with the last reference.
final class TestFolder: Sendable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "hansard-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// The paths of all files below, hidden ones too, relative to the folder and sorted.
    var files: [String] {
        let all = FileManager.default.enumerator(atPath: url.path)?.compactMap { $0 as? String } ?? []
        return all.filter { path in
            var isFolder = ObjCBool(false)
            return FileManager.default.fileExists(atPath: url.appending(path: path).path, isDirectory: &isFolder)
                && !isFolder.boolValue
        }.sorted()
    }
}

struct TimedOut: Error, CustomStringConvertible {
    let description: String
}

/// Waits until something holds. The limit is for defects: under ThreadSanitizer others hold the threads for minutes.
func eventually(
    _ what: String, within limit: Duration = .seconds(300), _ holds: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !holds() {
        guard ContinuousClock.now < deadline else { throw TimedOut(description: "waited in vain: \(what)") }
        try await Task.sleep(for: .milliseconds(5))
    }
}
