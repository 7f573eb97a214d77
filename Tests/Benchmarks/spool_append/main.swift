import EventLoops
import Foundation
import Hansard
import Logging

// Writes to a spool what a node's sessions write; compiled together with the spool's sources.
//
//     spool_append live SESSIONS SECONDS FOLDER    as they come, in real time; prints records, fdatasyncs, bytes
//     spool_append ends SESSIONS SECONDS FOLDER    the same, and each session ends after five minutes, for the next one
//     spool_append once COUNT FOLDER               as fast as they are taken; prints records, fdatasyncs, bytes, seconds
//     spool_append each COUNT FOLDER               the same, each on the disk before the next is written
//     spool_append sizes FOLDER                    prints the bytes of a usage record, a final, a beginning, an end, `settled`

/// A session's records, one after the other.
struct Speaker {
    /// A final of eight words, about as fast as people speak.
    static let finalInterval = 4.0
    static let usageInterval = 10.0
    static let life = 300.0
    /// In the middle of a month.
    static let startedAt = Date(timeIntervalSince1970: 1_760_000_000)

    let id: SessionID
    private let tenant = TenantID(UUID())
    private let key = KeyID("key_" + String(repeating: "7", count: 22))
    private var meter: UsageMeter
    private var finals: [FinalResult] = []
    private let options: SessionOptions

    init(_ number: Int) {
        id = SessionID(
            startedAt: Self.startedAt, random: (0..<10).map { UInt8(truncatingIfNeeded: number >> (8 * min($0, 7))) })
        var options = SessionOptions()
        options.engine = "pocketsphinx"
        options.model = "nova-3"
        options.language = "en-US"
        options.tags = ["production"]
        self.options = options
        meter = UsageMeter(Self.first(id, tenant, key, options))
    }

    private static func first(
        _ id: SessionID, _ tenant: TenantID, _ key: KeyID, _ options: SessionOptions
    ) -> UsageRecord {
        UsageRecord(
            session: id, tenant: tenant, key: key, engine: options.engine, model: options.model,
            language: options.language, tags: options.tags, region: "eu-west-1", channels: 1, startedAt: Self.startedAt)
    }

    var beginning: [SpoolRecord] {
        let began = SpooledSession(
            session: id, tenant: tenant, key: key, nonce: UUID(), holder: NodeEpoch(node: "node-1", epoch: UUID()),
            startedAt: Self.startedAt, options: options, region: "eu-west-1", sampleRate: 16_000, channels: 1)
        return [.metered(Self.first(id, tenant, key, options)), .began(began)]
    }

    mutating func usage(_ seconds: Double) -> [SpoolRecord] {
        let used = Int64((seconds * 1_000).rounded())
        return meter.advance(
            to: UsageCounters(audio: used, connected: used + 40, engine: used), engine: options.engine, channels: 1,
            at: Self.startedAt + seconds
        ).map(SpoolRecord.metered)
    }

    mutating func final() -> SpoolRecord {
        let start = finals.count * 4_000
        let words = "the birch canoe slid on the smooth planks".split(separator: " ").enumerated().map { index, text in
            Word(
                text: String(text), start: .milliseconds(start + index * 430),
                end: .milliseconds(start + index * 430 + 380),
                confidence: 0.97)
        }
        let final = FinalResult(
            sequence: finals.count, channel: 0, start: .milliseconds(start), end: .milliseconds(start + 3_900),
            transcript: words.map(\.text).joined(separator: " "), words: words, confidence: 0.97, isSpeechFinal: true,
            engine: options.engine)
        finals.append(final)
        return .final(id, final)
    }

    func end(_ seconds: Double) -> SpoolRecord {
        let used = Int64(seconds * 1_000)
        let usage = UsageRow(
            session: id, tenant: tenant, key: key, engine: options.engine, model: options.model,
            language: options.language, tags: options.tags, region: "eu-west-1", channels: 1, audioMilliseconds: used,
            connectedMilliseconds: used, startedAt: Self.startedAt, endedAt: Self.startedAt + seconds)
        let transcript = Transcript(
            session: id, tenant: tenant, key: key, startedAt: Self.startedAt, endedAt: Self.startedAt + seconds,
            state: .completed, audioMilliseconds: used, sampleRate: 16_000, channels: 1, options: options,
            region: "eu-west-1", results: finals)
        return .ended(id, SpooledEnd(transcript: transcript, usage: usage, state: .completed, reason: ""))
    }
}

