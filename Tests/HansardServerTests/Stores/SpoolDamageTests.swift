import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// A spool of which a file is damaged in the middle.
@Suite struct SpoolDamageTests {
    let fixture: SpoolFixture
    let epoch = Sample.epoch()

    init() throws { fixture = try SpoolFixture() }

    private var damagedFile: URL { fixture.folder.url.appending(path: "00000001.spool.damaged") }

    /// Sessions 1 to 9, each with one final, and the damaged file that is left of them.
    ///
    /// - Returns: the file as it was written.
    @discardableResult
    private func damage(_ what: (_ start: Int, _ file: inout Data) -> Void) async throws -> Data {
        let (spool, _) = try fixture.open()
        var start = 0
        for number in 1...9 {
            if number == 5 { start = spool.bytes }
            #expect(await spool.appended(.began(Sample.began(Sample.session(number), holder: epoch))))
            #expect(await spool.appended(.metered(.sample(number, sequence: 0, at: number + 5))))
            #expect(await spool.appended(.final(Sample.session(number), Sample.final(0))))
        }
        spool.close()
        var bytes = try Data(contentsOf: fixture.file(1))
        let whole = bytes
        what(start, &bytes)
        try bytes.write(to: fixture.file(1))
        return whole
    }

    @Test func oneByteCostsOneRecord() async throws {
        try await damage { start, file in file[start + 20] ^= 1 }
        let found = try Data(contentsOf: fixture.file(1))
        let (spool, recovery) = try fixture.open()
        let others = [1, 2, 3, 4, 6, 7, 8, 9].map { Sample.session($0) }
        #expect(recovery.sessions.map(\.began.session) == others)
        #expect(recovery.sessions.allSatisfy { $0.finals == [Sample.final(0)] })
        #expect(recovery.strays == [Sample.session(5)], "its beginning is lost")
        #expect(recovery.usage.contains { $0.session == Sample.session(5) && $0.total.audio == 5_000 })
        #expect(spool.hasDamagedFiles && spool.failures == 1 && spool.unsettledSessions == 9)
        #expect(fixture.log.count(of: "a spool file is damaged", atLeast: .error) == 1)
        #expect(fixture.log.count(of: "torn record") == 0)
        #expect(try Data(contentsOf: damagedFile) == found, "it is kept as it was")
        #expect(try SpoolFraming.read(Spool.contents(fixture.file(1))).isDamaged == false)
        #expect(try Spool.contents(fixture.file(1)).count == spool.bytes)
        spool.close()
    }

    @Test func itSaysSoUntilTheFileIsRemoved() async throws {
        try await damage { start, file in file[start + 20] ^= 1 }
        let (first, recovery) = try fixture.open()
        first.close()
        for _ in 1...2 {
            let (again, same) = try fixture.open()
            #expect(again.hasDamagedFiles && again.failures == 0, "the damage is found once")
            #expect(same.sessions == recovery.sessions && same.usage == recovery.usage)
            again.close()
        }
        #expect(fixture.log.count(of: "a spool file is damaged", atLeast: .error) == 1)
        #expect(fixture.log.count(of: "a damaged spool file is kept", atLeast: .warning) == 2)
        try FileManager.default.removeItem(at: damagedFile)
        let (last, same) = try fixture.open()
        #expect(!last.hasDamagedFiles && same.sessions == recovery.sessions)
        last.close()
    }

