import Foundation

extension FileManager {
    /// Makes durable which names a folder holds: what was made, renamed or removed there stays so after a power failure.
    @Sendable static func syncFolder(_ folder: URL) throws {
        let handle = try FileHandle(forReadingFrom: folder)
        defer { try? handle.close() }
        try handle.synchronize()
    }
}
