import EventLoops
import FoundationEssentials
import Hansard

/// What the session uses, written down as it goes on.
extension ListenConnection {
    /// What it has used by now.
    var counters: UsageCounters {
        UsageCounters(
            audio: session.duration.milliseconds, connected: openedAt.duration(to: .now).milliseconds,
            engine: session.engineTime.milliseconds)
    }

    private var channels: Int { session.audio?.channels ?? 1 }

    /// The session has begun.
    func meterBegins() {
        services.spool.append(records.began(nil))
        let first = records.firstUsage(session)
        usage = UsageMeter(first)
        services.usage.add(first)
    }

    /// Audio is about to be admitted: what came before a month's end is that month's.
    func meterBefore() {
        if usage?.isPeriodOver(at: .now) == true { meter() }
    }

    /// Audio was admitted.
    func meterAudio() {
        let step = audioMeter.heard(session.duration)
        services.metrics.audioMilliseconds.add(step.added)
        if usage?.isDue(audio: step.total) == true { meter() }
        if step.isRenewal, unclaimed == nil {
            var lease = records.lease
            lease.usedMilliseconds = step.total
            services.renew(lease, logger: logger)
        }
    }

    /// Time has passed, or another engine listens.
    func meter() {
        let news = usage?.advance(to: counters, engine: session.listener, channels: channels, at: .now) ?? []
        for record in news { services.usage.add(record) }
    }

    /// The session is over.
    ///
    /// - Parameter total: what it has used, as its usage row says as well.
    func meterEnds(_ total: UsageCounters, at now: Date) {
        let last = usage?.end(at: total, engine: session.listener, channels: channels, now: now) ?? []
        usage = nil
        for record in last { services.usage.add(record, isLast: true) }
    }
}
