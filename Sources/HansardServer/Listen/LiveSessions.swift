import EventLoops
import Hansard

/// The node's live sessions, so that a drain can reach them from any thread.
final class LiveSessions: Sendable {
    private struct State {
        var connections: [SessionID: LoopBound<ListenConnection>] = [:]
        var isDraining = false
    }

    private let state = Locked(State())

    /// How many there are.
    var count: Int { state.withLock(\.connections.count) }
    /// The leases of those that hold one are exactly these sessions'.
    var identifiers: Set<SessionID> { state.withLock { Set($0.connections.keys) } }
    /// Whether new sessions are refused because the node is going away.
    var isDraining: Bool { state.withLock(\.isDraining) }

    func add(_ connection: LoopBound<ListenConnection>, id: SessionID) {
        state.withLock { $0.connections[id] = connection }
    }

    func remove(_ id: SessionID) { state.withLock { $0.connections[id] = nil } }

    /// From now on new sessions are refused.
    func startDraining() { state.withLock { $0.isDraining = true } }

    /// Ends one session, on its own loop, if it is still there.
    func end(_ id: SessionID, _ ending: Ending) {
        guard let connection = state.withLock({ $0.connections[id] }) else { return }
        connection.loop.execute { connection.value.end(ending) }
    }

    /// Ends every session, each on its own loop.
    func endAll(_ ending: Ending) {
        for connection in state.withLock({ Array($0.connections.values) }) {
            connection.loop.execute { connection.value.end(ending) }
        }
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
