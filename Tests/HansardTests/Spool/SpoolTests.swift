import Foundation
import Testing

@testable import Hansard

@Suite struct SpoolFramingTests {
    static let payloads: [[UInt8]] = [[1], Array("hello".utf8), [0, 0, 0], [UInt8](repeating: 0xAB, count: 300)]
    static let file = payloads.flatMap(SpoolFraming.frame)

    static func read(_ bytes: [UInt8]) -> (payloads: [[UInt8]], goodBytes: Int) {
        let read = SpoolFraming.read(bytes)
        return (read.payloads.map(Array.init), read.intactBytes)
    }

    /// Where each record ends in the file, the start included.
    static let ends = payloads.reduce(into: [0]) { $0.append(($0.last ?? 0) + 8 + $1.count) }

    @Test func aFrameIsLengthChecksumPayload() {
        #expect(SpoolFraming.frame(Array("123456789".utf8)) == [9, 0, 0, 0, 0x83, 0x92, 0x06, 0xE3] + "123456789".utf8)
    }

    @Test func itRoundTrips() {
        #expect(Self.read(Self.file) == (Self.payloads, Self.file.count))
        #expect(Self.read([]) == ([], 0))
    }

    @Test func aFileTornAtAnyByteKeepsWhatPrecedes() {
        for length in 0...Self.file.count {
            let whole = Self.ends.count { $0 <= length } - 1
            #expect(
                Self.read(Array(Self.file.prefix(length))) == (Array(Self.payloads.prefix(whole)), Self.ends[whole])
            )
        }
    }

    /// Behind damage only what looks like a record is found, and these do not.
    @Test func anyFlippedBitEndsTheGoodPart() {
        for bit in 0..<Self.file.count * 8 {
            var damaged = Self.file
            damaged[bit / 8] ^= 1 << (bit % 8)
            let whole = Self.ends.count { $0 <= bit / 8 } - 1
            #expect(Self.read(damaged) == (Array(Self.payloads.prefix(whole)), Self.ends[whole]), "bit \(bit)")
        }
    }

    /// After a power failure a file may have its new length and not yet its new bytes.
    @Test(arguments: [1, 7, 8, 9, 16, 4_096]) func aTailOfZerosIsNoRecord(count: Int) {
        #expect(Self.read(Self.file + [UInt8](repeating: 0, count: count)) == (Self.payloads, Self.file.count))
    }

    @Test func anAbsurdLengthIsDamage() {
        let header: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]
        #expect(Self.read(Self.file + header + [UInt8](repeating: 1, count: 100)) == (Self.payloads, Self.file.count))
    }

    @Test func junkIsReadWithoutHarm() {
        var random = SeededGenerator(seed: 99)
        for _ in 0..<2_000 {
            let junk = random.bytes(Int.random(in: 0...64, using: &random))
            let read = Self.read(junk)
            #expect(read.goodBytes <= junk.count)
            #expect(read.payloads.flatMap(SpoolFraming.frame) == Array(junk.prefix(read.goodBytes)))
        }
    }
}

@Suite struct SpoolRecoveryTests {
    static let id = Fixtures.session(1)
    static let records: [SpoolRecord] = [
        .began(Fixtures.began(id)),
        .final(id, Fixtures.final(0, "go", through: 1_000)),
        .usage(id, audioMilliseconds: 2_000, at: id.startedAt + 2),
        .final(id, Fixtures.final(1, "on", from: 1_000, through: 3_000)),
        .usage(id, audioMilliseconds: 4_000, at: id.startedAt + 4),
        .ended(id, end),
        .settled(id),
    ]
    static let end = SpooledEnd(
        transcript: Fixtures.transcript([Fixtures.final(0, "go", through: 1_000)]),
        usage: UsageRow(
            session: id,
            tenant: Fixtures.tenantID,
            key: Fixtures.keyID,
            engine: "test",
            model: "m",
            language: "en",
            tags: [],
            region: "test",
            channels: 1,
            audioMilliseconds: 4_500,
            connectedMilliseconds: 5_000,
            startedAt: id.startedAt,
            endedAt: id.startedAt + 5
        ),
        state: .completed,
        reason: ""
    )

    static func recovery(_ records: some Sequence<SpoolRecord>) -> SpoolRecovery {
        records.reduce(into: SpoolRecovery()) { $0.add($1) }
    }

    @Test func everyRecordNamesItsSession() {
        #expect(Self.records.allSatisfy { $0.session == Self.id })
    }

    @Test func recordsRoundTrip() throws {
        for record in Self.records + Self.metered.map(SpoolRecord.metered) {
            #expect(try JSONDecoder().decode(SpoolRecord.self, from: JSONEncoder().encode(record)) == record)
        }
    }

