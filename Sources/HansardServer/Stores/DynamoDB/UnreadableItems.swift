import EventLoops
import Logging

/// Items of the table that are not what they should be, by a hand or a version to come. What can be read of them is used,
/// the rest is left out; each is counted and logged once.
final class UnreadableItems: Sendable {
    /// Items that are remembered; of more, nothing is said.
    static let limit = 1_000

    private let keys = Locked<Set<String>>([])
    private let metrics: Metrics
    private let logger: Logger

    init(metrics: Metrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    /// One was found.
    func found(_ key: String, _ error: any Error) {
        let isNews = keys.withLock { $0.count < Self.limit && $0.insert(key).inserted }
        guard isNews else { return }
        metrics.unreadableItems.add()
        logger.error(
            "an item of the connection store cannot be read",
            metadata: ["item": "\(key)", "error": "\(describe(error))"])
    }
}
