import Crypto
import EventLoops
import Foundation
import Hansard

/// Transcripts as JSON files under one folder, by tenant and day: the embedded default.
final class FolderTranscriptStore: TranscriptStore {
    private let folder: URL
    private let thread = WorkerThread(name: "transcripts")

    /// When to try again while the folder cannot be used.
    private static let retryAfter = Duration.seconds(1)

    /// - Parameter folder: made when the first transcript is stored.
    init(folder: URL) { self.folder = folder }

    /// Ends the store's thread after what has been asked for.
    func stop() { thread.stop() }

    func put(_ transcript: Transcript) async throws -> String {
        let name = Self.objectName(transcript.session, tenant: transcript.tenant)
        let body = try TranscriptDocument.encode(transcript)
        try await onThread { [folder] in try Self.write(body, to: folder.appending(path: name)) }
        return name
    }

    func get(_ session: SessionID, tenant: TenantID) async throws -> Transcript? {
        let file = folder.appending(path: Self.objectName(session, tenant: tenant))
        let body: Data? = try await onThread {
            do {
                return try Data(contentsOf: file)
            } catch CocoaError.fileReadNoSuchFile {
                return nil
            }
        }
        return try body.map(TranscriptDocument.decode)
    }

    func list(tenant: TenantID, before: SessionID?, limit: Int) async throws -> [TranscriptEntry] {
        let root = folder.appending(path: tenant.description)
        return try await onThread { try Self.list(root, before: before, limit: limit) }
    }

    func delete(_ session: SessionID, tenant: TenantID) async throws {
        let file = folder.appending(path: Self.objectName(session, tenant: tenant))
        try await onThread {
            do {
                try FileManager.default.removeItem(at: file)
                try FileManager.syncFolder(file.deletingLastPathComponent())
            } catch CocoaError.fileNoSuchFile {
                return
            }
        }
    }

    func checkHealth() async throws {
        try await onThread { [folder] in
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            guard FileManager.default.isWritableFile(atPath: folder.path) else {
                throw HansardError.storeUnavailable(
                    "the transcript folder '\(folder.path)' is not writable", retryAfter: Self.retryAfter)
            }
        }
    }

    private func onThread<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        do {
            return try await thread.run(work)
        } catch let error as HansardError {
            throw error
        } catch {
            throw HansardError.storeUnavailable(
                "the transcript folder cannot be used: \(error)", retryAfter: Self.retryAfter)
        }
    }

    /// A file appears whole or not at all: written beside its place, synced, renamed, and the folder synced, so that
    /// neither a crash nor a power failure leaves half of it.
    private static func write(_ body: Data, to file: URL) throws {
        let day = file.deletingLastPathComponent()
        try FileManager.default.createDirectory(
            at: day, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let temporary = day.appending(path: ".\(file.lastPathComponent).part")
        do {
            guard FileManager.default.createFile(atPath: temporary.path, contents: nil) else {
                throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: temporary.path])
            }
            let handle = try FileHandle(forWritingTo: temporary)
            try handle.write(contentsOf: body)
            try handle.synchronize()
            try handle.close()
            guard rename(temporary.path, file.path) == 0 else {
                throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: file.path])
            }
            try FileManager.syncFolder(day)
        } catch {
            try? FileManager.default.removeItem(at: temporary)
            throw error
        }
    }

    /// Walks years, months and days from the newest until the page is full.
    private static func list(_ root: URL, before: SessionID?, limit: Int) throws -> [TranscriptEntry] {
        var entries: [TranscriptEntry] = []
        let lastDay = before.map { dayPath(of: $0.startedAt) }
        for year in try newestFirst(root) {
            for month in try newestFirst(root.appending(path: year)) {
                for day in try newestFirst(root.appending(path: "\(year)/\(month)")) {
                    let path = "\(year)/\(month)/\(day)"
                    if let lastDay, path > lastDay { continue }
                    for name in try newestFirst(root.appending(path: path)) {
                        guard name.hasSuffix(".json"), let session = SessionID(String(name.dropLast(5))) else {
                            continue
                        }
                        if let before, session.description >= before.description { continue }
                        let file = root.appending(path: "\(path)/\(name)").path
                        let size = (try? FileManager.default.attributesOfItem(atPath: file))?[.size] as? Int
                        entries.append(TranscriptEntry(session: session, startedAt: session.startedAt, size: size ?? 0))
                        if entries.count == limit { return entries }
                    }
                }
            }
        }
        return entries
    }

    /// The names in a folder; none if it is not there. Other files among the folders are not ours and are passed over, but
    /// a store that cannot be read must not look like an empty one.
    private static func newestFirst(_ folder: URL) throws -> [String] {
        do {
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            return names.filter { !$0.hasPrefix(".") }.sorted(by: >)
        } catch {
            var status = stat()
            let isThere = stat(folder.path, &status) == 0
            if isThere ? status.st_mode & S_IFMT != S_IFDIR : errno == ENOENT { return [] }
            throw error
        }
    }
}

extension FolderTranscriptStore: AuditHeadStore {
    func keep(_ head: AuditHead, at date: Date) async throws {
        let file = folder.appending(path: AuditHead.folder(of: head.tenant) + head.name)
        try await onThread { try Self.write(Data(AuditHeadDocument.encode(head, at: date)), to: file) }
    }

    func chains() async throws -> Set<TenantID?> {
        let root = folder.appending(path: AuditHead.root)
        return AuditHead.chains(ofFolders: try await onThread { try Self.newestFirst(root) })
    }

    func heads(of tenant: TenantID?) async throws -> [AuditHead] {
        let root = folder.appending(path: AuditHead.folder(of: tenant))
        let names = try await onThread { try Self.newestFirst(root) }
        return names.reversed().compactMap { AuditHead(tenant: tenant, name: $0) }
    }
}

/// The stored form of a chain's head, for people: its name has all that is compared.
enum AuditHeadDocument {
    static func encode(_ head: AuditHead, at date: Date) -> [UInt8] {
        var text = JSONText()
        text.object { text in
            text.field("tenant_id", orNull: head.tenant?.description)
            text.field("place", head.place)
            text.field("hash", head.hash.hexadecimal)
            text.field("written_at", Timestamp.format(date))
        }
        return text.bytes
    }
}

/// The stored form of a transcript: JSON with sorted keys and RFC 3339 times.
enum TranscriptDocument {
    static func encode(_ transcript: Transcript) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(Timestamp.format(date))
        }
        return try encoder.encode(transcript)
    }

    static func decode(_ body: Data) throws -> Transcript {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            try Timestamp.parse(try decoder.singleValueContainer().decode(String.self))
        }
        do {
            return try decoder.decode(Transcript.self, from: body)
        } catch {
            throw HansardError(.internal, "a stored transcript cannot be read: \(error)")
        }
    }
}
