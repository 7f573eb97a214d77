internal import CLibuv
import Foundation
import Synchronization

/// One libuv loop on one operating-system thread, which is also a Swift executor: the place where sockets, timers and
/// everything bound to them live.
///
/// Jobs and closures given on the loop's own thread run in the same turn, without a system call; those from other
/// threads wake the loop with one `uv_async_send`. Nothing that runs on the loop may block: calls that do belong on a
/// `WorkerThread`. A task that shall not leave the loop is made with `Task(executorPreference: loop)`.
///
/// Its owner calls `stop()` once, after everything that lives on the loop has been ended, then `join()`.
///
/// `@unchecked Sendable`: `inbox` is behind a lock, the counters are atomic, and everything else is touched by the
/// loop's thread alone (or before that thread is started, or after it has ended).
public final class EventLoop: ServiceThread, SerialExecutor, TaskExecutor, @unchecked Sendable {
    /// The thread's name as debuggers and `top -H` show it; Linux keeps its first 15 bytes.
    public let name: String

    let loop: UnsafeMutablePointer<uv_loop_t>
    private let base: BaseHandles
    private let threadID = Atomic<UInt>(0)
    private let inbox = Locked(Inbox())
    private let finished = NSCondition()
    private var isFinished = false
    /// Set once, before the object is shared.
    private var thread: NamedThread?

    // Loop thread only.
    private var local: [Work] = []
    private var batch: [Work] = []
    private var isDraining = false
    private var isClosed = false
    private var stopHooks: [() -> Void] = []
    var attachments: [ObjectIdentifier: AnyObject] = [:]
    private var turnStart: UInt64 = 0
    private var idleAtTurnStart: UInt64 = 0
    private let longestTurn = Atomic<UInt64>(0)

    private struct Inbox {
        var pending: [Work] = []
        var isStopping = false
    }

    private enum Work {
        case closure(@Sendable () -> Void)
        case job(UnownedJob)
    }

    /// Creates the loop and starts its thread.
    ///
    /// - Parameter name: shown by debuggers.
    /// - Throws: `EventLoopError` if libuv cannot make a loop, for instance because no file descriptor is left.
    public init(name: String) throws(EventLoopError) {
        self.name = name
        loop = .allocate(capacity: 1)
        base = BaseHandles()
        let code = uv_loop_init(loop)
        guard code == 0 else {
            loop.deallocate()
            base.deallocate()
            throw EventLoopError(code: code)
        }
        _ = clibuv_loop_measure_idle_time(loop)
        let asyncCode = uv_async_init(loop, base.wake) { _ in }  // Waking is all: `check` drains the inbox.
        guard asyncCode == 0 else {
            uv_loop_close(loop)
            loop.deallocate()
            base.deallocate()
            throw EventLoopError(code: asyncCode)
        }
        let me = Unmanaged.passUnretained(self).toOpaque()
        base.start(on: loop, owner: me)
        thread = NamedThread(name: name) { [self] in threadMain() }
    }

    // MARK: Running things on the loop

    /// Runs `work` on the loop's thread, after what was given before from the same thread. Any thread may call it.
    ///
    /// - Returns: `false` if the loop has been stopped, and `work` will never run.
    @discardableResult
    public func execute(_ work: @escaping @Sendable () -> Void) -> Bool {
        add(.closure(work))
    }

    /// Whether the calling code runs on this loop's thread.
    public var isCurrent: Bool { threadID.load(ordering: .relaxed) == currentThreadID() }

