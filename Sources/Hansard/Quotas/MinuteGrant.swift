/// What one node holds of an owner's minutes in a month, divided among its sessions: says how much audio may go on, and
/// when the store is to be asked for more or gets something back. Nothing beyond what is held is ever given out, so
/// that the sum over all nodes never goes above what the store has granted.
///
/// Events go in, requests to send and warnings to give come out. At most one request is under way; each ends in
/// `answered` or `failed`. The owner of the value calls `looked` at least every `lookInterval`.
public struct MinuteGrant: Sendable {
    /// What is asked for at least and at most, as time of the node's current use.
    public static let (shortestChunk, longestChunk) = (Duration.seconds(10), Duration.seconds(60))
    /// How often time must be told.
    public static let lookInterval = Duration.milliseconds(250)
    /// After how long without use the rest is given back, and what is needless otherwise.
    public static let idlePatience = Duration.seconds(30)
    /// The same where there is no session any more: others may be without a minute meanwhile.
    public static let emptyPatience = Duration.seconds(2)
    /// What stays for the next session to begin with, in milliseconds.
    public static let idleKeep: Int64 = 1_000
    /// How often an exhausted quota is asked again: minutes may come back from another node.
    public static let pollInterval = Duration.seconds(2)
    /// How long new sessions are refused after the store said that nothing is left. Later the next one finds out.
    public static let refusalMemory = Duration.seconds(5)
    /// The pauses after failures: each is twice as long as the one before.
    public static let (firstRetryPause, longestRetryPause) = (Duration.milliseconds(250), Duration.seconds(2))
    /// The shares of a month's limit, in percent, at which it is said that the end is near.
    public static let warnings = [80, 95]
    /// More is never asked for at once: what a day has, times a thousand.
    private static let largestChunk: Int64 = 86_400_000_000

    /// What is to be done.
    public enum Action: Sendable, Equatable {
        /// Send this to `GrantStore.grow`.
        case grow(GrantRequest)
        /// Send this to `GrantStore.giveBack`.
        case giveBack(GrantRequest)
        /// So much of the limit is used by all nodes together, as far as this one knows, and so many milliseconds are
        /// left. Each percentage is said once in a month for a limit, and only the higher if both come at once.
        case warn(percent: Int, remaining: Int64)
    }

    /// Whether audio may go on.
    public enum Supply: Sendable, Equatable {
        /// Something is held.
        case available
        /// Nothing is held, and more is being asked for.
        case awaited
        /// Nothing is held, and nothing is left. It is asked for again every `pollInterval` while there are sessions.
        case exhausted
        /// Nothing is held, and the store has not answered since then.
        case unavailable(since: ContinuousClock.Instant)
        /// The store takes this node's epoch for dead for good.
        case retired
    }

    /// Whose minutes.
    public let owner: QuotaOwner
    /// Of which month.
    public let period: QuotaPeriod
    /// This node.
    public let holder: NodeEpoch
    /// The limit of highest version that this node has heard of.
    public private(set) var limit: MinuteLimit
    /// The quota as the store last described it; nil before its first answer.
    public private(set) var use: QuotaUse?
    /// Milliseconds that this node's sessions have used.
    public private(set) var used: Int64 = 0
    /// Sessions that take from it.
    public private(set) var sessions = 0
    /// Since when the store has not answered; nil if its last answer came.
    public private(set) var unavailableSince: ContinuousClock.Instant?
    /// The highest of `warnings` that was reached; nil is none.
    public private(set) var warned: Int?

    private struct Pending {
        var isGrowth: Bool
        var request: GrantRequest
        /// Whether an attempt of it may still arrive at the store.
        var hasFailed = false
        /// false while it waits to be sent again.
        var isUnderWay = true
        var retryAt: ContinuousClock.Instant?
    }

    private var held: Int64 = 0
    private var sequence: Int64 = 0
    private var pending: Pending?
    private var retryPause = Self.firstRetryPause
    /// What was there after the last answer: at half of it, more is asked for.
    private var mark: Int64 = 0
    /// When the quota, of which nothing was left, may be asked again; nil if there was something.
    private var pollAt: ContinuousClock.Instant?
    /// A growth was refused, of which an earlier attempt may still arrive and be done: its number must be used up.
    private var isUncertain = false
    private var isStopping = false
    private var isRetired = false
    private var pace: GrantPace
    private var lastUse: ContinuousClock.Instant
    private var countedSince: ContinuousClock.Instant
    private var counted: Int64 = 0

    /// Nothing is held.
    public init(
        owner: QuotaOwner, period: QuotaPeriod, holder: NodeEpoch, limit: MinuteLimit, now: ContinuousClock.Instant
    ) {
        self.owner = owner
        self.period = period
        self.holder = holder
        self.limit = limit
        pace = GrantPace(now: now)
        lastUse = now
        countedSince = now
    }

