import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// Brings usage records from the node's sessions into the spool at once, and into the ledger soon after, exactly once: a record
/// that is delivered twice changes nothing there, and one that is not is still in the spool.
final class UsageDelivery: Sendable {
    struct Limits: Sendable {
        /// Between two passes.
        var interval = Duration.milliseconds(500)
        /// Between two passes while the ledger is away.
        var retryInterval = Duration.seconds(1)
        /// How long one call may take.
        var callWait = Duration.seconds(10)
        /// The same while the node starts or stops.
        var patience = Duration.seconds(5)
        /// Between two attempts at records that were refused: what refuses them may be put right.
        var refusalInterval = Duration.seconds(60)
        /// Records of one call.
        var batch = PostgresUsageLedger.recordsPerStatement
        /// Between two looks for sums that are out of date.
        var rollupInterval = Duration.seconds(10)
        /// Hours of tenants that are summed up in one call.
        var rollupHours = 500
        /// How long telling of a dead node's session may take: its slot waits for it.
        var reapedWait = Duration.seconds(1)
        /// Sessions of dead nodes that are remembered while the ledger is away.
        var reapedSessions = 10_000
        /// What the node's clock and the ledger's may differ by: months end by the node's.
        var clockDifference: TimeInterval = 2
        init() {}
    }

    private struct State {
        var pending = PendingUsage()
        var reaped: [ReapedUsage] = []
        var isAway = false
        /// Whether the spool has earlier lives that are not known to be over.
        var hasInherited = true
        var clockDifference: TimeInterval = 0
        var delivered = 0
        var refused = 0
        var refusedAgainAt = ContinuousClock.now
    }

    private let ledger: any UsageLedger
    private let spool: Spool
    private let epoch: NodeEpoch
    private let maximumAge: Duration
    private let logger: Logger
    private let limits: Limits
    private let state = Locked(State())

    /// - Parameter maximumAge: how long a record may wait before the node takes no new sessions.
    init(
        ledger: any UsageLedger, spool: Spool, epoch: NodeEpoch, maximumAge: Duration, logger: Logger,
        limits: Limits = Limits()
    ) {
        self.ledger = ledger
        self.spool = spool
        self.epoch = epoch
        self.maximumAge = maximumAge
        self.logger = logger
        self.limits = limits
    }

    // MARK: Sessions

    /// A session wrote something down. Any thread.
    ///
    /// - Parameter isLast: whether it will write down no more.
    func add(_ record: UsageRecord, isLast: Bool = false) {
        spool.append(.metered(record))
        state.withLock { $0.pending.add(record, isLive: !isLast) }
    }

    /// A session's node died. What is known of it is told to the ledger, for the case that this node never comes back: at once if
    /// that is there, else as soon as it is.
    func reaped(_ usage: ReapedUsage) async {
        let isAway = state.withLock { $0.isAway || !$0.reaped.isEmpty }
        if !isAway,
            case .done = await attempt(within: limits.reapedWait, { [ledger] in try await ledger.note([usage]) })
        {
            return
        }
        let isKept = state.withLock { state in
            guard state.reaped.count < limits.reapedSessions else { return false }
            state.reaped.append(usage)
            return true
        }
        if !isKept {
            logger.warning(
                "too many sessions of dead nodes wait for the ledger; one is not told",
                metadata: ["session_id": "\(usage.session)", "audio_ms": "\(usage.audio)"])
        }
    }

    /// Whether the ledger has all that the session wrote down.
    func isDelivered(_ session: SessionID) -> Bool { state.withLock { $0.pending.isDelivered(session) } }

    /// Records that the ledger does not have yet.
    var backlog: Int { state.withLock(\.pending.count) }

    /// Records that the ledger has got from this node, those included that it had.
    var delivered: Int { state.withLock(\.delivered) }

    /// How often the ledger would not take a record.
    var refused: Int { state.withLock(\.refused) }

    /// For how long the oldest of them has waited.
    func delay(at now: Date = .now) -> Duration {
        .seconds(state.withLock(\.pending.oldest).map { max(0, now.timeIntervalSince($0)) } ?? 0)
    }

