import AWS
import FoundationEssentials
import Hansard

/// The items of the table and what they are called: the one place that knows.
enum DynamoDBItems {
    static let layout = DynamoDB.Layout(
        partitionKey: "pk", sortKey: "sk", index: "by_node", indexKey: "node_epoch", expiry: "ttl")

    /// Of an owner without a limit: more sessions, or milliseconds, than there can be, and a number that doubles hold
    /// exactly.
    static let noLimit = Int64(1) << 53
    /// After this long no request can still be on its way; a multiple of every time-out here.
    static let tombstoneLife: TimeInterval = 10 * 60
    /// How long the status of an ended session can be read.
    static let statusLife: TimeInterval = 90 * 24 * 3_600
    /// How long a month's quota can be read after the month.
    static let quotaLife: TimeInterval = 100 * 24 * 3_600
    static let nodesKey: AttributeValue = "NODES"
    static let leasePrefix: AttributeValue = "L#"

    static func tenant(_ tenant: TenantID) -> AttributeValue { "T#\(tenant.description)" }

    /// An owner's counter: `n` leases, of at most `lim`, and `lim_minute` new ones in a minute if that is limited,
    /// limits of version `version`; `changes` grows with every claim and release, so that an audit can see that nothing
    /// happened between its reads. A key's says by `tenant` whose it is.
    static func counterKey(_ owner: QuotaOwner) -> DynamoDBItem { ["pk": .string(owner.description), "sk": "CONC"] }

    /// Counts in `n` the new sessions of a minute.
    static func minuteKey(_ owner: QuotaOwner, _ minute: ClaimMinute) -> DynamoDBItem {
        ["pk": .string(owner.description), "sk": "R#\(minute)"]
    }

    /// A month's quota: `granted_ms` of at most `lim_ms`, or more if `soft`, a limit of version `version`.
    static func quotaKey(_ owner: QuotaOwner, _ period: QuotaPeriod) -> DynamoDBItem {
        ["pk": .string(owner.description), "sk": "Q#\(period)"]
    }

    /// What a node's epoch holds of it: `granted_ms` after `seq` requests. Retired, it has `retired` in place of `seq`.
    static func grantKey(_ owner: QuotaOwner, _ period: QuotaPeriod, _ holder: NodeEpoch) -> DynamoDBItem {
        ["pk": .string(owner.description), "sk": "G#\(period)#\(holder)"]
    }

    /// When nobody asks any more for what a month's quota was, in seconds since 1970.
    static func expiry(_ period: QuotaPeriod) -> AttributeValue {
        .number(Int64(period.end.timeIntervalSince1970 + quotaLife))
    }

    static func leaseKey(_ tenant: TenantID, _ session: SessionID) -> DynamoDBItem {
        ["pk": Self.tenant(tenant), "sk": "L#\(session.description)"]
    }

    static func statusKey(_ session: SessionID) -> DynamoDBItem { ["pk": "S#\(session.description)", "sk": "STATUS"] }

    static func nodeKey(_ epoch: NodeEpoch) -> DynamoDBItem { ["pk": nodesKey, "sk": .string(epoch.description)] }

    static func number(_ limit: AdmissionLimit) -> Int64 { limit.sessions.map(Int64.init) ?? noLimit }

    static func text(_ id: UUID) -> AttributeValue { .string(id.uuidString.lowercased()) }

    static func time(_ date: Date) -> AttributeValue { .string(Timestamp.format(date)) }

    /// Lies under a lease's key once its session is over, without the attributes that make it a lease.
    static func tombstone(_ tenant: TenantID, _ session: SessionID, now: Date) -> DynamoDBItem {
        var item = leaseKey(tenant, session)
        item["ttl"] = .number(Int64(now.timeIntervalSince1970 + tombstoneLife))
        return item
    }
}

