import EventLoops
import FoundationEssentials
import Hansard
import Logging

/// The node's snapshot of tenants and keys: admission reads it in memory, a task keeps it fresh. It does not expire, so
/// that a day without Postgres does not stop admission.
final class AccessDirectory: Sendable {
    /// How often the store is asked whether anything changed.
    static let pollInterval = Duration.seconds(1)

    private struct State {
        var snapshot: AccessSnapshot?
        var refreshedAt: ContinuousClock.Instant?
    }

    private let state = Locked(State())
    private let store: any TenantStore
    private let logger: Logger

    /// A directory that has not been read yet.
    init(store: any TenantStore, logger: Logger) {
        self.store = store
        self.logger = logger
    }

    /// What is known; nil until the first read succeeded.
    var snapshot: AccessSnapshot? { state.withLock(\.snapshot) }

    /// How old the knowledge is; nil until the first read succeeded.
    var age: Duration? { state.withLock(\.refreshedAt).map { $0.duration(to: .now) } }

    /// Reads the snapshot if the store's sequence differs from the one known.
    func refresh() async throws {
        let sequence = try await store.accessSequence()
        if state.withLock({ $0.snapshot?.sequence }) != sequence {
            let fresh = try await store.accessSnapshot()
            state.withLock { $0.snapshot = fresh }
        }
        state.withLock { $0.refreshedAt = .now }
    }

    /// Keeps the snapshot fresh until the task is cancelled. A store that is away is one log line, not one a second.
    func keepFresh() async {
        var isAway = false
        while !Task.isCancelled {
            do {
                try await refresh()
                if isAway { logger.notice("tenants and keys are fresh again") }
                isAway = false
            } catch {
                if !isAway { logger.warning("tenants and keys cannot be read; going on with what is known", error) }
                isAway = true
            }
            try? await Task.sleep(for: Self.pollInterval)
        }
    }
}

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
        "\(error.code.rawValue): \(error.message)"
    } else {
        String(describing: error)
    }
}
