internal import EventLoops
internal import CLibwebsockets

/// Where the log lines of libwebsockets go: nowhere, until a sink is set. They may hold addresses and paths, never headers.
///
/// What a client is told as `WebSocketConnectError` is no more than `info` here: who connects again and again decides how
/// often that is worth a line.
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
        var mask: Int32 = 0
        if sink != nil {
            mask = 1 << 0
            if level <= .warning { mask |= 1 << 1 }
            if level <= .notice { mask |= 1 << 2 }
            if level <= .info { mask |= 1 << 3 }
        }
        current.withLock {
            $0 = sink.map { Target(level: level, sink: $0) }
            lws_set_log_level(mask, emit)
        }
    }

    /// Silences the library, which otherwise writes to standard error, unless a sink was set already.
    static func install() {
        // With the lock held, or a sink that is set meanwhile would be silenced.
        current.withLock { if $0 == nil { lws_set_log_level(0, emit) } }
    }

    fileprivate struct Target {
        let level: Level
        let sink: @Sendable (Level, String) -> Void
    }

    fileprivate static let current = Locked<Target?>(nil)

    /// Marks the line that libwebsockets has, as an error, for each certificate that a client does not accept:
    /// `SSL error: <why> (preverify_ok=0;err=<number>;depth=<number>)`.
    /// Source: `OpenSSL_client_verify_callback` in lib/tls/openssl/openssl-client.c of 4.1.6.
    private static let ofRejectedCertificate = "preverify_ok=0"

    static func level(bit: Int32, _ text: String) -> Level {
        if text.contains(ofRejectedCertificate) { return .info }
        return switch bit {
        case 1 << 0: .error
        case 1 << 1: .warning
        case 1 << 2: .notice
        default: .info
        }
    }
}

/// `LLL_ERR`, `LLL_WARN`, `LLL_NOTICE` and `LLL_INFO` are the bits 0 to 3.
private func emit(_ bit: Int32, _ line: UnsafePointer<CChar>?) {
    guard let line, let target = WebLog.current.withLock({ $0 }) else { return }
    var text = String(cString: line)
    while text.last?.isNewline == true { text.removeLast() }
    let level = WebLog.level(bit: bit, text)
    if level >= target.level { target.sink(level, text) }
}
