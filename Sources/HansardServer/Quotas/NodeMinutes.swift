import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// The minutes that this node holds of its tenants' and keys' quotas: its sessions take from them before audio goes on, and
/// more is asked for in time. The decisions are `MinuteGrant`'s; here are the calls to the store, the marks on the disk
/// and the sessions that wait.
final class NodeMinutes: Sendable {
    /// What sessions are told.
    enum News: Sendable, Equatable {
        /// There may be something to take again, or it may be known by now that there will not be.
        case supply
        /// So much of the limit is used, and so many milliseconds are left.
        case warning(percent: Int, remaining: Int64)
    }

    /// Audio that may be spent before the mark on the disk has to be moved, in milliseconds for each session.
    static let markStep: Int64 = 5_000

    /// How long a node that stops waits until what it held is given back. What is not then is so at its next start.
    static let stopWait = Duration.seconds(5)

    struct Holding {
        var grant: MinuteGrant
        var sessions: [SessionID: @Sendable (News) -> Void] = [:]
        /// What may be spent as far as the disk knows.
        var mark: Int64 = 0
        /// The mark that is wanted.
        var wantedMark: Int64 { grant.used + max(1, Int64(grant.sessions)) * NodeMinutes.markStep }
        /// A mark is moved when half of a step is left.
        var needsMark: Bool { mark - grant.used < max(1, Int64(grant.sessions)) * NodeMinutes.markStep / 2 }
        var spendable: Int64 { min(grant.available, mark - grant.used) }
    }

    /// What is to be done for an owner.
    typealias Due = (owner: QuotaOwner, action: MinuteGrant.Action)

    struct State {
        var holdings: [QuotaOwner: Holding] = [:]
        /// Grants of months that are over, until they are settled.
        var past: [MinuteGrant] = []
        /// What earlier lives of this node may have spent, until what they did not is given back.
        var inherited: [SpendMarks.Mark: Int64] = [:]
        /// Earlier lives that are not settled, with marks or without.
        var earlier: Set<NodeEpoch> = []
        /// What was used of grants of months that are over and settled, until the store has retired them: without a mark a
        /// later life would take what it finds for unused.
        var closed: [SpendMarks.Mark: Int64] = [:]
        var isWriting = false
        /// Since when the disk takes no marks, and when it is tried again; nil if it took the last.
        var diskFailure: (since: ContinuousClock.Instant, retryAt: ContinuousClock.Instant)?

        /// Lets an owner's grant decide.
        mutating func decide(
            _ owner: QuotaOwner, _ event: (inout MinuteGrant) -> [MinuteGrant.Action]
        ) -> [Due] {
            guard var holding = holdings[owner] else { return [] }
            defer { holdings[owner] = holding }
            return event(&holding.grant).map { (owner, $0) }
        }
    }

    let state = Locked(State())
    let store: any GrantStore
    private let holder: NodeEpoch
    private let marks: SpendMarks
    private let access: AccessDirectory
    private let disk = WorkerThread(name: "minutes")
    private let now: @Sendable () -> Date
    let logger: Logger

    init(
        store: any GrantStore, holder: NodeEpoch, marks: SpendMarks, access: AccessDirectory, logger: Logger,
        now: @escaping @Sendable () -> Date = { .now }
    ) {
        self.store = store
        self.holder = holder
        self.marks = marks
        self.access = access
        self.logger = logger
        self.now = now
    }

    // MARK: Before a session

    /// Whose minutes a session of the caller uses: those that are limited.
    func owners(of caller: Caller) -> [QuotaOwner] {
        (caller.tenant.quotas.maxMinutesPerMonth == nil ? [] : [.tenant(caller.tenant.id)])
            + (caller.key.quotas.maxMinutesPerMonth == nil ? [] : [.key(caller.key.id)])
    }

    /// Whether this node has just heard that nothing is left for a session of the caller.
    func isExhausted(for caller: Caller) -> Bool {
        let owners = owners(of: caller)
        guard !owners.isEmpty else { return false }
        return state.withLock { state in
            owners.contains { state.holdings[$0]?.grant.refusesSessions(now: .now) ?? false }
        }
    }

    // MARK: Sessions

    /// A session begins to take.
    func join(_ session: SessionID, _ owners: [QuotaOwner], tell: @escaping @Sendable (News) -> Void) {
        let period = QuotaPeriod(now())
        let limits = owners.map { limit(of: $0) ?? MinuteLimit(milliseconds: 0, version: 0) }
        let due = state.withLock { state in
            zip(owners, limits).flatMap { owner, limit in
                if state.holdings[owner] == nil {
                    let grant = MinuteGrant(owner: owner, period: period, holder: holder, limit: limit, now: .now)
                    state.holdings[owner] = Holding(grant: grant)
                }
                state.holdings[owner]?.sessions[session] = tell
                return state.decide(owner) { $0.sessionJoined(now: .now) }
            }
        }
        carryOut(due)
        moveMarks()
    }

