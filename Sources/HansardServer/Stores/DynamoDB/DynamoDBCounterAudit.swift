import AWS
import FoundationEssentials
import Hansard

extension DynamoDBConnectionStore {
    /// Exact without stopping anybody: the repair is conditioned on `changes`, which every claim and release moves,
    /// being what it was before the leases were counted.
    func repairCount(of owner: QuotaOwner) async throws -> Int {
        try await HansardError.mapping(subject) {
            let key = DynamoDBItems.counterKey(owner)
            for _ in 0..<Self.auditAttempts {
                let item = try await table.get(key)
                let held = try await countLeases(owner, counter: item)
                let counter = DynamoDBCounter(item ?? [:])
                if counter.held == held, item == nil || item?["n"]?.integer != nil { return 0 }
                // A hand may have taken any of it away.
                let seen = ["n", "changes"].map { name in
                    item?[name] == nil ? "attribute_not_exists(\(name))" : "\(name) = :\(name)"
                }
                let outcome = try await write(
                    DynamoDBWrite(
                        .update(
                            key: key,
                            DynamoDBExpression(
                                "SET n = :held, changes = :next",
                                ["held": .number(held), "next": .number(counter.changes + 1)])),
                        if: DynamoDBExpression(
                            seen.joined(separator: " AND "), item?.filter { ["n", "changes"].contains($0.key) } ?? [:]))
                )
                if outcome == .done { return Int(counter.held - held) }
            }
            throw HansardError.contention("the tenant's leases change too fast to be counted")
        }
    }

    private func countLeases(_ owner: QuotaOwner, counter: DynamoDBItem?) async throws -> Int64 {
        switch owner {
        case .tenant(let tenant): return Int64(try await readLeases(of: tenant).count)
        case .key(let key):
            // Without the name of a tenant, no claim has ever been counted.
            guard let tenant = counter?["tenant"]?.string.flatMap(UUID.init(uuidString:)) else { return 0 }
            return Int64(try await readLeases(of: TenantID(tenant)).count { $0.key == key && $0.countsKey })
        }
    }
}
