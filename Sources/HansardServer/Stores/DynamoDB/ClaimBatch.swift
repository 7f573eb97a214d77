import AWS
import Hansard

/// Claims of one tenant that are decided together: each turn is one transaction, and what DynamoDB says of it decides
/// some of the claims and shapes the next turn. It makes no call itself.
///
/// The claims go into the store in the order in which they came: when there is less room than claims, the first get it.
struct ClaimBatch {
    /// Claims in one transaction at most.
    static let limit = 25

    /// One claim.
    struct Claim {
        var lease: Lease
        var limit: ConcurrencyLimit
    }

    /// What is to be done next.
    enum Turn: Equatable {
        /// Try to take the slots of all that are undecided.
        case transact([DynamoDBWrite])
        /// Read the tenant's counter first: it says what the condition must be.
        case readCounter
        /// State the limit, so that it counts although no slot was taken.
        case setLimit(ConcurrencyLimit)
        /// Another transaction was in the way: the same again after a pause.
        case pause
        /// Nothing: every claim is decided.
        case done
    }

    /// What is known of the counter.
    private enum Knowledge: Equatable {
        case nothing
        case absent
        case read(DynamoDBCounter)
    }

    private var undecided: [(index: Int, claim: Claim)]
    private(set) var outcomes: [ClaimOutcome?]
    private let newest: ConcurrencyLimit
    private var knowledge: Knowledge
    private var mustSetLimit = false
    /// Whether a transaction has found that no undecided claim has its lease. Before that, none may be refused for want of
    /// room: it may hold its slot already.
    private var areNew = false

    /// A batch of 1...`limit` claims of different sessions of one tenant.
    ///
    /// - Parameter known: the counter as it was seen once, whose limit saves a read. How many it counted is not believed.
    init(_ claims: [Claim], known: DynamoDBCounter?) {
        undecided = Array(claims.enumerated().map { ($0.offset, $0.element) })
        outcomes = Array(repeating: nil, count: claims.count)
        newest = claims.map(\.limit).max { $0.version < $1.version } ?? ConcurrencyLimit(sessions: 0, version: -1)
        knowledge = .nothing
        if var known {
            known.held = 0
            knowledge = .read(known)
        }
    }

    /// The counter as it was last seen, for the next batch.
    var counter: DynamoDBCounter? {
        if case .read(let counter) = knowledge { counter } else { nil }
    }

    /// What to do now.
    mutating func next() -> Turn {
        if undecided.isEmpty { return mustSetLimit ? .setLimit(newest) : .done }
        switch knowledge {
        case .nothing:
            // One claim needs to know nothing: its condition compares two attributes.
            return undecided.count == 1 ? transaction(.attributes) : .readCounter
        case .absent:
            // A first counter has nothing to compare with: for more claims than its limit, the leases are asked first.
            let fits = undecided.count <= DynamoDBItems.number(newest)
            return refuseBeyond(room: DynamoDBItems.number(newest)) ?? transaction(fits || areNew ? .first : .raise)
        case .read(let counter) where counter.version < newest.version:
            return refuseBeyond(room: max(0, DynamoDBItems.number(newest) - counter.held)) ?? transaction(.raise)
        case .read(let counter):
            return undecided.count == 1 ? transaction(.attributes) : transaction(.seen(counter.limit))
        }
    }

    /// DynamoDB did all of the transaction.
    mutating func transacted() {
        if case .read(var counter) = knowledge, counter.version < newest.version {
            counter.version = newest.version
            counter.limit = DynamoDBItems.number(newest)
            knowledge = .read(counter)
        } else if case .absent = knowledge {
            knowledge = .nothing
        }
        for (index, _) in undecided { outcomes[index] = .claimed }
        undecided = []
    }

