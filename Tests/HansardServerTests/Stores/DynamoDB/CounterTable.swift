import AWS
import Foundation
import Hansard

@testable import HansardServer

/// One tenant's items, and the few writes that claims are made of, known by their text: what DynamoDB would do of them.
struct CounterTable {
    private(set) var items: [DynamoDBItem: DynamoDBItem] = [:]
    /// The nonces of all leases that were ever put here.
    private(set) var placed: Set<AttributeValue> = []

    static let tenant = Sample.tenant
    static let key = Sample.key
    static let counterKey = DynamoDBItems.counterKey(tenant)

    var counter: DynamoDBItem? { items[Self.counterKey] }
    var keyCounter: DynamoDBItem? { items[DynamoDBItems.counterKey(.key(Self.key))] }

    /// Sessions that began in the minute of the lease.
    func begun(_ lease: Lease, _ owner: QuotaOwner = .tenant(tenant)) -> Int64? {
        items[DynamoDBItems.minuteKey(owner, ClaimMinute(of: lease))]?["n"]?.integer
    }
    var held: Int64 { counter?["n"]?.integer ?? 0 }
    var limit: Int64? { counter?["lim"]?.integer }
    var limitOfMinutes: Int64? { counter?["lim_minute"]?.integer }
    /// Sessions that began in each minute, by the item's sort key.
    var begun: [AttributeValue: Int] {
        items.values.reduce(into: [:]) { begun, item in
            guard let minute = item["sk"], minute.string?.hasPrefix("R#") == true else { return }
            begun[minute] = Int(item["n"]?.integer ?? 0)
        }
    }
    var leases: [DynamoDBItem] { items.values.filter { $0["nonce"] != nil } }

    func lease(_ session: SessionID) -> DynamoDBItem? { items[DynamoDBItems.leaseKey(Self.tenant, session)] }

    /// Puts an item there, past all conditions.
    mutating func place(_ item: DynamoDBItem) {
        items[Self.key(item)] = item
    }

    /// Takes a lease's slot back, as a release does.
    mutating func release(_ lease: Lease) {
        guard self.lease(lease.session)?["nonce"] == DynamoDBItems.text(lease.nonce) else { return }
        place(DynamoDBItems.tombstone(Self.tenant, lease.session, now: moment(0)))
        items[Self.counterKey] = add(-1, to: counter ?? Self.counterKey)
    }

    mutating func setLimit(_ limit: AdmissionLimit, _ owner: QuotaOwner = .tenant(tenant)) {
        let key = DynamoDBItems.counterKey(owner)
        guard (items[key]?["version"]?.integer ?? .min) < limit.version else { return }
        var item = items[key] ?? key
        item["lim"] = .number(DynamoDBItems.number(limit))
        item["lim_minute"] = limit.newPerMinute.map { .number($0) }
        item["version"] = .number(limit.version)
        item["n"] = item["n"] ?? 0
        item["changes"] = item["changes"] ?? 0
        items[key] = item
    }

    /// - Returns: why nothing was done, one reason for each write; nil if all was done.
    mutating func transact(_ writes: [DynamoDBWrite]) -> [DynamoDB.Refusal]? {
        let reasons = writes.map { write -> DynamoDB.Refusal in
            let item = items[Self.key(of: write)]
            return holds(write, item) ? .none : .condition(item)
        }
        guard reasons.allSatisfy({ $0 == .none }) else { return reasons }
        for write in writes {
            switch write.change {
            case .put(let item):
                place(item)
                if let nonce = item["nonce"] { placed.insert(nonce) }
            case .update(let key, let update):
                var item = items[key] ?? key
                item["tenant"] = update.values["tenant"] ?? item["tenant"]
                switch update.text.replacing(", tenant = :tenant", with: "").replacing(
                    "SET tenant = :tenant ", with: "")
                {
                case "SET lim = :lim, version = :v REMOVE lim_minute ADD n :k, changes :one",
                    "SET lim = :lim, version = :v, lim_minute = :minute ADD n :k, changes :one":
                    item["lim"] = update.values["lim"]
                    item["lim_minute"] = update.values["minute"]
                    item["version"] = update.values["v"]
                case "ADD n :k, changes :one": break
                case "SET #ttl = :ttl ADD n :k":
                    item["ttl"] = update.values["ttl"]
                    item["n"] = .number((item["n"]?.integer ?? 0) + (update.values["k"]?.integer ?? 0))
                    items[key] = item
                    continue
                default: preconditionFailure("no claim updates a counter so: \(update.text)")
                }
                items[key] = add(update.values["k"]?.integer ?? 0, to: item)
            case .delete: preconditionFailure("no claim deletes")
            }
        }
        return nil
    }

