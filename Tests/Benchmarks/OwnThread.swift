import EventLoops
import Glibc

/// Runs `body` to its end on a thread of our own: valgrind does not run libdispatch's.
func runOnOwnThread(_ body: @escaping @Sendable () async throws -> Void) throws {
    let loop = try EventLoop(name: "bench")
    let ended = Ended()
    Task(executorPreference: loop) {
        do {
            try await body()
        } catch {
            preconditionFailure("\(error)")
        }
        ended.tell()
    }
    ended.wait()
}

/// Lets the main thread wait.
///
/// `@unchecked Sendable`: a semaphore is made to be shared by threads.
private final class Ended: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }
    func tell() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
