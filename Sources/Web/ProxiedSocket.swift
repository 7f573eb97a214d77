internal import EventLoops
import Foundation

/// A connection from a trusted proxy whose PROXY header is awaited; confined to its loop. It does not close the descriptor.
///
/// The bytes are looked at without taking them (`MSG_PEEK`) until the header is complete, and then exactly the header is taken, so that
/// what follows, a request or a TLS handshake, is there for libwebsockets to read.
final class ProxiedSocket {
    enum Outcome {
        case header(ProxyHeader)
        case failed
    }

    private let descriptor: Int32
    private let loop: EventLoop
    private let timeout: Duration
    private var watch: FileDescriptorWatch?
    private var timer: LoopTimer?
    private var completion: ((Outcome) -> Void)?

    init(_ descriptor: Int32, loop: EventLoop, timeout: Duration) {
        self.descriptor = descriptor
        self.loop = loop
        self.timeout = timeout
    }

    func start(_ completion: @escaping (Outcome) -> Void) {
        self.completion = completion
        timer = loop.schedule(after: timeout) { [weak self] in self?.fail() }
        watch = try? loop.watch(fileDescriptor: descriptor, events: [.readable, .disconnected]) { [weak self] _ in
            self?.look()
        }
        if watch == nil { fail() }
    }

    func fail() { finish(.failed) }

    private func look() {
        var buffer = [UInt8](repeating: 0, count: ProxyHeader.maxLength)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_PEEK))
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        guard count > 0 else { return fail() }
        switch ProxyHeader.parse(buffer[..<count]) {
        case .malformed: fail()
        case .incomplete: wait()
        case .complete(let header, let length):
            guard recv(descriptor, &buffer, length, 0) == length else { return fail() }
            finish(.header(header))
        }
    }

    /// What was only looked at keeps the descriptor readable, so the next look waits for a moment instead of for the kernel.
    private func wait() {
        watch?.update([])
        loop.schedule(after: .milliseconds(5)) { [weak self] in self?.watch?.update([.readable, .disconnected]) }
    }

    private func finish(_ outcome: Outcome) {
        guard let completion else { return }
        self.completion = nil
        timer?.cancel()
        watch?.cancel()
        watch = nil
        completion(outcome)
    }
}
