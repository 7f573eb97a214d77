import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// Keeps this node known to its peers and frees what dead peers held. Beating, watching and reaping are tasks of their own:
/// a node that is busy with the dead must not look like one of them.
struct NodeLife: Sendable {
    static let pollInterval = Duration.seconds(1)
    /// How often is looked whether a heartbeat is due, or whether the node is cut off.
    static let tick = Duration.milliseconds(250)
    /// How long a heartbeat is waited for, whatever the store's own limits are. Later, peers have given up this node.
    static let heartbeatWait = PeerLiveness.patience

    let node: NodeIdentity
    let connections: any ConnectionStore
    let sessions: LiveSessions
    /// The life that this state directory had before, if it had one.
    let earlierLife: NodeEpoch?
    let health: StoreHealth
    let reaper: LeaseReaper
    /// Ends those live sessions that must not outlive their slots (`HANSARD_ON_LEASE_LOST`), before peers may free these;
    /// says how many.
    let endSessions: @Sendable () -> Int
    let logger: Logger
    /// What silence is measured by.
    var now: @Sendable () -> ContinuousClock.Instant = { .now }

    /// Makes the node known; comes before its first claim. The life that this state directory had before is dead for
    /// certain, since two processes cannot share one: what it held is freed at once. Others of the same name may live.
    ///
    /// - Throws: what the first heartbeat throws. What cannot be freed now, this node or a peer frees later.
    func begin() async throws {
        try await beat()
        if let earlierLife, earlierLife != node.epoch { await reaper.reap(earlierLife, isNews: false) }
    }

    /// Beats and watches until the task is cancelled.
    func live() async {
        let heartbeats = Locked(Heartbeats(began: now()))
        async let beating: Void = beatRegularly(heartbeats)
        async let watching: Void = watchPeers()
        await watchIsolation(heartbeats)
        _ = await (beating, watching)
    }

    /// Takes the node's record away: a node that has shut down needs no reaping.
    func end() async {
        do {
            try await connections.remove(node.epoch)
        } catch {
            logger.warning("the node's record could not be removed; peers will reap it", error)
        }
    }

    // MARK: Beating

    private func beatRegularly(_ heartbeats: Locked<Heartbeats>) async {
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                let now = now()
                if heartbeats.withLock({ $0.isDue(now: now) }) {
                    group.addTask { await beat(heartbeats, sentAt: now) }
                }
                try? await Task.sleep(for: Self.tick)
            }
        }
    }

    private func beat(_ heartbeats: Locked<Heartbeats>, sentAt: ContinuousClock.Instant) async {
        let result = await firstWithin(Self.heartbeatWait) { () -> Result<Void, any Error> in
            do {
                return .success(try await beat())
            } catch {
                return .failure(error)
            }
        }
        switch result ?? .failure(Self.silence(Self.heartbeatWait)) {
        case .success:
            heartbeats.withLock { $0.answered(sentAt: sentAt) }
            health.answered(.heartbeat)
        case .failure(let error):
            let isNews = heartbeats.withLock { $0.failed(sentAt: sentAt, now: now()) }
            if isNews, !Task.isCancelled { health.failed(.heartbeat, error) }
        }
    }

    private static func silence(_ wait: Duration) -> HansardError {
        HansardError(.unavailable, "no heartbeat was answered within \(wait)")
    }

    private func beat() async throws {
        try await connections.heartbeat(
            NodeRecord(
                epoch: node.epoch, heartbeat: UUID(), address: node.address, region: node.region, version: node.version,
                isDraining: sessions.isDraining))
    }

    // MARK: Watching

    /// Finds dead peers. Reaping one takes its time beside.
    private func watchPeers() async {
        var liveness = PeerLiveness(myself: node.epoch)
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                do {
                    let records = try await connections.nodes()
                    health.answered(.nodes)
                    for dead in liveness.observed(records, now: now()) { group.addTask { await reaper.reap(dead) } }
                } catch {
                    if !Task.isCancelled { health.failed(.nodes, error) }
                }
                try? await Task.sleep(for: Self.pollInterval)
            }
        }
    }

    /// Says when the node is cut off, and ends the sessions that must not outlive their slots: those that are there, and
    /// those that come until it is over.
    private func watchIsolation(_ heartbeats: Locked<Heartbeats>) async {
        var wasIsolated = false
        while !Task.isCancelled {
            let isIsolated = heartbeats.withLock { $0.isIsolated(now: now()) }
            if isIsolated {
                health.failed(.heartbeat, Self.silence(Heartbeats.isolation))
                let count = endSessions()
                if count > 0, !wasIsolated {
                    logger.warning(
                        "sessions end before peers may free their slots", metadata: ["sessions": "\(count)"])
                }
            }
            wasIsolated = isIsolated
            try? await Task.sleep(for: Self.tick)
        }
    }
}
