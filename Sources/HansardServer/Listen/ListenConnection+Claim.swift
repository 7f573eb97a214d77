import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// The slot, which is claimed after the handshake while the first audio is held.
extension ListenConnection {
    func claim() {
        let (services, records, loop, myself) = (services, records, loop, myself)
        Task {
            let began = ContinuousClock.now
            let decision = await services.claim.decide(records.lease, limits: records.limits)
            services.metrics.claimLatency.observe(began.duration(to: .now))
            loop.execute { myself.value.claimDecided(decision) }
        }
    }

    private func claimDecided(_ decision: ClaimDecision) {
        guard session.isClaiming else {
            // The client left first. Whatever became of the claim, the slot is given back.
            if decision.outcome == .claimed || decision.mayHoldSlot { abandon(departure ?? .clientGone) }
            return
        }
        switch decision.outcome {
        case .claimed:
            services.metrics.sessionsStarted.add()
            hasBegun = true
            logger.info(
                "session started", metadata: ["engine": "\(records.engine.name)", "model": "\(records.options.model)"])
            services.keyUse.opened(records.lease.key, at: records.startedAt)
            joinMinutes(allowance.owners)
            run(session.claimed(now: .now))
        case .limitReached(let limit):
            services.limits.reached(limit, now: .now)
            refuse(.limit(limit), decision)
        case .superseded, nil: refuse(departure ?? .storeAway, decision)
        }
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
