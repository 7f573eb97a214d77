import EventLoops
import Foundation
import Synchronization
import Testing

@Suite struct WorkerThreadTests {
    @Test func runsInOrderOnOneThread() async throws {
        let thread = WorkerThread(name: "test")
        let seen = Locked<[Int]>([])
        for number in 0..<1_000 {
            thread.execute {
                #expect(thread.isCurrent)
                seen.withLock { $0.append(number) }
            }
        }
        let last = try await thread.run { seen.withLock { $0.last } }
        #expect(last == 999)
        #expect(seen.withLock { $0 } == Array(0..<1_000))
        thread.stop()
        thread.join()
    }

    /// As debuggers and `top -H` show it; Linux keeps 15 bytes.
    @Test func theSystemKnowsItsName() async throws {
        let thread = WorkerThread(name: "a name longer than that")
        let name = try await thread.run { try String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8) }
        #expect(name == "a name longer t\n")
        thread.stop()
    }

    /// What OpenSSL and libcurl keep for a thread is freed when it exits, and must be before the process does.
    @Test func joinWaitsForTheVeryEnd() async throws {
        var key = pthread_key_t()
        pthread_key_create(&key) { value in
            usleep(20_000)
            value.map { Unmanaged<Released>.fromOpaque($0).release() }
        }
        defer { pthread_key_delete(key) }
        let made = key
        let count = Released.Counter()
        for number in 1...10 {
            let thread = WorkerThread(name: "test")
            _ = try await thread.run { pthread_setspecific(made, Unmanaged.passRetained(Released(count)).toOpaque()) }
            thread.stop()
            thread.join()
            #expect(count.value.load(ordering: .sequentiallyConsistent) == number)
        }
    }

    @Test func workGivenBeforeStopStillRunsAndLaterWorkIsRefused() async {
        let thread = WorkerThread(name: "test")
        let count = Atomic<Int>(0)
        for _ in 0..<100 { thread.execute { count.add(1, ordering: .relaxed) } }
        thread.stop()
        thread.join()
        #expect(count.load(ordering: .relaxed) == 100)
        #expect(!thread.execute {})
        await #expect(throws: CancellationError.self) { try await thread.run { 1 } }
    }

    @Test func anActorLivesOnIt() async {
        actor Counter {
            let thread: WorkerThread
            var value = 0
            init(thread: WorkerThread) { self.thread = thread }
            nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }
            func increment() {
                #expect(thread.isCurrent)
                value += 1
            }
        }
        let thread = WorkerThread(name: "actor")
        let counter = Counter(thread: thread)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 { group.addTask { await counter.increment() } }
        }
        #expect(await counter.value == 50)
        thread.stop()
        thread.join()
    }
}

/// Counts how many have been released.
private final class Released {
    final class Counter: Sendable { let value = Atomic<Int>(0) }
    private let counter: Counter
    init(_ counter: Counter) { self.counter = counter }
    deinit { counter.value.add(1, ordering: .sequentiallyConsistent) }
}
