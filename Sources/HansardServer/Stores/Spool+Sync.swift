import EventLoops
import Foundation
import Hansard
import Logging

/// How what is written reaches the disk, and what becomes of it if it does not.
extension Spool {
    // MARK: The writer's thread

    /// The pause gathers what comes meanwhile into one sync. It is not made on the syncer's thread, where it would hold up
    /// those who wait for theirs.
    func scheduleSync() {
        let isFirst = state.withLock { state in
            defer { state.isSyncScheduled = true }
            return !state.isSyncScheduled
        }
        guard isFirst else { return }
        Task {
            try? await Task.sleep(for: Self.syncInterval / 2)
            syncer.execute { [self] in
                state.withLock { $0.isSyncScheduled = false }
                if let file = state.withLock(\.file) { _ = sync(file) }
            }
        }
    }

    /// Whoever comes while a sync is under way shares the next one.
    func onceOnDisk(_ file: File, then completion: @escaping @Sendable (Bool) -> Void) {
        let isFirst = state.withLock { state in
            state.waiters.append(Waiter(file: file, completion: completion))
            return state.waiters.count == 1
        }
        guard isFirst else { return }
        syncer.execute { [self] in
            let waiters = state.withLock { state in
                defer { state.waiters = [] }
                return state.waiters
            }
            // The file that each was written to, even if another has been begun meanwhile.
            var outcomes: [Int: Bool] = [:]
            for waiter in waiters {
                let isSafe = outcomes[waiter.file.index] ?? sync(waiter.file)
                outcomes[waiter.file.index] = isSafe
                waiter.completion(isSafe)
            }
        }
    }

    // MARK: The syncer's thread

    /// After a sync that failed, the next one of the same file succeeds, whatever was lost: the kernel tells once
    /// (https://man7.org/linux/man-pages/man2/fsync.2.html). So the file counts as lost until it was written again.
    ///
    /// - Returns: whether all that was written to the file is on the disk.
    func sync(_ file: File) -> Bool {
        let isDeleted = forgetIfDeleted(file)
        if syncData(file.handle.fileDescriptor) {
            return !isDeleted && !state.withLock { $0.contents.isLost(file.index) }
        }
        let isNews = state.withLock { state in
            state.failures += 1
            state.contents.syncFailed(file.index)
            defer { state.isFailing = true }
            return !state.isFailing
        }
        if isNews { logger.error("the spool cannot be synced; what the disk may have lost is written again") }
        writer.execute { [self] in makeRoom() }
        return false
    }

    /// A file that somebody deleted takes writes and keeps nothing: what comes next goes to a new one.
    ///
    /// - Returns: whether it was.
    private func forgetIfDeleted(_ file: File) -> Bool {
        var status = stat()
        guard fstat(file.handle.fileDescriptor, &status) == 0, status.st_nlink == 0 else { return false }
        let isNews = state.withLock { state in
            guard state.file?.index == file.index else { return false }
            state.file = nil
            state.failures += 1
            return true
        }
        if isNews { logger.error("the spool's file has been deleted; what it held does not survive the process") }
        return true
    }
}
