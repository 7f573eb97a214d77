import EventLoops
import Hansard
import Logging

/// Tells the connection store of limits that have changed. A claim states the limits that it knows; a change after it
/// would wait for the next claim on a node that knows of it, and until then nodes that do not would admit by the old
/// one.
///
/// Only tenants and keys that have claimed on this node are looked at, which keeps it cheap: where a tenant claims,
/// there is a node that has seen it.
final class StatedLimits: Sendable {
    /// Tenants and keys that are remembered. The claims of others state their limits all the same.
    static let ownerLimit = 10_000
    /// Limits that are stated in one look, each a write; the others are for the next.
    static let perLook = 20
    /// Between looks at the snapshot, as often as it is refreshed.
    static let interval = AccessDirectory.pollInterval

    private struct State {
        var versions: [QuotaOwner: Int64] = [:]
        /// The snapshot in which nothing was left to state.
        var doneWith: AccessPosition?
    }
    private let state = Locked(State())

    /// The store has the owner's limit of this version, or a newer one.
    func stated(_ version: Int64, of owner: QuotaOwner) {
        state.withLock { state in
            guard state.versions[owner] != nil || state.versions.count < Self.ownerLimit else { return }
            state.versions[owner] = max(version, state.versions[owner] ?? version)
        }
    }

    /// What the store has yet to learn from the snapshot, as much as is for one look.
    func due(in snapshot: AccessSnapshot) -> [(owner: QuotaOwner, limit: AdmissionLimit)] {
        state.withLock { state in
            guard state.doneWith != snapshot.position else { return [] }
            var due: [(owner: QuotaOwner, limit: AdmissionLimit)] = []
            for (owner, version) in state.versions where due.count < Self.perLook {
                guard let quotas = snapshot.quotas(of: owner) else {
                    state.versions[owner] = nil
                    continue
                }
                if quotas.version > version { due.append((owner, quotas.admission)) }
            }
            if due.isEmpty { state.doneWith = snapshot.position }
            return due
        }
    }

    /// States what has changed until the task is cancelled.
    func keepStating(from access: AccessDirectory, to connections: any ConnectionStore, logger: Logger) async {
        while !Task.isCancelled {
            if let snapshot = access.snapshot { await state(due(in: snapshot), to: connections, logger) }
            try? await Task.sleep(for: Self.interval)
        }
    }

    private func state(
        _ due: [(owner: QuotaOwner, limit: AdmissionLimit)], to connections: any ConnectionStore, _ logger: Logger
    ) async {
        for (owner, limit) in due {
            do {
                try await connections.setLimit(limit, owner: owner)
                stated(limit.version, of: owner)
            } catch {
                // Whoever watches the store's health says that it is away; the next look tries again.
                logger.debug(
                    "a limit could not be stated",
                    metadata: ["owner": "\(owner)", "error": "\(describe(error))"])
                return
            }
        }
    }
}