    /// By how much the node's clock is ahead of the ledger's, in seconds, as far as is known.
    var clockDifference: TimeInterval { state.withLock(\.clockDifference) }

    /// Why no new sessions may begin; nil if they may.
    func obstacle(at now: Date = .now) -> String? {
        if delay(at: now) > maximumAge { return "usage has waited for the ledger for too long" }
        let difference = clockDifference
        guard abs(difference) > limits.clockDifference else { return nil }
        let seconds = (abs(difference) * 10).rounded() / 10
        return "the clock is \(seconds) s \(difference > 0 ? "ahead of" : "behind") the database's"
    }

    // MARK: The ledger

    /// Makes the node known to the ledger; comes before its first session.
    ///
    /// - Parameter recovered: what earlier lives left in the spool.
    func begin(_ recovered: [UsageRecord]) async throws {
        try await ledger.register(epoch, spool: spool.identity)
        state.withLock { state in
            for record in recovered { state.pending.add(record, isLive: false) }
        }
        // What is not delivered now is later, and until then those lives count as behind.
        await deliver(within: limits.patience)
    }

    /// Delivers, and sums up, until the task is cancelled.
    func work() async {
        async let summingUp: Void = keepSums()
        while !Task.isCancelled {
            let isThere = await deliver(within: limits.callWait)
            try? await Task.sleep(for: isThere ? limits.interval : limits.retryInterval)
        }
        await summingUp
    }

    /// The last pass, of a node that stops. What cannot be delivered waits in the spool for the next start.
    func finish() async { await deliver(within: limits.patience, isOver: true) }

    /// One pass over all that waits.
    ///
    /// - Returns: false if the ledger is away.
    @discardableResult
    private func deliver(within wait: Duration, isOver: Bool = false) async -> Bool {
        state.withLock { state in
            guard state.refusedAgainAt <= .now else { return }
            state.refusedAgainAt = .now + limits.refusalInterval
            state.pending.retryRefused()
        }
        while true {
            let batch = state.withLock { $0.pending.takeBatch(atMost: limits.batch) }
            if batch.isEmpty { break }
            guard await deliver(batch, within: wait) else { return false }
        }
        guard await deliverReaped(within: wait) else { return false }
        let (through, isWhole) = state.withLock { ($0.pending.completeThrough(at: .now), $0.pending.count == 0) }
        let asked = Date.now
        let answer = await attempt(within: wait) { [ledger, epoch] in
            try await ledger.isComplete(epoch, through: through, isOver: isOver && isWhole)
        }
        guard case .done(let known) = answer else { return false }
        guard let time = known else { return await registerAgain(within: wait) }
        compare(time, asked: asked, answered: .now)
        return isWhole ? await finishInherited(within: wait) : true
    }

    /// The ledger does not know this life: its database went back to before it.
    private func registerAgain(within wait: Duration) async -> Bool {
        logger.warning("the usage ledger does not know this node; it is registered again")
        let answer = await attempt(within: wait) { [ledger, spool, epoch] in
            try await ledger.register(epoch, spool: spool.identity)
        }
        if case .done = answer { return true }
        return false
    }

    /// Earlier lives are over once all that they left is delivered, and it is certain that they make no more. If some of it is
    /// damaged, nobody knows what they left: an operator says when they are over.
    private func finishInherited(within wait: Duration) async -> Bool {
        guard !spool.hasDamagedFiles, state.withLock(\.hasInherited) else { return true }
        let answer = await attempt(within: wait) { [ledger, spool, epoch] in
            try await ledger.finish(spool: spool.identity, before: epoch)
        }
        guard case .done(let left) = answer else { return false }
        state.withLock { $0.hasInherited = left > 0 }
        return true
    }

