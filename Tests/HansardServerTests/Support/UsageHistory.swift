import Foundation
import Hansard
import Postgres

@testable import HansardServer

/// A record as a node makes it.
struct LedgerRecord {
    var tenant: TenantID
    var session: SessionID
    var segment = 0
    var sequence = 0
    var madeAt: Date
    var counters = UsageCounters()
    var isFinal = false
    var group = UsageGroup()
    var tags: [String] = []
    var channels = 1
    var sessionStartedAt: Date
    var startedAt: Date
}

/// Sessions over a month's boundaries, of two tenants, with second engines, recovered nodes, clocks that go back, and several
/// tags; and what they used by a computation that has nothing of the database's: what a counter had reached at two moments.
struct UsageHistory {
    static let start = Date(timeIntervalSince1970: 1_769_767_200)  // 2026-01-30T10:00:00Z
    static let end = Date(timeIntervalSince1970: 1_770_094_800)  // 2026-02-03T05:00:00Z
    private static let monthEnd = QuotaPeriod(start).end

    private(set) var records: [LedgerRecord] = []
    private var random: SeededGenerator

    init(seed: UInt64, sessions: Int) {
        random = SeededGenerator(seed: seed)
        for number in 0..<sessions { addSession(number) }
    }

    // MARK: Making it

    private mutating func addSession(_ number: Int) {
        let isAtBoundary = number % 5 == 0
        let startedAt =
            isAtBoundary
            ? Self.monthEnd - Double(Int.random(in: 0...5_000, using: &random))
            : Self.start + Double(Int.random(in: 0..<300_000, using: &random))
        var group = UsageGroup()
        group[.key] = ["key_1", "key_2", "key_3"].randomElement(using: &random)
        group[.engine] = ["synthetic", "pocketsphinx"].randomElement(using: &random)
        group[.model] = ["general", "nova-3"].randomElement(using: &random)
        group[.language] = ["en", "de"].randomElement(using: &random)
        group[.region] = ["local", "far"].randomElement(using: &random)
        var record = LedgerRecord(
            tenant: number % 4 == 0 ? Sample.otherTenant : Sample.tenant,
            session: Sample.session(number, startedAt: startedAt), madeAt: startedAt, group: group,
            sessionStartedAt: startedAt, startedAt: startedAt)
        record.tags = [[], ["a"], ["a", "b"], ["b", "b"], ["=c", "a", "b"]].randomElement(using: &random) ?? []
        record.channels = Int.random(in: 1...2, using: &random)
        let end = min(startedAt + Double(Int.random(in: 20...12_000, using: &random)), Self.end - 1)
        var now = startedAt
        while now < end {
            let step = min(Double(Int.random(in: 5...900, using: &random)), end.timeIntervalSince(now))
            if now < Self.monthEnd, now + step >= Self.monthEnd {
                advance(&record, to: Self.monthEnd - 0.001, since: now, isFinal: true)
                nextSegment(&record, at: Self.monthEnd)
                now = Self.monthEnd
                continue
            }
            let isLast = now + step >= end
            let isFailing = !isLast && Int.random(in: 0..<20, using: &random) == 0
            advance(&record, to: now + step, since: now, isFinal: isLast || isFailing)
            now += step
            if isFailing {
                nextSegment(&record, at: now)
                record.group[.engine] = "deepgram"
            }
        }
        if Int.random(in: 0..<3, using: &random) == 0 { addRecovered(record, after: now) }
    }

    private mutating func advance(_ record: inout LedgerRecord, to moment: Date, since last: Date, isFinal: Bool) {
        let milliseconds = Int64((moment.timeIntervalSince(last) * 1_000).rounded())
        let audio = milliseconds * Int64.random(in: 0...2, using: &random) / 2
        record.counters =
            record.counters
            + UsageCounters(
                audio: audio, connected: milliseconds,
                engine: audio + Int64.random(in: 0...1, using: &random) * 500)
        record.madeAt = moment
        record.isFinal = isFinal
        // A clock that went back.
        let earlier = moment - Double(Int.random(in: 0...4_000, using: &random))
        if !isFinal, earlier >= record.startedAt, Int.random(in: 0..<12, using: &random) == 0 {
            record.madeAt = earlier
        }
        records.append(record)
        record.sequence += 1
    }

    private func nextSegment(_ record: inout LedgerRecord, at moment: Date) {
        record.segment += 1
        record.sequence = 0
        record.counters = UsageCounters()
        record.startedAt = moment
    }

    /// What the node's next life wrote: less than the ledger had, or more.
    private mutating func addRecovered(_ record: LedgerRecord, after moment: Date) {
        var last = record
        last.sequence += UsageMeter.recoveryGap
        last.isFinal = true
        let factor = Int64.random(in: 1...3, using: &random)
        last.counters.audio = last.counters.audio * factor / 2
        last.counters.connected = last.counters.connected * factor / 2
        let limit = moment < Self.monthEnd ? Self.monthEnd - 0.001 : Self.end - 1
        last.madeAt = min(moment + Double(Int.random(in: 8...5_000, using: &random)), limit)
        records.append(last)
    }

