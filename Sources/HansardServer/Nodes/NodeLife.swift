import FoundationEssentials
import Hansard
import Logging

/// Keeps this node known to its peers and frees what dead peers held. All nodes are equal: any may reap any.
struct NodeLife: Sendable {
    static let heartbeatInterval = Duration.seconds(2)
    static let pollInterval = Duration.seconds(1)

    let node: NodeIdentity
    let connections: any ConnectionStore
    let sessions: LiveSessions
    /// The life that this state directory had before, if it had one.
    let earlierLife: NodeEpoch?
    let health: StoreHealth
    let metrics: Metrics
    let logger: Logger

    /// Makes the node known; comes before its first claim. The life that this state directory had before is dead for
    /// certain, since two processes cannot share one: what it held is freed at once. Others of the same name may live.
    func begin() async throws {
        try await beat()
        if let earlierLife, earlierLife != node.epoch { try await reap(earlierLife) }
    }

    /// Beats and watches until the task is cancelled.
    func live() async {
        var liveness = PeerLiveness(myself: node.epoch)
        var beatAt = ContinuousClock.now
        while !Task.isCancelled {
            let now = ContinuousClock.now
            do {
                if now >= beatAt {
                    try await beat()
                    beatAt = now + Self.heartbeatInterval
                }
                for dead in liveness.observed(try await connections.nodes(), now: .now) {
                    logger.warning("a node is dead; freeing what it held", metadata: ["node": "\(dead)"])
                    try await reap(dead)
                }
                if health.report(isReachable: true) { logger.notice("the connection store answers again") }
            } catch {
                if health.report(isReachable: false) { logger.warning("the connection store does not answer", error) }
            }
            try? await Task.sleep(for: Self.pollInterval)
        }
    }

    /// Takes the node's record away: a node that has shut down needs no reaping.
    func end() async {
        do {
            try await connections.remove(node.epoch)
        } catch {
            logger.warning("the node's record could not be removed; peers will reap it", error)
        }
    }

    private func beat() async throws {
        try await connections.heartbeat(
            NodeRecord(
                epoch: node.epoch, heartbeat: UUID(), address: node.address, region: node.region, version: node.version,
                isDraining: sessions.isDraining))
    }

    private func reap(_ epoch: NodeEpoch) async throws {
        for lease in try await connections.leases(heldBy: epoch) {
            if try await connections.reap(lease, status: .abandoned(lease, now: .now)) { metrics.leasesReaped.add() }
        }
        try await connections.remove(epoch)
    }
}

extension SessionStatus {
    /// What can be said of a session whose node cannot be asked any more.
    static func abandoned(_ lease: Lease, now: Date) -> SessionStatus {
        SessionStatus(
            session: lease.session, tenant: lease.tenant, key: lease.key, state: .interrupted, endState: .interrupted,
            reason: "the node ended", startedAt: lease.claimedAt, endedAt: now,
            audioMilliseconds: lease.usedMilliseconds, finals: 0, transcriptLocation: nil, region: lease.region)
    }
}