/// A tenant's or key's counter as it was read.
struct DynamoDBCounter: Equatable {
    var held: Int64
    var limit: Int64
    /// nil is no limit.
    var newPerMinute: Int64?
    var version: Int64
    var changes: Int64

    /// Reads the item. If a hand has removed the counter, a release makes one without a limit: any that is stated counts.
    init(_ item: DynamoDBItem) {
        held = item["n"]?.integer ?? 0
        limit = item["lim"]?.integer ?? 0
        newPerMinute = item["lim_minute"]?.integer
        version = item["version"]?.integer ?? -1
        changes = item["changes"]?.integer ?? 0
    }

    /// How many more leases there may be.
    var room: Int64 { max(0, limit - held) }
}

extension Lease {
    /// The item that holds a slot.
    var item: DynamoDBItem {
        var item = DynamoDBItems.leaseKey(tenant, session)
        item["node_epoch"] = .string(holder.description)
        item["nonce"] = DynamoDBItems.text(nonce)
        item["connection_id"] = DynamoDBItems.text(connection.rawValue)
        item["address"] = .string(address)
        item["region"] = .string(region)
        item["key_id"] = .string(key.rawValue)
        item["claimed_at"] = DynamoDBItems.time(claimedAt)
        item["used_ms"] = .number(usedMilliseconds)
        if countsKey { item["counts_key"] = true }
        return item
    }

    /// What a lease's item says of its key's counter.
    static func countsKey(_ item: DynamoDBItem) -> Bool { item["counts_key"]?.bool == true }

    /// Reads what is needed to free it: its key, the nonce and the epoch. Of the rest, what cannot be read is left out, or
    /// a hand's mistake would hold the slot for good.
    ///
    /// - Parameter damaged: hears of each attribute that cannot be read.
    /// - Throws: if there is no lease in it.
    init(item: DynamoDBItem, damaged: @escaping (any Error) -> Void = { _ in }) throws {
        let read = ItemReader(item: item, what: "lease", damaged: damaged)
        let names = (try read.string("pk").dropFirst(2), try read.string("sk").dropFirst(2))
        guard let tenant = UUID(uuidString: String(names.0)), let session = SessionID(String(names.1)),
            let holder = NodeEpoch(try read.string("node_epoch"))
        else { throw read.broken("pk, sk or node_epoch") }
        let nonce = try read.id("nonce")
        self.init(
            tenant: TenantID(tenant), session: session,
            connection: ConnectionID(read.value(or: nonce) { try read.id("connection_id") }),
            key: KeyID(read.value(or: "") { try read.string("key_id") }), holder: holder, nonce: nonce,
            address: read.value(or: "") { try read.string("address") },
            region: read.value(or: "") { try read.string("region") },
            claimedAt: read.value(or: session.startedAt) { try read.time("claimed_at") },
            usedMilliseconds: read.value(or: 0) { try read.integer("used_ms") }, countsKey: Self.countsKey(item))
    }
}

extension SessionStatus {
    /// - Parameter reapedNonce: the lease's, if a reaper states this: its holder may replace it once.
    func item(now: Date, reapedNonce: UUID? = nil) -> DynamoDBItem {
        var item = DynamoDBItems.statusKey(session)
        item["tenant"] = .string(tenant.description)
        item["key_id"] = .string(key.rawValue)
        item["state"] = .string(state.rawValue)
        item["end_state"] = .string(endState.rawValue)
        item["reason"] = .string(reason)
        item["started_at"] = DynamoDBItems.time(startedAt)
        item["ended_at"] = DynamoDBItems.time(endedAt)
        item["audio_ms"] = .number(audioMilliseconds)
        item["engine_ms"] = .number(engineMilliseconds)
        item["finals"] = .number(finals)
        item["transcript_location"] = transcriptLocation.map(AttributeValue.string)
        item["region"] = .string(region)
        item["reaped_nonce"] = reapedNonce.map(DynamoDBItems.text)
        item["ttl"] = .number(Int64(now.timeIntervalSince1970 + DynamoDBItems.statusLife))
        return item
    }

