internal import CLibuv
import Foundation

/// A value behind a lock, for state that several threads share for moments.
///
/// It is `Synchronization.Mutex` with a lock that ThreadSanitizer knows: the standard library's slow path is not
/// instrumented (Swift 6.3), so that every contended `Mutex` is reported as a race, and real races drown.
///
/// `@unchecked Sendable`: the value is reached only with the lock held, and goes in and out of it as `sending`.
public final class Locked<Value>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>

    /// Takes the value over.
    public init(_ value: consuming sending Value) {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        // https://man7.org/linux/man-pages/man3/pthread_mutex_init.3p.html: it fails only without memory.
        let code = pthread_mutex_init(mutex, nil)
        precondition(code == 0, "pthread_mutex_init: \(code)")
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    deinit {
        value.deinitialize(count: 1)
        value.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` with the lock held. Keep it short, and do not come back here from within it: that never returns.
    public func withLock<Result, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value.pointee)
    }
}
