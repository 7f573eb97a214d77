import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Whenever a node dies, its spool says the same as one that never makes room.
@Suite(.timeLimit(.minutes(10))) struct SpoolCrashTests {
    /// What a node that died left on its disk, and which records it had surely and possibly written by then.
    private struct Remains {
        let folder: TestFolder
        let records: ClosedRange<Int>
    }

    /// Copies the folder whenever the disk is synced. What is carried waits for that, and what is deleted.
    private final class Crashes: Sendable {
        let folder: URL
        let begun = Locked(0)
        let done = Locked(0)
        private let remains = Locked<[Remains]>([])

        init(_ folder: URL) { self.folder = folder }

        func sync(_ descriptor: Int32) -> Bool {
            let first = done.withLock { $0 }
            // Named before any is read: what is written meanwhile is missing at the end alone.
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()) ?? []
            guard let copy = try? TestFolder() else { return false }
            for name in names {
                guard let data = try? Data(contentsOf: folder.appending(path: name)) else { continue }
                try? data.write(to: copy.url.appending(path: name))
            }
            let last = begun.withLock { $0 }
            remains.withLock { $0.append(Remains(folder: copy, records: first...max(first, last))) }
            return true
        }

        func take() -> [Remains] {
            remains.withLock { remains in
                defer { remains = [] }
                return remains
            }
        }
    }

    /// Random sessions, a few of which live for long.
    private struct Workload {
        var random: SeededGenerator
        private var live: [(number: Int, left: [SpoolRecord])] = []
        private var begun = 0
        private let epoch = Sample.epoch()

        init(seed: UInt64) { random = SeededGenerator(seed: seed) }

        private mutating func session(_ number: Int) -> [SpoolRecord] {
            let id = Sample.session(number)
            let began = Sample.began(id, holder: epoch)
            let first = UsageRecord(
                session: id, tenant: began.tenant, key: began.key, engine: began.engine, model: "", language: "",
                tags: [], region: "", channels: 1, startedAt: id.startedAt)
            var meter = UsageMeter(first)
            var records: [SpoolRecord] = [.metered(first)]
            let isHeard = Int.random(in: 0..<5, using: &random) > 0
            if isHeard { records.append(.began(began)) }
            for step in 1...(number.isMultiple(of: 7) ? 60 : Int.random(in: 1...3, using: &random)) {
                let used = Int64(step) * 10_000
                records += meter.advance(
                    to: UsageCounters(audio: isHeard ? used : 0, connected: used, engine: 0), engine: "",
                    channels: 1, at: id.startedAt + Double(step) * 10
                ).map(SpoolRecord.metered)
                if isHeard { records.append(.final(id, Sample.final(step))) }
            }
            return records + [.ended(id, Sample.end(id, holder: epoch, hasAudio: isHeard).end), .settled(id)]
        }

        mutating func next() -> SpoolRecord {
            while live.count < 4 {
                begun += 1
                live.append((begun, session(begun)))
            }
            let index = Int.random(in: live.indices, using: &random)
            defer { if live[index].left.isEmpty { live.remove(at: index) } }
            return live[index].left.removeFirst()
        }
    }

    private func expect(_ recovery: SpoolRecovery, isOneOf records: ArraySlice<SpoolRecord>, after: Int) -> Bool {
        var expected = SpoolRecovery()
        for record in records.prefix(after) { expected.add(record) }
        func isSame() -> Bool {
            expected.strays == recovery.strays && expected.sessions == recovery.sessions
                && expected.usage == recovery.usage
        }
        if isSame() { return true }
        for record in records.dropFirst(after) {
            expected.add(record)
            if isSame() { return true }
        }
        return false
    }

    @Test(arguments: 0..<4) func everyCrashLeavesTheSame(_ seed: UInt64) async throws {
        let fixture = try SpoolFixture()
        let crashes = Crashes(fixture.folder.url)
        let (spool, _) = try fixture.open(fileBytes: 2_000, sync: { crashes.sync($0) })
        var workload = Workload(seed: seed)
        var records: [SpoolRecord] = []
        var (compared, carried) = (0, 0)
        for _ in 0..<600 {
            let record = workload.next()
            records.append(record)
            crashes.begun.withLock { $0 += 1 }
            #expect(await spool.appended(record))
            crashes.done.withLock { $0 += 1 }
            for remains in crashes.take() {
                let (again, recovery) = try Spool.open(
                    folder: remains.folder.url, maximumBytes: 1 << 30, sync: { _ in true }, logger: fixture.log.logger)
                again.close()
                let last = min(remains.records.upperBound, records.count)
                try #require(
                    expect(recovery, isOneOf: records.prefix(last), after: remains.records.lowerBound),
                    "seed \(seed), after \(remains.records)")
                compared += 1
                if remains.folder.files.first != "00000001.spool" { carried += 1 }
            }
        }
        spool.close()
        #expect(compared > 20 && carried > 10, "\(compared) crashes, \(carried) of them without the first file")
        let (again, recovery) = try fixture.open()
        #expect(expect(recovery, isOneOf: records[...], after: records.count))
        #expect(again.unsettledSessions == recovery.sessions.count + recovery.strays.count)
        again.close()
    }

    /// The same through many lives, each of which begins with what a crash left.
    @Test(arguments: 0..<4) func manyLivesLoseNothing(_ seed: UInt64) async throws {
        var fixture = try SpoolFixture()
        var workload = Workload(seed: 100 + seed)
        var records: [SpoolRecord] = []
        for life in 0..<12 {
            let crashes = Crashes(fixture.folder.url)
            let (spool, recovery) = try fixture.open(fileBytes: 2_000, sync: { crashes.sync($0) })
            try #require(expect(recovery, isOneOf: records[...], after: records.count), "life \(life)")
            for _ in 0..<Int.random(in: 1...80, using: &workload.random) {
                records.append(workload.next())
                #expect(await spool.appended(records[records.count - 1]))
                crashes.begun.withLock { $0 += 1 }
                crashes.done.withLock { $0 += 1 }
            }
            // A copy that has all of them, though what is carried may be in it by half.
            let written = crashes.done.withLock { $0 }
            #expect(await spool.appendDurably(records[records.count - 1]), "once more, which changes nothing")
            let last = try #require(crashes.take().last { $0.records.lowerBound == written })
            spool.close()
            fixture = SpoolFixture(folder: last.folder)
        }
    }
}
