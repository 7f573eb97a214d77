import AWS
import EventLoops
import FoundationEssentials
import Hansard

/// Leases, nodes and session status in one DynamoDB table: the store for many nodes.
///
/// The lease is the idempotency marker of its claim, and the tombstone that of its release, so that each call may be
/// repeated after an unknown outcome. A claim or release is one transaction with the tenant's counter.
struct DynamoDBConnectionStore: ConnectionStore {
    /// What a node's surroundings give it.
    struct Surroundings: Sendable {
        /// For times in items and their expiry.
        var date: @Sendable () -> Date = { .now }
        /// For how long to try again.
        var now: @Sendable () -> ContinuousClock.Instant = { .now }
        var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
        /// 0 ..< 1.
        var random: @Sendable () -> Double = { .random(in: 0..<1) }
    }

    /// How long a call tries again while other transactions are in its way. A conflict is not a refusal. Shorter than a
    /// claim may take (`SlotClaim.deadline`), so that who waits for one hears why it failed.
    static let conflictDeadline = Duration.milliseconds(1_500)
    /// The pauses between: each is up to twice as long as the one before.
    static let firstPause = Duration.milliseconds(10)
    static let longestPause = Duration.milliseconds(320)
    /// Leases of one tenant or epoch that are read at most.
    static let leaseLimit = 100_000
    /// Nodes that are read at most.
    static let nodeLimit = 10_000
    /// Attempts to see counter and leases without a change between.
    static let auditAttempts = 5

    let table: DynamoDB
    let subject: AWSSubject
    let surroundings: Surroundings
    let lanes: TenantLanes
    /// Hears of each item that is not what it should be, by its key, whenever it is read.
    var unreadable: @Sendable (_ key: String, _ error: any Error) -> Void = { _, _ in }

    /// A store in a table that `hansard aws init` has prepared.
    init(table: DynamoDB, surroundings: Surroundings = Surroundings()) {
        self.table = table
        subject = AWSSubject(name: "the table '\(table.table)'", setting: "HANSARD_DYNAMODB_TABLE")
        self.surroundings = surroundings
        let counters = Locked<[QuotaOwner: DynamoDBCounter]>([:])
        lanes = TenantLanes(
            decide: { try await Self.decide($0, table: table, counters: counters, surroundings) },
            endLeases: { try await Self.end($0, table: table, surroundings) })
    }

    // MARK: Claims

    func claim(_ lease: Lease, limits: ClaimLimits) async throws -> ClaimOutcome {
        try await HansardError.mapping(subject) {
            try await lanes.claim(ClaimBatch.Claim(lease: lease, limits: limits))
        }
    }

    /// Turns that a batch of claims may take: each but a pause learns something, which others may change at once.
    private static let turnLimit = 200
    /// Tenants and keys whose limits are remembered, at most.
    private static let countersRemembered = 10_000

    private static func decide(
        _ claims: [ClaimBatch.Claim], table: DynamoDB, counters: Locked<[QuotaOwner: DynamoDBCounter]>,
        _ surroundings: Surroundings
    ) async throws -> [ClaimOutcome] {
        guard let first = claims.first else { return [] }
        let known = counters.withLock { counters in
            ClaimBatch.owners(first).reduce(into: [:]) { $0[$1] = counters[$1] }
        }
        var batch = ClaimBatch(claims, tenant: first.lease.tenant, known: known)
        var retry = ConflictRetry(surroundings)
        for _ in 0..<turnLimit {
            var turn: ClaimBatch.Turn? = batch.next()
            if case .transact(let writes)? = turn {
                switch try await table.transact(writes) {
                case .done:
                    batch.transacted()
                    turn = nil
                case .refused(let reasons): turn = try batch.refused(reasons)
                }
            }
            switch turn {
            case .readCounter(let owner): batch.read(try await table.get(DynamoDBItems.counterKey(owner)), of: owner)
            case .setLimit(let limit, let owner):
                try await setLimit(limit, owner: owner, in: table, surroundings)
                batch.limitWasSet(owner)
            case .pause: try await retry.pause()
            case .done:
                counters.withLock { counters in
                    if counters.count >= countersRemembered { counters = [:] }
                    counters.merge(batch.known) { $1 }
                }
                return batch.outcomes.map { $0 ?? .superseded }
            case .transact, nil: break
            }
        }
        throw HansardError.contention("the tenant's limit changes too fast to claim a slot")
    }

