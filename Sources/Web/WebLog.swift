internal import EventLoops
internal import CLibwebsockets

/// Where the log lines of libwebsockets go: nowhere, until a sink is set. They may hold addresses and paths, never headers.
public enum WebLog {
    /// How grave a line is.
    public enum Level: Int, Sendable, Comparable {
        /// The finest this bridge offers.
        case info
        /// Something worth a note.
        case notice
        /// Something unexpected.
        case warning
        /// Something failed.
        case error

        /// By gravity.
        public static func < (one: Level, other: Level) -> Bool { one.rawValue < other.rawValue }
    }

    /// Sends the lines of at least `level` to `sink`, from any loop's thread; `nil` silences. For the whole process.
    public static func setSink(atLeast level: Level = .warning, _ sink: (@Sendable (Level, String) -> Void)?) {
        current.withLock { $0 = sink }
        var mask: Int32 = 0
        if sink != nil {
            mask = 1 << 0
            if level <= .warning { mask |= 1 << 1 }
            if level <= .notice { mask |= 1 << 2 }
            if level <= .info { mask |= 1 << 3 }
        }
        lws_set_log_level(mask, emit)
    }

    /// Silences the library, which otherwise writes to standard error, unless a sink was set already.
    static func install() {
        if current.withLock({ $0 == nil }) { lws_set_log_level(0, emit) }
    }

    fileprivate static let current = Locked<(@Sendable (Level, String) -> Void)?>(nil)
}

/// `LLL_ERR`, `LLL_WARN`, `LLL_NOTICE` and `LLL_INFO` are the bits 0 to 3.
private func emit(_ level: Int32, _ line: UnsafePointer<CChar>?) {
    guard let line, let sink = WebLog.current.withLock({ $0 }) else { return }
    var text = String(cString: line)
    while text.last?.isNewline == true { text.removeLast() }
    switch level {
    case 1: sink(.error, text)
    case 2: sink(.warning, text)
    case 4: sink(.notice, text)
    default: sink(.info, text)
    }
}
