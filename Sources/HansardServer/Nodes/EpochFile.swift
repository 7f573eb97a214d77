import Foundation
import Hansard

/// Remembers in the state directory which life of the node used it last, so that the next one can free what it held.
struct EpochFile {
    private let url: URL

    /// - Parameter stateDirectory: the folder whose spool this process has locked.
    init(stateDirectory: URL) { url = stateDirectory.appending(path: "epoch") }

    /// The life before this one; nil at the first start, or if the file says nothing that can be read.
    var last: NodeEpoch? {
        guard let bytes = FileManager.default.contents(atPath: url.path) else { return nil }
        return NodeEpoch(String(decoding: bytes, as: UTF8.self))
    }

    /// - Throws: `.unavailable` if the folder does not take it: the next start could then not clean up after this one.
    func write(_ epoch: NodeEpoch) throws(HansardError) {
        do {
            try Data(epoch.description.utf8).write(to: url, options: .atomic)
        } catch {
            throw HansardError(.unavailable, "the state directory cannot be written: \(error)")
        }
    }
}