    func newSessions(of owner: QuotaOwner, inMinuteOf moment: Date) async throws -> Int {
        try await HansardError.mapping(subject) {
            let item = try await table.get(DynamoDBItems.minuteKey(owner, ClaimMinute(of: moment)))
            return Int(clamping: item?["n"]?.integer ?? 0)
        }
    }

    func setLimit(_ limit: AdmissionLimit, owner: QuotaOwner) async throws {
        try await HansardError.mapping(subject) {
            try await Self.setLimit(limit, owner: owner, in: table, surroundings)
        }
    }

    private static func setLimit(
        _ limit: AdmissionLimit, owner: QuotaOwner, in table: DynamoDB, _ surroundings: Surroundings
    ) async throws {
        var text = "SET lim = :lim, version = :v, n = if_not_exists(n, :zero), changes = if_not_exists(changes, :zero)"
        var values: [String: AttributeValue] = [
            "lim": .number(DynamoDBItems.number(limit)), "v": .number(limit.version), "zero": 0,
        ]
        if let newPerMinute = limit.newPerMinute {
            text += ", lim_minute = :minute"
            values["minute"] = .number(Int64(newPerMinute))
        } else {
            text += " REMOVE lim_minute"
        }
        // Refused by a newer limit, it is as it should be.
        _ = try await write(
            DynamoDBWrite(
                .update(key: DynamoDBItems.counterKey(owner), DynamoDBExpression(text, values)),
                if: DynamoDBExpression("attribute_not_exists(version) OR version < :v")),
            to: table, surroundings)
    }

    /// Changes one item, in spite of transactions at it.
    static func write(
        _ write: DynamoDBWrite, to table: DynamoDB, _ surroundings: Surroundings
    ) async throws -> DynamoDB.Outcome {
        var retry = ConflictRetry(surroundings)
        while true {
            do {
                return try await table.write(write)
            } catch let error as AWSError where DynamoDB.conflicts.contains(error.code) {
                try await retry.pause()
            }
        }
    }

    func write(_ write: DynamoDBWrite) async throws -> DynamoDB.Outcome {
        try await Self.write(write, to: table, surroundings)
    }

    // MARK: A lease's life

    func renew(_ lease: Lease) async throws -> Bool {
        try await HansardError.mapping(subject) {
            let update = DynamoDBExpression(
                "SET connection_id = :connection, used_ms = :used",
                ["connection": DynamoDBItems.text(lease.connection.rawValue), "used": .number(lease.usedMilliseconds)])
            let key = DynamoDBItems.leaseKey(lease.tenant, lease.session)
            let nonce = DynamoDBItems.text(lease.nonce)
            let raised = try await write(
                DynamoDBWrite(
                    .update(key: key, update),
                    if: DynamoDBExpression("nonce = :nonce AND used_ms <= :used", ["nonce": nonce])))
            guard case .refused(let item) = raised, item?["nonce"] == nonce else { return raised == .done }
            // The use never goes back, but the connection is the one that calls.
            let moved = try await write(
                DynamoDBWrite(
                    .update(
                        key: key,
                        DynamoDBExpression(
                            "SET connection_id = :connection",
                            ["connection": DynamoDBItems.text(lease.connection.rawValue)])),
                    if: DynamoDBExpression("nonce = :nonce", ["nonce": nonce])))
            return moved == .done
        }
    }

