import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Who has a turn when.
@Suite(.timeLimit(.minutes(1))) struct TenantLanesTests {
    /// Decides claims when the test says so, and keeps which came together.
    private final class Desk: Sendable {
        private struct State {
            var batches: [[SessionID]] = []
            var isOpen = false
            var failure: HansardError?
            var waiting: [CheckedContinuation<Void, Never>] = []
        }

        private let state = Locked(State())
        /// Tenants for which nothing is ever held back.
        let free: Set<TenantID>

        init(free: Set<TenantID> = []) { self.free = free }

        var batches: [[SessionID]] { state.withLock(\.batches) }

        func decide(_ claims: [ClaimBatch.Claim]) async throws -> [ClaimOutcome] {
            state.withLock { $0.batches.append(claims.map(\.lease.session)) }
            if let tenant = claims.first?.lease.tenant, !free.contains(tenant) {
                await withCheckedContinuation { continuation in
                    let isOpen = state.withLock { state in
                        if !state.isOpen { state.waiting.append(continuation) }
                        return state.isOpen
                    }
                    if isOpen { continuation.resume() }
                }
            }
            if let failure = state.withLock(\.failure) { throw failure }
            // Each gets an answer that is its own.
            return claims.map { .limitReached(limit: Int($0.lease.usedMilliseconds)) }
        }

        func open(failing failure: HansardError? = nil) {
            let waiting = state.withLock { state in
                state.isOpen = true
                state.failure = failure
                defer { state.waiting = [] }
                return state.waiting
            }
            for continuation in waiting { continuation.resume() }
        }
    }

    private func claim(_ number: Int, tenant: TenantID = Sample.tenant) -> ClaimBatch.Claim {
        var lease = Sample.lease(Sample.session(number), holder: Sample.epoch(), tenant: tenant)
        lease.usedMilliseconds = Int64(number)
        return ClaimBatch.Claim(lease: lease, limit: ConcurrencyLimit(sessions: nil, version: 1))
    }

    /// Starts claims in this order, and returns when all of them wait.
    private func start(
        _ numbers: [Int], _ lanes: TenantLanes
    ) async throws -> [Task<ClaimOutcome, any Error>] {
        var tasks: [Task<ClaimOutcome, any Error>] = []
        for number in numbers {
            let before = await lanes.waitingCount(Sample.tenant)
            tasks.append(Task { try await lanes.claim(claim(number)) })
            try await eventually("claim \(number) waits") { await lanes.waitingCount(Sample.tenant) > before }
        }
        return tasks
    }

    /// A lane whose turn somebody has already.
    private func busyLanes(_ desk: Desk) async throws -> (TenantLanes, Task<ClaimOutcome, any Error>) {
        let lanes = TenantLanes { try await desk.decide($0) }
        let first = Task { try await lanes.claim(claim(0)) }
        try await eventually("the first has its turn") { desk.batches.count == 1 }
        return (lanes, first)
    }

    @Test func whatWaitsGoesTogetherInTheOrderInWhichItCame() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let tasks = try await start(Array(1...60), lanes)
        desk.open()
        #expect(try await first.value == .limitReached(limit: 0))
        for (number, task) in zip(1...60, tasks) {
            #expect(try await task.value == .limitReached(limit: number), "its own answer")
        }
        let expected = [0...0, 1...25, 26...50, 51...60].map { $0.map { Sample.session($0) } }
        #expect(desk.batches == expected)
        #expect(await lanes.waitingCount(Sample.tenant) == 0)
    }

    @Test func aSessionIsNeverTwiceInOneTurn() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let tasks = try await start([1, 2, 1, 0, 3, 1], lanes)
        desk.open()
        for task in [first] + tasks { _ = try await task.value }
        let expected = [[0], [1, 2, 0, 3], [1], [1]].map { $0.map { Sample.session($0) } }
        #expect(desk.batches == expected)
    }

    @Test func releasesTakeTurnsWithClaims() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let turns = Locked<[String]>([])
        let before = try await start([1], lanes)
        let waiting = await lanes.waitingCount(Sample.tenant)
        let release = Task {
            try await lanes.alone(Sample.tenant) { turns.withLock { $0.append("after \(desk.batches.count)") } }
        }
        try await eventually("the release waits") { await lanes.waitingCount(Sample.tenant) > waiting }
        let after = try await start(Array(2...30), lanes)
        desk.open()
        try await release.value
        for task in [first] + before + after { _ = try await task.value }
        // Claims that came later go with the one before it, and what does not fit comes after it.
        #expect(desk.batches.map(\.count) == [1, 25, 5])
        #expect(turns.withLock { $0 } == ["after 2"])
    }

    @Test func turnsAreNeverAtOnce() async throws {
        let lanes = TenantLanes { claims in claims.map { _ in .claimed } }
        let active = Locked((now: 0, most: 0))
        try await withThrowingTaskGroup { group in
            for number in 0..<200 {
                group.addTask {
                    if number.isMultiple(of: 3) {
                        _ = try await lanes.claim(claim(number))
                        return
                    }
                    try await lanes.alone(Sample.tenant) {
                        active.withLock {
                            $0.now += 1
                            $0.most = max($0.most, $0.now)
                        }
                        await Task.yield()
                        active.withLock { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(active.withLock { $0.most } == 1)
    }

    @Test func anErrorReachesAllWhoWaitedAndTheNextHaveTheirTurn() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let tasks = try await start([1, 2, 3], lanes)
        desk.open(failing: HansardError(.unavailable, "away"))
        for task in [first] + tasks {
            let error = await #expect(throws: HansardError.self) { try await task.value }
            #expect(error?.message == "away")
        }
        desk.open()
        #expect(try await lanes.claim(claim(7)) == .limitReached(limit: 7))
        let failure = await #expect(throws: HansardError.self) {
            try await lanes.alone(Sample.tenant) { throw HansardError(.internal, "broken") }
        }
        #expect(failure?.code == .internal)
        #expect(try await lanes.alone(Sample.tenant) { 5 } == 5)
    }

    @Test func aTurnThatHangsHoldsNobodyElsesTenant() async throws {
        let desk = Desk(free: [Sample.otherTenant])
        let (lanes, first) = try await busyLanes(desk)
        let waiting = try await start([1], lanes)
        #expect(try await lanes.claim(claim(2, tenant: Sample.otherTenant)) == .limitReached(limit: 2))
        #expect(try await lanes.alone(Sample.otherTenant) { true })
        #expect(desk.batches.count == 2, "the first tenant still has its turn")
        desk.open()
        for task in [first] + waiting { _ = try await task.value }
    }

    @Test func beyondTheLimitTheyAreToldToComeAgain() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let waiting = (1...TenantLanes.waitingLimit).map { number in
            Task { try await lanes.claim(claim(number)) }
        }
        try await eventually("all of them wait") {
            await lanes.waitingCount(Sample.tenant) == TenantLanes.waitingLimit
        }
        #expect(await code { _ = try await lanes.claim(claim(0)) } == .unavailable)
        #expect(await code { try await lanes.alone(Sample.tenant) {} } == .unavailable)
        let other = Task { try await lanes.claim(claim(1, tenant: Sample.otherTenant)) }
        desk.open()
        for task in [first, other] + waiting { _ = try await task.value }
        #expect(desk.batches.allSatisfy { $0.count <= ClaimBatch.limit })
        #expect(try await lanes.claim(claim(0)) == .limitReached(limit: 0), "once there is room")
    }
}
