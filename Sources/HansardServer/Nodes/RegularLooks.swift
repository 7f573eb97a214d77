import Hansard
import Logging

/// Looks again and again until the task is cancelled. A look that fails is no more than a line for those who look for it: the
/// next one tries again.
func lookRegularly(
    every interval: Duration, _ logger: Logger, otherwise failure: Logger.Message, _ look: () async throws -> Void
) async {
    while !Task.isCancelled {
        do {
            try await look()
        } catch {
            if !Task.isCancelled { logger.debug(failure, metadata: ["error": "\(describe(error))"]) }
        }
        try? await Task.sleep(for: interval)
    }
}