    /// The grant of the month after, with the sessions and the pace of this one. This one is to be stopped then, and
    /// kept until it is settled.
    public func successor(in period: QuotaPeriod, now: ContinuousClock.Instant) -> MinuteGrant {
        var next = MinuteGrant(owner: owner, period: period, holder: holder, limit: limit, now: now)
        next.sessions = sessions
        next.pace = pace
        return next
    }

    // MARK: What there is

    /// Milliseconds that may be taken now. Below 0, so much was charged that was not granted.
    public var available: Int64 {
        // What is on its way back may have arrived.
        held - used - (pending.map { $0.isGrowth ? 0 : $0.request.milliseconds } ?? 0)
    }

    /// Whether audio may go on.
    public var supply: Supply {
        if isRetired { return .retired }
        if available > 0 { return .available }
        if let unavailableSince { return .unavailable(since: unavailableSince) }
        return pollAt == nil ? .awaited : .exhausted
    }

    /// Whether it is known that there is nothing for a session that would begin.
    public func refusesSessions(now: ContinuousClock.Instant) -> Bool {
        guard supply == .exhausted, let pollAt else { return false }
        return now < pollAt - Self.pollInterval + Self.refusalMemory
    }

    /// Milliseconds of the limit that are used, as far as this node knows: what others hold counts as used.
    public var usedByAll: Int64 { use.map { $0.granted - max(0, held - used) } ?? 0 }

    /// Whether it has been stopped and everything has been given back.
    public var isSettled: Bool {
        isRetired
            || isStopping && pending == nil && !isUncertain && (available == 0 || available < 0 && pollAt != nil)
    }

    // MARK: Sessions

    /// A session begins to use it.
    public mutating func sessionJoined(now: ContinuousClock.Instant) -> [Action] {
        sessions += 1
        return decide(now)
    }

    /// A session has ended.
    public mutating func sessionLeft(now: ContinuousClock.Instant) -> [Action] {
        sessions = max(0, sessions - 1)
        return decide(now)
    }

    /// So much audio is to go on.
    ///
    /// - Returns: how much of it may, 0 ... `milliseconds`. The rest waits, and is asked for again.
    public mutating func take(
        _ milliseconds: Int64, now: ContinuousClock.Instant
    ) -> (taken: Int64, actions: [Action]) {
        let taken = isRetired ? 0 : max(0, min(milliseconds, available))
        use(taken, now)
        return (taken, decide(now))
    }

    /// So much audio went on without having been taken, because the store was away: it is granted after the fact, as
    /// far as the limit allows.
    public mutating func charge(_ milliseconds: Int64, now: ContinuousClock.Instant) -> [Action] {
        use(max(0, milliseconds), now)
        return decide(now)
    }

    private mutating func use(_ milliseconds: Int64, _ now: ContinuousClock.Instant) {
        guard milliseconds > 0 else { return }
        used += milliseconds
        counted += milliseconds
        lastUse = now
        pace.took(milliseconds, now: now)
    }

    // MARK: Events

    /// Time has passed.
    public mutating func looked(now: ContinuousClock.Instant) -> [Action] { decide(now) }

    /// The limit has changed. An older one than the one that is known says nothing.
    public mutating func limitChanged(_ limit: MinuteLimit, now: ContinuousClock.Instant) -> [Action] {
        if limit.version > self.limit.version {
            adopt(limit)
            pollAt = nil
        }
        return decide(now)
    }

    /// The store has answered the request that is under way.
    public mutating func answered(_ answer: GrantAnswer, now: ContinuousClock.Instant) -> [Action] {
        guard let request = pending else { return [] }
        pending = nil
        unavailableSince = nil
        retryPause = Self.firstRetryPause
        switch answer {
        case .held(let grant, let use):
            if grant.milliseconds > held {
                // What has just come is not idle yet.
                lastUse = now
                countedSince = now
                counted = 0
            }
            held = grant.milliseconds
            sequence = grant.sequence
            isUncertain = false
            learn(use, now)
            mark = max(0, available)
        case .exhausted(let use):
            if request.hasFailed { isUncertain = true }
            learn(use, now)
        case .retired: isRetired = true
        }
        return decide(now)
    }

    private mutating func learn(_ use: QuotaUse, _ now: ContinuousClock.Instant) {
        self.use = use
        let isOutdated = limit.version > use.limit.version
        if !isOutdated { adopt(use.limit) }
        pollAt = use.remaining == 0 && !isOutdated ? now + Self.pollInterval : nil
    }

    /// Of a raised limit it is said anew that its end is near.
    private mutating func adopt(_ next: MinuteLimit) {
        guard next != limit else { return }
        limit = next
        warned = warned.flatMap { said in reached.map { min(said, $0) } }
    }

