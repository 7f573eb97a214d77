import Foundation
import Synchronization

/// One operating-system thread that runs what it is given, in order: the place for calls that block or compute
/// (libpq, PocketSphinx, fdatasync), so that no event loop ever waits for them.
///
/// It is a `SerialExecutor`, so that an actor can live on it (`nonisolated var unownedExecutor`), and a
/// `TaskExecutor`, so that a task can prefer it. Its owner calls `stop()` once; work enqueued before that still runs.
///
/// `@unchecked Sendable`: all mutable state is behind `condition`.
public final class WorkerThread: ServiceThread, SerialExecutor, TaskExecutor, @unchecked Sendable {
    /// The thread's name as debuggers and `top -H` show it; Linux keeps its first 15 bytes.
    public let name: String

    private let condition = NSCondition()
    private var pending: [Work] = []
    private var isStopping = false
    private var isFinished = false
    private let threadID = Atomic<UInt>(0)
    /// Set once, before the object is shared.
    private var thread: NamedThread?

    private enum Work {
        case closure(@Sendable () -> Void)
        case job(UnownedJob)
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - name: shown by debuggers.
    ///   - stackSize: in bytes; PocketSphinx and libpq are content with the default of 8 MiB, which is only reserved.
    public init(name: String, stackSize: Int = 8 << 20) {
        self.name = name
        thread = NamedThread(name: name, stackSize: stackSize) { [self] in run() }
    }

    /// Runs `work` on the thread after everything given before. Any thread may call it.
    ///
    /// - Returns: `false` if the thread has been stopped, and `work` will never run.
    @discardableResult
    public func execute(_ work: @escaping @Sendable () -> Void) -> Bool {
        add(.closure(work))
    }

    /// Lets everything enqueued so far run, then ends the thread. Returns at once; calling it again does nothing.
    public func stop() {
        condition.withLock {
            isStopping = true
            condition.signal()
        }
    }

    /// Blocks the calling thread until the worker has ended. Never call it on the worker itself or on an event loop.
    public func join() {
        precondition(!isCurrent, "WorkerThread.join() on the thread itself would never return")
        condition.withLock {
            while !isFinished { condition.wait() }
        }
        thread?.join()
    }

    /// Whether the calling code runs on this thread.
    public var isCurrent: Bool { threadID.load(ordering: .relaxed) == currentThreadID() }

    /// Touches nothing of `self` after the work has been handed over: it may have run by then, and have let go of the last
    /// reference to this object (the runtime holds none while it enqueues).
    private func add(_ work: Work) -> Bool {
        let condition = condition
        return withExtendedLifetime(condition) {
            condition.lock()
            defer { condition.unlock() }
            if isStopping { return false }
            pending.append(work)
            condition.signal()
            return true
        }
    }

    private func run() {
        threadID.store(currentThreadID(), ordering: .relaxed)
        var batch: [Work] = []
        while true {
            condition.lock()
            while pending.isEmpty && !isStopping { condition.wait() }
            swap(&batch, &pending)
            let ends = batch.isEmpty && isStopping
            if ends {
                isFinished = true
                condition.broadcast()
            }
            condition.unlock()
            if ends { return }
            for work in batch {
                switch work {
                case .closure(let body): body()
                case .job(let job): runJob(job)
                }
            }
            batch.removeAll(keepingCapacity: true)
        }
    }

    private func runJob(_ job: UnownedJob) {
        job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
    }

    // MARK: SerialExecutor, TaskExecutor

    /// Part of `Executor`. Actors on this
    /// thread must not be called after their owner stopped it: a broken invariant, which traps because the job would be lost.
    public func enqueue(_ job: consuming ExecutorJob) {
        let accepted = add(.job(UnownedJob(job)))
        precondition(accepted, "a task was enqueued on a stopped WorkerThread")
    }

    /// Part of `SerialExecutor`.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    /// Part of `TaskExecutor`.
    public func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }

    /// Part of `SerialExecutor`: lets `assumeIsolated` work from synchronous code on the thread.
    public func checkIsolated() {
        precondition(isCurrent, "expected to be on the thread '\(name)'")
    }

    /// Part of `SerialExecutor`.
    public func isIsolatingCurrentContext() -> Bool? { isCurrent }
}

/// An identity of the calling thread, never 0.
func currentThreadID() -> UInt { UInt(pthread_self()) }