    func release(_ lease: Lease, status: SessionStatus) async throws -> ReleaseOutcome {
        try await HansardError.mapping(subject) {
            let nonce = DynamoDBItems.text(lease.nonce)
            let refusal = try await end(
                lease, if: DynamoDBExpression("nonce = :nonce", ["nonce": nonce]),
                status: status.item(now: surroundings.date()))
            guard case .refused(let item) = refusal else { return .released }
            if let other = item?["nonce"] {
                // The session goes on under another claim, and its end is not this one's to state.
                guard other == nonce else { return .alreadyGone }
                // Only the lease itself says for certain whether its key counts it, and it says so for good.
                var stored = lease
                stored.countsKey = Lease.countsKey(item ?? [:])
                return stored == lease ? .alreadyGone : try await release(stored, status: status)
            }
            if item == nil {
                // A claim that is still on its way must find the grave.
                let grave = DynamoDBItems.tombstone(lease.tenant, lease.session, now: surroundings.date())
                let buried = try await write(
                    DynamoDBWrite(.put(grave), if: DynamoDBExpression("attribute_not_exists(pk)")))
                // It came between: then there is a lease to release after all.
                if case .refused(let item) = buried, item?["nonce"] != nil {
                    return try await release(lease, status: status)
                }
            }
            _ = try await write(
                DynamoDBWrite(
                    .put(status.item(now: surroundings.date())),
                    if: DynamoDBExpression("attribute_not_exists(pk) OR reaped_nonce = :nonce", ["nonce": nonce])))
            return .alreadyGone
        }
    }

    func reap(_ lease: Lease, status: SessionStatus) async throws -> Bool {
        try await HansardError.mapping(subject) {
            let epoch = AttributeValue.string(lease.holder.description)
            var (lease, nonce) = (lease, lease.nonce)
            // Only the lease itself says for certain under which nonce the dead epoch held it, and which counters count
            // it.
            for _ in 0..<2 {
                let refusal = try await end(
                    lease,
                    if: DynamoDBExpression(
                        "node_epoch = :epoch AND nonce = :nonce", ["epoch": epoch, "nonce": DynamoDBItems.text(nonce)]),
                    status: status.item(now: surroundings.date(), reapedNonce: nonce))
                guard case .refused(let item) = refusal else { return true }
                guard item?["node_epoch"] == epoch, let held = item?["nonce"]?.string.flatMap(UUID.init(uuidString:))
                else { return false }
                nonce = held
                lease.countsKey = Lease.countsKey(item ?? [:])
            }
            return false
        }
    }

    private func end(
        _ lease: Lease, if condition: DynamoDBExpression, status: DynamoDBItem
    ) async throws -> DynamoDB.Outcome {
        let counts = LeaseEnd.countsKey(lease.countsKey)
        let both = DynamoDBExpression(
            "\(condition.text) AND \(counts.text)", condition.values.merging(counts.values) { $1 })
        return try await lanes.end(LeaseEnd(lease: lease, condition: both, status: status))
    }

    /// Those whose condition does not hold are left out, and the others tried again without them.
    private static func end(
        _ ends: [LeaseEnd], table: DynamoDB, _ surroundings: Surroundings
    ) async throws -> [DynamoDB.Outcome] {
        var outcomes = [DynamoDB.Outcome](repeating: .done, count: ends.count)
        var left = Array(ends.indices)
        var retry = ConflictRetry(surroundings)
        while !left.isEmpty {
            let writes = LeaseEnd.writes(left.map { ends[$0] }, now: surroundings.date())
            guard case .refused(let reasons) = try await table.transact(writes) else { break }
            for case .other(let code) in reasons {
                throw HansardError(.internal, "DynamoDB refuses a release: \(code)")
            }
            let before = left.count
            for (place, index) in left.enumerated() {
                if case .condition(let item) = reasons[2 * place] { outcomes[index] = .refused(item) }
            }
            left.removeAll { outcomes[$0] != .done }
            if left.count == before { try await retry.pause() }
        }
        return outcomes
    }

    // MARK: After the end

    func finishStoring(_ session: SessionID, transcriptLocation: String) async throws -> Bool {
        try await HansardError.mapping(subject) {
            let outcome = try await write(
                DynamoDBWrite(
                    .update(
                        key: DynamoDBItems.statusKey(session),
                        DynamoDBExpression(
                            "SET #state = end_state, transcript_location = :location",
                            ["location": .string(transcriptLocation)])),
                    if: DynamoDBExpression("#state = :storing", ["storing": .string(SessionState.storing.rawValue)])))
            return outcome == .done
        }
    }

