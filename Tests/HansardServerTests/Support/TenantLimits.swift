import AWS
import Hansard

@testable import HansardServer

// What most tests of claims are about: one tenant's limit, and no key's.

extension ConnectionStore {
    func claim(_ lease: Lease, limit: AdmissionLimit) async throws -> ClaimOutcome {
        try await claim(lease, limits: ClaimLimits(tenant: limit))
    }

    func setLimit(_ limit: AdmissionLimit, tenant: TenantID) async throws {
        try await setLimit(limit, owner: .tenant(tenant))
    }

    func repairCount(of tenant: TenantID) async throws -> Int { try await repairCount(of: .tenant(tenant)) }
}

extension ClaimOutcome {
    /// The tenant has as many sessions as it may have at once.
    static func full(_ limit: Int, _ tenant: TenantID = Sample.tenant) -> ClaimOutcome {
        .limitReached(LimitReached(owner: .tenant(tenant), kind: .concurrentSessions, limit: limit))
    }
}

extension DynamoDBItems {
    static func counterKey(_ tenant: TenantID) -> DynamoDBItem { counterKey(.tenant(tenant)) }
}

extension ClaimBatch.Claim {
    init(lease: Lease, limit: AdmissionLimit) { self.init(lease: lease, limits: ClaimLimits(tenant: limit)) }
}

extension ClaimBatch {
    /// - Parameter known: the counter as it was seen once.
    init(_ claims: [Claim], known: DynamoDBCounter?) {
        self.init(claims, tenant: CounterTable.tenant, known: known.map { [.tenant(CounterTable.tenant): $0] } ?? [:])
    }

    /// The tenant's counter as it was last seen.
    var counter: DynamoDBCounter? { known[.tenant(CounterTable.tenant)] }
}
