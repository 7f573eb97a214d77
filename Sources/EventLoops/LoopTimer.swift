internal import CLibuv

/// Who closes a libuv handle of ours when its loop ends.
protocol HandleOwner: AnyObject {
    func close()
}

/// A timer on an event loop: confined to the loop's thread, and kept alive by it until it has fired or was cancelled.
public final class LoopTimer: HandleOwner {
    private let loop: EventLoop
    private var handle: UnsafeMutablePointer<uv_timer_t>?
    private var action: (() -> Void)?
    private let repeats: Bool

    fileprivate init(loop: EventLoop, after: Duration, repeating: Duration?, action: @escaping () -> Void) {
        self.loop = loop
        self.action = action
        repeats = repeating != nil
        let handle = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
        self.handle = handle
        uv_timer_init(loop.loop, handle)
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
        loop.owners[UnsafeMutableRawPointer(handle)] = self
        // The loop's time is that of the start of the turn: without this a long turn would shorten the delay.
        uv_update_time(loop.loop)
        uv_timer_start(
            handle,
            { handle in
                guard let data = handle?.pointee.data else { return }
                Unmanaged<LoopTimer>.fromOpaque(data).takeUnretainedValue().fired()
            },
            milliseconds(after),
            repeating.map { max(1, milliseconds($0)) } ?? 0
        )
    }

    /// Whether the timer may still fire.
    public var isScheduled: Bool { handle != nil }

    /// Prevents any further firing and lets go of the action. Calling it again, or after the timer has fired, does nothing.
    public func cancel() {
        loop.preconditionIsCurrent()
        close()
    }

    private func fired() {
        let action = action
        if !repeats { close() }
        action?()
    }

    func close() {
        guard let handle else { return }
        self.handle = nil
        action = nil
        loop.owners[UnsafeMutableRawPointer(handle)] = nil
        UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) { handle in
            uv_close(handle) { handle in
                guard let handle, let data = handle.pointee.data else { return }
                Unmanaged<LoopTimer>.fromOpaque(data).release()
                UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_timer_t.self).deallocate()
            }
        }
    }
}

extension EventLoop {
    /// Runs `action` on the loop after a delay, and then again and again if `repeating` is given. Loop thread only.
    ///
    /// - Parameters:
    ///   - after: rounded up to milliseconds; the action runs in the first turn after it.
    ///   - repeating: the interval after the first time, at least 1 ms.
    /// - Returns: the timer, which need not be kept unless it shall be cancelled.
    @discardableResult
    public func schedule(
        after: Duration,
        repeating: Duration? = nil,
        _ action: @escaping () -> Void
    ) -> LoopTimer {
        preconditionIsCurrent()
        return LoopTimer(loop: self, after: after, repeating: repeating, action: action)
    }
}

/// Milliseconds, rounded up so that nothing comes early; negative durations are 0.
private func milliseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    if seconds < 0 { return 0 }
    let perMillisecond: Int64 = 1_000_000_000_000_000
    let rest = UInt64(max(0, (attoseconds + perMillisecond - 1) / perMillisecond))
    let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000)
    return overflow ? .max / 2 : whole + rest
}
