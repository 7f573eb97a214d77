import EventLoops
import Hansard

/// The node's live sessions, so that whatever concerns them can reach them from any thread.
final class LiveSessions: Sendable {
    /// A session and whose it is.
    private struct Entry {
        let connection: LoopBound<ListenConnection>
        let tenant: TenantID
        let key: KeyID
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
    /// Whether new sessions are refused.
    var isDraining: Bool { state.withLock { $0.isDraining || $0.isStopping } }

    func add(_ connection: LoopBound<ListenConnection>, id: SessionID, tenant: TenantID, key: KeyID) {
        state.withLock { $0.sessions[id] = Entry(connection: connection, tenant: tenant, key: key) }
    }

    func remove(_ id: SessionID) { state.withLock { $0.sessions[id] = nil } }

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

    /// Ends every session of the tenants chosen, each on its own loop.
    ///
    /// - Returns: how many.
    @discardableResult func endAll(_ ending: Ending, where isChosen: (TenantID) -> Bool = { _ in true }) -> Int {
        let chosen = state.withLock { state in
            state.sessions.values.filter { isChosen($0.tenant) }.map(\.connection)
        }
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