    /// What is left after a crash behind each record.
    @Test func everyCrashPoint() throws {
        for count in 0...Self.records.count {
            let sessions = Self.recovery(Self.records.prefix(count)).sessions
            #expect(sessions.count == ((1..<7).contains(count) ? 1 : 0))
            guard let session = sessions.first else { continue }
            #expect(session.began == Fixtures.began(Self.id))
            #expect(session.finals.map(\.transcript) == [[], ["go"], ["go", "on"]][count < 2 ? 0 : count < 4 ? 1 : 2])
            #expect(session.audioMilliseconds == (count < 3 ? 0 : count < 5 ? 2_000 : 4_000))
            #expect(session.lastSeen == Self.id.startedAt + (count < 3 ? 0 : count < 5 ? 2 : 4))
            #expect(session.end == (count < 6 ? nil : Self.end))
        }
    }

    @Test func everythingTwiceIsEverythingOnce() {
        for count in 0...Self.records.count {
            let once = Array(Self.records.prefix(count))
            let doubled = once.flatMap { [$0, $0] }
            #expect(Self.recovery(doubled).sessions == Self.recovery(once).sessions)
            #expect(Self.recovery(once + once).sessions == Self.recovery(once).sessions)
        }
    }

    @Test func recordsOfUnknownSessionsChangeNothing() {
        #expect(Self.recovery(Self.records.dropFirst()).sessions.isEmpty)
    }

    @Test func aSettledSessionStaysSettled() {
        #expect(Self.recovery([.settled(Self.id)] + Self.records.prefix(5)).sessions.isEmpty)
    }

    @Test func finalsCountOnceAndInTheirOrder() {
        let later = SpoolRecord.final(Self.id, Fixtures.final(1, "on", through: 2_000))
        let records = [Self.records[0], later, later, .final(Self.id, Fixtures.final(0, "go", through: 1_000))]
        #expect(Self.recovery(records).sessions.first?.finals.map(\.sequence) == [0, 1])
    }

    /// The disk refused a final for a moment: what was said after it is not lost with it.
    @Test func aGapLosesNothingElse() {
        let finals = [0, 1, 4, 5].map {
            SpoolRecord.final(Self.id, Fixtures.final($0, "on", through: 1_000 * ($0 + 1)))
        }
        #expect(Self.recovery([Self.records[0]] + finals).sessions.first?.finals.map(\.sequence) == [0, 1, 4, 5])
    }

    @Test func usageNeverGoesBack() {
        let records = [Self.records[0], Self.records[4], Self.records[2]]
        let session = Self.recovery(records).sessions.first
        #expect(session?.audioMilliseconds == 4_000 && session?.lastSeen == Self.id.startedAt + 4)
    }

    @Test func engineTimeNeverGoesBackEither() throws {
        let records = [
            Self.records[0],
            .usage(Self.id, audioMilliseconds: 1_000, engineMilliseconds: 15_000, at: Self.id.startedAt),
            .usage(Self.id, audioMilliseconds: 2_000, engineMilliseconds: 14_000, at: Self.id.startedAt),
            Self.records[2],
        ]
        let end = try #require(Self.recovery(records).sessions.first).resolvedEnd()
        #expect(end.usage.audioMilliseconds == 2_000 && end.usage.engineMilliseconds == 15_000)
        let fresher = records + [.final(Self.id, Fixtures.final(0, "go", through: 2_500))]
        let later = try #require(Self.recovery(fresher).sessions.first).resolvedEnd()
        #expect(later.usage.audioMilliseconds == 2_500 && later.usage.engineMilliseconds == 15_500)
        let plain = try #require(Self.recovery(Self.records.prefix(5)).sessions.first).resolvedEnd()
        #expect(plain.usage.engineMilliseconds == plain.usage.audioMilliseconds)
    }

    /// As they were written before engine time was kept.
    @Test func olderRecordsAreStillRead() throws {
        let usage = SpoolRecord.usage(Self.id, audioMilliseconds: 2_000, at: Self.id.startedAt)
        let bytes = try JSONEncoder().encode(usage)
        #expect(!String(decoding: bytes, as: UTF8.self).contains("engine"))
        #expect(try JSONDecoder().decode(SpoolRecord.self, from: bytes) == usage)
        let ended = SpoolRecord.ended(Self.id, Self.end)
        let text = String(decoding: try JSONEncoder().encode(ended), as: UTF8.self)
        let older = text.replacing(",\"engineMilliseconds\":4500", with: "").replacing(
            "\"engineMilliseconds\":4500,", with: "")
        #expect(older != text)
        #expect(try JSONDecoder().decode(SpoolRecord.self, from: Data(older.utf8)) == ended)
    }

    @Test func aSessionBeginsOnce() {
        var other = Fixtures.began(Self.id)
        other.sampleRate = 44_100
        let session = Self.recovery(Self.records.prefix(3) + [.began(other)]).sessions.first
        #expect(session?.began.sampleRate == 16_000)
        #expect(session?.finals.count == 1 && session?.audioMilliseconds == 2_000)
    }

