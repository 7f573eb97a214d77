import FoundationEssentials
import Hansard
import Logging
import Postgres

/// Takes out of Postgres what nobody needs any more (`Migrations/0010_pruning.sql`). Every node looks; whichever comes first
/// when it is due does it, a bounded number of rows at a time. Nodes that were away for longer than the feed is kept read
/// all tenants and keys anew.
struct RowPruning: Sendable {
    /// Between looks.
    static let lookInterval = Duration.seconds(600)
    /// Between the times when all is gone that was due.
    static let interval = Duration.seconds(3_600)
    /// How long nodes can learn what changed one by one: changes of tenants, keys and tokens, and operators' commands.
    static let feedKept = Duration.seconds(7 * 86_400)
    /// How long the answers of calls with an `Idempotency-Key` stay: an hour more than is promised.
    static let answersKept = Duration.seconds((AdminTransactions.keptHours + 1) * 3_600)
    /// How long counts of periods stay that are over, as in DynamoDB.
    static let countsKept = Duration.seconds(100 * 86_400)
    /// How long delivered usage events stay. Usage that comes so late is not told to their receiver.
    static let eventsKept = Duration.seconds(100 * 86_400)
    /// Rounds of one look; what is left then is for the next look.
    static let rounds = 100
    /// Rows of one table in one round, which is one transaction.
    static let rowsPerRound = 1_000
    /// What is pruned.
    static let tables = [
        "access_events", "node_commands", "kept_answers", "minute_grants", "minute_quotas", "new_sessions",
        "lease_tombstones", "reaped_sessions", "usage_events",
    ]

    let pool: ConnectionPool
    let metrics: Metrics
    let logger: Logger
    /// How many days after its end the usage records of a closed month stay.
    let recordsDays: Int
    var rounds = Self.rounds
    var rowsPerRound = Self.rowsPerRound

    /// Looks until the task is cancelled.
    func run() async {
        await lookRegularly(every: Self.lookInterval, logger, otherwise: "nothing could be pruned") {
            try await look(now: .now)
        }
    }

    /// Looks once.
    ///
    /// - Returns: how many rows went, by table; empty if it was not due, or another node is at it.
    @discardableResult func look(now: Date) async throws -> [String: Int] {
        var total: [String: Int] = [:]
        for _ in 0..<rounds {
            let pruned = try await round(now: now)
            total.merge(pruned, uniquingKeysWith: +)
            guard pruned.values.contains(rowsPerRound) else { break }
        }
        if !total.isEmpty { total["usage_events"] = try await pruneEvents(now: now) }
        let gone = total.filter { $0.value > 0 }
        if !gone.isEmpty {
            logger.info(
                "old rows pruned", metadata: gone.reduce(into: [:]) { $0[$1.key] = "\($1.value)" })
        }
        try await dropUsageRecords(now: now)
        return gone
    }

    /// Drops usage records by the month (`Migrations/0018_usage_records.sql`). What others are at is left for the next look.
    ///
    /// - Returns: the months.
    @discardableResult func dropUsageRecords(now: Date) async throws -> [String] {
        let before = now.addingTimeInterval(-86_400 * Double(recordsDays))
        var months: [String] = []
        while months.count < rounds {
            let row = try await HansardError.mapping {
                try await pool.query("SELECT prune_usage_records(\(before)) AS month").only()
            }
            guard let month: String = try row.value("month") else { break }
            logger.info("usage records dropped", metadata: ["period": "\(month)"])
            months.append(month)
        }
        return months
    }

    private func pruneEvents(now: Date) async throws -> Int {
        let before = now.addingTimeInterval(-(Self.eventsKept / .seconds(1)))
        var total = 0
        for _ in 0..<rounds {
            let pruned: Int = try await HansardError.mapping {
                try await pool.query("SELECT prune_usage_events(\(before), \(rowsPerRound)) AS pruned").only()
                    .value("pruned")
            }
            total += pruned
            metrics.pruned(pruned, of: "usage_events")
            guard pruned == rowsPerRound else { break }
        }
        return total
    }

    private func round(now: Date) async throws -> [String: Int] {
        func before(_ age: Duration) -> Date { now.addingTimeInterval(-(age / .seconds(1))) }
        let rows = try await HansardError.mapping {
            try await pool.query(
                """
                SELECT * FROM prune_rows(\(now), \(before(Self.interval)), \(rowsPerRound),
                    \(before(Self.feedKept)), \(before(Self.answersKept)), \(before(Self.countsKept)))
                """)
        }
        var pruned: [String: Int] = [:]
        for row in rows {
            let (table, count): (String, Int) = (try row.value("relation"), try row.value("pruned"))
            pruned[table] = count
            metrics.pruned(count, of: table)
        }
        return pruned
    }
}
