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
        var limits: ClaimLimits

        /// Claims of keys with limits go with those of the same key.
        var limitedKey: KeyID? { limits.key == nil ? nil : lease.key }
    }

    /// What is to be done next.
    enum Turn: Equatable {
        /// Try to take the slots of all that are undecided.
        case transact([DynamoDBWrite])
        /// Read the owner's counter first: it says what the condition must be.
        case readCounter(QuotaOwner)
        /// State the limit, so that it counts although no slot was taken.
        case setLimit(AdmissionLimit, QuotaOwner)
        /// Another transaction was in the way: the same again after a pause.
        case pause
        /// Nothing: every claim is decided.
        case done
    }

    private var undecided: [(index: Int, claim: Claim)]
    private(set) var outcomes: [ClaimOutcome?]
    /// The tenant's, and the key's if that has limits.
    private var counters: [SlotCounter]
    private let tenant: TenantID
    /// Whether a transaction has found that no undecided claim has its lease. Before that, none may be refused for want of
    /// room: it may hold its slot already.
    private var areNew = false

    /// A batch of claims of different sessions of one tenant, and of one key if that has limits.
    ///
    /// - Parameters:
    ///   - claims: 1 ... `limit` of them.
    ///   - known: counters as they were seen once.
    init(_ claims: [Claim], tenant: TenantID, known: [QuotaOwner: DynamoDBCounter]) {
        undecided = Array(claims.enumerated().map { ($0.offset, $0.element) })
        outcomes = Array(repeating: nil, count: claims.count)
        self.tenant = tenant
        counters = []
        func add(_ owner: QuotaOwner, _ limits: [AdmissionLimit]) {
            guard let newest = limits.max(by: { $0.version < $1.version }) else { return }
            counters.append(SlotCounter(owner, newest: newest, known: known[owner]))
        }
        add(.tenant(tenant), claims.map(\.limits.tenant))
        if let key = claims.first?.limitedKey { add(.key(key), claims.compactMap(\.limits.key)) }
    }

    /// Whose counters it looks at.
    static func owners(_ claim: Claim) -> [QuotaOwner] {
        [.tenant(claim.lease.tenant)] + (claim.limitedKey.map { [.key($0)] } ?? [])
    }

    /// The counters as they were last seen, for the next batch.
    var known: [QuotaOwner: DynamoDBCounter] {
        counters.reduce(into: [:]) { known, counter in counter.counter.map { known[counter.owner] = $0 } }
    }

    /// What to do now.
    mutating func next() -> Turn {
        if !undecided.isEmpty {
            if let unread = counters.first(where: { [count = undecided.count] in $0.mustRead(for: count) }) {
                return .readCounter(unread.owner)
            }
            for room in counters.compactMap(\.roomBeforeAsking) { refuse(beyond: room) }
        }
        guard undecided.isEmpty else { return .transact(writes) }
        return counters.first(where: \.mustSetLimit).map { .setLimit($0.newest, $0.owner) } ?? .done
    }

    // MARK: What DynamoDB says

    /// DynamoDB did all of the transaction.
    mutating func transacted() {
        for place in counters.indices { counters[place].transacted() }
        for (index, _) in undecided { outcomes[index] = .claimed }
        undecided = []
    }

    /// DynamoDB did nothing of the transaction, for these reasons: one for each write.
    ///
    /// - Returns: `.pause` if another transaction was in the way, or if nothing is known that was not known before.
    /// - Throws: what repeating will not help.
    mutating func refused(_ reasons: [DynamoDB.Refusal]) throws(HansardError) -> Turn? {
        for case .other(let code) in reasons { throw HansardError(.internal, "DynamoDB refuses a claim: \(code)") }
        let (minutes, wereNew, count) = (minutes, areNew, undecided.count)
        decideByLeases(reasons)
        // In a conflict nobody promises that the leases were looked at, and the other may be an earlier attempt of
        // these.
        let isConflict = reasons.contains(.busy)
        if !isConflict { areNew = true }
        var isNews = false
        for (place, reason) in zip(counters.indices, reasons.dropFirst(count)) {
            guard case .condition(let item) = reason else { continue }
            if read(item, at: place) { isNews = true }
        }
        for (minute, reason) in zip(minutes, reasons.dropFirst(count + counters.count)) {
            guard case .condition(let item) = reason, let room = counters[minute.counter].readMinute(item) else {
                continue
            }
            refuse(beyond: room, in: minute.minute)
        }
        let hasLearnt = isNews || areNew != wereNew || undecided.count != count
        return undecided.isEmpty || hasLearnt && !isConflict ? nil : .pause
    }

    private mutating func decideByLeases(_ reasons: [DynamoDB.Refusal]) {
        var left: [(index: Int, claim: Claim)] = []
        for (entry, reason) in zip(undecided, reasons) {
            guard case .condition(let item) = reason else {
                left.append(entry)
                continue
            }
            // The lease is the claim's own mark: there with my nonce, an earlier attempt has worked.
            let isMine = item?["nonce"] == DynamoDBItems.text(entry.claim.lease.nonce)
            outcomes[entry.index] = isMine ? .claimed : .superseded
            // It has stated its limit all the same.
            for place in counters.indices { counters[place].decidedWithoutSlot() }
        }
        undecided = left
    }

    /// A counter has been read; nil if there is none.
    mutating func read(_ item: DynamoDBItem?, of owner: QuotaOwner) {
        guard let place = counters.firstIndex(where: { $0.owner == owner }) else { return }
        _ = read(item, at: place)
    }

    private mutating func read(_ item: DynamoDBItem?, at place: Int) -> Bool {
        let (room, isNews) = counters[place].read(item)
        if let room { refuse(beyond: room) }
        return isNews
    }

    /// A limit has been stated.
    mutating func limitWasSet(_ owner: QuotaOwner) {
        for place in counters.indices where counters[place].owner == owner { counters[place].limitWasSet() }
    }

    /// Refuses the claims that came last, of a minute or of all, if there is not room for all.
    private mutating func refuse(beyond room: LimitReached.Room, in minute: ClaimMinute? = nil) {
        guard areNew else { return }
        let concerned = undecided.indices.filter { place in
            minute.map { $0 == ClaimMinute(of: undecided[place].claim.lease) } ?? true
        }
        guard Int64(concerned.count) > room.left else { return }
        for place in concerned.dropFirst(Int(room.left)).reversed() {
            outcomes[undecided[place].index] = .limitReached(room.limit)
            undecided.remove(at: place)
        }
        for place in counters.indices { counters[place].refused() }
    }

    // MARK: The transaction

    /// Which counters' minutes the transaction counts in, in the order of its writes.
    private var minutes: [(counter: Int, minute: ClaimMinute, count: Int)] {
        var counts: [(minute: ClaimMinute, count: Int)] = []
        for minute in undecided.map({ ClaimMinute(of: $0.claim.lease) }) {
            if let place = counts.firstIndex(where: { $0.minute == minute }) {
                counts[place].count += 1
            } else {
                counts.append((minute, 1))
            }
        }
        return counters.indices.filter { counters[$0].limitsMinutes }.flatMap { counter in
            counts.map { (counter, $0.minute, $0.count) }
        }
    }

    private var writes: [DynamoDBWrite] {
        let leases = undecided.map { entry in
            var lease = entry.claim.lease
            lease.countsKey = entry.claim.limitedKey != nil
            return DynamoDBWrite(.put(lease.item), if: DynamoDBExpression("attribute_not_exists(pk)"))
        }
        return leases
            + counters.map { $0.write(count: undecided.count, areNew: areNew, tenant: tenant) }
            + minutes.map { counters[$0.counter].minuteWrite($0.minute, count: $0.count) }
    }
}
