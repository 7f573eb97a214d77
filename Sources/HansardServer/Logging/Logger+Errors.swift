import Hansard
import Logging

extension Logger {
    /// Logs a failure with the error as metadata, described without secrets.
    func warning(_ message: Message, _ error: any Error) {
        warning(message, metadata: ["error": "\(describe(error))"])
    }

    /// Logs a failure with the error as metadata, described without secrets.
    func error(_ message: Message, _ error: any Error) {
        self.error(message, metadata: ["error": "\(describe(error))"])
    }
}

/// An error's text for the log.
func describe(_ error: any Error) -> String {
    if let error = error as? HansardError {
        "\(error.code.rawValue): \(error.explanation)"
    } else {
        String(describing: error)
    }
}
