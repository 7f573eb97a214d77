import Foundation
import Testing

@testable import Hansard

/// What is recovered does not depend on the order in which the spool holds a session's records, nor on how often.
@Suite struct SpoolOrderTests {
    typealias Sample = SpoolRecoveryTests

    static let settled = SpoolRecord.settled(Sample.id)

    /// Each kind of record, finals and usage with more than one.
    static let records: [SpoolRecord] =
        [Sample.records[0], Sample.records[1], Sample.records[2], Sample.records[3], Sample.records[5]]
        + Sample.metered.prefix(2).map(SpoolRecord.metered)

    static func expectTheSame(_ one: SpoolRecovery, _ other: SpoolRecovery, _ comment: Comment? = nil) {
        #expect(one.sessions == other.sessions, comment)
        #expect(one.usage == other.usage, comment)
        #expect(one.strays == other.strays, comment)
    }

    /// Calls `body` with every order of the elements (Heap's algorithm).
    static func permute<Element>(_ elements: [Element], _ body: ([Element]) -> Void) {
        var elements = elements
        func permute(_ count: Int) {
            guard count > 1 else { return body(elements) }
            for index in 0..<count {
                permute(count - 1)
                if index < count - 1 { elements.swapAt(count.isMultiple(of: 2) ? index : 0, count - 1) }
            }
        }
        permute(elements.count)
    }

    @Test func everyOrderGivesTheSame() {
        let expected = Sample.recovery(Self.records)
        #expect(expected.sessions.first?.end == Sample.end && expected.sessions.first?.finals.count == 2)
        var orders = 0
        var differences = 0
        Self.permute(Self.records) { records in
            let recovery = Sample.recovery(records)
            orders += 1
            if recovery.sessions != expected.sessions || recovery.usage != expected.usage { differences += 1 }
        }
        #expect(orders == 5_040 && differences == 0)
    }

    /// Whatever part of a session was written when its node died.
    @Test func everyPartOfASessionIsTheSameInBothDirectionsAndTwice() {
        for part in 0..<1 << Self.records.count {
            let records = Self.records.indices.filter { part & 1 << $0 != 0 }.map { Self.records[$0] }
            let expected = Sample.recovery(records)
            Self.expectTheSame(Sample.recovery(records.reversed()), expected, "part \(part)")
            Self.expectTheSame(Sample.recovery(records.reversed() + records), expected, "part \(part)")
            let settled = Sample.recovery(records + [Self.settled] + records)
            #expect(settled.sessions.isEmpty && settled.usage.isEmpty && settled.strays.isEmpty)
        }
    }

    @Test func whatIsOfNoKnownSessionIsNamed() {
        #expect(Sample.recovery(Self.records.dropFirst()).strays == [Sample.id])
        #expect(Sample.recovery(Self.records).strays.isEmpty)
        #expect(Sample.recovery(Self.records.dropFirst() + [Self.settled]).strays.isEmpty)
    }

    // MARK: A spool that makes room

    /// Files of records, as a spool has them that carries its oldest file now and then, and a log that keeps everything.
    struct Spool {
        var files: [[SpoolRecord]] = [[]]
        var log: [SpoolRecord] = []
        var unsettled: Set<SessionID> = []

        mutating func append(_ record: SpoolRecord) {
            write(record)
            log.append(record)
            if case .settled(let id) = record { unsettled.remove(id) } else { unsettled.insert(record.session) }
        }

        mutating func write(_ record: SpoolRecord) {
            if files[files.count - 1].count == 4 { files.append([]) }
            files[files.count - 1].append(record)
        }

        /// The oldest file in parts; what sessions do between them is `meanwhile`.
        mutating func carry(_ meanwhile: (inout Spool) -> Void) {
            guard files.count > 1 else { return }
            for record in files[0] {
                meanwhile(&self)
                if case .settled = record { continue }
                if unsettled.contains(record.session) { write(record) }
                check()
            }
            files.removeFirst()
            check()
        }

        func check() { expectTheSame(Sample.recovery(files.joined()), Sample.recovery(log)) }
    }

    @Test(arguments: 0..<8) func carryingChangesNothing(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let ids = (0..<8).map { Fixtures.session(UInt8($0), salt: UInt8($0)) }
        /// What each session has yet to write, last first.
        var left: [SessionID: [SpoolRecord]] = [:]
        for id in ids {
            let finals = (0..<Int.random(in: 0...6, using: &random)).map {
                SpoolRecord.final(id, Fixtures.final($0, "go", from: $0 * 500, through: $0 * 500 + 500))
            }
            let usage = Sample.metered.map { record in
                var record = record
                record.session = id
                return SpoolRecord.metered(record)
            }
            let isHeard = Int.random(in: 0..<4, using: &random) > 0
            let records = (isHeard ? finals : []) + usage.dropFirst()
            left[id] =
                [.settled(id), .ended(id, Sample.end)] + records.shuffled(using: &random)
                + (isHeard ? [.began(Fixtures.began(id))] : []) + [usage[0]]
        }
        func write(_ spool: inout Spool) {
            guard let id = left.keys.sorted(by: { $0.description < $1.description }).randomElement(using: &random)
            else {
                return
            }
            if let record = left[id]?.popLast() { spool.append(record) }
            if left[id]?.isEmpty == true { left[id] = nil }
        }
        var spool = Spool()
        while !left.isEmpty {
            write(&spool)
            spool.check()
            guard Int.random(in: 0..<4, using: &random) == 0 else { continue }
            spool.carry { spool in
                if Int.random(in: 0..<3, using: &random) == 0 { write(&spool) }
            }
        }
        #expect(Sample.recovery(spool.files.joined()).strays.isEmpty)
        #expect(spool.unsettled.isEmpty)
    }
}