    /// A session takes no more.
    func leave(_ session: SessionID, _ owners: [QuotaOwner]) {
        carryOut(
            state.withLock { state in
                owners.filter { state.holdings[$0]?.sessions.removeValue(forKey: session) != nil }
                    .flatMap { state.decide($0) { $0.sessionLeft(now: .now) } }
            })
    }

    /// Takes audio time from all owners, the same of each.
    ///
    /// - Returns: how much may go on, 0 ... `milliseconds`.
    func take(_ milliseconds: Int64, _ owners: [QuotaOwner]) -> Int64 {
        let (taken, due, needsMark) = state.withLock { state in
            let taken = owners.reduce(milliseconds) { min($0, max(0, state.holdings[$1]?.spendable ?? 0)) }
            // 0 as well: whoever waits is a reason to ask for more.
            let due = owners.flatMap { state.decide($0) { $0.take(taken, now: .now).actions } }
            return (taken, due, owners.contains { state.holdings[$0]?.needsMark ?? false })
        }
        carryOut(due)
        if needsMark { moveMarks() }
        return taken
    }

    /// Audio goes on although nothing could be taken, since the store is away: it is asked for afterwards.
    func charge(_ milliseconds: Int64, _ owners: [QuotaOwner]) {
        carryOut(
            state.withLock { state in
                owners.flatMap { state.decide($0) { $0.charge(milliseconds, now: .now) } }
            })
        moveMarks()
    }

    /// Whether audio may go on: the worst of the owners.
    func supply(_ owners: [QuotaOwner]) -> MinuteGrant.Supply {
        state.withLock { state in
            var worst = MinuteGrant.Supply.available
            for holding in owners.compactMap({ state.holdings[$0] }) {
                switch holding.grant.supply {
                case .available where holding.spendable > 0: break
                case .available:
                    if let failure = state.diskFailure {
                        worst = .unavailable(since: failure.since)
                    } else if worst == .available {
                        worst = .awaited
                    }
                case .awaited: if worst == .available { worst = .awaited }
                case .unavailable(let since): worst = .unavailable(since: since)
                case .exhausted, .retired: return holding.grant.supply
                }
            }
            return worst
        }
    }

    // MARK: Time

    /// Takes over what earlier lives of this node left. Comes before the first session.
    ///
    /// - Parameter last: the life before this one. If it has no mark although there is a file, it died before it could
    ///   spend anything of what it was granted.
    func begin(after last: NodeEpoch? = nil) throws {
        let read = marks.read()
        let left = (read ?? [:]).filter { $0.key.holder != holder }
        var earlier = Set(left.keys.map(\.holder))
        if read != nil, let last, last != holder { earlier.insert(last) }
        state.withLock { ($0.inherited, $0.earlier) = (left, earlier) }
        // From now on a missing file says that it was taken away, and not that nothing was spent.
        try marks.write(left)
    }

    /// Looks after the grants until the task is cancelled.
    func run() async {
        async let settling: Void = settleEarlierLives()
        async let retiring: Void = retireClosed()
        while !Task.isCancelled {
            look()
            try? await Task.sleep(for: MinuteGrant.lookInterval)
        }
        _ = await (settling, retiring)
    }

    private func look() {
        let period = QuotaPeriod(now())
        let owners = state.withLock { Array($0.holdings.keys) }
        let limits = owners.map { limit(of: $0) }
        let due = state.withLock { state in
            var due: [Due] = []
            for (owner, limit) in zip(owners, limits) {
                due += turnMonth(owner, to: period, &state)
                if let limit { due += state.decide(owner) { $0.limitChanged(limit, now: .now) } }
                due += state.decide(owner) { $0.looked(now: .now) }
            }
            for index in state.past.indices {
                due += state.past[index].looked(now: .now).map { (state.past[index].owner, $0) }
            }
            for grant in state.past where grant.isSettled {
                state.closed[SpendMarks.Mark(holder: holder, owner: grant.owner, period: grant.period)] = grant.used
            }
            state.past.removeAll(where: \.isSettled)
            return due
        }
        carryOut(due)
        moveMarks()
    }

    private func turnMonth(_ owner: QuotaOwner, to period: QuotaPeriod, _ state: inout State) -> [Due] {
        guard var holding = state.holdings[owner], holding.grant.period < period else { return [] }
        var past = holding.grant
        let actions = past.stop(now: .now)
        state.past.append(past)
        // Nobody takes from it: whoever comes begins anew, so that only owners of this month are kept.
        guard !holding.sessions.isEmpty else {
            state.holdings[owner] = nil
            return actions.map { (owner, $0) }
        }
        holding.grant = holding.grant.successor(in: period, now: .now)
        holding.mark = 0
        state.holdings[owner] = holding
        return actions.map { (owner, $0) }
    }

