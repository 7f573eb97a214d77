import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// What the spool promises of the disk, and what it does when the disk does not keep up its end.
@Suite struct SpoolDiskTests {
    let fixture: SpoolFixture
    let epoch = Sample.epoch()

    init() throws { fixture = try SpoolFixture() }

    private func began(_ number: Int) -> SpoolRecord { .began(Sample.began(Sample.session(number), holder: epoch)) }

    /// Stands for the disk: knows how long each file was when it was last synced, and can be made to wait or to fail.
    final class Disk: Sendable {
        struct State {
            var syncedBytes: [UInt64: Int64] = [:]
            var syncs = 0
            var isHeld = false
            var fails = false
        }
        let state = Locked(State())

        func sync(_ descriptor: Int32) -> Bool {
            while state.withLock(\.isHeld) { usleep(1_000) }
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { return false }
            return state.withLock { state in
                state.syncs += 1
                if !state.fails { state.syncedBytes[UInt64(status.st_ino)] = Int64(status.st_size) }
                return !state.fails
            }
        }

        /// Whether all of a file that is not empty has been synced.
        func holds(_ file: URL) -> Bool {
            var status = stat()
            guard stat(file.path, &status) == 0, status.st_size > 0 else { return false }
            return state.withLock { $0.syncedBytes[UInt64(status.st_ino)] == Int64(status.st_size) }
        }
    }

    @Test func aDurableRecordIsOnTheDiskBeforeItsCompletion() async throws {
        let disk = Disk()
        let (spool, _) = try fixture.open(sync: { disk.sync($0) })
        for number in 1...20 {
            #expect(await spool.appendDurably(began(number)))
            #expect(disk.holds(fixture.file(1)))
        }
        spool.close()
    }

    @Test func aRecordIsToldBeforeItIsOnTheDiskAndReachesItSoon() async throws {
        let disk = Disk()
        disk.state.withLock { $0.isHeld = true }
        let (spool, _) = try fixture.open(sync: { disk.sync($0) })
        #expect(await spool.appended(began(1)), "a slow disk does not hold up a final")
        #expect(await spool.appended(began(2)))
        #expect(!disk.holds(fixture.file(1)))
        disk.state.withLock { $0.isHeld = false }
        try await eventually("the record is on the disk") { disk.holds(fixture.file(1)) }
        spool.close()
    }

    @Test func manyRecordsShareASync() async throws {
        let disk = Disk()
        let (spool, _) = try fixture.open(sync: { disk.sync($0) })
        for number in 1...500 { spool.append(began(number)) }
        #expect(await spool.appendDurably(began(501)))
        spool.close()
        #expect(disk.state.withLock(\.syncs) < 100)
        #expect(disk.holds(fixture.file(1)))
    }