    /// The request that was under way got no answer: whether it was done is unknown, and it will be sent again.
    public mutating func failed(now: ContinuousClock.Instant) -> [Action] {
        guard pending != nil else { return [] }
        unavailableSince = unavailableSince ?? now
        pending?.hasFailed = true
        pending?.isUnderWay = false
        pending?.retryAt = now + retryPause
        retryPause = min(retryPause * 2, Self.longestRetryPause)
        return []
    }

    /// No session will use it any more: everything is given back.
    public mutating func stop(now: ContinuousClock.Instant) -> [Action] {
        isStopping = true
        sessions = 0
        return decide(now)
    }

    // MARK: Decisions

    private mutating func decide(_ now: ContinuousClock.Instant) -> [Action] {
        var actions: [Action] = []
        if let warning { actions.append(warning) }
        if let request = nextRequest(now) { actions.append(request) }
        return actions
    }

    private var warning: Action? {
        mutating get {
            guard warned != Self.warnings.last, let most = limit.milliseconds, let percent = reached,
                percent > warned ?? 0
            else { return nil }
            warned = percent
            return .warn(percent: percent, remaining: max(0, most - usedByAll))
        }
    }

    /// The highest of `warnings` that is reached now; nil is none.
    private var reached: Int? {
        guard let most = limit.milliseconds, most > 0, use != nil else { return nil }
        return Self.warnings.last { Self.share($0, of: most) <= usedByAll }
    }

    private static func share(_ percent: Int, of whole: Int64) -> Int64 {
        whole / 100 * Int64(percent) + whole % 100 * Int64(percent) / 100
    }

    private mutating func nextRequest(_ now: ContinuousClock.Instant) -> Action? {
        if isRetired { return nil }
        if let waiting = pending {
            guard !waiting.isUnderWay, waiting.retryAt.map({ $0 <= now }) ?? true else { return nil }
            pending?.isUnderWay = true
            pending?.request.limit = limit
            return pendingAction
        }
        if needsMore(now), pollAt.map({ $0 <= now }) ?? true { return begin(isGrowth: true, chunk(now)) }
        let surplus = isStopping ? available : surplus(now)
        let usesUpNumber = isUncertain && (isStopping || isIdle(now))
        return surplus > 0 || usesUpNumber ? begin(isGrowth: false, max(0, surplus)) : nil
    }

    private func needsMore(_ now: ContinuousClock.Instant) -> Bool {
        if available < 0 { return true }
        // Sessions that say nothing need what they have, at most.
        return !isStopping && sessions > 0 && available <= mark / 2 && (available == 0 || !isIdle(now))
    }

    private func isIdle(_ now: ContinuousClock.Instant) -> Bool {
        lastUse.duration(to: now) >= (sessions == 0 ? Self.emptyPatience : Self.idlePatience)
    }

    private mutating func begin(isGrowth: Bool, _ milliseconds: Int64) -> Action? {
        pending = Pending(
            isGrowth: isGrowth,
            request: GrantRequest(
                owner: owner, period: period, holder: holder, sequence: sequence + 1, milliseconds: milliseconds,
                limit: limit))
        return pendingAction
    }

    private var pendingAction: Action? { pending.map { $0.isGrowth ? .grow($0.request) : .giveBack($0.request) } }

    /// What to ask for: when little is left, less, so that other nodes get some of it. The store gives what there is.
    private func chunk(_ now: ContinuousClock.Instant) -> Int64 {
        let debt = max(0, -available)
        if isStopping { return min(debt, Self.largestChunk) }
        let pace = min(pace.perSecond(now: now), Self.largestChunk / Self.longestChunk.components.seconds)
        let least = leastChunk(pace)
        let most = max(least, pace * Self.longestChunk.components.seconds)
        return min(debt + min(max(least, (use?.remaining ?? 0) / 10), most), Self.largestChunk)
    }

    private func leastChunk(_ pace: Int64) -> Int64 {
        max(pace, Int64(max(1, sessions)) * 1_000) * Self.shortestChunk.components.seconds
    }

    /// What is held and not needed: all but a little after a time without use; else what is more than a minute of it. Of a limit
    /// that has become lower than what is granted, what is beyond it, so that whoever speaks feels it at once.
    private mutating func surplus(_ now: ContinuousClock.Instant) -> Int64 {
        if let ceiling = limit.ceiling, let use, use.granted > ceiling, available > 0 {
            return min(available, use.granted - ceiling)
        }
        let isIdle = isIdle(now)
        guard isIdle || countedSince.duration(to: now) >= Self.idlePatience else { return 0 }
        let need = isIdle ? Self.idleKeep : max(leastChunk(pace.perSecond(now: now)), 2 * counted)
        countedSince = now
        counted = 0
        return available - need
    }
}
