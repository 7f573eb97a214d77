import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Which files a spool can do without, and which it carries.
@Suite struct SpoolContentsTests {
    private func contents(leastGarbage: Int = 0) -> SpoolContents { SpoolContents(leastGarbage: leastGarbage) }

    private func session(_ number: Int) -> SessionID { Sample.session(number) }

    @Test func itCountsWhatMustBeKept() {
        var contents = contents()
        contents.begin(1)
        contents.add(100, of: session(1))
        contents.add(50, of: session(2))
        contents.addTorn(7)
        contents.begin(2)
        contents.add(30, of: session(1))
        #expect(contents.bytes == 187 && contents.liveBytes == 180 && contents.sessions == 2)
        #expect(contents.readableBytes(of: 1) == 150 && contents.currentBytes == 30)
        contents.add(5, of: .settled(session(1)))
        #expect(contents.bytes == 192 && contents.liveBytes == 50 && contents.sessions == 1)
        #expect(contents.isUnsettled(session(2)) && !contents.isUnsettled(session(1)))
        contents.add(5, of: .settled(session(2)))
        #expect(contents.liveBytes == 0 && contents.nextStep == .delete([1]))
        contents.deleted(1)
        #expect(contents.bytes == 40 && contents.nextStep == nil, "the current file stays")
    }

    @Test func filesGoOldestFirst() {
        var contents = contents(leastGarbage: 1_000)
        for file in 1...4 {
            contents.begin(file)
            contents.add(10, of: session(file))
        }
        contents.settle(session(2))
        contents.settle(session(3))
        #expect(contents.nextStep == nil, "session 1 is in the first")
        contents.settle(session(1))
        #expect(contents.nextStep == .delete([1, 2, 3]))
    }

    /// The garbage of the current file does not count: carrying would not free it.
    @Test func theOldestIsCarriedWhenThereIsMoreGarbageThanTheRest() {
        var contents = contents(leastGarbage: 100)
        contents.begin(1)
        contents.add(200, of: session(1))
        contents.add(150, of: session(2))
        contents.begin(2)
        contents.add(60, of: session(2))
        contents.settle(session(2))
        #expect(contents.nextStep == nil, "150 of garbage is less than 200")
        contents.begin(3)
        #expect(contents.nextStep == .carry(1))
        contents.add(200, of: session(1))
        #expect(contents.nextStep == nil, "twice what it was must be kept until the file has gone")
        contents.carried(1)
        #expect(contents.nextStep == .delete([1, 2]))
        contents.deleted(1)
        contents.deleted(2)
        #expect(contents.bytes == 200 && contents.liveBytes == 200)
    }

    @Test func aLittleGarbageIsLeft() {
        var contents = contents(leastGarbage: 100)
        contents.begin(1)
        contents.add(1, of: session(1))
        contents.add(100, of: session(2))
        contents.settle(session(2))
        contents.begin(2)
        #expect(contents.nextStep == nil)
        contents.begin(3)
        #expect(contents.nextStep == nil)
    }

    @Test func aDamagedFileIsNotCarriedAndGoesWithItsSessions() {
        var contents = contents()
        contents.begin(1)
        contents.add(10, of: session(1))
        contents.add(100, of: session(2))
        contents.settle(session(2))
        contents.begin(2)
        #expect(contents.nextStep == .carry(1))
        contents.isDamaged(1)
        #expect(contents.nextStep == nil)
        contents.settle(session(1))
        #expect(contents.nextStep == .delete([1]))
    }

    /// Random sessions beside one that lives for ever, against a plain list of what was written.
    @Test(arguments: 0..<20) func itStaysSmallAndAgreesWithAPlainCount(_ seed: UInt64) throws {
        struct Frame { let session: Int, bytes: Int }
        var random = SeededGenerator(seed: seed)
        var contents = contents(leastGarbage: 400)
        var files: [Int: [Frame]] = [:]
        var settled: Set<Int> = []
        var (written, carried, next) = (0, 0, 1)
        func write(_ frame: Frame) {
            if contents.currentBytes >= 100 || files.isEmpty {
                contents.begin((files.keys.max() ?? 0) + 1)
                files[contents.current] = []
            }
            contents.add(frame.bytes, of: session(frame.session))
            files[contents.current]?.append(frame)
        }
        for _ in 0..<5_000 {
            let frame = Frame(
                session: Int.random(in: max(0, next - 8)...next, using: &random),
                bytes: Int.random(in: 1...30, using: &random))
            let isForever = Int.random(in: 0..<20, using: &random) == 0
            if isForever || !settled.contains(frame.session) {
                write(isForever ? Frame(session: 0, bytes: frame.bytes) : frame)
                written += frame.bytes
            }
            if frame.session > 0, Int.random(in: 0..<4, using: &random) == 0 {
                contents.settle(session(frame.session))
                settled.insert(frame.session)
                next += 1
                if next > 8, settled.insert(next - 8).inserted { contents.settle(session(next - 8)) }
            }
            while let step = contents.nextStep {
                switch step {
                case .delete(let deleted):
                    for file in deleted {
                        contents.deleted(file)
                        try #require(file == files.keys.min())
                        files[file] = nil
                    }
                case .carry(let file):
                    #expect(file == files.keys.min())
                    for frame in files[file] ?? [] where !settled.contains(frame.session) {
                        write(frame)
                        carried += frame.bytes
                    }
                    contents.carried(file)
                    files[file] = files[file]?.filter { settled.contains($0.session) }
                case .rewrite: Issue.record("no sync failed")
                }
            }
            let all = files.values.joined()
            try #require(contents.liveBytes == all.reduce(0) { $0 + (settled.contains($1.session) ? 0 : $1.bytes) })
            try #require(contents.bytes <= contents.liveBytes + max(contents.liveBytes, 400) + 2 * 130)
        }
        #expect(carried > 0 && carried <= written, "\(carried) of \(written) were written again")
    }

    /// A file of which a sync failed comes before all else, oldest first, and is not deleted before; then all is as it was.
    @Test func whatWasLostIsWrittenAgainFirst() {
        var contents = SpoolContents(leastGarbage: 0)
        contents.begin(1)
        contents.add(10, of: session(1))
        contents.begin(2)
        contents.add(10, of: session(2))
        contents.settle(session(1))
        #expect(contents.nextStep == .delete([1]))
        contents.syncFailed(2)
        contents.syncFailed(1)
        contents.syncFailed(7)
        #expect(contents.hasLost && contents.isLost(1) && contents.isLost(2) && !contents.isLost(7))
        #expect(contents.nextStep == .rewrite(1))
        contents.carried(1)
        #expect(contents.nextStep == .rewrite(2))
        contents.begin(3)
        contents.add(10, of: session(2))
        contents.carried(2)
        #expect(!contents.hasLost && contents.nextStep == .delete([1, 2]))
        #expect(contents.isUnsettled(session(2)) && contents.liveBytes == 10)
    }
}
