import AWS
import FoundationEssentials
import Hansard

/// A lease that is to go: its tombstone and its session's status take its place, and the tenant's counter is one less.
struct LeaseEnd {
    /// Leases in one transaction at most; each is two writes, and DynamoDB takes 100.
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
        if let tenant = ends.first?.lease.tenant {
            let less: [String: AttributeValue] = ["less": .number(-Int64(ends.count)), "one": 1]
            writes.append(
                DynamoDBWrite(
                    .update(
                        key: DynamoDBItems.counterKey(tenant),
                        DynamoDBExpression("ADD n :less, changes :one", less))))
        }
        return writes
    }
}
