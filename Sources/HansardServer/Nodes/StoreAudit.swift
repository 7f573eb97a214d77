import FoundationEssentials
import Hansard
import Logging

/// Repairs what crashes and operators' hands leave behind in the connection store: slots that no session holds, and
/// counters that do not count what is there.
struct StoreAudit: Sendable {
    /// Between two comparisons of this node's leases with its memory.
    static let leaseInterval = Duration.seconds(30)

    let node: NodeIdentity
    let connections: any ConnectionStore
    /// The sessions that this node serves.
    let liveSessions: @Sendable () -> Set<SessionID>
    /// Those of them that hold no slot as far as it knows.
    let unclaimedSessions: @Sendable () -> Set<SessionID>
    let settlement: Settlement
    let suspects: SuspectOwners
    let reaper: LeaseReaper
    let metrics: Metrics
    let logger: Logger
    /// Ends a session that holds no slot, if that is wanted (`HANSARD_ON_LEASE_LOST=close`).
    let endUnheld: @Sendable (SessionID) -> Void

    /// Audits until the task is cancelled.
    func run() async {
        var audit = LeaseAudit()
        var plan = CountPlan()
        var strangers = Strangers()
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.leaseInterval)
            if Task.isCancelled { return }
            do {
                try await runOnce(&audit, &plan, &strangers, now: .now)
            } catch {
                // Whoever watches the store's health says that it is away.
                logger.debug("the audit could not read the connection store", metadata: ["error": "\(describe(error))"])
            }
        }
    }

    /// One comparison of leases and memory, and of the counters that are due.
    func runOnce(
        _ audit: inout LeaseAudit, _ plan: inout CountPlan, _ strangers: inout Strangers, now: ContinuousClock.Instant
    ) async throws {
        let stored = try await connections.leases(heldBy: node.epoch)
        try await compare(stored, with: &audit)
        let due = plan.due(
            holding: Set(stored.flatMap(\.owners)), suspects: suspects.take(),
            withStrangers: Set(strangers.tenants.map(QuotaOwner.tenant)))
        guard !due.isEmpty else { return }
        do {
            try await count(due, strangers: &strangers, now: now)
        } catch {
            plan.failed(due)
            throw error
        }
    }

    /// One comparison of leases and memory.
    func compare(_ stored: [Lease], with audit: inout LeaseAudit) async throws {
        let findings = audit.compared(
            stored: stored, live: liveSessions(), unclaimed: unclaimedSessions(), settling: await settlement.unsettled)
        for finding in findings {
            switch finding {
            case .orphan(let lease):
                try await unlessAway {
                    let isFreed = try await connections.reap(lease, status: .abandoned(lease, now: .now))
                    guard isFreed else { return }
                    metrics.auditRepairs.add()
                    logger.warning(
                        "a slot that no session held was given back",
                        metadata: ["session_id": "\(lease.session)", "tenant_id": "\(lease.tenant)"])
                }
            case .unheld(let session):
                metrics.leasesLost.add()
                logger.warning(
                    "a session holds no slot any more", metadata: ["session_id": "\(session)"])
                endUnheld(session)
            }
        }
    }

    /// One comparison of counters and leases; tenants' slots whose node is nowhere are given back as well.
    func count(
        _ owners: [QuotaOwner], strangers: inout Strangers, now: ContinuousClock.Instant = .now
    ) async throws {
        let known = Set(try await connections.nodes().map(\.epoch))
        // Tenants first: what they give back is a key's as well.
        for case .tenant(let tenant) in owners {
            let unknown = try await connections.leases(of: tenant).filter { !known.contains($0.holder) }
            for lease in strangers.old(among: unknown, of: tenant, now: now) {
                try await unlessAway {
                    guard try await reaper.free(lease) else { return }
                    metrics.auditRepairs.add()
                    logger.warning(
                        "a slot of a node that is no more was given back",
                        metadata: ["session_id": "\(lease.session)", "node": "\(lease.holder)"])
                }
            }
        }
        for owner in owners {
            try await unlessAway {
                let difference = try await connections.repairCount(of: owner)
                guard difference != 0 else { return }
                metrics.auditRepairs.add()
                let (what, id) =
                    switch owner {
                    case .tenant(let tenant): ("tenant", "\(tenant)")
                    case .key(let key): ("key", "\(key)")
                    }
                logger.warning(
                    "a \(what)'s counter was wrong and has been put right",
                    metadata: ["\(what)_id": "\(id)", "difference": "\(difference)"])
            }
        }
    }

    /// One tenant's trouble does not end the audit of the others; that the store is away does.
    private func unlessAway(_ repair: () async throws -> Void) async throws {
        do {
            try await repair()
        } catch let error as HansardError where error.isContention || error.code != .unavailable {
            logger.debug("the audit could not repair something", metadata: ["error": "\(describe(error))"])
        }
    }
}

extension Lease {
    /// Whose counters count it.
    var owners: [QuotaOwner] { countsKey ? [.tenant(tenant), .key(key)] : [.tenant(tenant)] }
}

/// Which tenants' and keys' counters are compared with their leases, and when.
struct CountPlan {
    /// A round of all that have leases here comes once in so many comparisons: each five minutes.
    static let comparisonsPerRound = 10
    /// Tenants and keys in one comparison, at most; the others are for the next.
    static let ownerLimit = 1_000

    private var comparisons = 0
    private var holders: Set<QuotaOwner> = []
    private var waiting: Set<QuotaOwner> = []
    private var counted: Set<QuotaOwner> = []

    /// A comparison has come.
    ///
    /// - Parameters:
    ///   - holding: the tenants and keys with leases of this node.
    ///   - suspects: those that were refused a slot since the last comparison: they are counted now, once in a round.
    ///   - withStrangers: tenants with leases of epochs that nobody knows: they are looked at until those are gone.
    mutating func due(
        holding: Set<QuotaOwner>, suspects: Set<QuotaOwner>, withStrangers: Set<QuotaOwner>
    ) -> [QuotaOwner] {
        comparisons += 1
        holders.formUnion(holding)
        waiting.formUnion(suspects.subtracting(counted))
        if comparisons.isMultiple(of: Self.comparisonsPerRound) {
            waiting.formUnion(holders.union(suspects))
            holders = []
            counted = []
        }
        let due = Array(waiting.union(withStrangers).prefix(Self.ownerLimit))
        waiting.subtract(due)
        counted.formUnion(due)
        return due
    }

    /// Not all of those could be counted.
    mutating func failed(_ due: [QuotaOwner]) { waiting.formUnion(due) }
}

/// Leases of epochs that no node's record names. They are given back once this node has seen them for a while on its own
/// clock: a record may be about to appear.
struct Strangers {
    /// How long: from one comparison to the next.
    static let age = Duration.seconds(25)

    private var seen: [TenantID: [UUID: ContinuousClock.Instant]] = [:]

    /// Nobody has been seen.
    init() {}

    /// The tenants that have some.
    var tenants: Set<TenantID> { Set(seen.keys) }

    /// Takes all strangers of a tenant, and returns those that have been there for long enough.
    mutating func old(among leases: [Lease], of tenant: TenantID, now: ContinuousClock.Instant) -> [Lease] {
        let before = seen[tenant] ?? [:]
        let times = Dictionary(leases.map { ($0.nonce, before[$0.nonce] ?? now) }) { first, _ in first }
        seen[tenant] = times.isEmpty ? nil : times
        return leases.filter { times[$0.nonce].map { $0.duration(to: now) >= Self.age } ?? false }
    }
}
