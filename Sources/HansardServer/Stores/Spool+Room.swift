import EventLoops
import Foundation
import Hansard
import Logging

/// How files go that nobody needs, how the oldest is carried, and how one is written again of which the disk may have lost something.
///
/// Whatever is deleted, what makes it superfluous is on the disk before: the `settled` records of its sessions, since sessions
/// that were carried would come back with a part of what they left, and the records that were carried. A crash before the
/// deletion leaves these twice, which recovery does not mind. The order is kept by the threads: the writer decides, and looks
/// at that moment whether a session is settled, so that nothing of it comes behind its `settled`; the reader reads; the syncer
/// syncs and deletes. One of these is under way at a time (`isMakingRoom`).
///
/// A file that cannot be read as far as it was written is not carried: it stays until its sessions are settled, and all behind
/// it. What follows the damage may be readable the next time, and whether it is needed nobody can tell; sessions end, and a
/// spool that is full takes no new ones, but loses nothing.
extension Spool {
    /// A file is carried in pieces of this size, each on the disk before the next is written: what sessions write goes
    /// between, and what they wait for on the disk waits for one piece at most.
    static let carryBytes = 256 << 10
    /// What fails is begun anew after a pause, twice as long each time, within these: what a carry has written by then is in the
    /// spool twice.
    static let roomPauses = Duration.seconds(30)...Duration.seconds(600)
    /// The same for what is written again, during which no session begins.
    static let rewritePauses = Duration.seconds(1)...Duration.seconds(30)

    /// Does what `SpoolContents` says is next, and goes on until there is nothing to do. The writer's thread; called whenever a
    /// session was settled.
    ///
    /// - Parameter done: called when all files are gone that can go at once.
    func makeRoom(then done: @escaping @Sendable () -> Void = {}) {
        let (step, current, failures) = state.withLock { state in
            var step = state.isMakingRoom ? nil : state.contents.nextStep
            switch step {
            case .carry, .rewrite: if state.isPaused { step = nil }
            case .delete, nil: break
            }
            if step != nil { state.isMakingRoom = true }
            // What follows must not be in a file that is lost itself.
            if case .rewrite = step, let file = state.file, state.contents.isLost(file.index) { state.file = nil }
            return (step, state.file, state.failures)
        }
        switch step {
        case .delete(let files):
            syncer.execute { [self] in
                // The files before this one were given to the syncer when they were left.
                let isSynced = (current.map { sync($0) } ?? true) && !state.withLock(\.contents.hasLost)
                let isDone = isSynced && delete(files)
                if isDone { finish() } else { putOff() }
                done()
            }
        case .carry(let file):
            reader.execute { [self] in read(file, isLost: false, failures: failures) }
            done()
        case .rewrite(let file):
            reader.execute { [self] in read(file, isLost: true, failures: failures) }
            done()
        case nil: done()
        }
    }

    /// A step is done, and the next one follows.
    private func finish() {
        state.withLock { state in
            state.isMakingRoom = false
            state.pause = nil
        }
        writer.execute { [self] in makeRoom() }
    }

    /// A step failed: nothing has changed, and it is tried again after a pause. A deletion also when another session is settled.
    private func putOff(isRewriting: Bool = false) {
        let pause: Duration? = state.withLock { state in
            state.isMakingRoom = false
            guard !state.isPaused else { return nil }
            let (first, longest) =
                isRewriting
                ? (min(firstPause, Self.rewritePauses.lowerBound), Self.rewritePauses.upperBound)
                : (firstPause, Self.roomPauses.upperBound)
            let pause = min(state.pause.map { $0 * 2 } ?? first, longest)
            (state.pause, state.isPaused) = (pause, true)
            return pause
        }
        guard let pause else { return }
        Task { [weak self] in
            try? await Task.sleep(for: pause)
            self?.writer.execute { [weak self] in self?.tryAgain() }
        }
    }

    private func tryAgain() {
        state.withLock { $0.isPaused = false }
        makeRoom()
    }

    // MARK: The syncer's thread

    /// Oldest first, and none after one that stays: what became of an early file's sessions is told in a later one.
    @discardableResult
    func delete(_ files: [Int]) -> Bool {
        for file in files {
            let url = url(of: file)
            guard unlink(url.path) == 0 || errno == ENOENT else {
                logger.warning("a spool file cannot be deleted", metadata: ["file": "\(file)", "errno": "\(errno)"])
                return false
            }
            state.withLock { $0.contents.deleted(file) }
            // Else a power failure could bring it back, and take the next one.
            do {
                try FileManager.syncFolder(url.deletingLastPathComponent())
            } catch {
                logger.warning("the spool's folder cannot be synced", error)
                return false
            }
        }
        return true
    }

    // MARK: The reader's thread

    /// The file is not written any more.
    private func read(_ file: Int, isLost: Bool, failures: Int) {
        do {
            let carry = try SpoolCarry(
                file: file, isLost: isLost, bytes: readFile(url(of: file)), pieceBytes: Self.carryBytes,
                failures: failures)
            let readableBytes = state.withLock { $0.contents.readableBytes(of: file) }
            if carry.readableBytes < readableBytes {
                // What is written again goes, and what it lost is in no other file.
                let isNews = try !isLost || keepDamaged(file)
                if isNews {
                    let what = isLost ? "what can be read is written again" : "it stays until its sessions are settled"
                    logger.error(
                        "a spool file is damaged; \(what)",
                        metadata: [
                            "file": "\(file)", "good_bytes": "\(carry.readableBytes)", "bytes": "\(readableBytes)",
                        ])
                    state.withLock { $0.failures += 1 }
                }
                if !isLost {
                    state.withLock { $0.contents.isDamaged(file) }
                    return finish()
                }
                // What fails meanwhile is told from what failed before by their number.
                if isNews { return read(file, isLost: isLost, failures: failures + 1) }
            }
            writer.execute { [self] in write(carry, from: 0) }
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile {
            logger.error("a spool file is gone, and what it held", metadata: ["file": "\(file)"])
            state.withLock { $0.contents.carried(file) }
            finish()
        } catch {
            logger.warning("a spool file cannot be carried", error)
            putOff(isRewriting: isLost)
        }
    }

    // MARK: The writer's thread

    /// Writes a piece, and the others after it; nothing of sessions that are settled by now.
    private func write(_ carry: SpoolCarry, from piece: Int) {
        guard piece < carry.pieces.count else {
            // Nothing of it need be kept, so that it is deleted next.
            state.withLock { $0.contents.carried(carry.file) }
            if carry.isLost { wasWritten() }
            return finish()
        }
        let frames = carry.pieces[piece].filter { frame in
            frame.isSettling || state.withLock { $0.contents.isUnsettled(frame.session) }
        }
        guard !frames.isEmpty else {
            writer.execute { [self] in write(carry, from: piece + 1) }
            return
        }
        do {
            let file = try write(carry.data(of: frames)) { contents in
                for frame in frames {
                    if frame.isSettling {
                        contents.add(frame.range.count, of: .settled(frame.session))
                    } else {
                        contents.add(frame.range.count, of: frame.session)
                    }
                }
            }
            syncer.execute { [self] in
                // Any failure since the beginning may be of what was carried: a file that was left meanwhile, or deleted.
                guard sync(file), state.withLock(\.failures) == carry.failures else {
                    return putOff(isRewriting: carry.isLost)
                }
                writer.execute { [self] in write(carry, from: piece + 1) }
            }
        } catch {
            wasRefused(error)
            putOff(isRewriting: carry.isLost)
        }
    }
}
