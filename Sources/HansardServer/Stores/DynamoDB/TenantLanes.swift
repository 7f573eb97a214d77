import DequeModule
import Hansard

/// Lets a node's own transactions on one tenant's counter take turns: DynamoDB would call off one of two that meet, and
/// both would have to be tried again. Claims that wait for their turn go into it together.
actor TenantLanes {
    /// Claims, releases and reaps of one tenant that may wait on this node. Beyond, they are told to come again.
    static let waitingLimit = 1_000

    /// Decides 1...`ClaimBatch.limit` claims of different sessions of one tenant, in the order in which they came.
    typealias Decide = @Sendable ([ClaimBatch.Claim]) async throws -> [ClaimOutcome]

    private enum Work {
        case claim(ClaimBatch.Claim, CheckedContinuation<ClaimOutcome, any Error>)
        case turn(CheckedContinuation<Void, Never>)
    }

    private var waiting: [TenantID: Deque<Work>] = [:]
    private let decide: Decide

    /// - Parameter decide: takes the slots.
    init(decide: @escaping Decide) { self.decide = decide }

    /// Claims, together with the others that wait.
    func claim(_ claim: ClaimBatch.Claim) async throws -> ClaimOutcome {
        let tenant = claim.lease.tenant
        try checkRoom(tenant)
        return try await withCheckedThrowingContinuation { continuation in
            add(.claim(claim, continuation), tenant: tenant)
        }
    }

    /// Runs `body` when it is its turn.
    func alone<Value: Sendable>(
        _ tenant: TenantID, _ body: @Sendable () async throws -> Value
    ) async throws -> Value {
        try checkRoom(tenant)
        await withCheckedContinuation { continuation in add(.turn(continuation), tenant: tenant) }
        defer { ended(tenant) }
        return try await body()
    }

    /// How many of a tenant wait for their turn.
    func waitingCount(_ tenant: TenantID) -> Int { waiting[tenant]?.count ?? 0 }

    private func checkRoom(_ tenant: TenantID) throws {
        guard waitingCount(tenant) < Self.waitingLimit else {
            throw HansardError(
                .unavailable, "too many claims and releases of the tenant wait for DynamoDB", retryAfter: .seconds(1))
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
        case .turn(let continuation): continuation.resume()
        case .claim(let claim, let continuation):
            let batch = [(claim: claim, continuation: continuation)] + takeClaims(of: tenant, besides: claim)
            Task {
                do {
                    let outcomes = try await decide(batch.map(\.claim))
                    for (entry, outcome) in zip(batch, outcomes) { entry.continuation.resume(returning: outcome) }
                } catch {
                    for entry in batch { entry.continuation.resume(throwing: error) }
                }
                ended(tenant)
            }
        }
    }

    /// The claims that wait, as far as they fit, each session once: a transaction may not touch an item twice.
    private func takeClaims(
        of tenant: TenantID, besides first: ClaimBatch.Claim
    ) -> [(claim: ClaimBatch.Claim, continuation: CheckedContinuation<ClaimOutcome, any Error>)] {
        var taken: [(claim: ClaimBatch.Claim, continuation: CheckedContinuation<ClaimOutcome, any Error>)] = []
        var sessions: Set = [first.lease.session]
        var left: Deque<Work> = []
        for work in waiting[tenant] ?? [] {
            if case .claim(let claim, let continuation) = work, taken.count < ClaimBatch.limit - 1,
                sessions.insert(claim.lease.session).inserted
            {
                taken.append((claim, continuation))
            } else {
                left.append(work)
            }
        }
        waiting[tenant] = left
        return taken
    }
}
