import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// A spool in a folder of its own, which can be opened again as after a restart or a crash.
struct SpoolFixture {
    let folder: TestFolder
    let log = LogRecorder()

    init() throws { folder = try TestFolder() }
    init(folder: TestFolder) { self.folder = folder }

    func open(
        maximumBytes: Int = 1 << 30, fileBytes: Int = Spool.fileBytes,
        sync: @escaping @Sendable (Int32) -> Bool = Spool.fileDataSync,
        readFile: @escaping @Sendable (URL) throws -> [UInt8] = Spool.contents,
        firstPause: Duration = Spool.roomPauses.lowerBound
    ) throws -> (Spool, SpoolRecovery) {
        try Spool.open(
            folder: folder.url, maximumBytes: maximumBytes, fileBytes: fileBytes, sync: sync, readFile: readFile,
            firstPause: firstPause, logger: log.logger)
    }

    /// What a new start would find; the spool must have been closed.
    func recovered() throws -> [SpoolRecovery.Unsettled] {
        let (spool, recovery) = try open()
        spool.close()
        return recovery.sessions
    }

    /// Its files but the one with its name.
    var files: [String] { folder.files.filter { $0 != SpoolIdentity.fileName } }

    func file(_ number: Int) -> URL {
        folder.url.appending(path: String(repeating: "0", count: 8 - String(number).count) + "\(number).spool")
    }
}

extension Spool {
    /// Appends and answers whether the disk took it.
    func appended(_ record: SpoolRecord) async -> Bool {
        await withCheckedContinuation { continuation in append(record) { continuation.resume(returning: $0) } }
    }
}

/// The node's own record of its sessions on a disk that works.
@Suite struct SpoolTests {
    let fixture: SpoolFixture
    let epoch = Sample.epoch()

    init() throws { fixture = try SpoolFixture() }

    private func began(_ number: Int) -> SpoolRecord { .began(Sample.began(Sample.session(number), holder: epoch)) }
    private func ended(_ number: Int) -> SpoolRecord {
        .ended(Sample.session(number), Sample.end(Sample.session(number), holder: epoch).end)
    }

