import Foundation
public import Logging

/// Writes each message as one line to standard error: a JSON object, or a line for people.
///
/// Metadata becomes fields of the object (`request_id`, `session_id`, `tenant_id` among them). Whatever looks like a
/// secret is replaced before it is written.
public struct JSONLogHandler: LogHandler {
    /// Added to every message of this logger.
    public var metadata: Logger.Metadata = [:]
    /// Asked for metadata with every message.
    public var metadataProvider: Logger.MetadataProvider?
    /// The least important messages that are written.
    public var logLevel: Logger.Level

    private let label: String
    private let isJSON: Bool
    private let output: LogOutput
    private let redaction: LogRedaction
    private let now: @Sendable () -> Date

    init(
        label: String,
        level: Logger.Level,
        isJSON: Bool,
        output: LogOutput,
        redaction: LogRedaction = LogRedaction(),
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.label = label
        logLevel = level
        self.isJSON = isJSON
        self.output = output
        self.redaction = redaction
        self.now = now
    }

    /// Reads and writes one value of the logger's own metadata.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a message. Any thread may call it; it takes at most 20 ms, and drops the message if nobody reads.
    public func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let own = event.metadata { all.merge(own) { $1 } }
        if let error = event.error { all["error"] = .string("\(error)") }
        output.write(bytes(event.level, "\(event.message)", all)) { dropped in
            bytes(.warning, "log messages were dropped because nobody read them", ["dropped": .string("\(dropped)")])
        }
    }

    private func bytes(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) -> [UInt8] {
        let line = LogLine(
            at: now(),
            level: level,
            label: label,
            message: message,
            metadata: metadata,
            redaction: redaction
        )
        return isJSON ? line.json : line.text
    }
}

extension Logger {
    /// A logger to standard error as the settings want it. It also keeps the settings' own secrets out of the log.
    public static func hansard(label: String = "hansard", settings: Settings) -> Logger {
        let isJSON =
            switch settings.logFormat {
            case .json: true
            case .text: false
            case .auto: isatty(STDERR_FILENO) == 0
            }
        let redaction = LogRedaction(known: settings.knownSecrets)
        return Logger(label: label) { label in
            JSONLogHandler(
                label: label,
                level: settings.logLevel,
                isJSON: isJSON,
                output: .standardError,
                redaction: redaction
            )
        }
    }
}
