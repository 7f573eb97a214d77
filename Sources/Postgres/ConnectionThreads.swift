import EventLoops

/// The threads that connections live on: taken by a connection, given back at its end, and used again by the next.
///
/// They never end, and there are as many as there were connections at once. A thread must not be freed when its actor
/// goes: the job that lets go of the actor may run while `WorkerThread.enqueue`, called by another thread to enqueue that
/// very job, has not returned yet, and the runtime does not keep the executor alive for it.
enum ConnectionThreads {
    private static let idle = Locked<[WorkerThread]>([])

    static func take() -> WorkerThread {
        idle.withLock { $0.popLast() } ?? WorkerThread(name: "postgres")
    }

    static func giveBack(_ thread: WorkerThread) {
        idle.withLock { $0.append(thread) }
    }
}