    /// In another order, some of them again.
    func shuffled(seed: UInt64) -> [LedgerRecord] {
        var random = SeededGenerator(seed: seed)
        let repeated = records.filter { _ in Int.random(in: 0..<4, using: &random) == 0 }
        return (records + repeated).shuffled(using: &random)
    }

    // MARK: What it comes to

    /// What a report of all records should be.
    func report(_ query: UsageQuery) -> [UsageReport.Bucket] {
        var found: [[UsageGroup: UsageReport.Result]] = Array(repeating: [:], count: query.boundaries.count - 1)
        let own = records.filter { $0.tenant == query.tenant && Self.fits($0, query.filter) }
        for segment in Dictionary(grouping: own, by: { "\($0.session) \($0.segment)" }).values {
            add(segment.sorted { $0.madeAt < $1.madeAt }, query, to: &found)
        }
        return zip(query.boundaries, query.boundaries.dropFirst()).enumerated().map { index, ends in
            UsageReport.Bucket(start: ends.0, end: ends.1, results: Array(found[index].values))
        }
    }

    private func add(
        _ segment: [LedgerRecord], _ query: UsageQuery, to found: inout [[UsageGroup: UsageReport.Result]]
    ) {
        guard let one = segment.first else { return }
        var (reached, next, last) = (UsageCounters(), 0, UsageCounters())
        for (index, boundary) in query.boundaries.enumerated() {
            while next < segment.count, segment[next].madeAt < boundary {
                reached = reached.maximum(segment[next].counters)
                next += 1
            }
            defer { last = reached }
            guard index > 0 else { continue }
            let begins =
                one.segment == 0 && one.sessionStartedAt >= query.boundaries[index - 1]
                && one.sessionStartedAt < boundary
            guard reached != last || begins else { continue }
            for group in Self.groups(of: one, query.dimensions) {
                var result =
                    found[index - 1][group]
                    ?? UsageReport.Result(group: group, amounts: UsageCounters(), sessions: 0)
                result.amounts = result.amounts + reached.since(last)
                result.sessions += begins ? 1 : 0
                found[index - 1][group] = result
            }
        }
    }

    static func fits(_ record: LedgerRecord, _ filter: UsageGroup) -> Bool {
        UsageDimension.allCases.allSatisfy { dimension in
            guard let wanted = filter[dimension] else { return true }
            return dimension == .tag ? record.tags.contains(wanted) : record.group[dimension] == wanted
        }
    }

    private static func groups(of record: LedgerRecord, _ dimensions: Set<UsageDimension>) -> [UsageGroup] {
        var group = UsageGroup()
        for dimension in dimensions where dimension != .tag { group[dimension] = record.group[dimension] }
        guard dimensions.contains(.tag), !record.tags.isEmpty else { return [group] }
        return Set(record.tags).map { tag in
            var labelled = group
            labelled[.tag] = tag
            return labelled
        }
    }
}

extension ConnectionPool {
    /// Takes records as nodes bring them, so many at a time.
    func ingest(_ records: [LedgerRecord], by count: Int = 100) async throws {
        for start in stride(from: 0, to: records.count, by: count) {
            try await ingestAtOnce(Array(records[start..<min(start + count, records.count)]))
        }
    }

    private func ingestAtOnce(_ r: [LedgerRecord]) async throws {
        func texts(_ dimension: UsageDimension) -> [String] { r.map { $0.group[dimension] ?? "" } }
        let tags = r.map { record in
            var text = JSONText()
            text.texts(record.tags)
            return String(decoding: text.bytes, as: UTF8.self)
        }
        let zeros = r.map { _ in 0 }
        try await query(
            """
            SELECT ingest_usage(\(r.map(\.tenant.rawValue)), \(r.map(\.session.rawValue)), \(r.map(\.segment)),
                \(r.map { _ in "node" }), \(r.map(\.sequence)), \(r.map { QuotaPeriod($0.madeAt).description }),
                \(r.map(\.madeAt)), \(r.map(\.counters.audio)), \(r.map(\.counters.connected)),
                \(r.map(\.counters.engine)), \(r.map(\.isFinal)), \(texts(.key)), \(texts(.engine)),
                \(texts(.model)), \(texts(.language)), \(tags), \(texts(.region)), \(r.map(\.channels)),
                \(r.map(\.sessionStartedAt)), \(r.map(\.startedAt)), \(zeros), \(zeros))
            """)
    }

    /// - Returns: how many hours were rolled up.
    @discardableResult func rollUsage(atMost count: Int = 100_000) async throws -> Int {
        try await query("SELECT roll_usage(\(count)) AS rolled").only().value("rolled")
    }
}
