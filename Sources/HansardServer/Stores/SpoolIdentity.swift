import Foundation
import Hansard

/// Which spool a folder holds, as the usage ledger knows it: whoever has the folder later brings what earlier lives left in it,
/// whatever their node was called.
enum SpoolIdentity {
    static let fileName = "identity"

    /// Reads what the folder says, and makes it say something if it does not yet.
    ///
    /// - Throws: `.unavailable` if that cannot be kept.
    static func of(_ folder: URL) throws(HansardError) -> UUID {
        let url = folder.appending(path: fileName)
        if let bytes = FileManager.default.contents(atPath: url.path),
            let identity = UUID(uuidString: String(decoding: bytes, as: UTF8.self))
        {
            return identity
        }
        let identity = UUID()
        do {
            try Data(identity.uuidString.lowercased().utf8).write(to: url, options: .atomic)
            let file = try FileHandle(forReadingFrom: url)
            try file.synchronize()
            try file.close()
            try FileManager.syncFolder(folder)
        } catch {
            throw HansardError(.unavailable, "its name cannot be written: \(error)")
        }
        return identity
    }
}
