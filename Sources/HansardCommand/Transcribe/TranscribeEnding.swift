import Web

/// What the end of a connection means to the person who started it.
enum TranscribeEnding {
    /// Nil if the session was completed: its `Metadata` came and the server closed with 1000.
    static func failure(_ closure: WebSocketClosure, hasMetadata: Bool, wasInterrupted: Bool) -> CommandFailure? {
        let reason = closure.reason.isEmpty ? "" : ": \(closure.reason)"
        switch (closure.cause, closure.code) {
        case (.peer, 1000) where hasMetadata: return nil
        case (.peer, 1000): return CommandFailure(message: "the server closed the session before it was complete")
        case (.peer, let code?): return CommandFailure(message: "the server closed the session with \(code)\(reason)")
        case (.local, _) where wasInterrupted:
            return CommandFailure(message: "interrupted; the server did not complete the session in time")
        case (.timeout, _): return CommandFailure(message: "the server does not answer any more\(reason)")
        case (.violation, let code):
            return CommandFailure(message: "the server broke the protocol (\(code ?? 1002))\(reason)")
        default: return CommandFailure(message: "the connection to the server was lost\(reason)")
        }
    }

    /// Why there is no session.
    static func failure(_ error: WebSocketConnectError, url: String) -> CommandFailure {
        switch error.kind {
        case .refused(let status):
            let why = error.dgError.map { ": \($0)" } ?? ""
            return CommandFailure(
                message: "the server refused the session with HTTP \(status)\(why)\(advice(status, error))"
            )
        case .nameNotResolved: return CommandFailure(message: "\(url): \(error.description)")
        case .invalidRequest: return CommandFailure(message: error.description, status: .usage)
        default:
            return CommandFailure(
                message: "\(url) cannot be reached: \(error.description)\n"
                    + "Is the server running? Start it with make run (or hansard dev)."
            )
        }
    }

    private static func advice(_ status: Int, _ error: WebSocketConnectError) -> String {
        switch (status, error.retryAfter) {
        case (401, _): "\nThe key is not valid there: see --key."
        case (429, let seconds?), (503, let seconds?): "\nTry again in \(seconds) s."
        case (429, _), (503, _): "\nTry again later."
        default: ""
        }
    }
}
