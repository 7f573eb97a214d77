import EventLoops
import Foundation

/// The recording: a file or standard input, read on a thread of its own because reading may block.
final class AudioSource: Sendable {
    private let descriptor: Int32
    private let thread: WorkerThread

    /// Opens a file; `-` is standard input.
    ///
    /// - Throws: `CommandFailure` with status 2.
    init(path: String) throws {
        let opened = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else {
            throw CommandFailure(message: "\(path): \(String(cString: strerror(errno)))", status: .usage)
        }
        descriptor = opened
        thread = WorkerThread(name: "audio source")
    }

    /// Reads up to `count` bytes, fewer only at the end; no bytes is the end.
    func read(_ count: Int) async throws -> [UInt8] {
        let descriptor = descriptor
        return try await thread.run {
            var bytes = [UInt8](repeating: 0, count: count)
            var filled = 0
            while filled < count {
                let got = bytes.withUnsafeMutableBytes {
                    Foundation.read(descriptor, $0.baseAddress?.advanced(by: filled), count - filled)
                }
                if got < 0 && errno == EINTR { continue }
                guard got >= 0 else {
                    throw CommandFailure(
                        message: "the audio cannot be read: \(String(cString: strerror(errno)))",
                        status: .usage
                    )
                }
                if got == 0 { break }
                filled += got
            }
            return Array(bytes[..<filled])
        }
    }

    /// Reads until the header is whole.
    ///
    /// - Returns: the pace, and all bytes read so far.
    /// - Throws: `CommandFailure` with status 2 if it is not a WAV.
    func readHeader() async throws -> (pace: WAVPace, bytes: [UInt8]) {
        var bytes: [UInt8] = []
        while true {
            let more = try await read(bytes.isEmpty ? 44 : 4_096)
            bytes += more
            switch WAVPace.read(bytes) {
            case .complete(let pace): return (pace, bytes)
            case .malformed(let why):
                throw CommandFailure(message: "the audio is not a WAV file: \(why)", status: .usage)
            case .needsMore where more.isEmpty:
                throw CommandFailure(message: "the audio is not a WAV file: it ends within its header", status: .usage)
            case .needsMore: break
            }
        }
    }

    deinit {
        thread.stop()
        close(descriptor)
    }
}
