import AWS
import FoundationEssentials
import Hansard

/// A lease that is to go: its tombstone and its session's status take its place, and the tenant's counter is one less,
/// as is its key's if that counts it.
struct LeaseEnd {
    /// Leases in one transaction at most; each is two writes, or three with a key's counter, and DynamoDB takes 100.
    static let limit = 25

    var lease: Lease
    /// What the lease must be like.
    var condition: DynamoDBExpression
    var status: DynamoDBItem

    /// A tombstone in each lease's place, so many less on the counter, and each status: all or nothing.
    static func writes(_ ends: [LeaseEnd], now: Date) -> [DynamoDBWrite] {
        var writes = ends.flatMap { end in
            [
                DynamoDBWrite(
                    .put(DynamoDBItems.tombstone(end.lease.tenant, end.lease.session, now: now)), if: end.condition),
                DynamoDBWrite(.put(end.status)),
            ]
        }
        if let tenant = ends.first?.lease.tenant { writes.append(fewer(ends.count, of: .tenant(tenant))) }
        // A key that a hand has damaged is none.
        let keys = ends.filter { $0.lease.countsKey && !$0.lease.key.rawValue.isEmpty }.map(\.lease.key.rawValue)
        for (key, count) in Dictionary(keys.map { ($0, 1) }, uniquingKeysWith: +).sorted(by: { $0.key < $1.key }) {
            writes.append(fewer(count, of: .key(KeyID(key))))
        }
        return writes
    }

    private static func fewer(_ count: Int, of owner: QuotaOwner) -> DynamoDBWrite {
        let less: [String: AttributeValue] = ["less": .number(-Int64(count)), "one": 1]
        return DynamoDBWrite(
            .update(
                key: DynamoDBItems.counterKey(owner), DynamoDBExpression("ADD n :less, changes :one", less)))
    }

    /// What the lease must be like for the counters to be the right ones.
    static func countsKey(_ counts: Bool) -> DynamoDBExpression {
        DynamoDBExpression(
            counts ? "counts_key = :counts" : "(attribute_not_exists(counts_key) OR counts_key <> :counts)",
            ["counts": true])
    }
}
