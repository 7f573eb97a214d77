import EventLoops
import Foundation
import Hansard
import Logging

/// The node's own durable record of its sessions (`SpoolRecord`), in numbered files under one folder.
///
/// One thread writes and another calls fdatasync, so that a slow disk's sync never delays the next final. A record's
/// completion is called once it has been handed to the operating system (it then survives the process) or, if asked
/// for, once it is on the disk. Which files go, and when, `SpoolContents` decides.
final class Spool: Sendable {
    /// A new file is begun when the current one is longer.
    static let fileBytes = 16 << 20
    /// A record that nobody waits for reaches the disk within this.
    static let syncInterval = Duration.milliseconds(200)
    /// Nothing is carried before so many files are full of what nobody needs.
    static let leastGarbageFiles = 4
    /// A file is not longer than this part of what the spool may hold: only whole files can go, and `leastGarbageFiles` of them,
    /// the one that is written and the one that is carried must not fill it.
    static let leastFiles = 16

    /// A file that is written to, or was.
    struct File {
        let index: Int
        let handle: FileHandle
    }

    /// A record that somebody waits for until it is on the disk.
    struct Waiter {
        let file: File
        let completion: @Sendable (Bool) -> Void
    }

    struct State {
        var index = 0
        var file: File?
        var waiters: [Waiter] = []
        var contents: SpoolContents
        /// Files are being deleted, or one is being carried.
        var isMakingRoom = false
        /// How long the last step was put off because it failed; nil if it did not.
        var pause: Duration?
        /// That is not over.
        var isPaused = false
        var isSyncScheduled = false
        var failures = 0
        /// The open folder, whose lock says that this process has the spool.
        var lock: Int32?
        /// The last write failed, or a sync did and what it was to bring to the disk has not been written again: that is one line in
        /// the log, not one for each record.
        var isFailing = false
        var identity = UUID()
        /// The names under which damaged files are kept.
        var damagedFiles: Set<String> = []
    }

    let folder: URL
    private let maximumBytes: Int
    private let fileBytes: Int
    let syncData: @Sendable (Int32) -> Bool
    let readFile: @Sendable (URL) throws -> [UInt8]
    let firstPause: Duration
    let logger: Logger
    let writer = WorkerThread(name: "spool-write")
    let syncer = WorkerThread(name: "spool-sync")
    /// Reads what is carried: that takes a while, and finals wait for the writer.
    let reader = WorkerThread(name: "spool-read")
    let state: Locked<State>

    /// Opens the spool and reads what an earlier life of the node left in it.
    ///
    /// - Parameters:
    ///   - folder: made if it does not exist.
    ///   - maximumBytes: the size at which `isFull` says so. Records are taken even then: they are never dropped.
    ///   - fileBytes: a new file is begun when the current one is longer, or longer than its part of `maximumBytes`.
    ///   - sync: brings a file's data to the disk, and says whether it did.
    ///   - readFile: reads a file that is carried.
    ///   - firstPause: how long it waits before it makes room again, if it failed to.
    /// - Throws: `.unavailable` if the folder cannot be used.
    static func open(
        folder: URL, maximumBytes: Int, fileBytes: Int = Spool.fileBytes,
        sync: @escaping @Sendable (Int32) -> Bool = Spool.fileDataSync,
        readFile: @escaping @Sendable (URL) throws -> [UInt8] = Spool.contents,
        firstPause: Duration = Spool.roomPauses.lowerBound, logger: Logger
    ) throws(HansardError) -> (Spool, SpoolRecovery) {
        let spool = Spool(
            folder: folder, maximumBytes: maximumBytes, fileBytes: min(fileBytes, maximumBytes / leastFiles),
            sync: sync, readFile: readFile, firstPause: firstPause, logger: logger)
        do {
            try spool.makeFolder()
            let identity = try SpoolIdentity.of(folder)
            spool.state.withLock { $0.identity = identity }
            let recovery = try spool.recover()
            spool.writer.execute { spool.makeRoom() }
            return (spool, recovery)
        } catch {
            spool.close()
            let reason = (error as? HansardError)?.explanation ?? "\(error)"
            throw HansardError(.unavailable, "the spool folder '\(folder.path)' cannot be used: \(reason)")
        }
    }

