import AWS
import Hansard

extension DynamoDBConnectionStore: GrantStore {
    /// Turns that a change may take: each but a pause learns something, which others may change at once.
    private static let changeTurnLimit = 200
    /// Grants of one epoch that are read at most.
    static let grantLimit = 100_000

    func grow(_ request: GrantRequest) async throws -> GrantAnswer { try await change(request, isGrowth: true) }

    func giveBack(_ request: GrantRequest) async throws -> GrantAnswer { try await change(request, isGrowth: false) }

    private func change(_ request: GrantRequest, isGrowth: Bool) async throws -> GrantAnswer {
        try await HansardError.mapping(subject) {
            var change = GrantChange(request, isGrowth: isGrowth)
            var retry = ConflictRetry(surroundings)
            for _ in 0..<Self.changeTurnLimit {
                if case .transact(let writes) = change.next() {
                    if case .refused(let reasons) = try await table.transact(writes) {
                        if try change.refused(reasons) { try await retry.pause() }
                        continue
                    }
                }
                // What was done is read as well: the answer says how much there is, and a transaction does not.
                if let answer = try await answer(&change, request) { return answer }
            }
            throw HansardError.contention("the quota changes too fast")
        }
    }

    private func answer(_ change: inout GrantChange, _ request: GrantRequest) async throws -> GrantAnswer? {
        // The grant first: what is granted is then counted in the quota that is read.
        let grant = try await table.get(DynamoDBItems.grantKey(request.owner, request.period, request.holder))
        let quota = try await table.get(DynamoDBItems.quotaKey(request.owner, request.period))
        guard let answer = change.read(quota: quota, grant: grant) else { return nil }
        // Its limit counts, though it had nothing to be stated with.
        if request.limit.version > QuotaUse(item: quota ?? [:]).limit.version {
            try await state(request.limit, owner: request.owner, period: request.period)
        }
        return answer
    }

    func use(of owner: QuotaOwner, in period: QuotaPeriod) async throws -> QuotaUse? {
        try await HansardError.mapping(subject) {
            guard let item = try await table.get(DynamoDBItems.quotaKey(owner, period)), item["version"] != nil else {
                return nil
            }
            return QuotaUse(item: item)
        }
    }

    func setMinutes(_ limit: MinuteLimit, owner: QuotaOwner, period: QuotaPeriod) async throws {
        try await HansardError.mapping(subject) { try await state(limit, owner: owner, period: period) }
    }

    private func state(_ limit: MinuteLimit, owner: QuotaOwner, period: QuotaPeriod) async throws {
        let values = DynamoDBItems.stated(limit, period).merging(["zero": 0]) { $1 }
        // Refused by a newer limit, it is as it should be.
        _ = try await write(
            DynamoDBWrite(
                .update(
                    key: DynamoDBItems.quotaKey(owner, period),
                    DynamoDBExpression(
                        DynamoDBItems.statingMinutes + ", granted_ms = if_not_exists(granted_ms, :zero)", values)),
                if: DynamoDBExpression("attribute_not_exists(version) OR version < :v")))
    }

    func grants(heldBy epoch: NodeEpoch) async throws -> [Grant] {
        try await HansardError.mapping(subject) {
            let items = try await table.query(
                DynamoDB.Query(
                    DynamoDBExpression("node_epoch = :epoch", ["epoch": .string(epoch.description)]),
                    filter: DynamoDBExpression("attribute_exists(seq)"), index: DynamoDBItems.layout.index,
                    limit: Self.grantLimit))
            return readable(items) { item, _ in try Grant(item: item) }
                .sorted { ($0.owner.description, $0.period) < ($1.owner.description, $1.period) }
        }
    }

    func retire(_ grant: Grant, used: Int64) async throws -> Bool {
        try await HansardError.mapping(subject) {
            let key = DynamoDBItems.grantKey(grant.owner, grant.period, grant.holder)
            var retry = ConflictRetry(surroundings)
            var read: DynamoDBItem?
            for _ in 0..<Self.changeTurnLimit {
                if read == nil { read = try await table.get(key) }
                guard let item = read, let sequence = item["seq"] else { return false }
                let granted = item["granted_ms"]?.integer ?? 0
                // It keeps its key, out of the index, so that nothing that was delayed can make it anew.
                let grave = key.merging([
                    "granted_ms": .number(max(0, used)), "retired": true, "ttl": DynamoDBItems.expiry(grant.period),
                ]) { $1 }
                let change = DynamoDBExpression("ADD granted_ms :k", ["k": .number(max(0, used) - granted)])
                let outcome = try await table.transact([
                    DynamoDBWrite(.update(key: DynamoDBItems.quotaKey(grant.owner, grant.period), change)),
                    DynamoDBWrite(.put(grave), if: DynamoDBExpression("seq = :seq", ["seq": sequence])),
                ])
                guard case .refused(let reasons) = outcome else { return true }
                for case .other(let code) in reasons {
                    throw HansardError(.internal, "DynamoDB refuses to retire a grant: \(code)")
                }
                if case .condition? = reasons.last {
                    // Another has changed it, and most likely retired it.
                    read = nil
                } else {
                    try await retry.pause()
                }
            }
            throw HansardError.contention("the grant changes too fast")
        }
    }
}
