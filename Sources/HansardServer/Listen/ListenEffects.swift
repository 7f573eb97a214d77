import EventLoops
import FoundationEssentials
import Hansard
import Logging

extension ListenServices {
    /// Brings the lease's use up to date, in the background: a lost update is made good by the next.
    func renew(_ lease: Lease, logger: Logger) {
        Task {
            do {
                guard try await !connections.renew(lease) else { return }
                // A peer took this node for dead and freed the slot.
                logger.warning("the session's lease is gone")
                guard closesWithoutLease(lease.tenant) else { return }
                metrics.leasesLost.add()
                sessions.end(lease.session, .storeAway)
            } catch {
                logger.debug("a lease could not be renewed", metadata: ["error": "\(describe(error))"])
            }
        }
    }

    /// Logs and counts what of an engine's events concerns the operator.
    func note(_ event: EngineEvent, logger: Logger) {
        switch event {
        case .failed(let reason): logger.error("the engine failed", metadata: ["error": "\(reason)"])
        case .spokenBy(let engine):
            metrics.engineFallbacks.add()
            logger.warning("the session goes on with its second engine", metadata: ["engine": "\(engine.name)"])
        default: break
        }
    }

    /// A log whose lines say which session they are of, and whose it is.
    func logger(of session: SessionID, caller: Caller) -> Logger {
        var logger = logger
        logger[metadataKey: "session_id"] = "\(session)"
        logger[metadataKey: "request_id"] = "\(session)"
        logger[metadataKey: "tenant_id"] = "\(caller.tenant.id)"
        logger[metadataKey: "key_id"] = "\(caller.key.id)"
        return logger
    }

    /// What a live session's caller is by now.
    enum Standing {
        /// It may go on, by these limits among others.
        case good(Caller)
        /// It must end: the key was disabled, revoked or has expired, or the tenant was suspended.
        case refused(Ending)
    }

    /// Whether a live session of this caller may go on: read from the snapshot, which is at most a second old.
    ///
    /// - Returns: nil if nothing has been read yet.
    func standing(of caller: Caller, now: Date) -> Standing? {
        guard let snapshot = access.snapshot else { return nil }
        guard let key = snapshot.key(named: caller.key.id), key.isEnabled else {
            return .refused(.keyRevoked)
        }
        if let expiry = key.expiresAt, expiry <= now { return .refused(.keyExpired) }
        guard let tenant = snapshot.tenant(key.tenant), tenant.status == .active else {
            return .refused(.tenantSuspended)
        }
        return .good(Caller(tenant: tenant, key: key, scopes: caller.scopes))
    }
}

/// Runs `work` and returns its value, or nil once `limit` has passed: `work` is then cancelled and left to itself, since a
/// call into a C library cannot be made to return.
func firstWithin<Value: Sendable>(
    _ limit: Duration, _ work: @escaping @Sendable () async -> Value
) async -> Value? {
    let answer = FirstAnswer<Value>()
    let task = Task { answer.give(await work()) }
    let timer = Task {
        try? await Task.sleep(for: limit)
        if !Task.isCancelled {
            task.cancel()
            answer.give(nil)
        }
    }
    let value = await answer.taken()
    timer.cancel()
    return value
}

/// Hands the first of several answers to one who waits.
private final class FirstAnswer<Value: Sendable>: Sendable {
    private enum State {
        case nothing
        case awaited(CheckedContinuation<Value?, Never>)
        case given(Value?)
        case over
    }
    private let state = Locked(State.nothing)

    func give(_ value: Value?) {
        let waiting: CheckedContinuation<Value?, Never>? = state.withLock { state in
            switch state {
            case .nothing:
                state = .given(value)
                return nil
            case .awaited(let continuation):
                state = .over
                return continuation
            case .given, .over: return nil
            }
        }
        waiting?.resume(returning: value)
    }

    func taken() async -> Value? {
        await withCheckedContinuation { continuation in
            let early: Value?? = state.withLock { state in
                if case .given(let value) = state {
                    state = .over
                    return .some(value)
                }
                state = .awaited(continuation)
                return nil
            }
            if let early { continuation.resume(returning: early) }
        }
    }
}
