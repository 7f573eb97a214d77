import FoundationEssentials
import Hansard
import Postgres

/// The usage outbox in Postgres (`Migrations/0019_usage_events.sql`).
struct PostgresUsageEvents: Sendable {
    /// How far delivery has got.
    struct Progress: Sendable, Equatable {
        /// Whether who asked delivers now.
        var isHeld: Bool
        /// The receiver has everything up to this position.
        var delivered: Int64
        /// Events that it does not have.
        var pending: Int
        /// When the first of them was made.
        var oldest: Date?
    }

    /// An event and its place among all.
    struct Placed: Sendable {
        var position: Int64
        var event: UsageEvent
    }

    let pool: ConnectionPool

    /// Makes the events of so many hours of tenants that have changed.
    ///
    /// - Parameter slack: how long after an hour its last records may come.
    /// - Returns: of how many; none while somebody else is at it.
    func make(hours: Int, slack: Duration) async throws -> Int {
        try await HansardError.mapping {
            try await pool.query("SELECT make_usage_events(\(hours), \(slack / .seconds(1))) AS hours").only().value(
                "hours")
        }
    }

    /// Delivers alone for so long from now, if nobody else does.
    ///
    /// - Returns: nil while there is no outbox.
    func hold(_ holder: UUID, for lease: Duration) async throws -> Progress? {
        try await HansardError.mapping {
            try await pool.query("SELECT * FROM hold_usage_events(\(holder), \(lease / .seconds(1)))").first.map {
                row in
                Progress(
                    isHeld: try row.value("is_held"), delivered: try row.value("delivered"),
                    pending: try row.value("pending"), oldest: try row.value("oldest"))
            }
        }
    }

    /// The events after a position.
    func events(after position: Int64, atMost limit: Int) async throws -> [Placed] {
        try await HansardError.mapping {
            try await pool.query("SELECT * FROM usage_events_after(\(position), \(limit))").map { row in
                Placed(position: try row.value("position"), event: try UsageEvent(row: row))
            }
        }
    }

    /// The receiver has everything up to a position, or, with the status of a refusal, everything before it.
    ///
    /// - Returns: false if somebody else delivers by now.
    func delivered(_ holder: UUID, through position: Int64, refusal status: Int? = nil) async throws -> Bool {
        try await HansardError.mapping {
            try await pool.query("SELECT usage_events_delivered(\(holder), \(position), \(status)) AS counts").only()
                .value("counts")
        }
    }
}

extension UsageEvent {
    init(row: Row) throws {
        self.init(
            tenant: TenantID(try row.value("tenant_id")), session: SessionID(try row.value("session_id")),
            segment: try row.value("segment"), hour: try row.value("hour"), revision: try row.value("revision"),
            usedUntil: try row.value("used_until"),
            counters: UsageCounters(
                audio: try row.value("audio_ms"), connected: try row.value("connected_ms"),
                engine: try row.value("engine_ms")),
            sessions: try row.value("sessions"), key: KeyID(try row.value("key_id")), engine: try row.value("engine"),
            model: try row.value("model"), language: try row.value("language"), region: try row.value("region"),
            tags: try row.value("tags"), channels: try row.value("channels"))
    }
}