    private func deliver(_ batch: [UsageRecord], within wait: Duration) async -> Bool {
        switch await attempt(within: wait, { [ledger] in try await ledger.ingest(batch) }) {
        case .done: delivered(batch)
        case .refused:
            // One record that the ledger will never take must not hold up everyone else's.
            for (index, record) in batch.enumerated() {
                switch await attempt(within: wait, { [ledger] in try await ledger.ingest([record]) }) {
                case .done: delivered([record])
                case .refused(let error): wasRefused(record, error)
                case .away:
                    state.withLock { $0.pending.putBack(Array(batch[index...])) }
                    return false
                }
            }
        case .away:
            state.withLock { $0.pending.putBack(batch) }
            return false
        }
        return true
    }

    private func deliverReaped(within wait: Duration) async -> Bool {
        let reaped = state.withLock { state in
            defer { state.reaped = [] }
            return state.reaped
        }
        guard !reaped.isEmpty else { return true }
        switch await attempt(within: wait, { [ledger] in try await ledger.note(reaped) }) {
        case .done: return true
        case .refused(let error):
            logger.error("the ledger refuses what is known of sessions of dead nodes", error)
            return true
        case .away:
            state.withLock { $0.reaped.insert(contentsOf: reaped, at: 0) }
            return false
        }
    }

    private func wasRefused(_ record: UsageRecord, _ error: any Error) {
        logger.error(
            "the ledger refuses a usage record; it stays in the spool",
            metadata: ["session_id": "\(record.session)", "error": "\(describe(error))"])
        state.withLock { state in
            state.refused += 1
            state.pending.wasRefused(record)
        }
    }

    private func delivered(_ batch: [UsageRecord]) {
        state.withLock { state in
            state.pending.delivered(batch)
            state.delivered += batch.count
        }
    }

    private enum Outcome<Value: Sendable>: Sendable {
        case done(Value)
        case refused(any Error)
        case away
    }

    /// One call. That the ledger goes away is one line in the log, and that it is back another.
    private func attempt<Value: Sendable>(
        within wait: Duration, _ work: @escaping @Sendable () async throws -> Value
    ) async -> Outcome<Value> {
        let result = await firstWithin(wait) { () -> Result<Value, any Error> in
            do { return .success(try await work()) } catch { return .failure(error) }
        }
        switch result {
        case .success(let value)?:
            report(isAway: false, nil)
            return .done(value)
        // What is wrong with the record itself; whatever else it is may be put right.
        case .failure(let error)? where (error as? HansardError)?.code == .invalid: return .refused(error)
        case .failure(let error)?: report(isAway: true, error)
        case nil: report(isAway: true, HansardError(.unavailable, "it does not answer within \(wait)"))
        }
        return .away
    }

    private func report(isAway: Bool, _ error: (any Error)?) {
        let isNews = state.withLock { state in
            defer { state.isAway = isAway }
            return state.isAway != isAway
        }
        guard isNews, !Task.isCancelled else { return }
        if let error {
            logger.warning("the usage ledger does not answer; usage waits in the spool", error)
        } else {
            logger.notice("the usage ledger answers again")
        }
    }

    /// The ledger's time is that of some moment between the question and the answer.
    private func compare(_ time: Date, asked: Date, answered: Date) {
        let difference =
            time < asked ? asked.timeIntervalSince(time) : time > answered ? answered.timeIntervalSince(time) : 0
        let isNews = state.withLock { state in
            defer { state.clockDifference = difference }
            return (abs(difference) > limits.clockDifference) != (abs(state.clockDifference) > limits.clockDifference)
        }
        guard isNews else { return }
        if let obstacle = obstacle() {
            logger.error("no new sessions begin: \(obstacle)")
        } else {
            logger.notice("the clock agrees with the database's again")
        }
    }

    /// Sums up as much at once as the ledger manages in the time that it has for a call.
    private func keepSums() async {
        var hours = BatchSize(most: limits.rollupHours)
        while !Task.isCancelled {
            try? await Task.sleep(for: limits.rollupInterval)
            guard !Task.isCancelled else { return }
            do {
                while try await ledger.rollUp(atMost: hours.current) == hours.current { hours.succeeded() }
            } catch {
                guard !Task.isCancelled else { return }
                hours.failed()
                logger.warning("usage is not summed up; reports are made without, and take longer", error)
            }
        }
    }
}
