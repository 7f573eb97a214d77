import EventLoops
import FoundationEssentials
import Hansard
import Logging
import Postgres

/// Writes down when keys last opened a session: all of them together, once a minute, and never on the way of a handshake.
final class KeyUse: Sendable {
    static let interval = Duration.seconds(60)
    /// Keys that are remembered between two writes; of others it is not known that they were used.
    static let keyLimit = 100_000

    private let used = Locked<[KeyID: Date]>([:])

    /// The key opened a session.
    func opened(_ key: KeyID, at now: Date) {
        used.withLock { used in
            guard used[key] != nil || used.count < Self.keyLimit else { return }
            used[key] = max(now, used[key] ?? now)
        }
    }

    /// Writes until the task is cancelled.
    func keepWriting(to pool: ConnectionPool, logger: Logger) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.interval)
            do {
                try await write(to: pool)
            } catch {
                logger.debug("the use of keys waits", metadata: ["error": "\(describe(error))"])
            }
        }
    }

    /// Writes what is known. What cannot be written is kept for the next time.
    func write(to pool: ConnectionPool) async throws {
        let batch = used.withLock { used in
            defer { used = [:] }
            return used
        }
        guard !batch.isEmpty else { return }
        do {
            try await pool.asOperator { connection in
                try await connection.execute(
                    """
                    UPDATE api_keys SET last_used_at = used.at
                    FROM unnest(\(batch.map(\.key.rawValue)), \(batch.map(\.value))) AS used (key_id, at)
                    WHERE api_keys.key_id = used.key_id AND (last_used_at IS NULL OR last_used_at < used.at)
                    """)
            }
        } catch {
            for (key, date) in batch { opened(key, at: date) }
            throw error
        }
    }
}
