import EventLoops
import Foundation
import Hansard

/// How much of its grants a node may have spent, at most: written before it is spent, so that a node that is killed can give
/// back what it has not used for certain, and nothing more.
///
/// One small file, written whole each time. It is on the disk before a mark counts: audio waits for that.
struct SpendMarks: Sendable {
    /// One grant's mark.
    struct Mark: Hashable, Sendable {
        var holder: NodeEpoch
        var owner: QuotaOwner
        var period: QuotaPeriod
    }

    private let url: URL
    private let syncFolder: @Sendable (URL) throws -> Void

    /// - Parameters:
    ///   - stateDirectory: the folder whose spool this process has locked.
    ///   - syncFolder: makes durable which names a folder holds.
    init(stateDirectory: URL, syncFolder: @escaping @Sendable (URL) throws -> Void = FileManager.syncFolder) {
        url = stateDirectory.appending(path: "minutes")
        self.syncFolder = syncFolder
    }

    /// What was written last; nil if there is no file, or none that can be read: then nothing is known of what was spent.
    func read() -> [Mark: Int64]? {
        guard let bytes = FileManager.default.contents(atPath: url.path) else { return nil }
        var marks: [Mark: Int64] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: "\t").map(String.init)
            guard parts.count == 4, let holder = NodeEpoch(parts[0]), let owner = QuotaOwner(parts[1]),
                let period = QuotaPeriod(parts[2]), let milliseconds = Int64(parts[3])
            else { return nil }
            marks[Mark(holder: holder, owner: owner, period: period)] = milliseconds
        }
        return marks
    }

    /// Writes all marks. Blocks: not for event loops.
    ///
    /// - Throws: what the file system says; then the marks before these hold, or these if only their name could not be made
    ///   durable.
    func write(_ marks: [Mark: Int64]) throws {
        let lines = marks.map { "\($0.holder)\t\($0.owner)\t\($0.period)\t\($1)\n" }.sorted()
        let beside = url.appendingPathExtension("new")
        try Data(lines.joined().utf8).write(to: beside)
        let handle = try FileHandle(forWritingTo: beside)
        try handle.synchronize()
        try handle.close()
        guard rename(beside.path, url.path) == 0 else {
            throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: url.path])
        }
        // Else the old file may have the name again after a power failure.
        try syncFolder(url.deletingLastPathComponent())
    }
}