    /// The spool deletes its own files, and never uses the number of one that is kept.
    @Test func whatIsKeptStays() async throws {
        try await damage { start, file in file[start + 20] ^= 1 }
        let kept = try Data(contentsOf: fixture.file(1))
        let (spool, _) = try fixture.open()
        for number in 1...9 { #expect(await spool.appended(.settled(Sample.session(number)))) }
        try await eventually("the file goes") { !fixture.files.contains("00000001.spool") }
        spool.close()
        for name in fixture.files where name.hasSuffix(".spool") {
            try FileManager.default.removeItem(at: fixture.folder.url.appending(path: name))
        }
        let (next, nothing) = try fixture.open()
        #expect(nothing.sessions.isEmpty && nothing.strays.isEmpty && next.hasDamagedFiles)
        #expect(await next.appended(.began(Sample.began(Sample.session(1), holder: epoch))))
        next.close()
        #expect(fixture.files == ["00000001.spool.damaged", "00000002.spool"])
        #expect(try Data(contentsOf: damagedFile) == kept)
    }

    /// A start that got as far as keeping the file, and one after which the same file is damaged again.
    @Test func eachDamageIsKeptOnce() async throws {
        try await damage { start, file in file[start + 20] ^= 1 }
        try FileManager.default.copyItem(at: fixture.file(1), to: damagedFile)
        let (first, _) = try fixture.open()
        first.close()
        #expect(fixture.files == ["00000001.spool", "00000001.spool.damaged"])
        var bytes = try Data(contentsOf: fixture.file(1))
        bytes[30] ^= 1
        try bytes.write(to: fixture.file(1))
        let (second, recovery) = try fixture.open()
        second.close()
        #expect(recovery.sessions.count == 7 && second.failures == 1)
        #expect(fixture.files == ["00000001-2.spool.damaged", "00000001.spool", "00000001.spool.damaged"])
        #expect(try Data(contentsOf: fixture.folder.url.appending(path: "00000001-2.spool.damaged")) == bytes)
    }

    @Test func aTornEndIsKeptNowhere() async throws {
        try await damage { _, file in file.removeLast(3) }
        let (spool, recovery) = try fixture.open()
        #expect(recovery.sessions.count == 9 && recovery.sessions.count { $0.finals.isEmpty } == 1)
        #expect(!spool.hasDamagedFiles && spool.failures == 0 && fixture.files == ["00000001.spool"])
        #expect(fixture.log.count(of: "torn record") == 1)
        spool.close()
    }

    /// Of what the disk may have lost of a file, and what else is damaged in it, nothing would be left once it is written again.
    @Test func aDamagedFileThatIsWrittenAgainIsKept() async throws {
        let fails = Locked(0)
        let (spool, _) = try fixture.open(
            fileBytes: 2_000,
            sync: { descriptor in
                Spool.fileDataSync(descriptor)
                    && fails.withLock { count in
                        defer { count = max(0, count - 1) }
                        return count == 0
                    }
            },
            readFile: { url in
                var bytes = try Spool.contents(url)
                bytes[20] ^= 1
                return bytes
            }, firstPause: .milliseconds(10))
        for number in 1...2 {
            #expect(await spool.appendDurably(.began(Sample.began(Sample.session(number), holder: epoch))))
        }
        fails.withLock { $0 = 1 }
        #expect(await !spool.appendDurably(.final(Sample.session(2), Sample.final(0))))
        try await eventually("it is written again") { !spool.isFailing && fixture.files.contains("00000002.spool") }
        #expect(spool.hasDamagedFiles && spool.failures == 2)
        #expect(fixture.log.count(of: "a spool file is damaged", atLeast: .error) == 1)
        #expect(fixture.files.contains("00000001.spool.damaged"))
        spool.close()
    }

    /// Nobody may close a month of which a damaged file may have usage.
    @Test func earlierLivesAreNotOverWhileItIsThere() async throws {
        try await damage { start, file in file[start + 20] ^= 1 }
        let ledger = MemoryUsageLedger()
        var limits = UsageDelivery.Limits()
        limits.patience = .seconds(5)
        for isRemoved in [false, false, true] {
            if isRemoved { try FileManager.default.removeItem(at: damagedFile) }
            let (spool, recovery) = try fixture.open()
            if ledger.sources.isEmpty { try await ledger.register(epoch, spool: spool.identity) }
            let life = NodeEpoch(node: epoch.node, epoch: UUID())
            let delivery = UsageDelivery(
                ledger: ledger, spool: spool, epoch: life, maximumAge: .seconds(3_600), logger: fixture.log.logger,
                limits: limits)
            try await delivery.begin(recovery.usage)
            #expect(delivery.backlog == 0 && Set(ledger.stored.map(\.session)).count == 9, "what is known is delivered")
            #expect(ledger.sources[epoch]?.isOver == isRemoved)
            await delivery.finish()
            #expect(ledger.sources[epoch]?.isOver == isRemoved && ledger.sources[life]?.isOver == true)
            spool.close()
        }
    }
}
