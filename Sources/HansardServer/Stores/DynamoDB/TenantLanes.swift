import AWS
import DequeModule
import Hansard

/// Lets a node's own transactions on one tenant's counter take turns: DynamoDB would call off one of two that meet, and
/// both would have to be tried again. Claims that wait for their turn go into it together, and so do ends of leases.
actor TenantLanes {
    /// Claims, releases and reaps of one tenant that may wait on this node. Beyond, they are told to come again.
    static let waitingLimit = 1_000

    /// Decides 1...`ClaimBatch.limit` claims of different sessions of one tenant, and of one key if that has limits, in
    /// the order in which they came.
    typealias Decide = @Sendable ([ClaimBatch.Claim]) async throws -> [ClaimOutcome]

    /// Gives back 1...`LeaseEnd.limit` slots of different sessions of one tenant.
    typealias EndLeases = @Sendable ([LeaseEnd]) async throws -> [DynamoDB.Outcome]

    private struct Pending<Item: Sendable, Outcome: Sendable> {
        var item: Item
        var continuation: CheckedContinuation<Outcome, any Error>
    }

    private enum Work {
        case claim(Pending<ClaimBatch.Claim, ClaimOutcome>)
        case end(Pending<LeaseEnd, DynamoDB.Outcome>)
    }

    private var waiting: [TenantID: Deque<Work>] = [:]
    private let decide: Decide
    private let endLeases: EndLeases

    /// - Parameters:
    ///   - decide: takes the slots.
    ///   - endLeases: gives them back.
    init(decide: @escaping Decide, endLeases: @escaping EndLeases) {
        self.decide = decide
        self.endLeases = endLeases
    }

    /// Claims, together with the others that wait.
    func claim(_ claim: ClaimBatch.Claim) async throws -> ClaimOutcome {
        let tenant = claim.lease.tenant
        try checkRoom(tenant)
        return try await withCheckedThrowingContinuation { continuation in
            add(.claim(Pending(item: claim, continuation: continuation)), tenant: tenant)
        }
    }

    /// Gives a slot back, together with the others that wait to be.
    func end(_ end: LeaseEnd) async throws -> DynamoDB.Outcome {
        try checkRoom(end.lease.tenant)
        return try await withCheckedThrowingContinuation { continuation in
            add(.end(Pending(item: end, continuation: continuation)), tenant: end.lease.tenant)
        }
    }

    /// How many of a tenant wait for their turn.
    func waitingCount(_ tenant: TenantID) -> Int { waiting[tenant]?.count ?? 0 }

    private func checkRoom(_ tenant: TenantID) throws {
        guard waitingCount(tenant) < Self.waitingLimit else {
            throw HansardError.contention("too many claims and releases of the tenant wait for DynamoDB")
        }
    }

    /// The presence of a queue, be it empty, says that somebody has the turn.
    private func add(_ work: Work, tenant: TenantID) {
        guard waiting[tenant] == nil else {
            waiting[tenant]?.append(work)
            return
        }
        waiting[tenant] = []
        start(work, tenant)
    }

    private func ended(_ tenant: TenantID) {
        if let next = waiting[tenant]?.popFirst() { start(next, tenant) } else { waiting[tenant] = nil }
    }

    private func start(_ work: Work, _ tenant: TenantID) {
        switch work {
        case .claim(let first):
            let others = take(ClaimBatch.limit - 1, of: tenant, besides: first.item.lease.session) { work in
                if case .claim(let claim) = work, claim.item.limitedKey == first.item.limitedKey {
                    (claim, claim.item.lease.session)
                } else {
                    nil
                }
            }
            run([first] + others, tenant, decide)
        case .end(let first):
            let others = take(LeaseEnd.limit - 1, of: tenant, besides: first.item.lease.session) { work in
                if case .end(let end) = work { (end, end.item.lease.session) } else { nil }
            }
            run([first] + others, tenant, endLeases)
        }
    }

    private func run<Item, Outcome>(
        _ batch: [Pending<Item, Outcome>], _ tenant: TenantID,
        _ work: @escaping @Sendable ([Item]) async throws -> [Outcome]
    ) {
        Task {
            do {
                let outcomes = try await work(batch.map(\.item))
                for (entry, outcome) in zip(batch, outcomes) { entry.continuation.resume(returning: outcome) }
            } catch {
                for entry in batch { entry.continuation.resume(throwing: error) }
            }
            ended(tenant)
        }
    }

    /// What waits of one kind, as far as it fits, each session once: a transaction may not touch an item twice. What waits
    /// for the same session before it stays before it.
    private func take<Entry>(
        _ limit: Int, of tenant: TenantID, besides first: SessionID, _ match: (Work) -> (Entry, SessionID)?
    ) -> [Entry] {
        var taken: [Entry] = []
        var sessions: Set = [first]
        var left: Deque<Work> = []
        for work in waiting[tenant] ?? [] {
            if taken.count < limit, let (entry, session) = match(work), sessions.insert(session).inserted {
                taken.append(entry)
            } else {
                left.append(work)
            }
        }
        waiting[tenant] = left
        return taken
    }
}