    private init(
        folder: URL, maximumBytes: Int, fileBytes: Int, sync: @escaping @Sendable (Int32) -> Bool,
        readFile: @escaping @Sendable (URL) throws -> [UInt8], firstPause: Duration, logger: Logger
    ) {
        self.folder = folder
        self.maximumBytes = maximumBytes
        self.fileBytes = fileBytes
        self.syncData = sync
        self.readFile = readFile
        self.firstPause = firstPause
        self.logger = logger
        state = Locked(State(contents: SpoolContents(leastGarbage: Self.leastGarbageFiles * fileBytes)))
    }

    /// https://man7.org/linux/man-pages/man2/fdatasync.2.html
    static let fileDataSync: @Sendable (Int32) -> Bool = { fdatasync($0) == 0 }

    static let contents: @Sendable (URL) throws -> [UInt8] = { [UInt8](try Data(contentsOf: $0)) }

    /// Which spool this is, for as long as its folder lasts.
    var identity: UUID { state.withLock(\.identity) }
    /// How many bytes the files hold.
    var bytes: Int { state.withLock(\.contents.bytes) }
    /// How many of them are of sessions that are not settled.
    var unsettledBytes: Int { state.withLock(\.contents.liveBytes) }
    /// How many sessions are not settled.
    var unsettledSessions: Int { state.withLock(\.contents.sessions) }
    /// Writes and syncs that failed since the start, and files that were found to be damaged.
    var failures: Int { state.withLock(\.failures) }
    /// Whether new sessions must be refused until older ones are settled.
    var isFull: Bool { bytes >= maximumBytes }

    /// Whether files are kept aside, or were at the start, that lost some of what earlier lives wrote: nobody knows of what.
    var hasDamagedFiles: Bool { state.withLock { !$0.damagedFiles.isEmpty } }

    /// Whether the disk refuses or loses what is written: finals would not survive the process or the machine, so no session is begun.
    var isFailing: Bool { state.withLock(\.isFailing) }

    /// Tries to write something that says nothing, to learn whether the disk takes writes again.
    func probe() { append(.settled(SessionID(startedAt: .distantPast, random: [UInt8](repeating: 0, count: 10)))) }

    /// Appends a record. Any thread; the completion comes on one of the spool's threads, in the order of the records
    /// within each kind of waiting. Of a record that settles a session it comes when the files are gone that nobody needs now.
    ///
    /// - Parameters:
    ///   - untilOnDisk: true to be told only after fdatasync.
    ///   - completion: true if the record is safe; false if the disk refused it.
    func append(
        _ record: SpoolRecord, untilOnDisk: Bool = false, completion: @escaping @Sendable (Bool) -> Void = { _ in }
    ) {
        let accepted = writer.execute { [self] in
            guard let file = write(record) else { return completion(false) }
            var done: @Sendable () -> Void = { completion(true) }
            if untilOnDisk {
                onceOnDisk(file, then: completion)
                done = {}
            }
            if case .settled = record { makeRoom(then: done) } else { done() }
            if !untilOnDisk { scheduleSync() }
        }
        if !accepted { completion(false) }
    }

    /// Appends a record and waits until it is on the disk.
    func appendDurably(_ record: SpoolRecord) async -> Bool {
        await withCheckedContinuation { continuation in
            append(record, untilOnDisk: true) { continuation.resume(returning: $0) }
        }
    }

