import FoundationEssentials
public import Hansard
public import Postgres

/// Usage rows in Postgres (`Migrations/0003_usage.sql`, `0004_engines.sql`, `0009_sessions.sql`).
public struct PostgresUsageStore: UsageStore {
    /// Rows that go into one statement; more make several statements of one transaction.
    static let maximumRowsPerStatement = 1_000

    private let pool: ConnectionPool

    /// A store in a database that has been migrated.
    public init(pool: ConnectionPool) { self.pool = pool }

    /// See `UsageStore`.
    public func record(_ rows: [UsageRow]) async throws {
        let rows = Self.merged(rows)
        if rows.isEmpty { return }
        let statements = try stride(from: 0, to: rows.count, by: Self.maximumRowsPerStatement).map {
            try Self.statement(for: rows[$0..<min($0 + Self.maximumRowsPerStatement, rows.count)])
        }
        try await HansardError.mapping {
            if statements.count == 1 {
                try await pool.query(statements[0])
            } else {
                try await pool.transaction { connection in
                    for statement in statements { try await connection.query(statement) }
                }
            }
        }
    }

    /// See `UsageStore`.
    public func usage(of session: SessionID, tenant: TenantID) async throws -> UsageRow? {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT * FROM usage_of_session(\(tenant.rawValue), \(session.rawValue))
                """
            )
            return try rows.first.map(UsageRow.init(row:))
        }
    }

    /// One row per session, because a statement cannot raise the same row twice, in the order of their keys, because two
    /// batches that lock the same rows in different orders deadlock.
    private static func merged(_ rows: [UsageRow]) -> [UsageRow] {
        var merged: [[String]: UsageRow] = [:]
        for row in rows {
            merged[[row.tenant.description, row.session.description], default: row].advance(to: row)
        }
        return merged.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
    }

    /// An empty state stands for no outcome: arrays of parameters have no nulls.
    private static func statement(for rows: ArraySlice<UsageRow>) throws -> Query {
        let encoder = JSONEncoder()
        // Arrays of arrays are flattened by unnest, so that each row's tags travel as one JSON text.
        let tags = try rows.map { row in
            String(decoding: try encoder.encode(row.tags.map(\.storable)), as: UTF8.self)
        }
        return """
            SELECT record_usage(\(rows.map(\.tenant.rawValue)), \(rows.map(\.session.rawValue)),
                \(rows.map(\.key.rawValue)), \(rows.map(\.engine.storable)), \(rows.map(\.model.storable)),
                \(rows.map(\.language.storable)), \(tags), \(rows.map(\.region)), \(rows.map(\.channels)),
                \(rows.map(\.audioMilliseconds)), \(rows.map(\.engineMilliseconds)),
                \(rows.map(\.connectedMilliseconds)), \(rows.map(\.startedAt)), \(rows.map(\.endedAt)),
                \(rows.map { $0.outcome?.state.rawValue ?? "" }), \(rows.map { $0.outcome?.reason.storable ?? "" }),
                \(rows.map { $0.outcome?.finals ?? 0 }), \(rows.map { $0.outcome?.hasTranscript ?? false }))::text
            """
    }
}
