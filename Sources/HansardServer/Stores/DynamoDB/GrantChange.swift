import AWS
import Hansard

/// One change of a grant, tried until DynamoDB does it or there is nothing to do: each turn is one transaction of quota
/// and grant, and what DynamoDB says of it shapes the next turn. It makes no call itself.
struct GrantChange {
    /// What is to be done next.
    enum Turn: Equatable {
        /// Try to change both.
        case transact([DynamoDBWrite])
        /// Read quota and grant: the request may have been done by an earlier attempt, or nothing is left.
        case read
    }

    private enum Knowledge: Equatable {
        case nothing
        case absent
        case read(QuotaUse)
    }

    private let request: GrantRequest
    private let isGrowth: Bool
    private var knowledge = Knowledge.nothing
    private var mustRead = false

    init(_ request: GrantRequest, isGrowth: Bool) {
        self.request = request
        self.isGrowth = isGrowth
    }

    /// The limit that counts, as far as is known.
    private var limit: MinuteLimit {
        if case .read(let use) = knowledge, use.limit.version >= request.limit.version { return use.limit }
        return request.limit
    }

    private var isOutdated: Bool {
        switch knowledge {
        case .nothing: false
        case .absent: true
        case .read(let use): use.limit.version < request.limit.version
        }
    }

    /// How much of what is wanted there is.
    private var amount: Int64 {
        guard isGrowth else { return -request.milliseconds }
        let granted = if case .read(let use) = knowledge { use.granted } else { Int64(0) }
        return limit.ceiling.map { min(request.milliseconds, $0 - granted) } ?? request.milliseconds
    }

    /// What to do now.
    func next() -> Turn {
        if mustRead || isGrowth && amount <= 0 { return .read }
        return .transact([quotaWrite, grantWrite])
    }

    /// DynamoDB did nothing of the transaction, for these reasons.
    ///
    /// - Returns: whether to pause before the next turn: another transaction was in the way, or nothing is known that was not
    ///   known before.
    mutating func refused(_ reasons: [DynamoDB.Refusal]) throws(HansardError) -> Bool {
        for case .other(let code) in reasons { throw HansardError(.internal, "DynamoDB refuses a grant: \(code)") }
        let before = knowledge
        if case .condition(let item)? = reasons.first { learn(item) }
        if case .condition? = reasons.last { mustRead = true }
        return reasons.contains(.busy) || !mustRead && knowledge == before
    }

    private mutating func learn(_ item: DynamoDBItem?) { knowledge = item.map { .read(QuotaUse(item: $0)) } ?? .absent }

    /// Both have been read.
    ///
    /// - Returns: the answer; nil if the request is still to be done.
    mutating func read(quota: DynamoDBItem?, grant: DynamoDBItem?) -> GrantAnswer? {
        mustRead = false
        learn(quota)
        var use = QuotaUse(item: quota ?? [:])
        if isOutdated { use.limit = request.limit }
        let sequence = grant?["seq"]?.integer
        if grant != nil && sequence == nil || grant == nil && request.sequence > 1 { return .retired }
        guard request.sequence == (sequence ?? 0) + 1 else {
            return .held(
                Grant(
                    owner: request.owner, period: request.period, holder: request.holder,
                    milliseconds: grant?["granted_ms"]?.integer ?? 0, sequence: sequence ?? 0),
                use)
        }
        guard isGrowth, amount <= 0 else { return nil }
        return .exhausted(use)
    }

    // MARK: The transaction

    private var quotaWrite: DynamoDBWrite {
        let key = DynamoDBItems.quotaKey(request.owner, request.period)
        var values: [String: AttributeValue] = ["k": .number(amount)]
        guard isGrowth else { return DynamoDBWrite(.update(key: key, DynamoDBExpression("ADD granted_ms :k", values))) }
        var conditions: [String] = []
        var asked: [String: AttributeValue] = [:]
        var update = "ADD granted_ms :k"
        if isOutdated {
            update = DynamoDBItems.statingMinutes + " " + update
            values.merge(DynamoDBItems.stated(limit, request.period)) { $1 }
            conditions.append("(attribute_not_exists(version) OR version < :v)")
        } else {
            asked["v"] = .number(limit.version)
            conditions.append("version = :v")
        }
        if let ceiling = limit.ceiling {
            // A first quota has nothing to compare with, and there is room in it: a growth is never of more than that.
            conditions.append(
                knowledge == .absent
                    ? "(attribute_not_exists(granted_ms) OR granted_ms <= :most)" : "granted_ms <= :most")
            asked["most"] = .number(ceiling - amount)
        }
        return DynamoDBWrite(
            .update(key: key, DynamoDBExpression(update, values)),
            if: DynamoDBExpression(conditions.joined(separator: " AND "), asked))
    }

    private var grantWrite: DynamoDBWrite {
        let key = DynamoDBItems.grantKey(request.owner, request.period, request.holder)
        let update = DynamoDBExpression(
            "SET seq = :seq, node_epoch = :epoch, #ttl = :ttl ADD granted_ms :k",
            [
                "seq": .number(request.sequence), "epoch": .string(request.holder.description),
                "ttl": DynamoDBItems.expiry(request.period), "k": .number(amount),
            ])
        let condition =
            request.sequence == 1
            ? DynamoDBExpression("attribute_not_exists(pk)")
            : DynamoDBExpression("seq = :prev", ["prev": .number(request.sequence - 1)])
        return DynamoDBWrite(.update(key: key, update), if: condition)
    }
}

extension DynamoDBItems {
    static let statingMinutes = "SET lim_ms = :lim, soft = :soft, version = :v, #ttl = :ttl"

    static func stated(_ limit: MinuteLimit, _ period: QuotaPeriod) -> [String: AttributeValue] {
        [
            "lim": .number(min(limit.milliseconds ?? noLimit, noLimit)), "soft": .bool(limit.policy == .soft),
            "v": .number(limit.version), "ttl": expiry(period),
        ]
    }
}

extension QuotaUse {
    /// Reads the item. If a hand has removed the quota, what is given back makes one without a limit: any that is
    /// stated counts.
    init(item: DynamoDBItem) {
        let limit = item["lim_ms"]?.integer.flatMap { $0 < DynamoDBItems.noLimit ? $0 : nil }
        self.init(
            granted: item["granted_ms"]?.integer ?? 0,
            limit: MinuteLimit(
                milliseconds: limit, policy: item["soft"]?.bool == true ? .soft : .hard,
                version: item["version"]?.integer ?? -1))
    }
}

extension Grant {
    init(item: DynamoDBItem) throws {
        // G#<period>#<node>#<epoch>; a node's name may hold a #.
        let parts = (item["sk"]?.string ?? "").split(separator: "#", maxSplits: 2).map(String.init)
        guard let owner = item["pk"]?.string.flatMap(QuotaOwner.init), parts.count == 3, parts[0] == "G",
            let period = QuotaPeriod(parts[1]), let holder = NodeEpoch(parts[2]),
            let milliseconds = item["granted_ms"]?.integer, let sequence = item["seq"]?.integer
        else { throw HansardError(.internal, "a grant item has no readable pk, sk, granted_ms or seq") }
        self.init(owner: owner, period: period, holder: holder, milliseconds: milliseconds, sequence: sequence)
    }
}
