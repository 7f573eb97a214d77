import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// The slot, which is claimed after the handshake while the first audio is held.
extension ListenConnection {
    /// How long a session that was refused a slot, and goes on without, waits until it asks again.
    static let unclaimedPause = Duration.seconds(10)

    func claim() {
        // A store that is known to be away is not waited for where that is not needed.
        if !services.storeHealth.isReachable, services.admitsUnclaimed(records.lease.tenant) {
            return begin(isClaimed: false)
        }
        ask { $0.claimDecided($1) }
    }

    private func ask(then decided: @escaping @Sendable (ListenConnection, ClaimDecision) -> Void) {
        let (services, records, loop, myself) = (services, records, loop, myself)
        Task {
            let began = ContinuousClock.now
            let decision = await services.claim.decide(records.lease, limits: records.limits)
            services.metrics.claimLatency.observe(began.duration(to: .now))
            loop.execute { decided(myself.value, decision) }
        }
    }

    private func claimDecided(_ decision: ClaimDecision) {
        guard session.isClaiming else {
            // The client left first. Whatever became of the claim, the slot is given back.
            if decision.outcome == .claimed || decision.mayHoldSlot { abandon(departure ?? .clientGone) }
            return
        }
        switch decision.outcome {
        case .claimed: begin(isClaimed: true)
        case .limitReached(let limit):
            services.limits.reached(limit, now: .now)
            refuse(.limit(limit), decision)
        case nil where services.admitsUnclaimed(records.lease.tenant): begin(isClaimed: false)
        case .superseded, nil: refuse(departure ?? .storeAway, decision)
        }
    }

    private func begin(isClaimed: Bool) {
        services.metrics.sessionsStarted.add()
        hasBegun = true
        logger.info(
            "session started", metadata: ["engine": "\(records.engine.name)", "model": "\(records.options.model)"])
        if !isClaimed {
            services.metrics.sessionsUnclaimed.add()
            services.sessions.setUnclaimed(id, true)
            unclaimed = .asks(at: .now)
            logger.warning("the session has no slot: the connection store does not answer")
        }
        services.keyUse.opened(records.lease.key, at: records.startedAt)
        joinMinutes(allowance.owners)
        meterBegins()
        run(session.claimed(now: .now))
    }

    // MARK: Without a slot

    /// Time has passed: a session without a slot asks for one as soon as somebody can be asked.
    func claimLate() {
        guard case .asks(let time) = unclaimed, session.isLive, services.storeHealth.isReachable, time <= .now else {
            return
        }
        unclaimed = .awaitsAnswer
        ask { $0.lateClaimDecided($1) }
    }

    /// A limit that is reached by then is exceeded for as long as the session goes on, which is what `admit_unclaimed`
    /// accepts.
    private func lateClaimDecided(_ decision: ClaimDecision) {
        guard decision.outcome == .claimed else {
            unclaimed = .asks(at: .now + Self.unclaimedPause)
            return
        }
        unclaimed = nil
        services.sessions.setUnclaimed(id, false)
        logger.notice("the session has a slot by now")
    }

    private func refuse(_ ending: Ending, _ decision: ClaimDecision) {
        if decision.mayHoldSlot { abandon(ending) }
        services.metrics.claimsRefused.add()
        logger.info("session refused", metadata: ["reason": "\(ending.reason)"])
        run(session.claimRefused(ending))
    }

    private func abandon(_ ending: Ending) {
        let status = records.status(ending, session: session, endedAt: .now)
        services.settlement.abandon(records.lease, status: status)
    }
}
