import EventLoops
import Hansard

/// The node's live sessions, so that whatever concerns them can reach them from any thread.
final class LiveSessions: Sendable {
    /// A session and whose it is.
    private struct Entry {
        let connection: LoopBound<ListenConnection>
        let tenant: TenantID
        let key: KeyID
        /// It began without a slot, and has none yet.
        var isUnclaimed = false
    }

    private struct State {
        var sessions: [SessionID: Entry] = [:]
        /// The node is going away.
        var isStopping = false
        /// An operator wants nothing new here.
        var isDraining = false
    }

    private let state = Locked(State())

    /// How many there are.
    var count: Int { state.withLock(\.sessions.count) }
    /// The leases of those that hold one are exactly these sessions'.
    var identifiers: Set<SessionID> { state.withLock { Set($0.sessions.keys) } }
    /// Those that began without a slot, since nobody could be asked for one, and have none yet.
    var unclaimed: Set<SessionID> { state.withLock { Set($0.sessions.filter(\.value.isUnclaimed).keys) } }
    /// Whether new sessions are refused.
    var isDraining: Bool { state.withLock { $0.isDraining || $0.isStopping } }

    func add(_ connection: LoopBound<ListenConnection>, id: SessionID, tenant: TenantID, key: KeyID) {
        state.withLock { $0.sessions[id] = Entry(connection: connection, tenant: tenant, key: key) }
    }

    func remove(_ id: SessionID) { state.withLock { $0.sessions[id] = nil } }

    /// Whether a session holds no slot, and never held one.
    func setUnclaimed(_ id: SessionID, _ isUnclaimed: Bool) {
        state.withLock { $0.sessions[id]?.isUnclaimed = isUnclaimed }
    }

    /// From now on new sessions are refused, because the node is going away.
    func startDraining() { state.withLock { $0.isStopping = true } }

    /// Refuses new sessions, or admits them again, as an operator wishes.
    func drain(_ isDraining: Bool) { state.withLock { $0.isDraining = isDraining } }

    /// Whose session it is, if it is there.
    func tenant(of id: SessionID) -> TenantID? { state.withLock { $0.sessions[id]?.tenant } }

    /// Ends one session, on its own loop, if it is still there.
    func end(_ id: SessionID, _ ending: Ending) {
        guard let connection = state.withLock({ $0.sessions[id]?.connection }) else { return }
        connection.loop.execute { connection.value.end(ending) }
    }

    /// Ends every session, each on its own loop.
    func endAll(_ ending: Ending) { end(ending) { _ in true } }

    /// Ends the sessions of the tenants chosen that hold a slot as far as this node knows, each on its own loop.
    ///
    /// - Returns: how many.
    func endHolders(_ ending: Ending, of isChosen: (TenantID) -> Bool) -> Int {
        end(ending) { !$0.isUnclaimed && isChosen($0.tenant) }
    }

    @discardableResult private func end(_ ending: Ending, where isChosen: (Entry) -> Bool) -> Int {
        let chosen = state.withLock { $0.sessions.values.filter(isChosen).map(\.connection) }
        for connection in chosen { connection.loop.execute { connection.value.end(ending) } }
        return chosen.count
    }

    /// Makes sessions look whether they may go on, now that their tenants or keys have changed.
    func recheck(_ update: AccessUpdate) {
        let concerned = state.withLock { state in
            switch update {
            case .all: return state.sessions.values.map(\.connection)
            case .some(let changes):
                let tenants = Set(changes.tenants.map(\.id) + changes.removedTenants)
                let keys = Set(changes.keys.map(\.1.id) + changes.removedKeys)
                guard !tenants.isEmpty || !keys.isEmpty else { return [] }
                return state.sessions.values.filter { tenants.contains($0.tenant) || keys.contains($0.key) }
                    .map(\.connection)
            }
        }
        for connection in concerned { connection.loop.execute { connection.value.checkAccess() } }
    }

    /// Waits until there are none, or until the time is over.
    ///
    /// - Returns: true if there are none.
    func waitUntilEmpty(within limit: Duration) async -> Bool {
        let deadline = ContinuousClock.now + limit
        while count > 0 {
            if ContinuousClock.now >= deadline { return false }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return true
    }
}
