import EventLoops
import Foundation
import Synchronization
import Testing

/// A loop of its own for `body`, stopped and joined after it.
private func withLoop<Value>(_ body: (EventLoop) async throws -> Value) async throws -> Value {
    let loop = try EventLoop(name: "test")
    defer {
        loop.stop()
        loop.join()
    }
    return try await body(loop)
}

@Suite(.timeLimit(.minutes(10))) struct EventLoopTests {
    @Test func runsInOrderOnItsThread() async throws {
        try await withLoop { loop in
            let seen = Locked<[Int]>([])
            for number in 0..<10_000 {
                loop.execute {
                    #expect(loop.isCurrent && EventLoop.current === loop)
                    seen.withLock { $0.append(number) }
                }
            }
            let all = try await loop.run { seen.withLock { $0 } }
            #expect(all == Array(0..<10_000))
            #expect(!loop.isCurrent)
            #expect(EventLoop.current == nil)
        }
    }

    @Test func takesWorkFromManyThreadsAndFromItself() async throws {
        try await withLoop { loop in
            let count = Count()
            await withTaskGroup { group in
                for _ in 0..<8 {
                    group.addTask {
                        for _ in 0..<1_000 {
                            loop.execute { loop.execute { count.value.add(1, ordering: .relaxed) } }
                        }
                    }
                }
            }
            while count.value.load(ordering: .relaxed) < 8_000 { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    @Test func workGivenBeforeStopRunsAndLaterWorkIsRefused() async throws {
        let loop = try EventLoop(name: "test")
        let count = Count()
        for _ in 0..<1_000 {
            loop.execute {
                count.value.add(1, ordering: .relaxed)
                loop.execute { count.value.add(1, ordering: .relaxed) }
            }
        }
        loop.stop()
        loop.stop()
        loop.join()
        #expect(count.value.load(ordering: .relaxed) == 2_000)
        #expect(!loop.execute {})
        await #expect(throws: CancellationError.self) { try await loop.run { 1 } }
    }

    @Test func stoppingWhileOthersGiveWorkIsSafe() async throws {
        for _ in 0..<50 {
            let loop = try EventLoop(name: "test")
            let ran = Count()
            async let accepted = withTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask {
                        var accepted = 0
                        while loop.execute({ ran.value.add(1, ordering: .relaxed) }) && accepted < 100_000 {
                            accepted += 1
                        }
                        return accepted
                    }
                }
                return await group.reduce(0, +)
            }
            try await Task.sleep(for: .microseconds(300))
            loop.stop()
            let total = await accepted
            loop.join()
            #expect(ran.value.load(ordering: .relaxed) >= total)
        }
    }

    @Test func anActorAndATaskLiveOnIt() async throws {
        actor Counter {
            let loop: EventLoop
            var value = 0
            init(loop: EventLoop) { self.loop = loop }
            nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
            func increment() {
                #expect(loop.isCurrent)
                value += 1
            }
        }
        try await withLoop { loop in
            let counter = Counter(loop: loop)
            await withTaskGroup { group in
                for _ in 0..<100 { group.addTask { await counter.increment() } }
            }
            #expect(await counter.value == 100)
            let task = Task(executorPreference: loop) {
                await Task.yield()
                return loop.isCurrent
            }
            #expect(await task.value)
            let isolated = try await loop.run { counter.assumeIsolated { $0.value } }
            #expect(isolated == 100)
        }
    }

    @Test func timersFireInOrderRepeatAndAreCancelled() async throws {
        try await withLoop { loop in
            let order = Locked<[String]>([])
            let repeats = Count()
            try await loop.run {
                let cancelled = loop.schedule(after: .milliseconds(5)) { order.withLock { $0.append("never") } }
                loop.schedule(after: .milliseconds(20)) { order.withLock { $0.append("late") } }
                loop.schedule(after: .zero) { order.withLock { $0.append("soon") } }
                let once = loop.schedule(after: .milliseconds(1)) { order.withLock { $0.append("next") } }
                #expect(once.isScheduled)
                cancelled.cancel()
                cancelled.cancel()
                #expect(!cancelled.isScheduled)
                let box = Box<LoopTimer>()
                box.value = loop.schedule(after: .milliseconds(1), repeating: .milliseconds(1)) {
                    if repeats.value.add(1, ordering: .relaxed).newValue == 5 { box.value?.cancel() }
                }
            }
            while order.withLock({ $0.count }) < 3 || repeats.value.load(ordering: .relaxed) < 5 {
                try await Task.sleep(for: .milliseconds(1))
            }
            try await Task.sleep(for: .milliseconds(20))
            #expect(order.withLock { $0 } == ["soon", "next", "late"])
            #expect(repeats.value.load(ordering: .relaxed) == 5)
        }
    }

    @Test func watchesADescriptor() async throws {
        try await withLoop { loop in
            var ends: [Int32] = [0, 0]
            #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
            let (near, far) = (ends[0], ends[1])
            let received = Locked<[UInt8]>([])
            let watch = try await loop.run {
                LoopBound(
                    try loop.watch(fileDescriptor: near, events: [.readable]) { events in
                        #expect(events.contains(.readable))
                        var byte: UInt8 = 0
                        if read(near, &byte, 1) == 1 { received.withLock { $0.append(byte) } }
                    },
                    on: loop
                )
            }
            var bytes: [UInt8] = [1, 2, 3]
            #expect(write(far, &bytes, 3) == 3)
            while received.withLock({ $0.count }) < 3 { try await Task.sleep(for: .milliseconds(1)) }
            try await loop.run { watch.value.update([]) }
            #expect(write(far, &bytes, 1) == 1)
            try await Task.sleep(for: .milliseconds(10))
            #expect(received.withLock { $0 } == [1, 2, 3])
            try await loop.run { watch.value.update([.readable]) }
            while received.withLock({ $0.count }) < 4 { try await Task.sleep(for: .milliseconds(1)) }
            try await loop.run { watch.value.cancel() }
            close(near)
            close(far)
            await #expect(throws: EventLoopError.self) {
                try await loop.run { _ = try loop.watch(fileDescriptor: -1, events: [.readable]) { _ in } }
            }
        }
    }

    @Test func tellsTheLongestStall() async throws {
        try await withLoop { loop in
            try await loop.run { _ = usleep(30_000) }
            try await loop.run {}
            #expect(loop.takeLongestStall() >= .milliseconds(30))
            try await Task.sleep(for: .seconds(2))
            try await loop.run {}
            try await loop.run {}
            // Waiting in the kernel is no stall: of two seconds of it hardly anything counts.
            #expect(loop.takeLongestStall() < .seconds(1))
        }
    }

    @Test func hooksAndLeftTimersEndWithTheLoop() async throws {
        let loop = try EventLoop(name: "test")
        let hooks = Count()
        try await loop.run {
            loop.whenStopping {
                hooks.value.add(1, ordering: .relaxed)
                loop.schedule(after: .milliseconds(3)) { hooks.value.add(1, ordering: .relaxed) }
            }
            loop.schedule(after: .seconds(3_600)) { hooks.value.add(100, ordering: .relaxed) }
        }
        loop.stop()
        loop.join()
        #expect(hooks.value.load(ordering: .relaxed) <= 2)
        #expect(hooks.value.load(ordering: .relaxed) >= 1)
    }
}

private final class Box<Value> { var value: Value? }

/// A counter that closures can share.
private final class Count: Sendable { let value = Atomic<Int>(0) }
