import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// A node among its peers.
@Suite(.timeLimit(.minutes(10))) struct NodeLifeTests {
    let connections = MemoryConnectionStore()
    let health = StoreHealth()
    let metrics = Metrics()
    let log = LogRecorder()
    let sessions = LiveSessions()
    let epoch = Sample.epoch("node-1", 9)

    private var life: NodeLife { life(after: nil) }

    private func life(after earlierLife: NodeEpoch?) -> NodeLife {
        NodeLife(
            node: NodeIdentity(epoch: epoch, address: "127.0.0.1:1", region: "local", version: "1"),
            connections: connections, sessions: sessions, earlierLife: earlierLife, health: health, metrics: metrics,
            logger: log.logger)
    }

    private func register(_ epoch: NodeEpoch, sessions numbers: [Int] = []) {
        let leases = numbers.map { Sample.lease(Sample.session($0), holder: epoch) }
        connections.change { state in
            state.nodes.append(NodeRecord(epoch: epoch, heartbeat: epoch.epoch, address: "", region: "", version: ""))
            for lease in leases { state.leases[Sample.tenant, default: [:]][lease.session] = lease }
        }
    }

    @Test func theNodeIsKnownOnceItHasBegun() async throws {
        try await life.begin()
        #expect(connections.stored.nodes.map(\.epoch) == [epoch])
        #expect(connections.stored.nodes[0].address == "127.0.0.1:1")
        #expect(connections.faults.calls.first == "heartbeat", "before anything else")
        await life.end()
        #expect(connections.stored.nodes.isEmpty)
    }

    @Test func anotherLivingNodeOfTheSameNameIsLeftAlone() async throws {
        register(Sample.epoch("node-1", 1), sessions: [1])
        try await life(after: Sample.epoch("node-1", 5)).begin()
        #expect(connections.stored.leases[Sample.tenant]?.count == 1)
        #expect(Set(connections.stored.nodes.map(\.epoch)) == [epoch, Sample.epoch("node-1", 1)])
    }

    @Test func whatAnEarlierLifeHeldIsFreedAtOnce() async throws {
        register(Sample.epoch("node-1", 1), sessions: [1, 2])
        register(Sample.epoch("node-2", 2), sessions: [3])
        try await life(after: Sample.epoch("node-1", 1)).begin()
        #expect(connections.stored.leases[Sample.tenant]?.keys.map(\.self) == [Sample.session(3)])
        #expect(Set(connections.stored.nodes.map(\.epoch)) == [epoch, Sample.epoch("node-2", 2)])
        #expect(connections.stored.statuses[Sample.session(1)]?.state == .interrupted)
        #expect(metrics.leasesReaped.value == 2)
    }

    @Test func aStoreThatIsAwayAtTheStartIsToldToTheCaller() async throws {
        connections.faults.set(.away, for: ["heartbeat"])
        #expect(await code { try await life.begin() } == .unavailable)
    }

    @Test func aStoreThatGoesAwayAndComesBackIsOneLineEach() async throws {
        try await life.begin()
        let task = Task { await life.live() }
        try await eventually("it beats") { connections.faults.callCount > 3 }
        #expect(health.isReachable)
        connections.faults.set { _, _ in .away }
        try await eventually("away") { !health.isReachable }
        connections.faults.forgetCalls()
        try await eventually("it keeps asking") { connections.faults.callCount >= 2 }
        connections.faults.clear()
        try await eventually("back") { health.isReachable }
        #expect(log.count(of: "does not answer", atLeast: .warning) == 1)
        try await eventually("told") { log.count(of: "answers again") == 1 }
        task.cancel()
        await task.value
    }

    @Test func everyBeatIsAnotherAndSaysWhetherTheNodeDrains() async throws {
        try await life.begin()
        let first = connections.stored.nodes[0].heartbeat
        #expect(!connections.stored.nodes[0].isDraining)
        sessions.startDraining()
        let task = Task { await life.live() }
        try await eventually("another beat") { connections.stored.nodes.first?.heartbeat != first }
        #expect(connections.stored.nodes[0].isDraining)
        task.cancel()
        await task.value
    }

    /// Eight seconds of the wall clock: the patience is not injectable, and peers' slots depend on it.
    @Test func aDeadPeersSlotsAreFreed() async throws {
        try await life.begin()
        let task = Task { await life.live() }
        register(Sample.epoch("node-2", 2), sessions: [1])
        try await eventually("reaped", within: .seconds(60)) { metrics.leasesReaped.value == 1 }
        try await eventually("removed") { connections.stored.nodes.map(\.epoch) == [epoch] }
        #expect(connections.stored.statuses[Sample.session(1)]?.reason == "the node ended")
        #expect(log.count(of: "a node is dead", atLeast: .warning) == 1)
        task.cancel()
        await task.value
    }
}
