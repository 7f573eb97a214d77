import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A disk of which a power failure leaves what was synced, and nothing else. What a sync that failed was to write is lost, as Linux
/// does it: pages are marked clean, and the next fdatasync succeeds.
private final class LossyDisk: Sendable {
    struct State {
        var syncs = 0
        /// So many of the next ones fail.
        var failures = 0
        /// Bytes, by inode, that the disk has.
        var durable: [UInt64: Int] = [:]
        /// Pieces that it lost.
        var lost: [UInt64: [Range<Int>]] = [:]
    }

    let state = Locked(State())

    func fail(_ count: Int) { state.withLock { $0.failures = count } }
    var syncs: Int { state.withLock(\.syncs) }
    var pendingFailures: Int { state.withLock(\.failures) }

    func sync(_ descriptor: Int32) -> Bool {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return false }
        let (inode, size) = (UInt64(status.st_ino), Int(status.st_size))
        return state.withLock { state in
            state.syncs += 1
            let start = state.durable[inode] ?? 0
            state.durable[inode] = max(start, size)
            guard state.failures > 0 else { return true }
            state.failures -= 1
            if start < size { state.lost[inode, default: []].append(start..<size) }
            return false
        }
    }

    /// What the folder is after a power failure.
    func remains(of folder: URL) throws -> SpoolFixture {
        let copy = try TestFolder()
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
            let file = folder.appending(path: name)
            var status = stat()
            guard stat(file.path, &status) == 0 else { continue }
            var data = try Data(contentsOf: file)
            if name.hasSuffix(".spool") {
                let inode = UInt64(status.st_ino)
                let (durable, lost) = state.withLock { ($0.durable[inode] ?? 0, $0.lost[inode] ?? []) }
                data = data.prefix(durable)
                for range in lost where range.upperBound <= data.count {
                    data.replaceSubrange(range, with: Data(count: range.count))
                }
            }
            try data.write(to: copy.url.appending(path: name))
        }
        return SpoolFixture(folder: copy)
    }
}

