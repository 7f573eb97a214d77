internal import CLibuv
import Foundation

/// A thread whose name debuggers, `top -H` and /proc show, and whose very end can be waited for: what libraries keep for a
/// thread (OpenSSL, libcurl) is freed when it exits, after its last function, and a process that ends at that moment
/// frees it as well.
///
/// Foundation's `Thread` keeps the name to itself and is detached.
final class NamedThread: Sendable {
    private let thread: Locked<pthread_t?>

    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - name: Linux keeps its first 15 bytes.
    ///   - stackSize: in bytes, a multiple of the page size; nil is the system's default, 8 MiB, which is only reserved.
    init(name: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        if let stackSize {
            let code = pthread_attr_setstacksize(&attributes, stackSize)
            precondition(code == 0, "a stack of \(stackSize) bytes: \(code)")
        }
        var handle = pthread_t()
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        let code = pthread_create(&handle, &attributes, runStart, start.toOpaque())
        // https://man7.org/linux/man-pages/man3/pthread_create.3.html: EAGAIN, the process may have no more threads. All of them
        // are made at the start, and nothing can be served without.
        precondition(code == 0, "a thread cannot be made: \(code)")
        thread = Locked(handle)
    }

    /// Blocks until the thread is gone, and all that belonged to it. The second call returns at once.
    func join() {
        let handle = thread.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let handle { pthread_join(handle, nil) }
    }

    deinit {
        let handle = thread.withLock { $0 }
        if let handle { pthread_detach(handle) }
    }

    fileprivate static func run(_ context: UnsafeMutableRawPointer?) {
        guard let context else { return }
        let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
        _ = String(decoding: start.name.utf8.prefix(15), as: UTF8.self)
            .withCString { pthread_setname_np(pthread_self(), $0) }
        start.body()
    }
}

/// A global function: a closure in an actor's context would inherit its isolation.
private func runStart(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    NamedThread.run(context)
    return nil
}
