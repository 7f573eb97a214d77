public import Hansard
import Postgres

extension PostgresConnectionStore: GrantStore {
    /// See `GrantStore`.
    public func grow(_ request: GrantRequest) async throws -> GrantAnswer {
        try await change(request, by: request.milliseconds)
    }

    /// See `GrantStore`.
    public func giveBack(_ request: GrantRequest) async throws -> GrantAnswer {
        try await change(request, by: -request.milliseconds)
    }

    private func change(_ request: GrantRequest, by milliseconds: Int64) async throws -> GrantAnswer {
        try await HansardError.mapping {
            let (holder, limit) = (request.holder, request.limit)
            let rows = try await pool.query(
                """
                SELECT * FROM change_minute_grant(\(request.owner.description), \(request.period.description),
                    \(holder.node), \(holder.epoch), \(request.sequence), \(milliseconds),
                    ROW(\(limit.milliseconds)::bigint, \(limit.policy.rawValue), \(limit.version))::minute_limit)
                """
            )
            let row = try rows.only()
            switch try row.value("outcome", as: String.self) {
            case "held":
                return .held(
                    Grant(
                        owner: request.owner, period: request.period, holder: holder,
                        milliseconds: try row.value("grant_ms", as: Int64?.self) ?? 0,
                        sequence: try row.value("seq", as: Int64?.self) ?? 0),
                    try QuotaUse(row: row))
            case "exhausted": return .exhausted(try QuotaUse(row: row))
            case "retired": return .retired
            case let other: throw HansardError(.internal, "change_minute_grant answered '\(other)'")
            }
        }
    }

    /// See `GrantStore`.
    public func use(of owner: QuotaOwner, in period: QuotaPeriod) async throws -> QuotaUse? {
        try await HansardError.mapping {
            let rows = try await pool.query(
                "SELECT * FROM minutes_used(\(owner.description), \(period.description))")
            return try rows.first.map(QuotaUse.init(row:))
        }
    }

    /// See `GrantStore`.
    public func setMinutes(_ limit: MinuteLimit, owner: QuotaOwner, period: QuotaPeriod) async throws {
        try await HansardError.mapping {
            try await pool.query(
                """
                SELECT state_minute_limit(\(owner.description), \(period.description),
                    ROW(\(limit.milliseconds)::bigint, \(limit.policy.rawValue), \(limit.version))::minute_limit)::text
                """
            )
        }
    }

    /// See `GrantStore`.
    public func grants(heldBy epoch: NodeEpoch) async throws -> [Grant] {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM minute_grants_held_by(\(epoch.node), \(epoch.epoch))")
            return try rows.map(Grant.init(row:))
        }
    }

    /// See `GrantStore`.
    public func retire(_ grant: Grant, used: Int64) async throws -> Bool {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT retire_minute_grant(\(grant.owner.description), \(grant.period.description),
                    \(grant.holder.node), \(grant.holder.epoch), \(max(0, used))) AS retired
                """
            )
            return try rows.only().value("retired")
        }
    }
}

extension QuotaUse {
    init(row: Row) throws {
        self.init(
            granted: try row.value("granted_ms"),
            limit: MinuteLimit(
                milliseconds: try row.value("limit_ms"), policy: try row.named("policy"),
                version: try row.value("limit_version")))
    }
}

extension Grant {
    init(row: Row) throws {
        guard let owner = QuotaOwner(try row.value("owner")), let period = QuotaPeriod(try row.value("period")) else {
            throw HansardError(.internal, "a grant of minutes has no readable owner or period")
        }
        self.init(
            owner: owner, period: period, holder: try NodeEpoch(row: row), milliseconds: try row.value("granted_ms"),
            sequence: try row.value("seq"))
    }
}