/// A spool on a disk that loses what it was given, and on one that is slow.
@Suite(.timeLimit(.minutes(5))) struct SpoolLossTests {
    let fixture: SpoolFixture
    let epoch = Sample.epoch()

    init() throws { fixture = try SpoolFixture() }

    private func began(_ number: Int) -> SpoolRecord { .began(Sample.began(Sample.session(number), holder: epoch)) }
    private func final(_ number: Int, _ sequence: Int) -> SpoolRecord {
        .final(Sample.session(number), Sample.final(sequence))
    }
    private func ended(_ number: Int) -> SpoolRecord {
        .ended(Sample.session(number), Sample.end(Sample.session(number), holder: epoch).end)
    }

    /// Sessions that end at once, as when a node is drained.
    @Test func durableRecordsShareASync() async throws {
        let (disk, gate) = (LossyDisk(), DispatchSemaphore(value: 0))
        let (spool, _) = try fixture.open(sync: { descriptor in
            gate.wait()
            defer { gate.signal() }
            return disk.sync(descriptor)
        })
        let count = 500
        let given = Locked(0)
        await withTaskGroup(of: Bool.self) { group in
            for number in 0..<count { group.addTask { await spool.appendDurably(began(number)) } }
            group.addTask {
                // The first sync goes on until all others wait.
                while spool.unsettledSessions < count { try? await Task.sleep(for: .milliseconds(1)) }
                gate.signal()
                return true
            }
            for await isSafe in group where isSafe { given.withLock { $0 += 1 } }
        }
        #expect(given.withLock { $0 } == count + 1)
        #expect(disk.syncs <= 4, "one was under way, one has the rest; those that nobody waits for come besides")
        spool.close()
        #expect(try disk.remains(of: fixture.folder.url).recovered().count == count)
    }

    /// What is told to be on the disk is not behind something that the disk has lost, nor is that lost for ever.
    @Test func whatASyncLostIsWrittenAgain() async throws {
        let disk = LossyDisk()
        let (spool, _) = try fixture.open(sync: { disk.sync($0) })
        #expect(await spool.appendDurably(began(1)))
        disk.fail(1)
        #expect(await !spool.appendDurably(began(2)))
        #expect(spool.failures == 1)
        #expect(await spool.appendDurably(began(3)))
        #expect(try disk.remains(of: fixture.folder.url).recovered().map(\.began.session).contains(Sample.session(3)))
        try await eventually("it is written again") { !spool.isFailing }
        spool.close()
        let recovered = try disk.remains(of: fixture.folder.url).recovered()
        #expect(recovered.map(\.began.session) == [1, 2, 3].map { Sample.session($0) })
    }

    /// Records that nobody waited for.
    @Test func finalsThatASyncLostAreWrittenAgain() async throws {
        let disk = LossyDisk()
        let (spool, _) = try fixture.open(sync: { disk.sync($0) })
        #expect(await spool.appendDurably(began(1)))
        disk.fail(1)
        for sequence in 0..<3 { #expect(await spool.appended(final(1, sequence))) }
        try await eventually("a sync failed") { disk.pendingFailures == 0 }
        try await eventually("they are written again") { !spool.isFailing && spool.failures == 1 }
        spool.close()
        let recovered = try disk.remains(of: fixture.folder.url).recovered()
        #expect(recovered.first?.finals.map(\.sequence) == [0, 1, 2])
    }

    /// While the disk loses everything no session begins; nothing is lost once it does not any more.
    @Test func aDiskThatFailsForSomeTime() async throws {
        let disk = LossyDisk()
        let (spool, _) = try fixture.open(sync: { disk.sync($0) }, firstPause: .milliseconds(20))
        #expect(await spool.appendDurably(began(1)))
        disk.fail(8)
        for number in 2...9 {
            _ = await spool.appendDurably(began(number))
            if disk.pendingFailures > 0 { #expect(spool.isFailing) }
        }
        try await eventually("the disk works") {
            _ = await spool.appendDurably(final(1, 0))
            return disk.pendingFailures == 0 && !spool.isFailing
        }
        #expect(await spool.appendDurably(began(10)))
        spool.close()
        let recovered = try disk.remains(of: fixture.folder.url).recovered()
        #expect(recovered.map(\.began.session) == (1...10).map { Sample.session($0) })
    }

    /// A session's `settled` is in a file whose sync failed when it was left: nothing goes because of it before it is written again.
    @Test func nothingIsDeletedForTheSakeOfWhatIsNotOnTheDisk() async throws {
        let disk = LossyDisk()
        let (spool, _) = try fixture.open(fileBytes: 2_000, sync: { disk.sync($0) })
        #expect(await spool.appendDurably(began(1)))
        while !fixture.files.contains("00000002.spool") { #expect(await spool.appendDurably(final(1, 0))) }
        #expect(await spool.appendDurably(began(2)))
        #expect(await spool.appendDurably(ended(1)))
        #expect(fixture.files.contains("00000001.spool"))
        disk.fail(1)
        spool.append(.settled(Sample.session(1)))
        for sequence in 0..<8 { spool.append(final(2, sequence)) }
        #expect(await spool.appended(began(3)))
        try await eventually("the first file is gone") { fixture.files.first != "00000001.spool" }
        spool.close()
        let (again, recovery) = try disk.remains(of: fixture.folder.url).open()
        again.close()
        #expect(recovery.sessions.map(\.began.session) == [2, 3].map { Sample.session($0) })
        #expect(recovery.sessions.first?.finals.count == 8 && recovery.strays.isEmpty)
    }

    /// What was written while a sync of its file was failing is behind what that lost, though the next sync does not fail.
    @Test func whatIsSyncedAfterAFailureOfItsFileIsNotSafe() async throws {
        let (gate, syncs) = (DispatchSemaphore(value: 0), Locked(0))
        let (spool, _) = try fixture.open(sync: { _ in
            let number = syncs.withLock { count in
                count += 1
                return count
            }
            if number == 1 { gate.wait() }
            return number > 1
        })
        async let first = spool.appendDurably(began(1))
        try await eventually("its sync is under way") { syncs.withLock { $0 } == 1 }
        async let second = spool.appendDurably(began(2))
        try await eventually("the other is written") { spool.unsettledSessions == 2 }
        gate.signal()
        #expect(await !first)
        #expect(await !second, "its own sync is told to have been good")
        try await eventually("both are written again") { !spool.isFailing }
        spool.close()
    }

    /// A deletion was decided upon when nothing had failed yet, and then the file is lost in which a session was settled.
    @Test func aDeletionLooksOnceMoreWhetherAllIsThere() async throws {
        let (gate, syncs) = (DispatchSemaphore(value: 0), Locked(0))
        let (folder, isThere) = (fixture.folder, Locked<Bool?>(nil))
        let first = fixture.file(1)
        let (spool, _) = try fixture.open(
            fileBytes: 2_000,
            sync: { _ in
                let number = syncs.withLock { count in
                    count += 1
                    return count
                }
                if number == 1 { gate.wait() }
                // The second is that of the file that is left.
                return number != 2
            },
            readFile: { url in
                isThere.withLock { $0 = $0 ?? FileManager.default.fileExists(atPath: first.path) }
                return try Spool.contents(url)
            }, firstPause: .milliseconds(5))
        spool.append(began(1), untilOnDisk: true)
        for number in 2...4 { spool.append(began(number)) }
        while !folder.files.contains("00000002.spool") { #expect(await spool.appended(final(4, 0))) }
        for number in 2...4 { #expect(await spool.appended(.settled(Sample.session(number)))) }
        #expect(await spool.appended(began(5)))
        while !folder.files.contains("00000003.spool") { #expect(await spool.appended(final(5, 0))) }
        spool.append(.settled(Sample.session(1)))
        #expect(await spool.appended(began(6)))
        gate.signal()
        try await eventually("it is written again") { isThere.withLock { $0 } != nil && !spool.isFailing }
        #expect(isThere.withLock { $0 } == true, "the sessions of the first file are settled in what is lost")
        spool.close()
    }

    /// The first file stays, since a session lives on, and so does what it has of one that was settled in a file that was lost.
    @Test func whatIsSettledStaysSettled() async throws {
        let disk = LossyDisk()
        let (spool, _) = try fixture.open(fileBytes: 2_000, sync: { disk.sync($0) })
        for number in [1, 9] { #expect(await spool.appendDurably(began(number))) }
        while !fixture.files.contains("00000002.spool") { #expect(await spool.appendDurably(final(9, 0))) }
        disk.fail(1)
        #expect(await spool.appended(.settled(Sample.session(1))))
        try await eventually("it was lost and is written again") { spool.failures == 1 && !spool.isFailing }
        spool.close()
        #expect(fixture.files.first == "00000001.spool")
        let (again, recovery) = try disk.remains(of: fixture.folder.url).open()
        again.close()
        #expect(recovery.sessions.map(\.began.session) == [Sample.session(9)] && recovery.strays.isEmpty)
    }

    /// A session that heard nothing, and ended before its node was killed.
    @Test(arguments: [false, true]) func aSessionThatHeardNothingIsFinished(hasEnded: Bool) async throws {
        let id = Sample.session(1)
        var session = Sample.began(id, holder: epoch)
        (session.sampleRate, session.channels) = (0, 0)
        let end = Sample.end(id, holder: epoch, hasAudio: false).end
        let (spool, _) = try fixture.open()
        #expect(await spool.appended(.began(session)))
        #expect(await spool.appended(.metered(UsageRecord.sample(1, sequence: 0, at: 1))))
        if hasEnded { #expect(await spool.appendDurably(.ended(id, end))) }
        spool.close()
        let (again, recovery) = try fixture.open()
        again.close()
        #expect(recovery.strays.isEmpty && recovery.usage.last?.isFinal == true)
        let left = try #require(recovery.sessions.first)
        #expect(left.resolvedEnd().transcript == nil && left.resolvedEnd().usage.channels > 0)
        #expect(left.end == (hasEnded ? end : nil))
    }

    /// Its beginning comes again once it has heard something.
    @Test func whatTheAudioIsIsKnownInTheEnd() async throws {
        let id = Sample.session(1)
        let known = Sample.began(id, holder: epoch)
        var unknown = known
        (unknown.sampleRate, unknown.channels) = (0, 0)
        let (spool, _) = try fixture.open()
        for session in [unknown, known, unknown] { #expect(await spool.appended(.began(session))) }
        spool.close()
        #expect(try fixture.recovered().map(\.began) == [known])
    }
}