    @Test func whatWasWrittenIsFoundAgain() async throws {
        let (spool, empty) = try fixture.open()
        #expect(empty.sessions.isEmpty)
        let records: [SpoolRecord] = [
            began(1), .final(Sample.session(1), Sample.final(0)), began(2), began(3),
            .usage(Sample.session(1), audioMilliseconds: 1_500, at: moment(3)),
            .final(Sample.session(1), Sample.final(1)),
            ended(2), .settled(Sample.session(3)),
        ]
        for record in records { #expect(await spool.appended(record)) }
        #expect(spool.unsettledSessions == 2)
        #expect(spool.failures == 0)
        spool.close()
        let sessions = try fixture.recovered()
        #expect(sessions.map(\.began) == [1, 2].map { Sample.began(Sample.session($0), holder: epoch) })
        #expect(sessions[0].finals == [Sample.final(0), Sample.final(1)])
        #expect(sessions[0].audioMilliseconds == 1_500)
        #expect(sessions[0].lastSeen == moment(3))
        #expect(sessions[0].end == nil)
        #expect(sessions[1].end == Sample.end(Sample.session(2), holder: epoch).end)
    }

    @Test func aNewLifeGoesOnWhereTheOldOneStopped() async throws {
        let (first, _) = try fixture.open()
        #expect(await first.appended(began(1)))
        first.close()
        let (second, recovery) = try fixture.open()
        #expect(recovery.sessions.count == 1)
        #expect(second.unsettledSessions == 1)
        #expect(await second.appended(.final(Sample.session(1), Sample.final(0))))
        second.close()
        #expect(try fixture.recovered().map(\.finals) == [[Sample.final(0)]])
    }

    /// A crash may leave any part of the last record: every record before it is found, and later ones can be written.
    @Test func aRecordTornAtAnyByteCostsOnlyItself() async throws {
        let (spool, _) = try fixture.open()
        #expect(await spool.appended(began(1)))
        #expect(await spool.appended(.final(Sample.session(1), Sample.final(0))))
        let whole = spool.bytes
        #expect(await spool.appended(.final(Sample.session(1), Sample.final(1))))
        spool.close()
        let bytes = try Data(contentsOf: fixture.file(1))
        #expect(bytes.count == spool.bytes)
        for length in whole..<bytes.count {
            let other = try SpoolFixture()
            try bytes.prefix(length).write(to: other.file(1))
            let (torn, recovery) = try other.open()
            #expect(recovery.sessions.map(\.finals) == [[Sample.final(0)]], "cut at byte \(length) of \(bytes.count)")
            #expect(other.log.count(of: "torn record") == (length == whole ? 0 : 1))
            #expect(await torn.appended(.final(Sample.session(1), Sample.final(1, "after the crash"))))
            torn.close()
            #expect(try other.recovered()[0].finals == [Sample.final(0), Sample.final(1, "after the crash")])
        }
    }

    @Test(arguments: 0..<5) func damageCostsOnlyTheRecordThatHasIt(_ seed: UInt64) async throws {
        let (spool, _) = try fixture.open()
        #expect(await spool.appended(began(1)))
        let whole = spool.bytes
        #expect(await spool.appended(.final(Sample.session(1), Sample.final(0))))
        let first = spool.bytes
        #expect(await spool.appended(.final(Sample.session(1), Sample.final(1))))
        spool.close()
        var bytes = try Data(contentsOf: fixture.file(1))
        var random = SeededGenerator(seed: seed)
        let place = Int.random(in: whole..<bytes.count, using: &random)
        bytes[place] ^= UInt8.random(in: 1...255, using: &random)
        try bytes.write(to: fixture.file(1))
        let sessions = try fixture.recovered()
        #expect(sessions.count == 1)
        #expect(sessions[0].finals == [Sample.final(place < first ? 1 : 0)])
    }

    @Test func aRecordOfAnUnknownFormStopsTheStart() throws {
        try Data(SpoolFraming.frame(Array(#"{"tomorrow":{}}"#.utf8))).write(to: fixture.file(1))
        let error = #expect(throws: HansardError.self) { try fixture.open() }
        #expect(error?.message.contains("unknown form") == true)
        #expect(FileManager.default.fileExists(atPath: fixture.file(1).path), "it is not thrown away")
    }

    @Test func otherFilesInTheFolderAreLeftAlone() throws {
        for name in ["notes.txt", "x.spool", "00000001.spool.bak"] {
            try Data("hello".utf8).write(to: fixture.folder.url.appending(path: name))
        }
        #expect(try fixture.recovered().isEmpty)
        #expect(fixture.files.count == 3)
    }

    @Test func theFilesAreForTheOwnerAlone() async throws {
        let (spool, _) = try fixture.open()
        #expect(await spool.appended(began(1)))
        spool.close()
        let attributes = try FileManager.default.attributesOfItem(atPath: fixture.file(1).path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test func aSpoolIsForOneAtATime() async throws {
        let (spool, _) = try fixture.open()
        let error = #expect(throws: HansardError.self) { try fixture.open() }
        #expect(error?.code == .unavailable)
        #expect(error?.message.contains("another process uses it") == true)
        #expect(await spool.appended(began(1)), "the first is not disturbed")
        spool.close()
        #expect(try fixture.recovered().count == 1)
    }

    // MARK: Files

    /// Each record in a file of its own.
    @Test func aFileGoesOnceEverySessionUpToItIsSettled() async throws {
        let (spool, _) = try fixture.open(fileBytes: 1)
        for number in 1...3 { #expect(await spool.appended(began(number))) }
        #expect(fixture.files.count == 3)
        #expect(await spool.appended(.settled(Sample.session(2))))
        #expect(fixture.files.count == 4, "session 1 began before it")
        #expect(await spool.appended(.settled(Sample.session(1))))
        #expect(fixture.files.first == fixture.file(3).lastPathComponent, "session 3 is all that counts")
        #expect(await spool.appended(.settled(Sample.session(3))))
        #expect(fixture.files.count == 1)
        spool.close()
        #expect(try fixture.recovered().isEmpty)
    }

    @Test func aSessionInSeveralFilesIsFoundWhole() async throws {
        let (spool, _) = try fixture.open(fileBytes: 1_000)
        #expect(await spool.appended(began(1)))
        let finals = (0..<100).map { Sample.final($0) }
        for final in finals { #expect(await spool.appended(.final(Sample.session(1), final))) }
        spool.close()
        #expect(fixture.files.count > 10)
        #expect(try fixture.recovered().map(\.finals) == [finals])
    }

    /// What became of an early file's sessions is told in a later one: if that went first and the node then died, a
    /// settled session would come back with half of its finals.
    @Test func noFileIsDeletedBeforeOlderOnes() async throws {
        let (spool, _) = try fixture.open(fileBytes: 1)
        #expect(await spool.appended(began(1)))
        let oldest = fixture.file(1)
        for sequence in 0..<20 { #expect(await spool.appended(.final(Sample.session(1), Sample.final(sequence)))) }
        #expect(await spool.appended(ended(1)))
        // The oldest cannot be deleted: a folder is in its place.
        try FileManager.default.removeItem(at: oldest)
        try FileManager.default.createDirectory(at: oldest, withIntermediateDirectories: false)
        #expect(await spool.appended(.settled(Sample.session(1))))
        #expect(fixture.files.count == 22, "none of the later ones went")
        try FileManager.default.removeItem(at: oldest)
        #expect(await spool.appended(began(2)))
        #expect(await spool.appended(.settled(Sample.session(2))))
        #expect(fixture.files.count == 1, "they go when it can go")
        spool.close()
    }

    @Test func settledSessionsNeverKeepTheSpoolFull() async throws {
        let (spool, _) = try fixture.open(maximumBytes: 4_000)
        var number = 0
        while !spool.isFull {
            number += 1
            try #require(number < 100)
            #expect(await spool.appended(began(number)))
        }
        #expect(await spool.appended(began(number + 1)), "a record is never dropped for lack of room")
        for settled in 1...(number + 1) { #expect(await spool.appended(.settled(Sample.session(settled)))) }
        #expect(!spool.isFull)
        #expect(spool.unsettledSessions == 0)
        spool.close()
        let (again, _) = try fixture.open(maximumBytes: 4_000)
        #expect(!again.isFull)
        again.close()
    }

    // MARK: Completions

    @Test func completionsComeInTheOrderOfTheRecords() async throws {
        let (spool, _) = try fixture.open(fileBytes: 2_000)
        let order = Locked<(plain: [Int], durable: [Int])>(([], []))
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            for sequence in 0..<200 {
                let isDurable = sequence % 10 == 0
                spool.append(.final(Sample.session(1), Sample.final(sequence)), untilOnDisk: isDurable) { isSafe in
                    let count = order.withLock { order in
                        if isDurable { order.durable.append(sequence) } else { order.plain.append(sequence) }
                        return isSafe ? order.plain.count + order.durable.count : -1
                    }
                    if count == 200 { continuation.resume() }
                }
            }
        }
        let (plain, durable) = order.withLock { $0 }
        #expect(plain == (0..<200).filter { $0 % 10 != 0 })
        #expect(durable == (0..<200).filter { $0 % 10 == 0 })
        spool.close()
    }

    @Test func aClosedSpoolRefuses() async throws {
        let (spool, _) = try fixture.open()
        spool.close()
        #expect(await !spool.appended(began(1)))
        #expect(await !spool.appendDurably(began(1)))
    }

    /// Somebody clears a state folder under a running node: what comes next has a folder again, locked as before.
    @Test func aDeletedFolderIsMadeAgain() async throws {
        let (spool, _) = try fixture.open()
        #expect(await spool.appendDurably(.began(Sample.began(Sample.session(1), holder: epoch))))
        try FileManager.default.removeItem(at: fixture.folder.url)
        // The first record still goes to the file that is gone; its sync finds out.
        _ = await spool.appendDurably(.settled(Sample.session(1)))
        #expect(await spool.appendDurably(.began(Sample.began(Sample.session(2), holder: epoch))))
        #expect(throws: HansardError.self, "the lock is on the new folder") { try fixture.open() }
        spool.close()
        let (again, recovery) = try fixture.open()
        #expect(recovery.sessions.map(\.began.session) == [Sample.session(2)])
        again.close()
    }
}