    func status(of session: SessionID) async throws -> SessionStatus? {
        try await HansardError.mapping(subject) {
            guard let item = try await table.get(DynamoDBItems.statusKey(session)) else { return nil }
            let status = try SessionStatus(item: item)
            let lease = try await table.get(DynamoDBItems.leaseKey(status.tenant, session))
            return lease?["nonce"] == nil ? status : nil
        }
    }

    // MARK: Lists

    func leases(of tenant: TenantID) async throws -> [Lease] {
        try await HansardError.mapping(subject) { try await readLeases(of: tenant) }
    }

    func readLeases(of tenant: TenantID) async throws -> [Lease] {
        let items = try await table.query(
            DynamoDB.Query(
                DynamoDBExpression(
                    "pk = :tenant AND begins_with(sk, :lease)",
                    ["tenant": DynamoDBItems.tenant(tenant), "lease": DynamoDBItems.leasePrefix]),
                filter: DynamoDBExpression("attribute_exists(nonce)"), limit: Self.leaseLimit))
        return readable(items, Lease.init(item:damaged:)).sorted(by: Self.isOlder)
    }

    func leases(heldBy epoch: NodeEpoch) async throws -> [Lease] {
        try await HansardError.mapping(subject) {
            let items = try await table.query(
                DynamoDB.Query(
                    DynamoDBExpression("node_epoch = :epoch", ["epoch": .string(epoch.description)]),
                    // Grants of minutes are there as well.
                    filter: DynamoDBExpression("attribute_exists(nonce)"), index: DynamoDBItems.layout.index,
                    limit: Self.leaseLimit))
            return readable(items, Lease.init(item:damaged:)).sorted(by: Self.isOlder)
        }
    }

    func sessions(heldBy epoch: NodeEpoch) async throws -> [TenantID: Int] {
        // DynamoDB counts nothing by groups.
        try await leases(heldBy: epoch).reduce(into: [:]) { $0[$1.tenant, default: 0] += 1 }
    }

    /// One item that a hand has damaged must not hide the others.
    func readable<Value>(
        _ items: [DynamoDBItem], _ read: (DynamoDBItem, @escaping (any Error) -> Void) throws -> Value
    ) -> [Value] {
        items.compactMap { item in
            let key = "\(item["pk"]?.string ?? "?") / \(item["sk"]?.string ?? "?")"
            do {
                return try read(item) { unreadable(key, $0) }
            } catch {
                unreadable(key, error)
                return nil
            }
        }
    }

    private static func isOlder(_ one: Lease, _ other: Lease) -> Bool {
        (one.claimedAt, one.session.description) < (other.claimedAt, other.session.description)
    }

    // MARK: Nodes

    func heartbeat(_ node: NodeRecord) async throws {
        try await HansardError.mapping(subject) {
            _ = try await write(
                DynamoDBWrite(
                    .update(key: DynamoDBItems.nodeKey(node.epoch), node.update(now: surroundings.date()))))
        }
    }

    func nodes() async throws -> [NodeRecord] {
        try await HansardError.mapping(subject) {
            let items = try await table.query(
                DynamoDB.Query(
                    DynamoDBExpression("pk = :nodes", ["nodes": DynamoDBItems.nodesKey]), limit: Self.nodeLimit))
            let registered = items.sorted { ($0["registered_at"]?.string ?? "") < ($1["registered_at"]?.string ?? "") }
            return readable(registered, NodeRecord.init(item:damaged:))
        }
    }

    func remove(_ epoch: NodeEpoch) async throws {
        try await HansardError.mapping(subject) {
            _ = try await write(DynamoDBWrite(.delete(key: DynamoDBItems.nodeKey(epoch))))
        }
    }

    /// Takes an owner's counter away, for one that is no more: nothing else of one stays in the table for good.
    func forget(_ owner: QuotaOwner) async throws {
        try await HansardError.mapping(subject) {
            _ = try await table.write(DynamoDBWrite(.delete(key: DynamoDBItems.counterKey(owner))))
        }
    }
}
