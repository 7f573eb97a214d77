import Hansard
public import Postgres

/// Ends usage events for good, where nobody is to be told any more: from then on no hours are queued.
public struct UsageEventsEnd: Sendable {
    private let pool: ConnectionPool

    /// - Parameter url: of the tables' owner.
    public init(_ url: DatabaseURL) {
        var options = ConnectionPool.Options()
        options.connections = 1
        options.connection.applicationName = "hansard usage end-events"
        pool = ConnectionPool(url, options: options)
    }

    /// Does it.
    ///
    /// - Returns: how many events were made and not delivered, and never are; nil if there was nothing to end.
    /// - Throws: `HansardError` if the database is away, or the login is not the owner's.
    public func end() async throws -> Int64? {
        do {
            let pending: Int64? = try await HansardError.mapping {
                try await pool.query("DELETE FROM usage_event_delivery RETURNING last_position - delivered AS pending")
                    .first?.value("pending")
            }
            await pool.close()
            return pending
        } catch {
            await pool.close()
            throw error
        }
    }
}