    /// DynamoDB did nothing of the transaction, for these reasons: one for each lease, the last for the counter.
    ///
    /// - Returns: `.pause` if another transaction was in the way, or if nothing is known that was not known before.
    /// - Throws: what repeating will not help.
    mutating func refused(_ reasons: [DynamoDB.Refusal]) throws(HansardError) -> Turn? {
        let (knewBefore, wereNew, count) = (knowledge, areNew, undecided.count)
        var left: [(index: Int, claim: Claim)] = []
        for (entry, reason) in zip(undecided, reasons) {
            switch reason {
            case .condition(let item):
                // The lease is the claim's own mark: there with my nonce, an earlier attempt has worked.
                let isMine = item?["nonce"] == DynamoDBItems.text(entry.claim.lease.nonce)
                outcomes[entry.index] = isMine ? .claimed : .superseded
                // It has stated its limit all the same. Whether the counter's condition was looked at once a lease's had
                // failed, nobody promises.
                mustSetLimit = true
            case .other(let code): throw HansardError(.internal, "DynamoDB refuses a claim: \(code)")
            case .none, .busy: left.append(entry)
            }
        }
        undecided = left
        // In a conflict nobody promises that the leases were looked at, and the other may be an earlier attempt of these.
        let isConflict = reasons.contains(.busy)
        if !isConflict { areNew = true }
        if case .other(let code)? = reasons.last { throw HansardError(.internal, "DynamoDB refuses a claim: \(code)") }
        if case .condition(let item)? = reasons.last { read(item) }
        let hasLearnt = knowledge != knewBefore || areNew != wereNew || undecided.count != count
        return undecided.isEmpty || hasLearnt && !isConflict ? nil : .pause
    }

    /// The counter has been read; nil if there is none.
    mutating func read(_ item: DynamoDBItem?) {
        guard let counter = item.map(DynamoDBCounter.init) else { return knowledge = .absent }
        knowledge = .read(counter)
        if counter.version >= newest.version { refuseBeyond(room: counter.room, limit: counter.limit) }
    }

    /// The limit has been stated.
    mutating func limitWasSet() { mustSetLimit = false }

    /// Refuses the claims that came last if there is not room for all, and states the limit if none is left.
    private mutating func refuseBeyond(room: Int64) -> Turn? {
        refuseBeyond(room: room, limit: DynamoDBItems.number(newest))
        guard undecided.isEmpty else { return nil }
        return .setLimit(newest)
    }

    private mutating func refuseBeyond(room: Int64, limit: Int64) {
        guard areNew, Int64(undecided.count) > room else { return }
        for (index, _) in undecided.dropFirst(Int(room)) { outcomes[index] = .limitReached(limit: Int(limit)) }
        undecided.removeLast(undecided.count - Int(room))
    }

    // MARK: The transaction

    /// What the counter must be like.
    private enum Form {
        /// There is none.
        case first
        /// It has an older limit.
        case raise
        /// It has no older limit, and room for one.
        case attributes
        /// It has no older limit but the one that was seen, and room for all.
        case seen(Int64)
    }

    private func transaction(_ form: Form) -> Turn {
        let leases = undecided.map {
            DynamoDBWrite(.put($0.claim.lease.item), if: DynamoDBExpression("attribute_not_exists(pk)"))
        }
        guard let tenant = undecided.first?.claim.lease.tenant else { return .done }
        return .transact(leases + [counterWrite(form, tenant: tenant)])
    }

    private func counterWrite(_ form: Form, tenant: TenantID) -> DynamoDBWrite {
        let count = Int64(undecided.count)
        let limit = DynamoDBItems.number(newest)
        let stated: [String: AttributeValue] = [
            "k": .number(count), "one": 1, "lim": .number(limit), "v": .number(newest.version),
        ]
        let key = DynamoDBItems.counterKey(tenant)
        switch form {
        case .first:
            return DynamoDBWrite(
                .update(key: key, DynamoDBExpression("SET lim = :lim, version = :v ADD n :k, changes :one", stated)),
                if: DynamoDBExpression("attribute_not_exists(pk)"))
        case .raise:
            return DynamoDBWrite(
                .update(key: key, DynamoDBExpression("SET lim = :lim, version = :v ADD n :k, changes :one", stated)),
                if: DynamoDBExpression(
                    "(attribute_not_exists(version) OR version < :v) AND n <= :most",
                    ["v": .number(newest.version), "most": .number(limit - count)]))
        case .attributes:
            return DynamoDBWrite(
                .update(key: key, DynamoDBExpression("ADD n :k, changes :one", ["k": .number(count), "one": 1])),
                if: DynamoDBExpression("version >= :v AND n < lim", ["v": .number(newest.version)]))
        case .seen(let limit):
            return DynamoDBWrite(
                .update(key: key, DynamoDBExpression("ADD n :k, changes :one", ["k": .number(count), "one": 1])),
                if: DynamoDBExpression(
                    "version >= :v AND lim = :seen AND n <= :most",
                    ["v": .number(newest.version), "seen": .number(limit), "most": .number(limit - count)]))
        }
    }
}