    /// The sync of a durable record is of the file that holds it, even if its turn comes after the next file was begun.
    @Test func aFileThatWasLeftIsSyncedBeforeTheCompletion() async throws {
        let disk = Disk()
        disk.state.withLock { $0.isHeld = true }
        let (spool, _) = try fixture.open(fileBytes: 1, sync: { disk.sync($0) })
        let wasOnDisk = Locked<Bool?>(nil)
        let first = fixture.file(1)
        spool.append(began(1), untilOnDisk: true) { isSafe in wasOnDisk.withLock { $0 = isSafe && disk.holds(first) } }
        for number in 2...4 { #expect(await spool.appended(began(number))) }
        disk.state.withLock { $0.isHeld = false }
        try await eventually("the completion") { wasOnDisk.withLock { $0 != nil } }
        #expect(wasOnDisk.withLock { $0 } == true)
        spool.close()
        for number in 1...4 { #expect(disk.holds(fixture.file(number)), "file \(number)") }
    }

    @Test func aSyncThatFailsIsToldAndCounted() async throws {
        let disk = Disk()
        disk.state.withLock { $0.fails = true }
        let (spool, _) = try fixture.open(sync: { disk.sync($0) }, firstPause: .milliseconds(5))
        #expect(await !spool.appendDurably(began(1)))
        #expect(spool.failures > 0 && spool.isFailing)
        disk.state.withLock { $0.fails = false }
        try await eventually("it can be used again") { await spool.appendDurably(began(2)) }
        spool.close()
    }

    /// No new file can be made: something else is in the folder's place for a while.
    @Test func aRefusedWriteIsToldAndLaterOnesGoOn() async throws {
        let (spool, _) = try fixture.open(fileBytes: 1)
        #expect(await spool.appended(began(1)))
        let away = fixture.folder.url.appendingPathExtension("away")
        try FileManager.default.moveItem(at: fixture.folder.url, to: away)
        #expect(FileManager.default.createFile(atPath: fixture.folder.url.path, contents: nil))
        #expect(await !spool.appended(began(2)))
        #expect(await !spool.appendDurably(began(3)))
        #expect(spool.failures == 2)
        #expect(spool.unsettledSessions == 1, "what was not written is not waited for")
        try FileManager.default.removeItem(at: fixture.folder.url)
        try FileManager.default.moveItem(at: away, to: fixture.folder.url)
        #expect(await spool.appended(began(4)))
        #expect(await spool.appendDurably(.final(Sample.session(1), Sample.final(0))))
        #expect(spool.failures == 2)
        spool.close()
        let sessions = try fixture.recovered()
        #expect(sessions.map(\.began.session) == [Sample.session(1), Sample.session(4)])
        #expect(sessions[0].finals.count == 1)
        #expect(fixture.log.count(of: "cannot be written", atLeast: .error) == 1, "one line for all of it")
        #expect(fixture.log.count(of: "can be written again") == 1)
    }

    /// A file that takes nothing any more and cannot be cut, as /dev/full in its place does not: records go to the next.
    @Test func aFileThatTakesNothingIsLeft() async throws {
        let (spool, _) = try fixture.open()
        #expect(await spool.appended(began(1)))
        let descriptor = try #require(Self.descriptor(of: fixture.file(1)))
        let full = open("/dev/full", O_WRONLY)
        #expect(dup2(full, descriptor) == descriptor)
        close(full)
        #expect(await !spool.appended(began(2)))
        #expect(await spool.appended(began(3)))
        #expect(spool.failures >= 1)
        spool.close()
        #expect(fixture.files.contains("00000002.spool"))
        #expect(try fixture.recovered().map(\.began.session) == [Sample.session(1), Sample.session(3)])
    }

    /// The descriptor with which this process has a file open.
    private static func descriptor(of file: URL) -> Int32? {
        var wanted = stat()
        guard stat(file.path, &wanted) == 0 else { return nil }
        return (3..<4_096).first { descriptor in
            var status = stat()
            return fstat(descriptor, &status) == 0 && status.st_ino == wanted.st_ino && status.st_dev == wanted.st_dev
        }
    }

    /// A disk that is full in the middle of a record: the torn end is cut off, and what comes later follows it in the
    /// same file, not in one new file for each attempt.
    @Test(.enabled(if: SmallDisk.canBeMade)) func aFullDiskLeavesNoTornRecord() async throws {
        let disk = try SmallDisk()
        defer { disk.remove() }
        let filler = disk.url.appending(path: "filler")
        let log = LogRecorder()
        let (spool, _) = try Spool.open(
            folder: disk.url.appending(path: "spool"), maximumBytes: 1 << 30, logger: log.logger)
        #expect(await spool.appended(began(1)))
        try disk.fill(filler)
        var taken = 0
        while await spool.appended(.final(Sample.session(1), Sample.final(taken))) {
            taken += 1
            try #require(taken < 10_000)
        }
        for _ in 0..<5 { #expect(await !spool.appended(.final(Sample.session(1), Sample.final(taken)))) }
        #expect(spool.failures == 6)
        try FileManager.default.removeItem(at: filler)
        #expect(await spool.appendDurably(.final(Sample.session(1), Sample.final(taken, "room again"))))
        spool.close()
        let folder = disk.url.appending(path: "spool")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(files == ["00000001.spool", SpoolIdentity.fileName])
        let (again, recovery) = try Spool.open(folder: folder, maximumBytes: 1 << 30, logger: log.logger)
        again.close()
        #expect(recovery.sessions.map(\.finals.count) == [taken + 1])
        #expect(log.count(of: "torn record") == 0)
    }
}

/// A file system of a few pages, where the machine lets one be mounted.
struct SmallDisk {
    static let canBeMade: Bool = {
        guard geteuid() == 0, let disk = try? SmallDisk() else { return false }
        disk.remove()
        return true
    }()

    let url: URL
    private let folder: TestFolder

    init() throws {
        folder = try TestFolder()
        url = folder.url.appending(path: "disk")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        guard mount("tmpfs", url.path, "tmpfs", 0, "size=64k") == 0 else {
            throw POSIXError(POSIXError.Code(rawValue: errno) ?? .EPERM)
        }
    }

    func remove() { umount(url.path) }

    /// Takes all the room that is left.
    func fill(_ file: URL) throws {
        try Data().write(to: file)
        let handle = try FileHandle(forWritingTo: file)
        defer { try? handle.close() }
        while (try? handle.write(contentsOf: [UInt8](repeating: 0, count: 512))) != nil {}
    }
}
