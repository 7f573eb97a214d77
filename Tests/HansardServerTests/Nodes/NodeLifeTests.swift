import EventLoops
import Foundation
import Hansard
import Logging
import Testing

@testable import HansardServer

/// A node among its peers.
@Suite(.timeLimit(.minutes(10))) struct NodeLifeTests {
    let connections = MemoryConnectionStore()
    let health: StoreHealth
    let metrics = Metrics()
    let log = LogRecorder()
    let sessions = LiveSessions()
    let epoch = Sample.epoch("node-1", 9)
    let time = TimeWithoutStalls()

    init() { health = StoreHealth(logger: log.logger) }

    private var life: NodeLife { life(after: nil) }

    private func life(after earlierLife: NodeEpoch?, endSessions: @escaping @Sendable () -> Int = { 0 }) -> NodeLife {
        NodeLife(
            node: NodeIdentity(epoch: epoch, address: "127.0.0.1:1", region: "local", version: "1"),
            connections: connections, sessions: sessions, earlierLife: earlierLife, health: health,
            reaper: LeaseReaper(
                connections: connections, transcripts: MemoryTranscriptStore(), metrics: metrics, logger: log.logger),
            endSessions: endSessions, logger: log.logger, now: { [time] in time.now })
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

    /// A node that is busy with the dead would otherwise be taken for one of them.
    @Test func aReapingThatHangsHoldsUpNeitherBeatsNorTheOtherDead() async throws {
        try await life.begin()
        let (hung, other) = (Sample.epoch("node-2", 2), Sample.epoch("node-3", 3))
        register(hung, sessions: Array(1...200))
        // Two who live, so that the dead are not the most.
        connections.faults.set { [connections] name, _ in
            connections.change { state in
                for index in state.nodes.indices where state.nodes[index].epoch.node == "alive" {
                    state.nodes[index].heartbeat = UUID()
                }
            }
            return name == "reap" && connections.stored.nodes.contains { $0.epoch == hung } ? .hangs : .works
        }
        for number in UInt8(10)...12 { register(Sample.epoch("alive", number)) }
        let task = Task { await life.live() }
        try await eventually("it reaps", within: .seconds(60)) {
            connections.faults.calls.count { $0 == "reap" } == LeaseReaper.atOnce
        }
        connections.faults.forgetCalls()
        try await eventually("it goes on beating", within: .seconds(60)) {
            connections.faults.calls.count { $0 == "heartbeat" } >= 3
        }
        #expect(!connections.faults.calls.contains("reap"), "so many at once, and each epoch once")
        register(other)
        try await eventually("the other is found", within: .seconds(60)) {
            connections.faults.calls.contains("remove")
        }
        #expect(connections.stored.nodes.contains { $0.epoch == hung } && metrics.leasesReaped.value == 0)
        connections.faults.clear()
        try await eventually("all are freed") { metrics.leasesReaped.value == 200 }
        task.cancel()
        await task.value
    }

    /// A heartbeat that hangs does not keep the next from being sent.
    @Test func beatsDoNotWaitForEachOther() async throws {
        try await life.begin()
        connections.faults.set { name, _ in name == "heartbeat" ? .hangs : .works }
        connections.faults.forgetCalls()
        let task = Task { await life.live() }
        try await eventually("more than one", within: .seconds(60)) {
            connections.faults.calls.count { $0 == "heartbeat" } > 1
        }
        task.cancel()
        await task.value
    }

    /// Peers may free its slots after eight seconds; the sessions must be over by then, though nothing answers any more.
    @Test(arguments: [StoreFaults.Fate.away, .hangs]) func aNodeThatIsCutOffEndsItsSessionsInTime(
        _ fate: StoreFaults.Fate
    ) async throws {
        let ended = Locked<ContinuousClock.Instant?>(nil)
        let life = life(after: nil) {
            ended.withLock { $0 = $0 ?? .now }
            return 1
        }
        try await life.begin()
        let task = Task { await life.live() }
        try await eventually("it beats") { connections.faults.calls.count { $0 == "heartbeat" } > 1 }
        #expect(ended.withLock { $0 } == nil)
        connections.faults.set(fate, for: ["heartbeat"])
        try await eventually("they are ended", within: .seconds(60)) { ended.withLock { $0 } != nil }
        #expect(!health.isReachable && log.count(of: "does not answer", atLeast: .warning) == 1)
        #expect(log.count(of: "sessions end before peers", atLeast: .warning) == 1)
        connections.faults.clear()
        try await eventually("back", within: .seconds(60)) { health.isReachable }
        ended.withLock { $0 = nil }
        connections.faults.forgetCalls()
        try await eventually("it beats again", within: .seconds(60)) {
            connections.faults.calls.count { $0 == "heartbeat" } > 1
        }
        #expect(ended.withLock { $0 } == nil)
        task.cancel()
        await task.value
    }
}

/// Passes as the machine's time does, but for the moments in which nobody looked: a machine that was too busy for this test
/// is no store that kept silent.
final class TimeWithoutStalls: Sendable {
    private static let longestStep = NodeLife.tick * 2
    private let last = Locked((real: ContinuousClock.now, told: ContinuousClock.now))

    var now: ContinuousClock.Instant {
        last.withLock { last in
            let real = ContinuousClock.now
            last.told += min(last.real.duration(to: real), Self.longestStep)
            last.real = real
            return last.told
        }
    }
}
