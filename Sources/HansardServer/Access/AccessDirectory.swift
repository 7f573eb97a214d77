import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// The node's snapshot of tenants, keys and tokens: admission reads it in memory, a task keeps it fresh. It does not expire,
/// so that a day without Postgres does not stop admission, unless an operator has said how old it may be.
final class AccessDirectory: Sendable {
    /// How often the store is asked whether anything changed, where nothing tells of changes.
    static let pollInterval = Duration.seconds(1)
    /// A key that nobody knows may have been made a moment ago: it makes the store be asked, but not more often than this.
    static let unknownKeyInterval = Duration.seconds(1)

    private struct State {
        var snapshot: AccessSnapshot?
        var refreshedAt: ContinuousClock.Instant?
        /// The refresh that was begun last; the next waits for it.
        var refreshing: Task<Void, any Error>?
        var unknownKeyAt: ContinuousClock.Instant?
        var observers: [@Sendable (AccessUpdate) -> Void] = []
    }

    private let state = Locked(State())
    private let store: any TenantStore
    private let logger: Logger
    private let stalenessMax: Duration?
    private let now: @Sendable () -> ContinuousClock.Instant
    private let wishes = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))

    /// A directory that has not been read yet.
    ///
    /// - Parameters:
    ///   - stalenessMax: how old the snapshot may be for callers to be recognised by it; nil is any age.
    ///   - now: the time.
    init(
        store: any TenantStore, logger: Logger, stalenessMax: Duration? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.store = store
        self.logger = logger
        self.stalenessMax = stalenessMax
        self.now = now
    }

    /// What is known, however old it is; nil until the first read succeeded.
    var snapshot: AccessSnapshot? { state.withLock(\.snapshot) }

    /// How old the knowledge is; nil until the first read succeeded.
    var age: Duration? { state.withLock(\.refreshedAt).map { $0.duration(to: now()) } }

    /// Whether the knowledge is too old for callers to be recognised by it.
    var isStale: Bool { stalenessMax.map { (age ?? .zero) > $0 } ?? false }

    /// What callers are recognised by.
    ///
    /// - Throws: `.unavailable` until the first read succeeded, and while what is known is too old.
    func trusted() throws(HansardError) -> AccessSnapshot {
        guard let snapshot else {
            throw HansardError(.unavailable, "the node has not read its keys yet", retryAfter: .seconds(1))
        }
        guard let stalenessMax, let age, age > stalenessMax else { return snapshot }
        throw HansardError(
            .unavailable,
            "this node has not been able to read tenants and keys for \(age.components.seconds) s, and may trust what it "
                + "knows for \(DurationText.format(stalenessMax)) (HANSARD_KEY_STALENESS_MAX)",
            retryAfter: .seconds(5))
    }

    /// Tells of each change from now on, after the snapshot has it, in order.
    func observe(_ observer: @escaping @Sendable (AccessUpdate) -> Void) {
        state.withLock { $0.observers.append(observer) }
    }

    /// Asks for a refresh soon; returns at once. From any thread.
    func refreshSoon() { wishes.continuation.yield() }

    /// A well-formed key that is not in the snapshot was presented.
    func missed(now: ContinuousClock.Instant) {
        let isDue = state.withLock { state in
            guard state.unknownKeyAt.map({ $0.duration(to: now) >= Self.unknownKeyInterval }) ?? true else {
                return false
            }
            state.unknownKeyAt = now
            return true
        }
        if isDue { refreshSoon() }
    }

    /// Reads what changed. Calls that come together do so one after the other, since each may have come for a change that
    /// the one before it did not see yet.
    func refresh() async throws {
        let task = state.withLock { state in
            let before = state.refreshing
            let task = Task {
                _ = await before?.result
                try await read()
            }
            state.refreshing = task
            return task
        }
        try await task.value
    }

    private func read() async throws {
        // What is read is as old as the question.
        let asked = now()
        guard let known = state.withLock({ $0.snapshot?.position }) else { return try await readAll(asked) }
        if try await store.accessPosition() != known {
            guard let changes = try await store.accessChanges(since: known) else {
                return try await readAll(asked, since: known)
            }
            let observers = state.withLock { state in
                state.snapshot?.apply(changes)
                return state.observers
            }
            for observer in observers { observer(.some(changes)) }
        }
        state.withLock { $0.refreshedAt = asked }
    }

    private func readAll(_ asked: ContinuousClock.Instant, since known: AccessPosition? = nil) async throws {
        let fresh = try await store.accessSnapshot()
        // Of what nodes were told a snapshot has nothing. A node that begins has nothing to do of what others were told.
        let commands =
            if let known { try await store.accessCommands(after: known, through: fresh.position) } else {
                [NodeCommand]()
            }
        let observers = state.withLock { state in
            state.snapshot = fresh
            state.refreshedAt = asked
            return state.observers
        }
        for observer in observers { observer(.all(commands)) }
    }

    /// Keeps the snapshot fresh until the task is cancelled: at each wish, and each `pollInterval` in any case. A store that
    /// is away is one log line, not one a second.
    func keepFresh() async {
        let poll = Task {
            while !Task.isCancelled {
                refreshSoon()
                try? await Task.sleep(for: Self.pollInterval)
            }
        }
        defer { poll.cancel() }
        var isAway = false
        for await _ in wishes.stream {
            if Task.isCancelled { return }
            do {
                try await refresh()
                if isAway { logger.notice("tenants and keys are fresh again") }
                isAway = false
            } catch {
                if !isAway { logger.warning("tenants and keys cannot be read; going on with what is known", error) }
                isAway = true
            }
        }
    }
}

/// What a refresh brought.
enum AccessUpdate: Sendable {
    /// Everything was read anew: anything may have changed. And this is what nodes were told meanwhile.
    case all([NodeCommand])
    /// So much.
    case some(AccessChanges)

    /// What nodes are told, in order.
    var commands: [NodeCommand] {
        switch self {
        case .all(let commands): commands
        case .some(let changes): changes.commands
        }
    }
}