    private func add(_ difference: Int64, to item: DynamoDBItem) -> DynamoDBItem {
        var item = item
        item["n"] = .number((item["n"]?.integer ?? 0) + difference)
        item["changes"] = .number((item["changes"]?.integer ?? 0) + 1)
        return item
    }

    /// A comparison with an attribute that is not there does not hold.
    private func holds(_ write: DynamoDBWrite, _ item: DynamoDBItem?) -> Bool {
        guard let condition = write.condition else { return true }
        var values = condition.values
        if case .update(_, let update) = write.change { values.merge(update.values) { one, _ in one } }
        func value(_ name: String) -> Int64 {
            guard let value = values[name]?.integer else { preconditionFailure("no value for :\(name)") }
            return value
        }
        let (held, limit, version) = (item?["n"]?.integer, item?["lim"]?.integer, item?["version"]?.integer)
        switch condition.text {
        case "attribute_not_exists(pk)": return item == nil
        case "(attribute_not_exists(version) OR version < :v) AND n <= :most":
            return version.map { $0 < value("v") } ?? true && held.map { $0 <= value("most") } ?? false
        case "version = :v AND n < lim":
            guard let held, let limit, let version else { return false }
            return version == value("v") && held < limit
        case "version = :v AND lim = :seen AND n <= :most":
            guard let held, let limit, let version else { return false }
            return version == value("v") && limit == value("seen") && held <= value("most")
        case "attribute_not_exists(n) OR n <= :most": return held.map { $0 <= value("most") } ?? true
        case "n <= :most": return held.map { $0 <= value("most") } ?? false
        default: preconditionFailure("no claim has this condition: \(condition.text)")
        }
    }

    private static func key(of write: DynamoDBWrite) -> DynamoDBItem {
        switch write.change {
        case .put(let item): key(item)
        case .update(let key, _), .delete(let key): key
        }
    }

    private static func key(_ item: DynamoDBItem) -> DynamoDBItem { item.filter { ["pk", "sk"].contains($0.key) } }
}

/// Leads a batch through its turns over a table of its own.
struct BatchRun {
    var batch: ClaimBatch
    /// What was done, in order: `transact 3`, `read`, `limit 7`, `pause`.
    var turns: [String] = []

    init(_ claims: [ClaimBatch.Claim], known: DynamoDBCounter? = nil) { batch = ClaimBatch(claims, known: known) }

    /// Does one turn.
    ///
    /// - Parameter transact: says what becomes of a transaction; nil is done.
    /// - Returns: false once every claim is decided.
    mutating func step(
        _ table: inout CounterTable,
        transact: (inout CounterTable, [DynamoDBWrite]) -> [DynamoDB.Refusal]? = { $0.transact($1) }
    ) throws -> Bool {
        var turn: ClaimBatch.Turn? = batch.next()
        if case .transact(let writes)? = turn {
            turns.append("transact \(writes.count { if case .put = $0.change { true } else { false } })")
            if let reasons = transact(&table, writes) {
                turn = try batch.refused(reasons)
            } else {
                batch.transacted()
                turn = nil
            }
        }
        switch turn {
        case .readCounter(let owner):
            turns.append("read")
            batch.read(table.items[DynamoDBItems.counterKey(owner)], of: owner)
        case .setLimit(let limit, let owner):
            turns.append("limit \(limit.sessions.map(String.init) ?? "none")")
            table.setLimit(limit, owner)
            batch.limitWasSet(owner)
        case .pause: turns.append("pause")
        case .done: return false
        case .transact, nil: break
        }
        return true
    }

    /// Does all turns, of which there may be `most`.
    mutating func run(_ table: inout CounterTable, most: Int = 20) throws -> [ClaimOutcome?] {
        for _ in 0..<most {
            guard try step(&table) else { break }
        }
        return batch.outcomes
    }
}

extension ClaimBatch.Claim {
    /// Of session `number`, by claimer `claimer`.
    static func number(_ number: Int, claimer: UInt8 = 0, limit: Int?, version: Int64 = 1) -> ClaimBatch.Claim {
        var lease = Sample.lease(Sample.session(number), holder: Sample.epoch())
        if claimer > 0 {
            var bytes = lease.nonce.uuid
            bytes.15 = claimer
            lease.nonce = .init(uuid: bytes)
        }
        return ClaimBatch.Claim(lease: lease, limit: AdmissionLimit(sessions: limit, version: version))
    }
}