/// A spool whose syncs are counted, and what has been given to it.
final class Counted: Sendable {
    let spool: Spool
    private let syncs: Locked<Int>
    private let given = Locked(0)
    private let taken = Locked(0)

    init(_ folder: String) throws {
        let syncs = Locked(0)
        self.syncs = syncs
        spool = try Spool.open(
            folder: URL(filePath: folder), maximumBytes: 1 << 30,
            sync: { descriptor in
                syncs.withLock { $0 += 1 }
                return Spool.fileDataSync(descriptor)
            }, logger: Logger(label: "bench")
        ).0
    }

    func append(_ record: SpoolRecord, untilOnDisk: Bool = false) {
        given.withLock { $0 += 1 }
        spool.append(record, untilOnDisk: untilOnDisk) { [taken] isSafe in
            precondition(isSafe)
            taken.withLock { $0 += 1 }
        }
    }

    func wait() {
        while taken.withLock({ $0 }) < given.withLock({ $0 }) { usleep(1_000) }
    }

    var counts: String { "\(given.withLock { $0 }) \(syncs.withLock { $0 }) \(spool.bytes)" }
}

/// Sessions that began one after the other over their interval, so that their records come evenly.
func live(_ sessions: Int, seconds: Double, endsThem: Bool, _ folder: String) throws {
    struct Due: Comparable {
        let at: Double
        let session: Int
        let kind: Int
        static func < (one: Due, other: Due) -> Bool { one.at < other.at }
    }
    let counted = try Counted(folder)
    var speakers = (0..<sessions).map { Speaker($0) }
    var due: [Due] = []
    for session in 0..<sessions {
        let phase = Double(session) / Double(sessions)
        func add(_ kind: Int, every interval: Double) {
            due += stride(from: phase * interval, to: seconds, by: interval).map {
                Due(at: $0, session: session, kind: kind)
            }
        }
        add(0, every: Speaker.usageInterval)
        add(1, every: Speaker.finalInterval)
        if endsThem { add(2, every: Speaker.life) }
    }
    due.sort()
    let start = ContinuousClock.now
    var next = sessions
    for item in due {
        let wait = Duration.seconds(item.at) - start.duration(to: .now)
        if wait > .zero { usleep(UInt32(wait / .microseconds(1))) }
        switch item.kind {
        case 0: for record in speakers[item.session].usage(item.at + 600) { counted.append(record) }
        case 1: counted.append(speakers[item.session].final())
        default:
            counted.append(speakers[item.session].end(item.at + 600), untilOnDisk: true)
            counted.append(.settled(speakers[item.session].id))
            speakers[item.session] = Speaker(next)
            next += 1
            for record in speakers[item.session].beginning { counted.append(record) }
        }
    }
    counted.wait()
    counted.spool.close()
    print(counted.counts)
}

func fill(_ count: Int, isEachSynced: Bool, _ folder: String) throws {
    let counted = try Counted(folder)
    var speaker = Speaker(0)
    let records = (0..<count).map { _ in speaker.final() }
    let took = ContinuousClock().measure {
        for record in records {
            counted.append(record, untilOnDisk: isEachSynced)
            if isEachSynced { counted.wait() }
        }
        counted.wait()
    }
    let counts = counted.counts
    counted.spool.close()
    print(counts, took / .seconds(1))
}

func sizes(_ folder: String) throws {
    let counted = try Counted(folder)
    var speaker = Speaker(0)
    let finals = (0..<75).map { _ in speaker.final() }
    var sizes: [Int] = []
    for record in [speaker.usage(10)[0], finals[74], speaker.beginning[1], speaker.end(300), .settled(speaker.id)] {
        let before = counted.spool.bytes
        counted.append(record)
        counted.wait()
        sizes.append(counted.spool.bytes - before)
    }
    counted.spool.close()
    print(sizes.map(String.init).joined(separator: " "))
}

let arguments = CommandLine.arguments
let count = arguments.count > 3 ? Int(arguments[2]) ?? 1 : 1
switch arguments[1] {
case "sizes": try sizes(arguments[2])
case "live", "ends":
    try live(count, seconds: Double(arguments[3]) ?? 1, endsThem: arguments[1] == "ends", arguments[4])
default: try fill(count, isEachSynced: arguments[1] == "each", arguments[3])
}
