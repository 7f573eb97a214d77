import AWS
import EventLoops
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Who has a turn when.
@Suite(.timeLimit(.minutes(10))) struct TenantLanesTests {
    /// Decides claims when the test says so, and keeps which came together.
    private final class Desk: Sendable {
        private struct State {
            var batches: [[SessionID]] = []
            /// The leases that were ended together, and after how many batches of claims.
            var ends: [(sessions: [SessionID], after: Int)] = []
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
            return claims.map { .full(Int($0.lease.usedMilliseconds)) }
        }

        var ends: [(sessions: [SessionID], after: Int)] { state.withLock(\.ends) }

        func end(_ ends: [LeaseEnd]) async throws -> [DynamoDB.Outcome] {
            try state.withLock { state in
                state.ends.append((ends.map(\.lease.session), state.batches.count))
                if let failure = state.failure { throw failure }
            }
            return ends.map { .refused(["pk": .string($0.lease.session.description)]) }
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
        return ClaimBatch.Claim(lease: lease, limit: AdmissionLimit(sessions: nil, version: 1))
    }

    private func end(_ number: Int, tenant: TenantID = Sample.tenant) -> LeaseEnd {
        LeaseEnd(lease: claim(number, tenant: tenant).lease, condition: DynamoDBExpression("true"), status: [:])
    }

    /// The answer to an end that is its own.
    private func answer(_ number: Int) -> DynamoDB.Outcome {
        .refused(["pk": .string(Sample.session(number).description)])
    }

    private func lanes(_ desk: Desk) -> TenantLanes {
        TenantLanes(decide: { try await desk.decide($0) }, endLeases: { try await desk.end($0) })
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
        let lanes = lanes(desk)
        let first = Task { try await lanes.claim(claim(0)) }
        try await eventually("the first has its turn") { desk.batches.count == 1 }
        return (lanes, first)
    }

    @Test func whatWaitsGoesTogetherInTheOrderInWhichItCame() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let tasks = try await start(Array(1...60), lanes)
        desk.open()
        #expect(try await first.value == .full(0))
        for (number, task) in zip(1...60, tasks) {
            #expect(try await task.value == .full(number), "its own answer")
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

    @Test func endsTakeTurnsWithClaimsAndGoTogetherToo() async throws {
        let desk = Desk()
        let (lanes, first) = try await busyLanes(desk)
        let before = try await start([1], lanes)
        var ends: [Task<DynamoDB.Outcome, any Error>] = []
        for number in 101...130 {
            let waiting = await lanes.waitingCount(Sample.tenant)
            ends.append(Task { try await lanes.end(end(number)) })
            try await eventually("the end waits") { await lanes.waitingCount(Sample.tenant) > waiting }
        }
        let after = try await start(Array(2...30), lanes)
        desk.open()
        for (number, task) in zip(101...130, ends) { #expect(try await task.value == answer(number)) }
        for task in [first] + before + after { _ = try await task.value }
        // Claims that came later go with the one before, and what does not fit comes in its own turn.
        #expect(desk.batches.map(\.count) == [1, 25, 5])
        #expect(desk.ends.map(\.sessions.count) == [25, 5])
        #expect(desk.ends.map(\.after) == [2, 2])
        #expect(desk.ends.flatMap(\.sessions) == (101...130).map { Sample.session($0) })
    }

    @Test func turnsAreNeverAtOnce() async throws {
        let active = Locked((now: 0, most: 0))
        let turn: @Sendable () async -> Void = {
            active.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            await Task.yield()
            active.withLock { $0.now -= 1 }
        }
        let lanes = TenantLanes(
            decide: { claims in
                await turn()
                return claims.map { _ in .claimed }
            },
            endLeases: { ends in
                await turn()
                return ends.map { _ in .done }
            })
        try await withThrowingTaskGroup { group in
            for number in 0..<200 {
                group.addTask {
                    if number.isMultiple(of: 3) {
                        _ = try await lanes.claim(claim(number))
                    } else {
                        _ = try await lanes.end(end(number))
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
        let failure = await #expect(throws: HansardError.self) { try await lanes.end(end(5)) }
        #expect(failure?.message == "away")
        desk.open()
        #expect(try await lanes.claim(claim(7)) == .full(7))
        #expect(try await lanes.end(end(5)) == answer(5))
    }

    @Test func aTurnThatHangsHoldsNobodyElsesTenant() async throws {
        let desk = Desk(free: [Sample.otherTenant])
        let (lanes, first) = try await busyLanes(desk)
        let waiting = try await start([1], lanes)
        #expect(try await lanes.claim(claim(2, tenant: Sample.otherTenant)) == .full(2))
        #expect(try await lanes.end(end(3, tenant: Sample.otherTenant)) == answer(3))
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
        #expect(await code { _ = try await lanes.end(end(0)) } == .unavailable)
        let other = Task { try await lanes.claim(claim(1, tenant: Sample.otherTenant)) }
        desk.open()
        for task in [first, other] + waiting { _ = try await task.value }
        #expect(desk.batches.allSatisfy { $0.count <= ClaimBatch.limit })
        #expect(try await lanes.claim(claim(0)) == .full(0), "once there is room")
    }
}
