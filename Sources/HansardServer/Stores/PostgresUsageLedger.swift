import FoundationEssentials
import Hansard
import Postgres

/// The usage ledger in Postgres (`Migrations/0014_ledger.sql`, `0020_surplus.sql`).
struct PostgresUsageLedger: UsageLedger {
    /// Records of one statement.
    static let recordsPerStatement = 500

    let pool: ConnectionPool

    func ingest(_ records: [UsageRecord]) async throws -> Int {
        // Rows that several records are of are locked in one order, so that two batches never wait for each other in a circle.
        let records = records.sorted {
            ($0.tenant.description, $0.session.description) < ($1.tenant.description, $1.session.description)
        }
        let statements = try stride(from: 0, to: records.count, by: Self.recordsPerStatement).map {
            try Self.statement(records[$0..<min($0 + Self.recordsPerStatement, records.count)])
        }
        return try await HansardError.mapping {
            switch statements.count {
            case 0: 0
            case 1: try await pool.query(statements[0]).only().value("added")
            default:
                try await pool.transaction { connection in
                    var added = 0
                    for statement in statements {
                        added += try await connection.query(statement).only().value("added", as: Int.self)
                    }
                    return added
                }
            }
        }
    }

    func register(_ epoch: NodeEpoch, spool: UUID) async throws {
        try await HansardError.mapping {
            try await pool.query("SELECT register_usage_source(\(epoch.node), \(epoch.epoch), \(spool))::text")
        }
    }

    func isComplete(_ epoch: NodeEpoch, through: Date, isOver: Bool) async throws -> Date? {
        try await HansardError.mapping {
            try await pool.query(
                "SELECT usage_is_complete(\(epoch.node), \(epoch.epoch), \(through), \(isOver)) AS server_time"
            ).only().value("server_time")
        }
    }

    func finish(spool: UUID, before epoch: NodeEpoch) async throws -> Int {
        try await HansardError.mapping {
            try await pool.query("SELECT finish_usage_sources(\(spool), \(epoch.epoch)) AS left").only().value("left")
        }
    }

    func note(_ reaped: [ReapedUsage]) async throws {
        try await HansardError.mapping { try await pool.query(Self.statement(reaped)) }
    }

    func rollUp(atMost limit: Int) async throws -> Int {
        try await HansardError.mapping {
            try await pool.query("SELECT roll_usage(\(limit)) AS rolled").only().value("rolled")
        }
    }

    /// The statement of one batch; its records are in the order of their sessions.
    static func statement(_ records: ArraySlice<UsageRecord>) throws -> Query {
        """
        SELECT ingest_usage(\(records.map(\.tenant.rawValue)), \(records.map(\.session.rawValue)),
            \(records.map(\.segment)), \(records.map(\.source.rawValue)), \(records.map(\.sequence)),
            \(records.map(\.period.description)), \(records.map(\.madeAt)), \(records.map(\.counters.audio)),
            \(records.map(\.counters.connected)), \(records.map(\.counters.engine)), \(records.map(\.isFinal)),
            \(records.map(\.key.rawValue)), \(records.map(\.engine.storable)), \(records.map(\.model.storable)),
            \(records.map(\.language.storable)), \(try records.map(tags)), \(records.map(\.region)),
            \(records.map(\.channels)), \(records.map(\.sessionStartedAt)), \(records.map(\.startedAt)),
            \(records.map(\.before.audio)), \(records.map(\.before.connected))) AS added
        """
    }

    /// The statement that tells of sessions of dead nodes.
    static func statement(_ reaped: [ReapedUsage]) -> Query {
        """
        SELECT note_reaped_usage(\(reaped.map(\.tenant.rawValue)), \(reaped.map(\.session.rawValue)),
            \(reaped.map(\.holder.node)), \(reaped.map(\.holder.epoch)), \(reaped.map(\.key.rawValue)),
            \(reaped.map(\.region)), \(reaped.map(\.startedAt)), \(reaped.map(\.foundAt)),
            \(reaped.map(\.audio)))::text
        """
    }

    /// Arrays of arrays are flattened by unnest, so that each record's tags travel as one JSON text.
    private static func tags(_ record: UsageRecord) throws -> String {
        if record.tags.isEmpty { return "[]" }
        return String(decoding: try JSONEncoder().encode(record.tags.map(\.storable)), as: UTF8.self)
    }
}