    /// Gives back what is left, as far as the store answers within a time.
    func stop(within limit: Duration) async {
        carryOut(
            state.withLock { state in
                state.holdings.keys.flatMap { state.decide($0) { $0.stop(now: .now) } }
            })
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline,
            !state.withLock({ $0.past.isEmpty && $0.holdings.values.allSatisfy(\.grant.isSettled) })
        {
            try? await Task.sleep(for: .milliseconds(20))
            // What got no answer is sent again, whether or not `run` still goes on.
            look()
        }
        disk.stop()
    }

    private func limit(of owner: QuotaOwner) -> MinuteLimit? {
        guard let snapshot = access.snapshot else { return nil }
        switch owner {
        case .tenant(let id): return snapshot.tenant(id)?.quotas.minutes
        case .key(let id):
            guard let key = snapshot.key(named: id), let tenant = snapshot.tenant(key.tenant) else { return nil }
            return key.quotas.minutes(under: tenant.quotas)
        }
    }

    // MARK: The store

    private func carryOut(_ due: [Due]) {
        for (owner, action) in due {
            switch action {
            case .grow(let request): ask(request) { [store] in try await store.grow($0) }
            case .giveBack(let request): ask(request) { [store] in try await store.giveBack($0) }
            case .warn(let percent, let remaining): tell(owner, .warning(percent: percent, remaining: remaining))
            }
        }
    }

    private func ask(
        _ request: GrantRequest, _ call: @escaping @Sendable (GrantRequest) async throws -> GrantAnswer
    ) {
        Task {
            do {
                answered(request, try await call(request))
            } catch {
                logger.debug(
                    "minutes could not be asked for",
                    metadata: ["owner": "\(request.owner)", "error": "\(describe(error))"])
                answered(request, nil)
            }
        }
    }

    private func answered(_ request: GrantRequest, _ answer: GrantAnswer?) {
        func event(_ grant: inout MinuteGrant) -> [MinuteGrant.Action] {
            answer.map { grant.answered($0, now: .now) } ?? grant.failed(now: .now)
        }
        let due = state.withLock { state -> [Due] in
            if state.holdings[request.owner]?.grant.period == request.period {
                return state.decide(request.owner, event)
            }
            guard let index = state.past.firstIndex(where: { $0.owner == request.owner && $0.period == request.period })
            else { return [] }
            return event(&state.past[index]).map { (request.owner, $0) }
        }
        carryOut(due)
        moveMarks()
        tell(request.owner, .supply)
    }

    private func tell(_ owner: QuotaOwner, _ news: News) {
        for tell in state.withLock({ Array(($0.holdings[owner]?.sessions ?? [:]).values) }) { tell(news) }
    }

    // MARK: The disk

    /// Writes marks ahead of what will be spent, one write at a time.
    private func moveMarks() {
        let isDue = state.withLock { state in
            guard !state.isWriting, state.diskFailure.map({ $0.retryAt <= .now }) ?? true,
                state.holdings.values.contains(where: { $0.needsMark && $0.grant.available > 0 })
            else { return false }
            state.isWriting = true
            return true
        }
        guard isDue else { return }
        let accepted = disk.execute { [self] in writeMarks() }
        if !accepted { state.withLock { $0.isWriting = false } }
    }

    private func writeMarks() {
        let (wanted, past, kept) = state.withLock { state in
            let wanted = state.holdings.mapValues { (period: $0.grant.period, mark: max($0.mark, $0.wantedMark)) }
            return (wanted, state.past, state.inherited.merging(state.closed) { $1 })
        }
        var lines = kept
        for (owner, line) in wanted {
            lines[SpendMarks.Mark(holder: holder, owner: owner, period: line.period)] = line.mark
        }
        for grant in past {
            lines[SpendMarks.Mark(holder: holder, owner: grant.owner, period: grant.period)] = grant.used
        }
        let failure: (any Error)?
        do {
            try marks.write(lines)
            failure = nil
        } catch {
            failure = error
        }
        let isFirstFailure = state.withLock { state in
            state.isWriting = false
            guard failure == nil else {
                defer { state.diskFailure = (state.diskFailure?.since ?? .now, .now + MinuteGrant.firstRetryPause) }
                return state.diskFailure == nil
            }
            state.diskFailure = nil
            for (owner, line) in wanted where state.holdings[owner]?.grant.period == line.period {
                state.holdings[owner]?.mark = line.mark
            }
            return false
        }
        if let failure, isFirstFailure { logger.error("the spending of minutes cannot be written down", failure) }
        // After a failure too: whoever waits has to find out that it has been for too long.
        for owner in wanted.keys { tell(owner, .supply) }
    }
}