    init(item: DynamoDBItem) throws {
        let read = ItemReader(item: item, what: "status")
        guard let session = SessionID(String(try read.string("pk").dropFirst(2))),
            let state = SessionState(rawValue: try read.string("state")),
            let endState = SessionState(rawValue: try read.string("end_state"))
        else { throw read.broken("pk, state or end_state") }
        self.init(
            session: session, tenant: TenantID(try read.id("tenant")), key: KeyID(try read.string("key_id")),
            state: state, endState: endState, reason: try read.string("reason"),
            startedAt: try read.time("started_at"), endedAt: try read.time("ended_at"),
            audioMilliseconds: try read.integer("audio_ms"),
            // Items that an earlier version wrote do not have it.
            engineMilliseconds: item["engine_ms"]?.integer, finals: Int(try read.integer("finals")),
            transcriptLocation: item["transcript_location"]?.string, region: try read.string("region"))
    }
}

extension NodeRecord {
    /// The changes that bring a node's item up to date.
    func update(now: Date) -> DynamoDBExpression {
        DynamoDBExpression(
            """
            SET rvn = :rvn, address = :address, #region = :region, version = :version, draining = :draining, \
            registered_at = if_not_exists(registered_at, :now), beat_at = :now
            """,
            [
                "rvn": DynamoDBItems.text(heartbeat), "address": .string(address), "region": .string(region),
                "version": .string(version), "draining": .bool(isDraining), "now": DynamoDBItems.time(now),
            ])
    }

    /// Reads whose record it is. What else cannot be read is left out: that the epoch is known protects what it holds, and
    /// a heartbeat of whatever form tells life from death by its changing.
    ///
    /// - Parameter damaged: hears of each attribute that cannot be read.
    /// - Throws: if it does not say which epoch it is of.
    init(item: DynamoDBItem, damaged: @escaping (any Error) -> Void = { _ in }) throws {
        let read = ItemReader(item: item, what: "node", damaged: damaged)
        guard let epoch = NodeEpoch(try read.string("sk")) else { throw read.broken("sk") }
        self.init(
            epoch: epoch, heartbeat: read.value(or: Self.heartbeat(item["rvn"])) { try read.id("rvn") },
            address: read.value(or: "") { try read.string("address") },
            region: read.value(or: "") { try read.string("region") },
            version: read.value(or: "") { try read.string("version") },
            isDraining: item["draining"]?.bool ?? false)
    }

    /// The same for the same value.
    private static func heartbeat(_ value: AttributeValue?) -> UUID {
        var bytes = [UInt8](repeating: 0, count: 16)
        for (index, byte) in String(describing: value).utf8.enumerated() {
            bytes[index % 16] = bytes[index % 16] &* 31 &+ byte
        }
        return bytes.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
    }
}

/// Reads an item's attributes, and says which one is not what it should be.
private struct ItemReader {
    var item: DynamoDBItem
    var what: String
    var damaged: (any Error) -> Void = { _ in }

    /// What can be done without.
    func value<Value>(or fallback: Value, _ read: () throws -> Value) -> Value {
        do {
            return try read()
        } catch {
            damaged(error)
            return fallback
        }
    }

    func broken(_ attribute: String) -> HansardError {
        HansardError(.internal, "a \(what) item has no readable \(attribute)")
    }

    func string(_ name: String) throws -> String {
        guard let text = item[name]?.string else { throw broken(name) }
        return text
    }

    func integer(_ name: String) throws -> Int64 {
        guard let number = item[name]?.integer else { throw broken(name) }
        return number
    }

    func id(_ name: String) throws -> UUID {
        guard let id = UUID(uuidString: try string(name)) else { throw broken(name) }
        return id
    }

    func time(_ name: String) throws -> Date { try Timestamp.parse(try string(name)) }
}
