import EventLoops
import Hansard
import Logging

/// What asking the connection store for a slot came to.
struct ClaimDecision: Sendable, Equatable {
    /// nil if the outcome is unknown or the store could not be reached.
    var outcome: ClaimOutcome?
    /// Whether the lease must be given back though no slot was granted: a question whose answer was lost may have been
    /// granted, or may arrive at the store after the one that was refused.
    var mayHoldSlot: Bool
}

/// Asks the connection store for a session's slot, again and again while the store is away or contended.
struct SlotClaim: Sendable {
    /// How long a claim may take before the client is told to try again.
    static let deadline = Duration.seconds(2)
    /// The pauses between questions.
    static let pauses = 50...200

    let connections: any ConnectionStore
    let health: StoreHealth
    let suspects: SuspectOwners
    let statedLimits: StatedLimits
    let logger: Logger
    var deadline = SlotClaim.deadline

    /// Claims a slot.
    func decide(_ lease: Lease, limits: ClaimLimits) async -> ClaimDecision {
        let began = ContinuousClock.now
        let failure = Locked<HansardError?>(nil)
        let answer = await firstWithin(deadline) { await ask(lease, limits: limits, failure) }
        // The task that was given up may tell of its silence before the deadline's own answer arrives.
        switch answer ?? .silence {
        case .outcome, .failed: health.answered(.claim)
        case .silence: report(failure.withLock { $0 }, began: began)
        }
        guard case .outcome(let outcome, let afterLostAnswer)? = answer else {
            if answer == .failed { lease.owners.forEach(suspects.add) }
            return ClaimDecision(outcome: nil, mayHoldSlot: true)
        }
        statedLimits.stated(limits.tenant.version, of: .tenant(lease.tenant))
        if let key = limits.key { statedLimits.stated(key.version, of: .key(lease.key)) }
        if case .limitReached(let limit) = outcome, limit.kind == .concurrentSessions {
            suspects.add(limit.owner)
            // What holds a key's slots and is nobody's is found among its tenant's leases.
            suspects.add(.tenant(lease.tenant))
        }
        return ClaimDecision(outcome: outcome, mayHoldSlot: outcome != .claimed && afterLostAnswer)
    }

    /// Says that the store is away, unless others of the same tenant were in the way, or the claim has waited for its turn
    /// behind them while the store has answered other calls: one tenant's crowd must not shut out the others.
    private func report(_ failure: HansardError?, began: ContinuousClock.Instant) {
        if let failure {
            if !failure.isContention { health.failed(.claim, failure) }
        } else if !health.hasAnswered(since: began) {
            health.failed(.claim, HansardError(.unavailable, "no claim was answered within \(deadline)"))
        }
    }

    private enum Answer: Equatable {
        case outcome(ClaimOutcome, afterLostAnswer: Bool)
        /// The store is there, and something is wrong with it or with us.
        case failed
        /// The store did not answer.
        case silence
    }

    /// - Parameter failure: gets why the last question failed.
    private func ask(
        _ lease: Lease, limits: ClaimLimits, _ failure: Locked<HansardError?>
    ) async -> Answer {
        var isRepeated = false
        while !Task.isCancelled {
            do {
                return .outcome(try await connections.claim(lease, limits: limits), afterLostAnswer: isRepeated)
            } catch let error as HansardError where error.code == .unavailable {
                isRepeated = true
                failure.withLock { $0 = error }
                try? await Task.sleep(for: .milliseconds(Int.random(in: Self.pauses)))
            } catch  where Task.isCancelled {
                return .silence
            } catch {
                logger.error("a claim failed", error)
                return .failed
            }
        }
        return .silence
    }
}
