/// A thread that runs what it is given, in order: an event loop's or a worker's.
public protocol ServiceThread: Sendable {
    /// Runs `work` on the thread, after what was given before. Any thread may call it.
    ///
    /// - Returns: `false` if the thread has been stopped, and `work` will never run.
    @discardableResult
    func execute(_ work: @escaping @Sendable () -> Void) -> Bool
}

extension ServiceThread {
    /// Runs `work` on the thread and waits for its result without blocking the caller's thread.
    ///
    /// - Throws: what `work` throws, or `CancellationError` if the thread has been stopped.
    public func run<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let accepted = execute { continuation.resume(with: Result { try work() }) }
            if !accepted { continuation.resume(throwing: CancellationError()) }
        }
    }
}
