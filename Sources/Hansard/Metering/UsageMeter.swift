public import FoundationEssentials

/// Decides when a session's use is written down, and in which segments: every ten seconds, at the end of a month, when another
/// engine goes on, and at the end.
///
/// Pure: it is told what the session has used so far, and gives the records to write. A segment's counters are what the session
/// has at its end less what it had at its beginning, so that segments add up to the session, to the millisecond.
public struct UsageMeter: Sendable {
    /// A record is due after so much audio, in milliseconds.
    public static let audioInterval: Int64 = 10_000
    /// And after so much time, in milliseconds, whether or not there was audio.
    public static let timeInterval: Int64 = 10_000
    /// How many records a crash may have taken out of a spool that the ledger has all the same: the number of the first one
    /// after it leaves out so many.
    public static let recoveryGap = 1_000

    /// The last record of the segment that is open.
    private var last: UsageRecord
    /// The end of that segment's month.
    private var periodEnd: Date

    /// A session that begins.
    ///
    /// - Parameter first: its first record, which is to be written.
    public init(_ first: UsageRecord) {
        last = first
        periodEnd = first.period.end
    }

    /// A session whose node ended without its end.
    ///
    /// - Parameter last: the last record that is known of it.
    public init(recovering last: UsageRecord) {
        self.init(last)
        guard last.isFinal else {
            self.last.sequence += Self.recoveryGap
            return
        }
        // It had gone on, with nothing written down.
        let endsPeriod = last.madeAt >= periodEnd - Self.leastTime
        open(
            at: endsPeriod ? periodEnd : last.madeAt, engine: last.engine,
            period: endsPeriod ? last.period.next : last.period)
        self.last.sequence += Self.recoveryGap
    }

    /// Whether the month is over. What the session has by now is then to be told before it gets more.
    public func isPeriodOver(at now: Date) -> Bool { now >= periodEnd }

    /// Whether so much audio is to be written down.
    public func isDue(audio: Int64) -> Bool { audio - last.before.audio - last.counters.audio >= Self.audioInterval }

    /// The session has used `total` by now.
    ///
    /// - Parameters:
    ///   - engine: the one that listens now.
    ///   - now: a time before an earlier one counts as that.
    /// - Returns: the records to write, in order; usually none. Each segment begins with one that has used nothing, so that the one
    ///   before is never taken for the last.
    public mutating func advance(
        to total: UsageCounters, engine: String, channels: Int, at now: Date
    ) -> [UsageRecord] {
        let now = max(now, last.madeAt)
        let total = total.maximum(last.total)
        var records = crossMonths(total, at: now)
        last.channels = max(last.channels, channels)
        if engine != last.engine {
            records.append(record(total, at: now, isFinal: true))
            open(at: now, engine: engine, period: last.period)
            records.append(last)
        }
        let news = total.since(last.total)
        if news.audio >= Self.audioInterval || news.connected >= Self.timeInterval {
            records.append(record(total, at: now, isFinal: false))
        }
        return records
    }

    /// The session is over, and has used `total`.
    public mutating func end(
        at total: UsageCounters, engine: String, channels: Int, now: Date
    ) -> [UsageRecord] {
        let records = advance(to: total, engine: engine, channels: channels, at: now)
        return records + [record(total.maximum(last.total), at: max(now, last.madeAt), isFinal: true)]
    }

    /// Closes the segments of months that are over. All audio was before the boundary, since the owner asks before it admits
    /// more; of the connection is known how long it has lasted since.
    private mutating func crossMonths(_ total: UsageCounters, at now: Date) -> [UsageRecord] {
        var records: [UsageRecord] = []
        while now >= periodEnd {
            var atBoundary = total
            let after = Int64((now.timeIntervalSince(periodEnd) * 1_000).rounded())
            atBoundary.connected = max(last.total.connected, total.connected - after)
            let boundary = periodEnd
            records.append(record(atBoundary, at: boundary, isFinal: true))
            open(at: boundary, engine: last.engine, period: last.period.next)
            records.append(last)
        }
        return records
    }

    /// What lies between the last moment of a month and the first of the next, in seconds: times have milliseconds.
    private static let leastTime = 0.001

    private mutating func record(_ total: UsageCounters, at now: Date, isFinal: Bool) -> UsageRecord {
        last.counters = total.since(last.before)
        last.madeAt = min(max(last.madeAt, now), periodEnd - Self.leastTime)
        last.sequence += 1
        last.isFinal = isFinal
        return last
    }

    private mutating func open(at now: Date, engine: String, period: QuotaPeriod) {
        last.segment += 1
        last.startedAt = now
        last.before = last.total
        last.counters = UsageCounters()
        last.sequence = 0
        last.isFinal = false
        last.engine = engine
        last.period = period
        last.madeAt = now
        periodEnd = period.end
    }
}
