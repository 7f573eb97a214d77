import EventLoops
import Hansard

/// Quotas of minutes and of seconds, enforced while the audio runs.
extension ListenConnection {
    /// How long a store that says nothing is waited for once all that was granted is spent.
    static let unavailablePatience = Duration.seconds(5)

    /// Takes over limits that may have changed.
    func limitsAre(of caller: Caller) {
        joinMinutes(allowance.limitsAre(of: caller, after: session.frames, sampleRate: session.audio?.sampleRate))
    }

    /// The session begins to take the owners' minutes.
    func joinMinutes(_ owners: [QuotaOwner]) {
        guard !owners.isEmpty else { return }
        let (loop, myself) = (loop, myself)
        services.minutes.join(id, owners) { news in
            // At once where it can be: a warning comes before the end that it is about.
            if loop.isCurrent {
                myself.value.minutesSaid(news)
            } else {
                loop.execute { myself.value.minutesSaid(news) }
            }
        }
    }

    func leaveMinutes() {
        allowance.drop()
        if !allowance.owners.isEmpty { services.minutes.leave(id, allowance.owners) }
    }

    /// Hands decoded audio on, as far as it may go.
    func forward() {
        guard allowance.isLimited, let audio = session.audio else { return hear() }
        allowance.cut(&samples, after: session.frames, of: audio)
        hear()
        settleAllowance()
    }

    private func minutesSaid(_ news: NodeMinutes.News) {
        switch news {
        case .supply: minutesMoved()
        case .warning(let percent, let remaining):
            guard session.options.wantsHansardEvents else { return }
            run(session.quotaSaid(.quotaWarning(percent: percent, remainingMilliseconds: remaining)))
        }
    }

    /// There may be something to take again, or there will be nothing.
    func minutesMoved() {
        guard session.isAwaitingMinutes, let audio = session.audio else { return }
        samples.removeAll(keepingCapacity: true)
        allowance.cut(&samples, after: session.frames, of: audio, goesOnAnyway: goesOnAnyway)
        hear()
        settleAllowance()
        if !session.isAwaitingMinutes { releaseHeld() }
    }

    /// Waits, goes on or ends, as what is left behind says.
    private func settleAllowance() {
        guard allowance.isHolding else { return session.awaitsMinutes(false) }
        if allowance.isOver(session.duration), let seconds = allowance.seconds {
            return endWithoutRest(.secondsPerSession(seconds))
        }
        session.awaitsMinutes(true)
        switch services.minutes.supply(allowance.owners) {
        case .available, .awaited: break
        case .exhausted:
            if session.options.wantsHansardEvents { run(session.quotaSaid(.quotaExhausted)) }
            endWithoutRest(.minutesExhausted)
        case .unavailable(let since):
            if since.duration(to: .now) >= Self.unavailablePatience { endWithoutRest(.storeAway) }
        case .retired: endWithoutRest(.storeAway)
        }
    }

    private func endWithoutRest(_ ending: Ending) {
        allowance.drop()
        session.awaitsMinutes(false)
        end(ending)
    }

    /// Whether audio goes on while the store that grants minutes is away (`quota_unavailable`).
    private var goesOnAnyway: Bool {
        guard case .unavailable = services.minutes.supply(allowance.owners) else { return false }
        let tenant = services.access.snapshot?.tenant(records.caller.tenant.id) ?? records.caller.tenant
        let outage = tenant.quotaUnavailable ?? services.quotaUnavailable
        return (outage ?? (tenant.quotas.policy == .soft ? .continue : .close)) == .continue
    }
}
