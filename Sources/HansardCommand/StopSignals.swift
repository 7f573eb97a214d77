import EventLoops
import Foundation
import Synchronization

/// SIGINT and SIGTERM: the first asks the command to stop, the second ends the process at once.
///
/// One for the process, made before anything that takes long. The handler itself only writes the signal's number into a
/// pipe, which is all that a signal handler may do here (signal-safety(7)); a thread reads it.
final class StopSignals: Sendable {
    private let received = Locked<Int32?>(nil)
    private let stream: AsyncStream<Int32>
    private let continuation: AsyncStream<Int32>.Continuation

    /// The writing end of the pipe; -1 before there is one.
    private static let pipeEnd = Atomic<Int32>(-1)

    /// Takes over both signals. What the process starts has the default dispositions again.
    static func install() -> StopSignals {
        let signals = StopSignals()
        signals.takeOver()
        return signals
    }

    /// Hears nothing but what `arrived` is told; for tests, and for `install`.
    init() {
        (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1))
    }

    private func takeOver() {
        var ends: [Int32] = [-1, -1]
        // Without a pipe there are no file descriptors left, and the signals keep their default meaning.
        guard pipe(&ends) == 0 else { return }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        Self.pipeEnd.store(ends[1], ordering: .sequentiallyConsistent)
        let reading = ends[0]
        let thread = Thread { [self] in
            var number: UInt8 = 0
            while true {
                let count = read(reading, &number, 1)
                if count == 1 { arrived(Int32(number)) } else if count == 0 || errno != EINTR { return }
            }
        }
        thread.name = "signals"
        thread.start()
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(StopSignals.pipeEnd.load(ordering: .relaxed), &byte, 1)
            }
        }
    }

    /// Whether a signal has come.
    var hasStopped: Bool { received.withLock { $0 != nil } }

    /// Waits for the first signal; returns at once if it has come, or if the task is cancelled. For one caller.
    func wait() async {
        for await _ in stream { return }
    }

    /// Throws if a signal has come: between the steps of a long start.
    func checkpoint() throws {
        if hasStopped { throw Stopped() }
    }

    /// The command was told to stop before it was ready.
    struct Stopped: Error {}

    /// A signal has come. The second one ends the process.
    func arrived(_ number: Int32) {
        let isSecond = received.withLock { received in
            defer { received = number }
            return received != nil
        }
        if isSecond { _exit(128 + number) }
        continuation.yield(number)
        continuation.finish()
    }
}
