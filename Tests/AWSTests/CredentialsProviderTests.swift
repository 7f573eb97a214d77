import EventLoops
import Foundation
import Testing

@testable import AWS

@Suite struct CredentialsLifetimeTests {
    private static let start = Date(timeIntervalSince1970: 1_000_000)

    private func loaded(lifetime: TimeInterval?, random: Double = 0) -> (CredentialsLifetime, AWSCredentials) {
        let credentials = AWSCredentials.number(1, until: lifetime.map { Self.start + $0 })
        var state = CredentialsLifetime()
        #expect(state.action(at: Self.start) == .load)
        state.loaded(credentials, at: Self.start, random: random)
        return (state, credentials)
    }

    @Test func anHourIsRenewedFiveToSevenMinutesAhead() {
        for (random, ahead) in [(0.0, 300.0), (0.5, 360), (0.999_999, 420)] {
            let (state, credentials) = loaded(lifetime: 3_600, random: random)
            #expect(state.action(at: Self.start + 3_600 - ahead - 1) == .use(credentials))
            #expect(state.action(at: Self.start + 3_600 - ahead + 1) == .useAndLoad(credentials))
            #expect(state.action(at: Self.start + 3_539) == .useAndLoad(credentials))
            #expect(state.action(at: Self.start + 3_541) == .load)
            #expect(state.action(at: Self.start + 3_601) == .load)
        }
    }

    @Test func aShortLifeIsNotLoadedAtEachUse() {
        let (state, credentials) = loaded(lifetime: 90, random: 0.5)
        #expect(state.action(at: Self.start + 54) == .use(credentials))
        #expect(state.action(at: Self.start + 56) == .useAndLoad(credentials))
        #expect(state.action(at: Self.start + 80) == .load)
    }

    @Test func whatDoesNotEndIsUsedForEver() {
        let (state, credentials) = loaded(lifetime: nil)
        #expect(state.action(at: Self.start + 1e9) == .use(credentials))
    }

    @Test func failuresLeaveTheOldOnesAndPausesBetween() {
        var (state, credentials) = loaded(lifetime: 3_600)
        var now = Self.start + 3_400
        for pause in [1.0, 2, 4, 8, 16, 30, 30] {
            #expect(state.action(at: now) == .useAndLoad(credentials))
            #expect(state.loadFailed(at: now) == credentials)
            #expect(state.action(at: now + pause - 0.1) == .use(credentials))
            now += pause
        }
        // About to end they still serve, and after that nothing does.
        #expect(state.action(at: Self.start + 3_599) == .load)
        #expect(state.loadFailed(at: Self.start + 3_599) == credentials)
        #expect(state.action(at: Self.start + 3_600) == .fail)
        #expect(state.action(at: Self.start + 3_630) == .load)
        #expect(state.loadFailed(at: Self.start + 3_630) == nil)
        #expect(state.action(at: Self.start + 3_631) == .fail)
        let new = AWSCredentials.number(2)
        state.loaded(new, at: Self.start + 3_700, random: 0)
        #expect(state.action(at: Self.start + 3_700) == .use(new))
    }

    /// A load that failed behind everyone's back, while the old ones served, must not keep them from being replaced.
    @Test func refusalEndsThePauseAfterAFailure() {
        var (state, credentials) = loaded(lifetime: 3_600)
        let now = Self.start + 3_400
        #expect(state.loadFailed(at: now) == credentials)
        #expect(state.action(at: now) == .use(credentials))
        state.refused(credentials, at: now)
        #expect(state.action(at: now) == .load)
    }

    @Test func refusalConcernsThoseThatWereRefused() {
        var (state, credentials) = loaded(lifetime: 3_600)
        state.refused(.number(7), at: Self.start)
        #expect(state.action(at: Self.start) == .use(credentials))
        state.refused(credentials, at: Self.start)
        #expect(state.action(at: Self.start) == .load)
        #expect(state.loadFailed(at: Self.start) == nil)
        #expect(state.action(at: Self.start) == .fail)
        // Refusing them again does not undo the pause.
        state.refused(credentials, at: Self.start)
        #expect(state.action(at: Self.start) == .fail)
        #expect(state.action(at: Self.start + 1) == .load)
    }
}

/// Opens once, for all who wait.
private actor Gate {
    private var isOpen = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func pass() async {
        if isOpen { return }
        await withCheckedContinuation { waiting.append($0) }
    }

    func open() {
        isOpen = true
        for continuation in waiting { continuation.resume() }
        waiting = []
    }
}

