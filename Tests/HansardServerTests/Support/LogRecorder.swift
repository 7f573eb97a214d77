import EventLoops
import Logging

/// Keeps what is logged, so that a test can say what an operator would have read.
final class LogRecorder: Sendable {
    struct Entry: Sendable {
        var level: Logger.Level
        var message: String
        var metadata: [String: String]
    }

    private let recorded = Locked<[Entry]>([])

    var entries: [Entry] { recorded.withLock { $0 } }

    /// How often something with these words was logged at this level or a graver one.
    func count(of words: String, atLeast level: Logger.Level = .trace) -> Int {
        entries.count { $0.message.contains(words) && $0.level >= level }
    }

    var logger: Logger { Logger(label: "test") { _ in Handler(recorder: self) } }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var metadataProvider: Logger.MetadataProvider?
        var logLevel = Logger.Level.trace

        init(recorder: LogRecorder) { self.recorder = recorder }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            let entry = Entry(
                level: event.level, message: "\(event.message)", metadata: all.mapValues { "\($0)" })
            recorder.recorded.withLock { $0.append(entry) }
        }
    }
}