    @Test func sessionsComeInTheOrderOfTheirBeginning() {
        var random = SeededGenerator(seed: 6)
        let ids = (0..<50).map { Fixtures.session(UInt8($0 / 2), salt: UInt8($0)) }
        for _ in 0..<5 {
            let records = ids.shuffled(using: &random).map { SpoolRecord.began(Fixtures.began($0)) }
            #expect(Self.recovery(records).sessions.map(\.began.session) == ids)
        }
    }

    // MARK: What was metered

    /// Metered every ten seconds; audio comes at twice the pace of time.
    static let metered: [UsageRecord] = {
        let first = UsageRecord(
            session: id, tenant: Fixtures.tenantID, key: Fixtures.keyID, engine: "test", model: "", language: "",
            tags: [], region: "test", channels: 1, startedAt: id.startedAt)
        var meter = UsageMeter(first)
        var records = [first]
        for step in 1...3 {
            let (audio, connected) = (Int64(step) * 20_000, Int64(step) * 10_000)
            records += meter.advance(
                to: UsageCounters(audio: audio, connected: connected, engine: 30_000), engine: "test", channels: 1,
                at: id.startedAt + Double(step) * 10)
        }
        return records
    }()

    @Test func recordsComeBackAndAClosingOneBehindThem() throws {
        let first: [SpoolRecord] = [.metered(Self.metered[0]), Self.records[0]]
        let records = first + Self.metered.dropFirst().map(SpoolRecord.metered)
        let recovery = Self.recovery(records)
        let session = try #require(recovery.sessions.first)
        #expect(session.records == Self.metered, "the first was written before it was known what it hears")
        #expect(session.audioMilliseconds == 60_000 && session.lastSeen == Self.id.startedAt + 30)
        #expect(recovery.usage.dropLast() == Self.metered[...])
        let closing = try #require(recovery.usage.last)
        #expect(closing.isFinal && closing.total == UsageCounters(audio: 60_000, connected: 30_000, engine: 30_000))
        let usage = session.resolvedEnd().usage
        #expect(usage.audioMilliseconds == closing.total.audio && usage.engineMilliseconds == closing.total.engine)
        #expect(usage.connectedMilliseconds == closing.total.connected)
        #expect(Self.recovery(records + records).usage == recovery.usage)
    }

    @Test func aSessionThatWroteItsEndNeedsNoClosingRecord() throws {
        var last = try #require(Self.metered.last)
        last.sequence += 1
        last.isFinal = true
        let metered: [SpoolRecord] = (Self.metered + [last]).map(SpoolRecord.metered)
        let records = [Self.records[0]] + metered
        #expect(Self.recovery(records).usage == Self.metered + [last])
        // Finals prove that more was heard.
        let final = SpoolRecord.final(Self.id, Fixtures.final(0, "go", through: 61_000))
        let more = Self.recovery(records + [final]).usage
        #expect(more.count == 6 && more.last?.segment == 1 && more.last?.counters.audio == 1_000)
    }

    @Test func whatASessionWroteThatHeardNothingIsNotLost() {
        let records: [SpoolRecord] = [.metered(Self.metered[0]), .metered(Self.metered[0])]
        #expect(Self.recovery(records).usage == [Self.metered[0]])
        let settled: [SpoolRecord] = [.settled(Self.id)]
        #expect(Self.recovery(records + settled + records).usage.isEmpty)
    }

    @Test func recordsOfBeforeThereWereSegmentsAreClosedAsOne() throws {
        let usage = Self.recovery(Self.records.prefix(5)).usage
        #expect(usage.count == 1 && usage[0].isFinal && usage[0].segment == 0)
        #expect(usage[0].total.audio == 4_000 && usage[0].key == Fixtures.keyID)
    }

    // MARK: What is reported

    @Test func aSessionThatEndedKeepsItsEnd() throws {
        let session = try #require(Self.recovery(Self.records.prefix(6)).sessions.first)
        #expect(session.resolvedEnd() == Self.end)
    }

    @Test func aSessionWhoseNodeDiedIsInterrupted() throws {
        let end = try #require(Self.recovery(Self.records.prefix(4)).sessions.first).resolvedEnd()
        #expect(end.state == .interrupted && end.reason == "the node ended")
        let transcript = try #require(end.transcript)
        #expect(transcript.state == .interrupted && !transcript.isComplete)
        #expect(transcript.results.map(\.transcript) == ["go", "on"])
        #expect(transcript.audioMilliseconds == 3_000, "a final proves that its audio was heard")
        #expect(end.usage.audioMilliseconds == 3_000, "it is fresher than the last checkpoint")
        #expect(end.usage.connectedMilliseconds == 2_000, "as far as is known; audio may come faster than time")
        #expect(end.usage.engine == "test" && transcript.engine == "test")
        #expect(end.usage.endedAt == Self.id.startedAt + 2 && transcript.endedAt == end.usage.endedAt)
    }
}
