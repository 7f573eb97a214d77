import AWS
import FoundationEssentials
import Hansard

/// The counter of a tenant or a key as a batch of claims knows it: says what a transaction must ask of it, and what
/// follows when DynamoDB refuses. It makes no call itself.
struct SlotCounter {
    /// What is known of the item.
    private enum Knowledge: Equatable {
        case nothing
        case absent
        case read(DynamoDBCounter)
    }

    /// The limits that count, as far as is known.
    private struct Terms: Equatable {
        var sessions: Int64
        var newPerMinute: Int64?
        var version: Int64
    }

    let owner: QuotaOwner
    /// The limit of highest version among the claims'.
    let newest: AdmissionLimit
    private var knowledge: Knowledge
    private var hasDecidedWithoutSlot = false
    private var hasRefused = false

    /// - Parameter known: the counter as it was seen once, whose limit saves a read. How many it counted is not believed.
    init(_ owner: QuotaOwner, newest: AdmissionLimit, known: DynamoDBCounter?) {
        self.owner = owner
        self.newest = newest
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

    private var terms: Terms {
        if case .read(let counter) = knowledge, counter.version >= newest.version {
            return Terms(sessions: counter.limit, newPerMinute: counter.newPerMinute, version: counter.version)
        }
        return Terms(
            sessions: DynamoDBItems.number(newest), newPerMinute: newest.newPerMinute.map(Int64.init),
            version: newest.version)
    }

    /// Whether the item's own limit must become the newest.
    private var isOutdated: Bool {
        switch knowledge {
        case .nothing: false
        case .absent: true
        case .read(let counter): counter.version < newest.version
        }
    }

    /// Whether the limit is to be stated, so that it counts although no slot was taken.
    var mustSetLimit: Bool { hasDecidedWithoutSlot || hasRefused && isOutdated }

    /// Whether it must be read before so many claims can be tried: one needs to know nothing, because its condition
    /// compares two attributes.
    func mustRead(for count: Int) -> Bool { count > 1 && knowledge == .nothing }

    /// Room for leases that is known without asking.
    ///
    /// - Returns: nil if only a transaction can tell.
    var roomBeforeAsking: LimitReached.Room? {
        switch knowledge {
        case .read(let counter) where counter.version < newest.version:
            room(of: .concurrentSessions, max(0, terms.sessions - counter.held))
        case .absent: room(of: .concurrentSessions, terms.sessions)
        case .nothing, .read: nil
        }
    }

    private func room(of kind: LimitReached.Kind, _ room: Int64) -> LimitReached.Room {
        let limit = kind == .concurrentSessions ? terms.sessions : terms.newPerMinute ?? 0
        return LimitReached.Room(
            left: max(0, room), limit: LimitReached(owner: owner, kind: kind, limit: Int(clamping: limit)))
    }

    // MARK: What DynamoDB says

    /// DynamoDB did all of the transaction.
    mutating func transacted() {
        if case .read(var counter) = knowledge, counter.version < newest.version {
            counter.version = newest.version
            counter.limit = DynamoDBItems.number(newest)
            counter.newPerMinute = newest.newPerMinute.map(Int64.init)
            knowledge = .read(counter)
        } else if case .absent = knowledge {
            knowledge = .nothing
        }
    }

    /// The item has been read; nil if there is none.
    ///
    /// - Returns: the room that it leaves, if its limit is the one that counts; and whether this is news.
    mutating func read(_ item: DynamoDBItem?) -> (room: LimitReached.Room?, isNews: Bool) {
        let before = knowledge
        guard let counter = item.map(DynamoDBCounter.init) else {
            knowledge = .absent
            return (nil, before != knowledge)
        }
        knowledge = .read(counter)
        let counts = counter.version >= newest.version
        return (counts ? room(of: .concurrentSessions, counter.room) : nil, before != knowledge)
    }

    /// The item of a minute did not have room for all.
    ///
    /// - Returns: the room that there was; nil if the limit that counts is none.
    func readMinute(_ item: DynamoDBItem?) -> LimitReached.Room? {
        terms.newPerMinute.map { room(of: .newSessionsPerMinute, $0 - (item?["n"]?.integer ?? 0)) }
    }

    /// A claim turned out to have its lease, or another's in its place. Whether the counter's condition was looked at
    /// once a lease's had failed, nobody promises.
    mutating func decidedWithoutSlot() { hasDecidedWithoutSlot = true }

    /// Claims were refused for want of room.
    mutating func refused() { hasRefused = true }

    /// The limit has been stated.
    mutating func limitWasSet() { (hasDecidedWithoutSlot, hasRefused) = (false, false) }

    // MARK: The transaction

    /// So many more leases.
    ///
    /// - Parameter areNew: whether it is known that no claim holds its slot already.
    func write(count: Int, areNew: Bool, tenant: TenantID) -> DynamoDBWrite {
        let (count, terms) = (Int64(count), terms)
        // Whose leases a key's are, an audit must find out.
        let ofKey = if case .key = owner { ", tenant = :tenant" } else { "" }
        var values: [String: AttributeValue] = ["k": .number(count), "one": 1]
        if !ofKey.isEmpty { values["tenant"] = .string(tenant.description) }
        let key = DynamoDBItems.counterKey(owner)
        guard isOutdated else {
            let text = (ofKey.isEmpty ? "" : "SET tenant = :tenant ") + "ADD n :k, changes :one"
            return DynamoDBWrite(.update(key: key, DynamoDBExpression(text, values)), if: unchanged(count, terms))
        }
        values["lim"] = .number(terms.sessions)
        values["v"] = .number(terms.version)
        var text = "SET lim = :lim, version = :v\(ofKey)"
        if let newPerMinute = terms.newPerMinute {
            values["minute"] = .number(newPerMinute)
            text += ", lim_minute = :minute ADD n :k, changes :one"
        } else {
            text += " REMOVE lim_minute ADD n :k, changes :one"
        }
        // A first counter has nothing to compare with: for more claims than its limit, the leases are asked first.
        let isFirst = knowledge == .absent && (count <= terms.sessions || areNew)
        let condition =
            isFirst
            ? DynamoDBExpression("attribute_not_exists(pk)")
            : DynamoDBExpression(
                "(attribute_not_exists(version) OR version < :v) AND n <= :most",
                ["v": .number(terms.version), "most": .number(terms.sessions - count)])
        return DynamoDBWrite(.update(key: key, DynamoDBExpression(text, values)), if: condition)
    }

    /// The limit is the one that the claims are tried by, and there is room for all.
    private func unchanged(_ count: Int64, _ terms: Terms) -> DynamoDBExpression {
        guard count > 1 else {
            return DynamoDBExpression("version = :v AND n < lim", ["v": .number(terms.version)])
        }
        return DynamoDBExpression(
            "version = :v AND lim = :seen AND n <= :most",
            ["v": .number(terms.version), "seen": .number(terms.sessions), "most": .number(terms.sessions - count)])
    }

    /// Whether new sessions are counted by the minute.
    var limitsMinutes: Bool { terms.newPerMinute != nil }

    /// So many more new sessions in a minute, if they are limited.
    func minuteWrite(_ minute: ClaimMinute, count: Int) -> DynamoDBWrite {
        let most = (terms.newPerMinute ?? DynamoDBItems.noLimit) - Int64(count)
        return DynamoDBWrite(
            .update(
                key: DynamoDBItems.minuteKey(owner, minute),
                DynamoDBExpression(
                    "SET #ttl = :ttl ADD n :k", ["ttl": .number(minute.expiry), "k": .number(Int64(count))])),
            // A first item has nothing to compare with.
            if: DynamoDBExpression(
                most >= 0 ? "attribute_not_exists(n) OR n <= :most" : "n <= :most", ["most": .number(most)]))
    }
}

extension LimitReached {
    /// How many more there may be under a limit.
    struct Room: Equatable {
        var left: Int64
        var limit: LimitReached
    }
}

/// The UTC minute in which a session begins.
struct ClaimMinute: Hashable, CustomStringConvertible {
    private let minutes: Int64

    init(of moment: Date) { minutes = Int64((moment.timeIntervalSince1970 / 60).rounded(.down)) }

    init(of lease: Lease) { self.init(of: lease.claimedAt) }

    /// `2026-11-23T02:20`.
    var description: String {
        String(Timestamp.format(Date(timeIntervalSince1970: Double(minutes) * 60)).prefix(16))
    }
    /// In seconds since 1970: an hour after the minute.
    var expiry: Int64 { minutes * 60 + 3_600 }
}
