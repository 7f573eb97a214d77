import DequeModule
import FoundationEssentials
import Hansard

/// The usage records that the ledger does not have yet, in order, and up to when it has all.
///
/// While the ledger is away, of a segment's records of one minute the last is kept: it says all that those before it did. The
/// rest is in the spool, whose size bounds this too.
struct PendingUsage {
    /// A record reaches this within so long of its making, and sessions look at the clock that often.
    static let recordingSlack: TimeInterval = 1
    /// Records may come so much later than those before them: at the end of a month, sessions that hear nothing notice it at
    /// their next look.
    static let orderSlack: TimeInterval = 5

    private struct Segment: Hashable {
        var session: SessionID
        var segment: Int
        var source: UsageRecord.Source
    }

    private var records: Deque<UsageRecord> = []
    /// How many records were there before the first in `records`.
    private var taken = 0
    /// The places of the segments' last records, counted from the very first.
    private var places: [Segment: Int] = [:]
    /// How many records of a session are here, in a batch that is under way, or refused.
    private var outstanding: [SessionID: Int] = [:]
    /// The months that live sessions are in.
    private var live: [SessionID: QuotaPeriod] = [:]
    private var refused: [UsageRecord] = []
    /// How many of the batch that is under way are not answered, and when its oldest was made: they have waited as well.
    private var underWay: (count: Int, oldest: Date?) = (0, nil)

    /// Records that wait, those included that are under way or refused.
    var count: Int { records.count + underWay.count + refused.count }
    /// When the one was made that waits longest, as far as they came in their order.
    var oldest: Date? { [records.first?.madeAt, underWay.oldest, refused.map(\.madeAt).min()].compactMap { $0 }.min() }

    /// Whether the ledger has all that was written down of the session.
    func isDelivered(_ session: SessionID) -> Bool { outstanding[session] == nil }

    /// Takes a record.
    ///
    /// - Parameter isLive: whether the session will write down more.
    mutating func add(_ record: UsageRecord, isLive: Bool) {
        live[record.session] = isLive ? record.period : nil
        let segment = Segment(session: record.session, segment: record.segment, source: record.source)
        if let place = places[segment], place >= taken {
            let known = records[place - taken]
            if Self.minute(known.madeAt) == Self.minute(record.madeAt) {
                if known.sequence < record.sequence { records[place - taken] = record }
                return
            }
        }
        records.append(record)
        places[segment] = taken + records.count - 1
        outstanding[record.session, default: 0] += 1
    }

    /// The next batch, which is then under way.
    mutating func takeBatch(atMost limit: Int) -> [UsageRecord] {
        let batch = Array(records.prefix(limit))
        for record in batch {
            let segment = Segment(session: record.session, segment: record.segment, source: record.source)
            if places[segment] == taken { places[segment] = nil }
            taken += 1
        }
        records.removeFirst(batch.count)
        underWay = (underWay.count + batch.count, underWay.oldest ?? batch.first?.madeAt)
        return batch
    }

    /// The ledger has them: the batch that is under way, or the first of it that are left.
    mutating func delivered(_ batch: [UsageRecord]) {
        answered(batch.count)
        for record in batch {
            let left = (outstanding[record.session] ?? 1) - 1
            outstanding[record.session] = left > 0 ? left : nil
        }
    }

    /// The ledger is away: what is left of the batch comes first the next time.
    mutating func putBack(_ batch: [UsageRecord]) {
        answered(batch.count)
        prepend(batch)
    }

    private mutating func prepend(_ records: [UsageRecord]) {
        self.records.prepend(contentsOf: records)
        taken -= records.count
    }

    private mutating func answered(_ count: Int) {
        underWay.count = max(0, underWay.count - count)
        if underWay.count == 0 { underWay.oldest = nil }
    }

    /// The ledger will not take it, however often it is asked: it stays in the spool, for people to look at.
    mutating func wasRefused(_ record: UsageRecord) {
        answered(1)
        refused.append(record)
    }

    /// What was refused is tried again.
    mutating func retryRefused() {
        prepend(refused)
        refused = []
    }

    /// Up to when the ledger has everything if all that is not here has been delivered.
    func completeThrough(at now: Date) -> Date {
        var through = now - Self.recordingSlack
        if let first = records.first { through = min(through, first.madeAt - Self.orderSlack) }
        for record in refused { through = min(through, record.madeAt - Self.orderSlack) }
        // Until the last session has crossed into the new month, the old one may get a record.
        if let earliest = live.values.min() { through = min(through, earliest.end - Self.orderSlack) }
        return through
    }

    private static func minute(_ date: Date) -> Int64 { Int64((date.timeIntervalSince1970 / 60).rounded(.down)) }
}
