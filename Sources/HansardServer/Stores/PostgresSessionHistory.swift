import FoundationEssentials
import Hansard
import Postgres

/// Past sessions from their usage rows (`Migrations/0009_sessions.sql`).
struct PostgresSessionHistory: SessionHistory {
    let pool: ConnectionPool

    func past(
        _ reach: SessionReach, _ filter: SessionFilter, before: SessionID?, limit: Int
    ) async throws -> [UsageRow] {
        guard filter.hasPast else { return [] }
        let query = Self.list(reach, filter, before: before, limit: limit)
        return try await read(reach) { try await $0.query(query) }
    }

    func past(_ session: SessionID, _ reach: SessionReach) async throws -> UsageRow? {
        let (tenant, tenants) = (reach.tenant?.rawValue, reach.tenants?.map(\.rawValue))
        return try await read(reach) { connection in
            try await connection.query(
                """
                SELECT * FROM usage_rows WHERE channels > 0 AND session_id = \(session.rawValue)
                    AND (\(tenant)::uuid IS NULL OR tenant_id = \(tenant))
                    AND (\(tenants)::uuid[] IS NULL OR tenant_id = ANY(\(tenants)::uuid[]))
                LIMIT 1
                """)
        }.first
    }

    /// A tenant's own call runs under the policy that binds it; an operator's sees all, and says whose rows it wants.
    private func read(
        _ reach: SessionReach, _ body: @Sendable (Connection) async throws -> [Row]
    ) async throws -> [UsageRow] {
        let rows =
            if case .own(let tenant) = reach {
                try await pool.asTenant(tenant, body)
            } else {
                try await pool.asOperator(isolation: .repeatableReadOnly, body)
            }
        return try rows.map(UsageRow.init(row:))
    }

    // MARK: Lists

    /// The statement of a list: a piece of one index, in its order, until a page is full.
    ///
    /// It is written as a range of rows, not as equalities with an order. With those Postgres may take another index that has
    /// the same order, and throw away what does not fit, since it believes that what fits is spread evenly: where a tenant
    /// has been quiet, or all failures are of one bad day, a page would read through everything that came after. What else
    /// a filter says is tried row by row; what it leaves out is null, which the server takes out before it plans, anew for
    /// each call.
    static func list(_ reach: SessionReach, _ filter: SessionFilter, before: SessionID?, limit: Int) -> Query {
        let end = [before, filter.startedBefore.map(SessionID.init(firstFrom:))].compactMap { $0 }.min()
        let range = Range(
            first: filter.startedFrom.map { SessionID(firstFrom: $0) } ?? SessionID(UUID(uuid: noBytes)),
            end: end ?? SessionID(UUID(uuid: allBytes)), limit: limit)
        if let key = filter.key { return list(reach, key, filter, range) }
        let column: (name: String, value: String)? =
            if let state = filter.status?.pastState { ("state", state.rawValue) } else {
                filter.engine.map { ("engine", $0) }
            }
        guard let tenants = reach.tenant.map({ [$0] }) ?? reach.tenants else { return list(column, filter, range) }
        return list(tenants, column, filter, range)
    }

    private static let noBytes: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    private static let allBytes: uuid_t = (
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
    )

    /// Which part of the order, and how much of it.
    private struct Range {
        var first, end: SessionID
        var limit: Int
    }

    /// One key's. It is one tenant's: rows of others are not expected, but a caller may name any key.
    private static func list(_ reach: SessionReach, _ key: KeyID, _ filter: SessionFilter, _ range: Range) -> Query {
        let (state, engine) = (filter.status?.pastState?.rawValue, filter.engine)
        let tenants = (reach.tenant.map { [$0] } ?? reach.tenants)?.map(\.rawValue)
        return """
            SELECT * FROM usage_rows
            WHERE (key_id, session_id) >= (\(key.rawValue), \(range.first.rawValue))
                AND (key_id, session_id) < (\(key.rawValue), \(range.end.rawValue))
                AND (\(tenants)::uuid[] IS NULL OR tenant_id = ANY(\(tenants)::uuid[]))
                AND (\(state)::text IS NULL OR state = \(state)) AND (\(engine)::text IS NULL OR engine = \(engine))
            ORDER BY key_id DESC, session_id DESC LIMIT \(range.limit)
            """
    }