    /// Writes and syncs what has been given, then closes. Blocks the caller; not for event loops.
    func close() {
        writer.stop()
        reader.stop()
        reader.join()
        writer.join()
        if let file = state.withLock(\.file) { syncer.execute { _ = self.sync(file) } }
        syncer.stop()
        syncer.join()
        state.withLock { state in
            state.file = nil
            guard let lock = state.lock else { return }
            state.lock = nil
            // A child between its fork and its exec has the descriptor too: closing ours alone would leave the lock.
            _ = flock(lock, LOCK_UN)
            _ = Foundation.close(lock)
        }
    }

    private func makeFolder() throws {
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try lock()
    }

    /// Two processes with one spool would finish each other's live sessions. The lock goes with the process, however that
    /// ends (https://man7.org/linux/man-pages/man2/flock.2.html).
    private func lock() throws {
        let descriptor = Foundation.open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw HansardError(.unavailable, "it cannot be opened: \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            _ = Foundation.close(descriptor)
            throw HansardError(.unavailable, "another process uses it; give each server a state directory of its own")
        }
        let former = state.withLock { state in
            defer { state.lock = descriptor }
            return state.lock
        }
        if let former { _ = Foundation.close(former) }
    }

    // MARK: The writer's thread

    /// - Returns: the file that holds the record now; nil if the disk refused it.
    private func write(_ record: SpoolRecord) -> File? {
        do {
            let payload = [UInt8](try JSONEncoder().encode(record))
            guard payload.count <= SpoolFraming.maximumPayload else {
                throw HansardError(.invalid, "a record of \(payload.count) bytes is too large for the spool")
            }
            let frame = Data(SpoolFraming.frame(payload))
            return try write(frame) { $0.add(frame.count, of: record) }
        } catch {
            wasRefused(error)
            return nil
        }
    }

    /// Writes frames, all to one file.
    ///
    /// - Parameter note: tells the contents whose they are.
    func write(_ frames: Data, note: (inout SpoolContents) -> Void) throws -> File {
        let file = try currentFile()
        do {
            try file.handle.write(contentsOf: frames)
        } catch {
            dropTornEnd(of: file)
            throw error
        }
        state.withLock { note(&$0.contents) }
        wasWritten()
        return file
    }

    /// The disk takes what is written, and has all of it unless a file is to be written again.
    func wasWritten() {
        let isNews = state.withLock { state in
            guard state.isFailing, !state.contents.hasLost else { return false }
            state.isFailing = false
            return true
        }
        if isNews { logger.notice("the spool can be written again") }
    }

    func wasRefused(_ error: any Error) {
        let isNews = state.withLock { state in
            defer { state.isFailing = true }
            state.failures += 1
            return !state.isFailing
        }
        if isNews { logger.error("the spool cannot be written", error) }
    }

    /// After a partial write: what would follow a torn record could not be read again. A file that cannot be cut is left.
    private func dropTornEnd(of file: File) {
        let length = state.withLock(\.contents.currentBytes)
        do {
            try file.handle.truncate(atOffset: UInt64(length))
        } catch {
            state.withLock { $0.file = nil }
            syncer.execute { _ = self.sync(file) }
        }
    }

    private func currentFile() throws -> File {
        let (file, length) = state.withLock { ($0.file, $0.contents.currentBytes) }
        if let file {
            if length < fileBytes { return file }
            state.withLock { $0.file = nil }
            syncer.execute { _ = self.sync(file) }
        }
        let index = state.withLock { state in
            state.index += 1
            return state.index
        }
        let url = url(of: index)
        if !FileManager.default.fileExists(atPath: folder.path) { try makeFolder() }
        guard FileManager.default.createFile(atPath: url.path, contents: nil, attributes: [.posixPermissions: 0o600])
        else {
            throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: url.path])
        }
        let fresh = File(index: index, handle: try FileHandle(forWritingTo: url))
        // A file whose name is not on the disk is lost with all its data.
        try FileManager.syncFolder(folder)
        state.withLock { state in
            state.file = fresh
            state.contents.begin(index)
        }
        return fresh
    }
}
