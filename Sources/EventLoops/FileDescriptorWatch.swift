internal import CLibuv

/// What a watch on a file descriptor waits for, and what it reports.
public struct FileDescriptorEvents: OptionSet, Sendable {
    /// libuv's bits.
    public let rawValue: Int32

    /// From libuv's bits.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// There is something to read or to accept, or the other side has closed.
    public static let readable = FileDescriptorEvents(rawValue: 1)
    /// A write would not block.
    public static let writable = FileDescriptorEvents(rawValue: 2)
    /// The other side has closed or reset.
    public static let disconnected = FileDescriptorEvents(rawValue: 4)
}

/// A watch on a file descriptor (a socket or a pipe, not a plain file): confined to the loop's thread, level-triggered, and kept
/// alive by the loop until it is cancelled.
///
/// It does not own the descriptor: cancel the watch before closing it.
public final class FileDescriptorWatch: HandleOwner {
    /// The descriptor that is watched.
    public let fileDescriptor: Int32
    private let loop: EventLoop
    private var handle: UnsafeMutablePointer<uv_poll_t>?
    private var handler: ((FileDescriptorEvents) -> Void)?

    fileprivate init(
        loop: EventLoop,
        fileDescriptor: Int32,
        events: FileDescriptorEvents,
        handler: @escaping (FileDescriptorEvents) -> Void
    ) throws(EventLoopError) {
        self.loop = loop
        self.fileDescriptor = fileDescriptor
        let handle = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
        let code = uv_poll_init(loop.loop, handle, fileDescriptor)
        guard code == 0 else {
            handle.deallocate()
            throw EventLoopError(code: code)
        }
        self.handle = handle
        self.handler = handler
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
        loop.owners[UnsafeMutableRawPointer(handle)] = self
        update(events)
    }

    /// Changes what is waited for. The empty set pauses the watch. Does nothing after `cancel()`.
    public func update(_ events: FileDescriptorEvents) {
        loop.preconditionIsCurrent()
        guard let handle else { return }
        if events.isEmpty {
            uv_poll_stop(handle)
            return
        }
        uv_poll_start(handle, events.rawValue) { handle, status, events in
            guard let data = handle?.pointee.data else { return }
            let watch = Unmanaged<FileDescriptorWatch>.fromOpaque(data).takeUnretainedValue()
            // An error of poll itself is told as everything at once: reading or writing then yields the errno.
            watch.handler?(status < 0 ? [.readable, .writable, .disconnected] : FileDescriptorEvents(rawValue: events))
        }
    }

    /// Ends the watch and lets go of the handler. The descriptor may be closed right after it.
    public func cancel() {
        loop.preconditionIsCurrent()
        close()
    }

    func close() {
        guard let handle else { return }
        self.handle = nil
        handler = nil
        loop.owners[UnsafeMutableRawPointer(handle)] = nil
        UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) { handle in
            uv_close(handle) { handle in
                guard let handle, let data = handle.pointee.data else { return }
                Unmanaged<FileDescriptorWatch>.fromOpaque(data).release()
                UnsafeMutableRawPointer(handle).assumingMemoryBound(to: uv_poll_t.self).deallocate()
            }
        }
    }
}

extension EventLoop {
    /// Calls `handler` on the loop whenever one of `events` holds for the descriptor. Loop thread only.
    ///
    /// - Throws: `EventLoopError` if the descriptor cannot be polled or is already watched on this loop.
    public func watch(
        fileDescriptor: Int32,
        events: FileDescriptorEvents,
        handler: @escaping (FileDescriptorEvents) -> Void
    ) throws(EventLoopError) -> FileDescriptorWatch {
        preconditionIsCurrent()
        return try FileDescriptorWatch(loop: self, fileDescriptor: fileDescriptor, events: events, handler: handler)
    }
}
