import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// A session that lives on does not keep what others left.
@Suite(.timeLimit(.minutes(10))) struct SpoolRoomTests {
    let fixture: SpoolFixture
    let epoch = Sample.epoch()
    let fileBytes = 4_000

    init() throws { fixture = try SpoolFixture() }

    private func began(_ number: Int) -> SpoolRecord { .began(Sample.began(Sample.session(number), holder: epoch)) }
    private func final(_ number: Int, _ sequence: Int) -> SpoolRecord {
        .final(Sample.session(number), Sample.final(sequence))
    }
    private func settled(_ number: Int) -> SpoolRecord { .settled(Sample.session(number)) }

    /// A session from its beginning to its end.
    private func session(_ number: Int) -> [SpoolRecord] {
        let end = Sample.end(Sample.session(number), holder: epoch).end
        return [
            began(number), final(number, 0), final(number, 1), .ended(Sample.session(number), end), settled(number),
        ]
    }

    /// Short sessions, one after the other.
    private func write(_ numbers: ClosedRange<Int>, to spool: Spool) async {
        for number in numbers { for record in session(number) { #expect(await spool.appended(record)) } }
    }

    /// No file is carried or deleted any more.
    private func rest(_ spool: Spool) async throws {
        try await eventually("the spool has made room") {
            spool.state.withLock { !$0.isMakingRoom && $0.contents.nextStep == nil }
        }
    }

    /// The first 4 files' worth, the one that is written, and the one that is carried.
    private var bound: Int { (Spool.leastGarbageFiles + 3) * fileBytes }

    @Test func oneThatLivesOnKeepsNothingOfThousands() async throws {
        let (spool, _) = try fixture.open(maximumBytes: 1 << 30, fileBytes: fileBytes)
        #expect(await spool.appended(began(0)))
        for number in 1...2_000 {
            if number % 20 == 0 { #expect(await spool.appended(final(0, number / 20))) }
            // What is settled last is when the spool looks for room.
            await write(number...number, to: spool)
            guard number % 20 == 0 else { continue }
            // Sessions do not wait for what is carried, so that a slow disk may be behind.
            try await rest(spool)
            let needed = spool.unsettledBytes
            try #require(spool.bytes <= needed + max(needed, Spool.leastGarbageFiles * fileBytes) + 3 * fileBytes)
        }
        #expect(spool.unsettledSessions == 1 && spool.failures == 0)
        let names = fixture.files
        #expect(names.first.map { Int($0.prefix(8)) ?? 0 } ?? 0 > 100, "early files are gone")
        let bytes = try names.reduce(0) { try $0 + Data(contentsOf: fixture.folder.url.appending(path: $1)).count }
        #expect(spool.bytes == bytes, "it knows what the files hold")
        spool.close()
        let sessions = try fixture.recovered()
        #expect(sessions.map(\.began.session) == [Sample.session(0)])
        #expect(sessions.first?.finals == (1...100).map { Sample.final($0) })
    }

    /// The oldest file is looked at whenever a session is settled, also by a node that has just started.
    @Test func aStartMakesRoomToo() async throws {
        let (spool, _) = try fixture.open(
            fileBytes: fileBytes, readFile: { _ in throw POSIXError(.EIO) }, firstPause: .seconds(600))
        #expect(await spool.appended(began(0)))
        await write(1...50, to: spool)
        #expect(fixture.log.count(of: "cannot be carried") == 1, "and not once for each session")
        let before = spool.bytes
        spool.close()
        let (again, recovery) = try fixture.open(fileBytes: fileBytes)
        #expect(again.bytes <= before && recovery.sessions.count == 1)
        try await rest(again)
        #expect(again.bytes < bound && again.bytes < before / 2)
        #expect(again.unsettledSessions == 1)
        again.close()
        #expect(try fixture.recovered() == recovery.sessions)
    }

    /// What is carried is read by a thread of its own, in its own time.
    @Test func nobodyWaitsForAFileThatIsRead() async throws {
        let isHeld = Locked(true)
        let reads = Locked(0)
        let (spool, _) = try fixture.open(
            fileBytes: fileBytes,
            readFile: { url in
                reads.withLock { $0 += 1 }
                while isHeld.withLock({ $0 }) { usleep(1_000) }
                return try Spool.contents(url)
            })
        #expect(await spool.appended(began(0)))
        await write(1...100, to: spool)
        #expect(await spool.appendDurably(final(0, 0)))
        #expect(reads.withLock { $0 } == 1, "one at a time")
        #expect(fixture.files.first == "00000001.spool")
        isHeld.withLock { $0 = false }
        try await rest(spool)
        #expect(fixture.files.first != "00000001.spool" && spool.bytes < bound)
        spool.close()
        #expect(try fixture.recovered().map(\.finals) == [[Sample.final(0)]])
    }

    /// A session that was unsettled while its file was read, and is settled before its records are written again.
    @Test func whatIsSettledMeanwhileDoesNotComeBack() async throws {
        let isHeld = Locked(true)
        let (spool, _) = try fixture.open(
            fileBytes: fileBytes,
            readFile: { url in
                let bytes = try Spool.contents(url)
                while isHeld.withLock({ $0 }) { usleep(1_000) }
                return bytes
            })
        #expect(await spool.appended(began(0)))
        #expect(await spool.appended(began(1)))
        await write(2...100, to: spool)
        #expect(await spool.appended(settled(0)))
        isHeld.withLock { $0 = false }
        try await rest(spool)
        #expect(spool.unsettledSessions == 1)
        let kept = try fixture.files.map { try Spool.contents(fixture.folder.url.appending(path: $0)) }
        let records = try kept.flatMap { SpoolFraming.read($0).payloads }.map {
            try JSONDecoder().decode(SpoolRecord.self, from: Data($0))
        }
        #expect(records.contains(began(1)) && !records.contains(began(0)))
        spool.close()
        #expect(try fixture.recovered().map(\.began.session) == [Sample.session(1)])
    }

    // MARK: Disks that fail, people who delete

    @Test func aDiskThatRefusesPutsItOff() async throws {
        let fails = Locked(false)
        let (spool, _) = try fixture.open(
            fileBytes: fileBytes, sync: { Spool.fileDataSync($0) && !fails.withLock { $0 } },
            firstPause: .milliseconds(10))
        #expect(await spool.appended(began(0)))
        fails.withLock { $0 = true }
        await write(1...100, to: spool)
        try await eventually("it was tried again") { spool.state.withLock { $0.pause ?? .zero > .milliseconds(20) } }
        #expect(fixture.files.first == "00000001.spool", "what was carried may be lost")
        fails.withLock { $0 = false }
        try await eventually("room is made") { spool.bytes < bound }
        try await rest(spool)
        #expect(spool.state.withLock { $0.pause == nil })
        spool.close()
        #expect(try fixture.recovered().map(\.began.session) == [Sample.session(0)])
    }

    /// No file can be begun in the middle of a carry.
    @Test func aWriteThatIsRefusedLosesNothing() async throws {
        let away = fixture.folder.url.appendingPathExtension("away")
        let isDue = Locked(true)
        let folder = fixture.folder.url
        let (spool, _) = try fixture.open(
            fileBytes: fileBytes,
            readFile: { url in
                let bytes = try Spool.contents(url)
                if isDue.withLock({ due in
                    defer { due = false }; return due
                }) {
                    try FileManager.default.moveItem(at: folder, to: away)
                    _ = FileManager.default.createFile(atPath: folder.path, contents: nil)
                }
                return bytes
            }, firstPause: .milliseconds(10))
        for sequence in 0..<12 { #expect(await spool.appended(final(0, sequence))) }
        #expect(await spool.appended(began(0)))
        var number = 0
        while isDue.withLock({ $0 }) {
            number += 1
            for record in session(number) { _ = await spool.appended(record) }
        }
        try await eventually("a write is refused") {
            _ = await spool.appended(began(1_000))
            return spool.isFailing
        }
        try FileManager.default.removeItem(at: folder)
        try FileManager.default.moveItem(at: away, to: folder)
        await write(2_000...2_001, to: spool)
        try await eventually("room is made") { fixture.files.first != "00000001.spool" }
        try await rest(spool)
        spool.close()
        let session = try #require(try fixture.recovered().first { $0.began.session == Sample.session(0) })
        #expect(session.finals == (0..<12).map { Sample.final($0) })
    }

    /// The disk fills while a file is read, and has room again later.
    @Test(.enabled(if: SmallDisk.canBeMade)) func aFullDiskPutsItOff() async throws {
        let disk = try SmallDisk()
        defer { disk.remove() }
        let filler = disk.url.appending(path: "filler")
        let isDue = Locked(true)
        let (spool, _) = try Spool.open(
            folder: disk.url.appending(path: "spool"), maximumBytes: 1 << 30, fileBytes: 6_000,
            readFile: { url in
                let bytes = try Spool.contents(url)
                if isDue.withLock({ $0 }) { try disk.fill(filler) }
                isDue.withLock { $0 = false }
                return bytes
            }, firstPause: .milliseconds(10), logger: fixture.log.logger)
        #expect(await spool.appended(began(0)))
        // More than a page, so that it cannot go where there is room in one.
        for sequence in 0..<14 { #expect(await spool.appended(final(0, sequence))) }
        var number = 0
        // No more than makes a carry due: the spool itself would fill the disk before the file is read.
        while spool.state.withLock({ $0.contents.nextStep == nil }) {
            number += 1
            for record in session(number) { _ = await spool.appended(record) }
        }
        try await eventually("the file is read") { isDue.withLock { !$0 } }
        try await eventually("the carry was put off") { spool.state.withLock { $0.pause != nil } }
        try FileManager.default.removeItem(at: filler)
        await write(1_000...1_001, to: spool)
        try await eventually("room is made") { spool.state.withLock { $0.contents.nextStep == nil } }
        try await rest(spool)
        spool.close()
        let (again, recovery) = try Spool.open(
            folder: disk.url.appending(path: "spool"), maximumBytes: 1 << 30, logger: fixture.log.logger)
        again.close()
        let session = try #require(recovery.sessions.first { $0.began.session == Sample.session(0) })
        #expect(session.finals == (0..<14).map { Sample.final($0) })
        #expect(fixture.log.count(of: "torn record") == 0)
    }

    @Test func aFileThatSomebodyDeletesHoldsUpNothing() async throws {
        let (spool, _) = try fixture.open(fileBytes: fileBytes)
        #expect(await spool.appended(began(0)))
        await write(1...2, to: spool)
        #expect(await spool.appended(final(0, 7)))
        try FileManager.default.removeItem(at: fixture.file(1))
        await write(3...100, to: spool)
        try await rest(spool)
        #expect(fixture.log.count(of: "is gone", atLeast: .error) == 1)
        #expect(spool.bytes < bound && spool.unsettledSessions == 1)
        spool.close()
        let (again, recovery) = try fixture.open()
        #expect(recovery.sessions.isEmpty && recovery.strays == [Sample.session(0)])
        again.close()
    }

    /// Nothing is lost that could be read yet, nor what may be readable again; the file goes when nobody needs it.
    @Test func aDamagedFileStays() async throws {
        let (spool, _) = try fixture.open(maximumBytes: 200_000, fileBytes: fileBytes)
        #expect(await spool.appended(began(0)))
        await write(1...2, to: spool)
        var bytes = try Data(contentsOf: fixture.file(1))
        bytes[bytes.count - 1_500] ^= 1
        try bytes.write(to: fixture.file(1))
        var number = 2
        while !spool.isFull {
            number += 1
            await write(number...number, to: spool)
        }
        #expect(fixture.files.first == "00000001.spool" && fixture.log.count(of: "damaged", atLeast: .error) == 1)
        #expect(await spool.appended(settled(0)))
        try await rest(spool)
        #expect(fixture.files.count == 1 && !spool.isFull && spool.bytes < fileBytes * 2)
        spool.close()
        #expect(try fixture.recovered().isEmpty)
    }

    /// What a crash tore was never whole.
    @Test func aTornEndIsNoDamage() async throws {
        let (spool, _) = try fixture.open(fileBytes: fileBytes)
        #expect(await spool.appended(began(0)))
        #expect(await spool.appended(final(0, 0)))
        spool.close()
        try (Data(contentsOf: fixture.file(1)) + [9, 0, 0]).write(to: fixture.file(1))
        let (again, _) = try fixture.open(fileBytes: fileBytes)
        await write(1...100, to: again)
        try await rest(again)
        #expect(fixture.files.first != "00000001.spool" && again.bytes < bound)
        again.close()
        #expect(try fixture.recovered().map(\.finals) == [[Sample.final(0)]])
    }

    @Test func itIsClosedInTheMiddle() async throws {
        for step in 0..<6 {
            let fixture = try SpoolFixture()
            let (isHeld, calls) = (Locked(false), Locked(0))
            let wait: @Sendable () -> Void = {
                let number = calls.withLock { calls in
                    calls += 1
                    return calls
                }
                while number > step, isHeld.withLock({ $0 }) { usleep(500) }
            }
            let (spool, _) = try fixture.open(
                fileBytes: fileBytes,
                sync: { descriptor in
                    if isHeld.withLock({ $0 }) { wait() }
                    return Spool.fileDataSync(descriptor)
                },
                readFile: { url in
                    // The first one is in the middle when the spool is closed.
                    if calls.withLock({ $0 }) == 0 { isHeld.withLock { $0 = true } }
                    wait()
                    return try Spool.contents(url)
                })
            #expect(await spool.appended(began(0)))
            for sequence in 0..<20 { #expect(await spool.appended(final(0, sequence))) }
            for number in 1...40 { for record in session(number) { spool.append(record) } }
            try await eventually("it is in the middle") { isHeld.withLock { $0 } }
            async let closed: Void = Task.detached { spool.close() }.value
            try await Task.sleep(for: .milliseconds(20))
            isHeld.withLock { $0 = false }
            await closed
            let sessions = try fixture.recovered()
            #expect(sessions.map(\.began.session) == [Sample.session(0)], "step \(step)")
            #expect(sessions.first?.finals == (0..<20).map { Sample.final($0) }, "step \(step)")
        }
    }
}