    /// All tenants'. That there are channels is true of every row: it says that an index is meant which is for these lists
    /// alone (`Migrations/0009_sessions.sql`).
    private static func list(
        _ column: (name: String, value: String)?, _ filter: SessionFilter, _ range: Range
    ) -> Query {
        guard let column else {
            return """
                SELECT * FROM usage_rows
                WHERE channels > 0 AND session_id >= \(range.first.rawValue) AND session_id < \(range.end.rawValue)
                ORDER BY session_id DESC LIMIT \(range.limit)
                """
        }
        let engine = filter.engine
        return """
            SELECT * FROM usage_rows
            WHERE channels > 0
                AND (\(identifier: column.name), session_id) >= (\(column.value), \(range.first.rawValue))
                AND (\(identifier: column.name), session_id) < (\(column.value), \(range.end.rawValue))
                AND (\(engine)::text IS NULL OR engine = \(engine))
            ORDER BY \(identifier: column.name) DESC, session_id DESC LIMIT \(range.limit)
            """
    }

    /// Some tenants': a page of each, and of these the newest.
    private static func list(
        _ tenants: [TenantID], _ column: (name: String, value: String)?, _ filter: SessionFilter, _ range: Range
    ) -> Query {
        let ids = tenants.map(\.rawValue)
        guard let column else {
            return """
                SELECT page.* FROM (SELECT DISTINCT id FROM unnest(\(ids)) AS t (id)) AS reach CROSS JOIN LATERAL (
                    SELECT * FROM usage_rows
                    WHERE (tenant_id, session_id) >= (reach.id, \(range.first.rawValue))
                        AND (tenant_id, session_id) < (reach.id, \(range.end.rawValue))
                    ORDER BY tenant_id DESC, session_id DESC LIMIT \(range.limit)
                ) AS page
                ORDER BY page.session_id DESC LIMIT \(range.limit)
                """
        }
        let engine = filter.engine
        return """
            SELECT page.* FROM (SELECT DISTINCT id FROM unnest(\(ids)) AS t (id)) AS reach CROSS JOIN LATERAL (
                SELECT * FROM usage_rows
                WHERE (tenant_id, \(identifier: column.name), session_id)
                        >= (reach.id, \(column.value), \(range.first.rawValue))
                    AND (tenant_id, \(identifier: column.name), session_id)
                        < (reach.id, \(column.value), \(range.end.rawValue))
                    AND (\(engine)::text IS NULL OR engine = \(engine))
                ORDER BY tenant_id DESC, \(identifier: column.name) DESC, session_id DESC LIMIT \(range.limit)
            ) AS page
            ORDER BY page.session_id DESC LIMIT \(range.limit)
            """
    }
}

extension SessionReach {
    /// The one tenant that it names.
    var tenant: TenantID? {
        switch self {
        case .own(let tenant), .tenant(let tenant): tenant
        case .tenants: nil
        }
    }

    /// The tenants that it is limited to, if it names none.
    var tenants: [TenantID]? {
        switch self {
        case .own, .tenant: nil
        case .tenants(let tenants): tenants
        }
    }
}

extension ConnectionPool {
    /// Runs `body` in a transaction that sees what belongs to one tenant, and nothing else whatever its statements say.
    ///
    /// - Throws: what `body` throws; of Postgres, in the domain's terms.
    func asTenant<Value: Sendable>(
        _ tenant: TenantID, _ body: @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        try await HansardError.mapping {
            try await transaction(isolation: .repeatableReadOnly) { connection in
                try await connection.query("SELECT set_config('app.tenant_id', \(tenant.description), true)")
                return try await body(connection)
            }
        }
    }
}