@Suite(.timeLimit(.minutes(10))) struct CredentialsProviderTests {
    private func provider(_ sources: [any CredentialsSource], _ machine: ManualClock = ManualClock())
        -> CredentialsProvider
    {
        CredentialsProvider(sources: sources, clock: AWSClock(machine: { machine.now }), random: { 0 })
    }

    @Test func aHundredWaitersShareOneLoad() async throws {
        let gate = Gate()
        let source = ScriptedSource([.success(.number(1)), .success(.number(2))]) { await gate.pass() }
        let provider = provider([source])
        let all = try await withThrowingTaskGroup(of: AWSCredentials.self) { group in
            for _ in 0..<100 { group.addTask { try await provider.credentials() } }
            // Whoever comes later finds the load under way or done: in no order is there a second one.
            await gate.open()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(all == Array(repeating: .number(1), count: 100) && source.loads == 1)
    }

    @Test func aHundredWaitersShareOneFailure() async throws {
        let gate = Gate()
        let source = ScriptedSource([.failure(.failed("broken")), .success(.number(2))]) { await gate.pass() }
        let machine = ManualClock()
        let provider = provider([source], machine)
        let failures = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<100 { group.addTask { (try? await provider.credentials()) == nil } }
            await gate.open()
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(failures == 100 && source.loads == 1)
        machine.advance(1)
        #expect(try await provider.credentials() == .number(2))
    }

    @Test func renewalKeepsNobodyWaiting() async throws {
        let machine = ManualClock()
        let gate = Gate()
        await gate.open()
        let closed = Gate()
        let isRenewing = Locked(false)
        let end = machine.now + 3_600
        let source = ScriptedSource([
            .success(.number(1, until: end)), .success(.number(2, until: end + 3_600)),
        ]) { if isRenewing.withLock({ $0 }) { await closed.pass() } }
        let provider = provider([source], machine)
        #expect(try await provider.credentials() == .number(1, until: end))
        isRenewing.withLock { $0 = true }
        machine.advance(3_400)
        for _ in 0..<50 { #expect(try await provider.credentials() == .number(1, until: end)) }
        await closed.open()
        var current = try await provider.credentials()
        while current.accessKeyID == "AKID1" {
            await Task.yield()
            current = try await provider.credentials()
        }
        #expect(current == .number(2, until: end + 3_600) && source.loads == 2)
    }

    @Test func oldOnesServeUntilTheyEndWhenRenewalFails() async throws {
        let machine = ManualClock()
        let end = machine.now + 3_600
        let source = ScriptedSource([.success(.number(1, until: end)), .failure(.failed("away"))])
        let provider = provider([source], machine)
        _ = try await provider.credentials()
        machine.advance(3_590)
        #expect(try await provider.credentials() == .number(1, until: end))
        machine.advance(11)
        let error = await #expect(throws: CredentialsError.self) { try await provider.credentials() }
        #expect(error?.description == "no AWS credentials: script: away")
    }

    @Test func refusedOnesAreReplacedForAllWhoWait() async throws {
        let source = ScriptedSource([.success(.number(1)), .success(.number(2)), .success(.number(3))])
        let provider = provider([source])
        let first = try await provider.credentials()
        await withTaskGroup { group in
            for _ in 0..<50 {
                group.addTask {
                    await provider.refused(first)
                    _ = try? await provider.credentials()
                }
            }
        }
        #expect(try await provider.credentials() == .number(2))
        #expect(source.loads == 2)
    }

    @Test func sourcesAreAskedInOrderUntilOneIsSetUp() async throws {
        let first = ScriptedSource(named: "a", [.failure(.notConfigured("X is not set"))])
        let last = ScriptedSource(named: "c", [.success(.number(3))])
        let good = provider([first, ScriptedSource(named: "b", [.success(.number(2))]), last])
        #expect(try await good.credentials() == .number(2))
        #expect(first.loads == 1 && last.loads == 0)

        // One that is set up and broken is not passed over: the next would be somebody else.
        let broken = provider([first, ScriptedSource(named: "b", [.failure(.failed("no file f"))]), last])
        let error = await #expect(throws: CredentialsError.self) { try await broken.credentials() }
        #expect(error?.description == "no AWS credentials: a: X is not set; b: no file f")
        #expect(last.loads == 0)
    }

    @Test func credentialsThatCannotBeSentOrHaveEndedAreRefused() async throws {
        let machine = ManualClock()
        let cases: [(AWSCredentials, String)] = [
            (.number(1, until: machine.now), "its credentials ended at 20150830T123600Z"),
            (AWSCredentials(accessKeyID: "A\nB", secretAccessKey: "s"), "its access key ID holds spaces"),
            (AWSCredentials(accessKeyID: "A", secretAccessKey: "sesame "), "its secret access key holds spaces"),
            (
                AWSCredentials(accessKeyID: "A", secretAccessKey: "s", sessionToken: "öpen"),
                "its session token holds spaces"
            ),
        ]
        for (credentials, reason) in cases {
            let provider = provider([FixedCredentials(credentials)], machine)
            let error = await #expect(throws: CredentialsError.self) { try await provider.credentials() }
            #expect(error?.attempts.first?.reason.hasPrefix(reason) == true)
            #expect(error?.description.contains("sesame") == false && error?.description.contains("pen") == false)
        }
    }

    @Test func aCorrectedClockDecidesWhatHasEnded() async throws {
        let machine = ManualClock()
        let clock = AWSClock(machine: { machine.now })
        // This machine is two hours ahead: by its own clock new credentials have ended before they came.
        let end = machine.now - 3_600
        let provider = CredentialsProvider(sources: [FixedCredentials(.number(1, until: end))], clock: clock)
        _ = clock.learn(serverTime: machine.now - 7_200)
        #expect(try await provider.credentials() == .number(1, until: end))
    }

    @Test func whoeverIsCancelledLeavesTheLoadToTheRest() async throws {
        let gate = Gate()
        let source = ScriptedSource([.success(.number(1))]) { await gate.pass() }
        let provider = provider([source])
        let cancelled = Task { try await provider.credentials() }
        let other = Task { try await provider.credentials() }
        cancelled.cancel()
        await gate.open()
        #expect(try await other.value == .number(1) && source.loads == 1)
        _ = try? await cancelled.value
    }
}
