import FoundationEssentials
import Hansard
import Logging

/// Repairs what crashes and operators' hands leave behind in the connection store: slots that no session holds, and
/// counters that do not count what is there.
struct StoreAudit: Sendable {
    /// Between two comparisons of this node's leases with its memory.
    static let leaseInterval = Duration.seconds(30)
    /// A tenant's counter is compared with its leases once in so many comparisons: each five minutes.
    static let comparisonsPerCount = 10
    /// Tenants whose counters are compared in one pass, at most; the others are for the next pass.
    static let tenantLimit = 1_000

    let node: NodeIdentity
    let connections: any ConnectionStore
    /// The sessions that this node serves and that hold a slot as far as it knows.
    let liveSessions: @Sendable () -> Set<SessionID>
    let settlement: Settlement
    let metrics: Metrics
    let logger: Logger
    /// Ends a session that holds no slot, if that is wanted (`HANSARD_ON_LEASE_LOST=close`).
    let endUnheld: @Sendable (SessionID) -> Void

    /// Audits until the task is cancelled.
    func run() async {
        var audit = LeaseAudit()
        var strangers: Set<UUID> = []
        var tenants: Set<TenantID> = []
        var comparisons = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.leaseInterval)
            if Task.isCancelled { return }
            do {
                let stored = try await connections.leases(heldBy: node.epoch)
                tenants.formUnion(stored.map(\.tenant))
                try await compare(stored, with: &audit)
                comparisons += 1
                guard comparisons.isMultiple(of: Self.comparisonsPerCount) else { continue }
                let due = tenants.prefix(Self.tenantLimit)
                try await count(Array(due), strangers: &strangers)
                tenants.subtract(due)
            } catch {
                // Whoever watches the store's health says that it is away.
                logger.debug("the audit could not read the connection store", metadata: ["error": "\(describe(error))"])
            }
        }
    }

    /// One comparison of leases and memory.
    func compare(_ stored: [Lease], with audit: inout LeaseAudit) async throws {
        let findings = audit.compared(
            stored: stored, live: liveSessions(), settling: await settlement.unsettled)
        for finding in findings {
            switch finding {
            case .orphan(let lease):
                let isFreed = try await connections.reap(lease, status: .abandoned(lease, now: .now))
                guard isFreed else { continue }
                metrics.auditRepairs.add()
                logger.warning(
                    "a slot that no session held was given back",
                    metadata: ["session_id": "\(lease.session)", "tenant_id": "\(lease.tenant)"])
            case .unheld(let session):
                metrics.leasesLost.add()
                logger.warning(
                    "a session holds no slot any more", metadata: ["session_id": "\(session)"])
                endUnheld(session)
            }
        }
    }

    /// One comparison of counters and leases; slots whose node is nowhere are given back as well.
    func count(_ tenants: [TenantID], strangers: inout Set<UUID>) async throws {
        let known = Set(try await connections.nodes().map(\.epoch))
        var seen: Set<UUID> = []
        for tenant in tenants {
            for lease in try await connections.leases(of: tenant) where !known.contains(lease.holder) {
                seen.insert(lease.nonce)
                guard strangers.contains(lease.nonce) else { continue }
                if try await connections.reap(lease, status: .abandoned(lease, now: .now)) {
                    metrics.auditRepairs.add()
                    logger.warning(
                        "a slot of a node that is no more was given back",
                        metadata: ["session_id": "\(lease.session)", "node": "\(lease.holder)"])
                }
            }
            let difference = try await connections.repairCount(of: tenant)
            guard difference != 0 else { continue }
            metrics.auditRepairs.add()
            logger.warning(
                "a tenant's counter was wrong and has been put right",
                metadata: ["tenant_id": "\(tenant)", "difference": "\(difference)"])
        }
        strangers = seen
    }
}
