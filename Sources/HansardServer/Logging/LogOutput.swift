import EventLoops
import Foundation

/// Where log lines go: a file descriptor, in whole lines, without ever holding its caller up for long.
///
/// A line is given to the system in one `write` of at most `PIPE_BUF` bytes, which is atomic on a pipe (write(2),
/// pipe(7)). If the reader is too slow for that, the line is dropped and counted: a server must not stand still because
/// nobody reads its log. The descriptor stays blocking, since others may share it, a terminal for instance.
final class LogOutput: Sendable {
    /// One for the process, so that the lines of all its loggers stay whole.
    static let standardError = LogOutput(descriptor: STDERR_FILENO)
    /// The longest line with its line feed, in bytes: `PIPE_BUF` on Linux.
    static let maximumBytes = 4_096
    /// How long a line waits for a slow reader; not at all while earlier ones are being dropped.
    static let patienceMilliseconds: Int32 = 20

    private let descriptor: Int32
    private let dropped = Locked(0)

    /// The descriptor stays its owner's.
    init(descriptor: Int32) { self.descriptor = descriptor }

    /// Writes a line that ends with a line feed and is at most `maximumBytes` long. Any thread may call it.
    ///
    /// - Parameter notice: makes the line that tells how many were dropped, before the next one that is written.
    func write(_ line: [UInt8], notice: (Int) -> [UInt8]) {
        dropped.withLock { dropped in
            guard isWritable(within: dropped == 0 ? Self.patienceMilliseconds : 0) else {
                dropped += 1
                return
            }
            if dropped > 0 {
                writeOnce(notice(dropped))
                dropped = 0
                // The notice may have taken the room.
                guard isWritable(within: 0) else {
                    dropped = 1
                    return
                }
            }
            writeOnce(line)
        }
    }

    /// For a pipe: whether `PIPE_BUF` bytes fit (poll(2)).
    private func isWritable(within milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while true {
            let count = poll(&entry, 1, milliseconds)
            // With a reader that has gone away the write fails at once, so it may as well be tried.
            if count > 0 { return true }
            if count == 0 || errno != EINTR { return false }
        }
    }

    private func writeOnce(_ line: [UInt8]) {
        while line.withUnsafeBytes({ Foundation.write(descriptor, $0.baseAddress, $0.count) }) < 0, errno == EINTR {}
    }
}
