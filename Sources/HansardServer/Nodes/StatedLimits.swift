import EventLoops
import Hansard
import Logging

/// Tells the connection store of limits that have changed. A claim states its tenant's limit; a change after it would wait
/// for the next claim on a node that knows of it, and until then nodes that do not would admit by the old one.
///
/// Only tenants that have claimed on this node are looked at, which keeps it cheap: where a tenant claims, there is a node
/// that has seen it.
final class StatedLimits: Sendable {
    /// Tenants that are remembered. The claims of others state their limits all the same.
    static let tenantLimit = 10_000
    /// Limits that are stated in one look, each a write; the others are for the next.
    static let perLook = 20
    /// Between looks at the snapshot, as often as it is refreshed.
    static let interval = AccessDirectory.pollInterval

    private struct State {
        var versions: [TenantID: Int64] = [:]
        /// The snapshot in which nothing was left to state.
        var doneWith: Int64?
    }
    private let state = Locked(State())

    /// The store has the tenant's limit of this version, or a newer one.
    func stated(_ version: Int64, of tenant: TenantID) {
        state.withLock { state in
            guard state.versions[tenant] != nil || state.versions.count < Self.tenantLimit else { return }
            state.versions[tenant] = max(version, state.versions[tenant] ?? version)
        }
    }

    /// What the store has yet to learn from the snapshot, as much as is for one look.
    func due(in snapshot: AccessSnapshot) -> [(tenant: TenantID, limit: ConcurrencyLimit)] {
        state.withLock { state in
            guard state.doneWith != snapshot.sequence else { return [] }
            var due: [(tenant: TenantID, limit: ConcurrencyLimit)] = []
            for (id, version) in state.versions where due.count < Self.perLook {
                guard let tenant = snapshot.tenants[id] else {
                    state.versions[id] = nil
                    continue
                }
                guard tenant.quotas.version > version else { continue }
                due.append((id, tenant.quotas.concurrency))
            }
            if due.isEmpty { state.doneWith = snapshot.sequence }
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
        _ due: [(tenant: TenantID, limit: ConcurrencyLimit)], to connections: any ConnectionStore, _ logger: Logger
    ) async {
        for (tenant, limit) in due {
            do {
                try await connections.setLimit(limit, tenant: tenant)
                stated(limit.version, of: tenant)
            } catch {
                // Whoever watches the store's health says that it is away; the next look tries again.
                logger.debug(
                    "a limit could not be stated",
                    metadata: ["tenant_id": "\(tenant)", "error": "\(describe(error))"])
                return
            }
        }
    }
}