    /// The loop whose thread runs the calling code, if any.
    public static var current: EventLoop? {
        guard let pointer = pthread_getspecific(currentLoopKey) else { return nil }
        return Unmanaged<EventLoop>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// Traps unless the calling code runs on this loop's thread.
    public func preconditionIsCurrent() {
        precondition(isCurrent, "expected to be on the event loop '\(name)'")
    }

    /// The `uv_loop_t *`, for libraries that bind to it. To be used on the loop's thread alone.
    public var rawLoop: UnsafeMutableRawPointer { UnsafeMutableRawPointer(loop) }

    /// The longest time one turn of the loop was busy since the last call: time not spent waiting in the kernel.
    ///
    /// A turn that has not ended yet is not seen. Any thread may call it; it is meant for one reader, a metric.
    public func takeLongestStall() -> Duration {
        .nanoseconds(Int64(clamping: longestTurn.exchange(0, ordering: .relaxed)))
    }

    // MARK: Ending

    /// Lets everything enqueued so far run, then the hooks of `whenStopping`, then ends the thread. Returns at once; calling it
    /// again does nothing. Timers and watches that are left are cancelled.
    ///
    /// What other libraries have bound to `rawLoop` must be gone by then, be released by a hook, or never be touched again: the loop
    /// is then left to the process, with its memory and some descriptors, because freeing it would be worse.
    public func stop() {
        inbox.withLock { inbox in
            if inbox.isStopping { return }
            inbox.isStopping = true
            uv_async_send(base.wake)
        }
    }

    /// Blocks the calling thread until the loop has ended. Never call it on the loop itself or on another event loop.
    public func join() {
        precondition(!isCurrent, "EventLoop.join() on the loop itself would never return")
        finished.withLock {
            while !isFinished { finished.wait() }
        }
        thread?.join()
    }

    /// Registers what has to be released on the loop's thread when it is stopped. Loop thread only.
    ///
    /// The loop makes some further turns after the hooks, so that they may close handles of libuv; timers are cancelled.
    public func whenStopping(_ hook: @escaping () -> Void) {
        preconditionIsCurrent()
        stopHooks.append(hook)
    }

    // MARK: The inbox

    private func add(_ work: Work) -> Bool {
        if isCurrent { return addOnLoop(work) }
        return inbox.withLock { inbox in
            if inbox.isStopping { return false }
            inbox.pending.append(work)
            // Under the lock, because the loop frees this handle once it has seen `isStopping` under the lock.
            if inbox.pending.count == 1 { uv_async_send(base.wake) }
            return true
        }
    }

    private func addOnLoop(_ work: Work) -> Bool {
        if isClosed { return false }
        if local.isEmpty && !isDraining { base.keepAwake() }
        local.append(work)
        return true
    }

    /// Runs what was enqueued before this turn; what that enqueues runs in the next turn, so that sockets get their share.
    fileprivate func drain() {
        isDraining = true
        swap(&batch, &local)
        inbox.withLock { inbox in
            batch.append(contentsOf: inbox.pending)
            inbox.pending.removeAll(keepingCapacity: true)
        }
        for work in batch {
            switch work {
            case .closure(let body): body()
            case .job(let job):
                job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
            }
        }
        batch.removeAll(keepingCapacity: true)
        isDraining = false
        if local.isEmpty { base.allowSleep() } else { base.keepAwake() }
        if inbox.withLock({ $0.isStopping && $0.pending.isEmpty }) && local.isEmpty { uv_stop(loop) }
    }

    fileprivate func measureTurn() {
        let now = uv_hrtime()
        let idle = uv_metrics_idle_time(loop)
        if turnStart != 0 {
            let busy = (now - turnStart) &- (idle - idleAtTurnStart)
            if busy > longestTurn.load(ordering: .relaxed) && busy < now {
                longestTurn.store(busy, ordering: .relaxed)
            }
        }
        turnStart = now
        idleAtTurnStart = idle
    }

    // MARK: The thread

    private func threadMain() {
        threadID.store(currentThreadID(), ordering: .relaxed)
        pthread_setspecific(currentLoopKey, Unmanaged.passUnretained(self).toOpaque())
        uv_run(loop, UV_RUN_DEFAULT)
        let hooks = stopHooks
        stopHooks = []
        for hook in hooks { hook() }
        closeOwnedHandles()
        turnUntilHandlesAreClosed()
        attachments = [:]
        isClosed = true
        base.close()
        for _ in 0..<8 where uv_run(loop, UV_RUN_NOWAIT) != 0 {}
        if uv_loop_close(loop) == 0 {
            loop.deallocate()
            base.deallocate()
        }
        pthread_setspecific(currentLoopKey, nil)
        finished.withLock {
            isFinished = true
            threadID.store(0, ordering: .relaxed)
            finished.broadcast()
        }
    }

    /// Closing a handle takes a turn, and its callback may close another; handles that nobody closes are waited for in vain.
    private func turnUntilHandlesAreClosed() {
        var count = openHandles()
        var idleTurns = 0
        while count > BaseHandles.count && idleTurns < 16 {
            uv_run(loop, UV_RUN_NOWAIT)
            let left = openHandles()
            idleTurns = left < count ? 0 : idleTurns + 1
            count = left
        }
    }

    private func openHandles() -> Int {
        var count = 0
        withUnsafeMutablePointer(to: &count) { pointer in
            uv_walk(loop, { _, count in count?.assumingMemoryBound(to: Int.self).pointee += 1 }, pointer)
        }
        return count
    }

    private func closeOwnedHandles() {
        uv_walk(
            loop,
            { handle, _ in
                guard let handle, let loop = EventLoop.current else { return }
                loop.owners[UnsafeMutableRawPointer(handle)]?.close()
            },
            nil
        )
    }

    /// The timers and watches that are open, by the address of their handle.
    var owners: [UnsafeMutableRawPointer: any HandleOwner] = [:]

    // MARK: SerialExecutor, TaskExecutor

    /// Part of `Executor`. Actors and tasks on this loop must have ended when its owner stops it: a broken invariant, which
    /// traps because the job would be lost.
    public func enqueue(_ job: consuming ExecutorJob) {
        let accepted = add(.job(UnownedJob(job)))
        precondition(accepted, "a task was enqueued on the stopped event loop '\(name)'")
    }

    /// Part of `SerialExecutor`.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    /// Part of `TaskExecutor`.
    public func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }

    /// Part of `SerialExecutor`: lets `assumeIsolated` work in callbacks of C libraries on the loop.
    public func checkIsolated() { preconditionIsCurrent() }

    /// Part of `SerialExecutor`.
    public func isIsolatingCurrentContext() -> Bool? { isCurrent }
}

/// Thread-specific storage that holds the loop of a loop's thread, unretained: the loop outlives its thread.
private let currentLoopKey: pthread_key_t = {
    var key = pthread_key_t()
    let code = pthread_key_create(&key, nil)
    precondition(code == 0, "a process has 1,024 thread-specific keys, and this one is made once")
    return key
}()

/// The four handles every loop has: the wake-up, the two ends of a turn, and the one that keeps `poll` from waiting.
private struct BaseHandles {
    static let count = 4
    let wake = UnsafeMutablePointer<uv_async_t>.allocate(capacity: 1)
    let prepare = UnsafeMutablePointer<uv_prepare_t>.allocate(capacity: 1)
    let check = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
    let idle = UnsafeMutablePointer<uv_idle_t>.allocate(capacity: 1)

    /// These initialisers cannot fail (libuv's pages on uv_prepare_t, uv_check_t, uv_idle_t).
    func start(on loop: UnsafeMutablePointer<uv_loop_t>, owner: UnsafeMutableRawPointer) {
        uv_prepare_init(loop, prepare)
        prepare.pointee.data = owner
        uv_prepare_start(prepare) { handle in eventLoop(handle?.pointee.data)?.measureTurn() }
        uv_check_init(loop, check)
        check.pointee.data = owner
        uv_check_start(check) { handle in eventLoop(handle?.pointee.data)?.drain() }
        uv_idle_init(loop, idle)
    }

    func keepAwake() { uv_idle_start(idle) { _ in } }

    func allowSleep() { uv_idle_stop(idle) }

    func close() {
        for handle in [
            UnsafeMutableRawPointer(wake), UnsafeMutableRawPointer(prepare), UnsafeMutableRawPointer(check),
            UnsafeMutableRawPointer(idle),
        ] {
            uv_close(handle.assumingMemoryBound(to: uv_handle_t.self), nil)
        }
    }

    func deallocate() {
        wake.deallocate()
        prepare.deallocate()
        check.deallocate()
        idle.deallocate()
    }
}

private func eventLoop(_ data: UnsafeMutableRawPointer?) -> EventLoop? {
    guard let data else { return nil }
    return Unmanaged<EventLoop>.fromOpaque(data).takeUnretainedValue()
}
