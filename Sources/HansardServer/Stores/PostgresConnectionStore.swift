public import FoundationEssentials
public import Hansard
public import Postgres

/// Leases, nodes and session status in Postgres: the store for one region that has no DynamoDB.
///
/// Each call is one function of the database (`Migrations/0002_connections.sql`, `0006_quotas.sql`,
/// `0008_isolation.sql`, `0009_sessions.sql`), one round trip and one transaction; a tenant's claims and releases take turns by the row lock
/// of its counter.
public struct PostgresConnectionStore: ConnectionStore {
    let pool: ConnectionPool

    /// A store in a database that has been migrated.
    public init(pool: ConnectionPool) { self.pool = pool }

    /// See `ConnectionStore`.
    public func claim(_ lease: Lease, limits: ClaimLimits) async throws -> ClaimOutcome {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT outcome, limit_kind, limit_that_counted FROM claim_lease(
                    ROW(\(lease.tenant.rawValue), \(lease.session.rawValue), \(lease.connection.rawValue),
                        \(lease.key.rawValue), \(lease.holder.node), \(lease.holder.epoch), \(lease.nonce),
                        \(lease.address), \(lease.region), \(lease.claimedAt), \(lease.usedMilliseconds),
                        \(limits.key != nil))::leases,
                    ROW(\(limits.tenant.sessions)::bigint, \(limits.tenant.newPerMinute)::bigint,
                        \(limits.tenant.version))::admission_limit,
                    ROW(\(limits.key?.sessions)::bigint, \(limits.key?.newPerMinute)::bigint,
                        \(limits.key?.version)::bigint)::admission_limit)
                """
            )
            let row = try rows.only()
            let outcome: String = try row.value("outcome")
            switch outcome {
            case "claimed": return .claimed
            case "superseded": return .superseded
            case "tenant", "key":
                return .limitReached(
                    LimitReached(
                        owner: outcome == "key" ? .key(lease.key) : .tenant(lease.tenant),
                        kind: try row.named("limit_kind"), limit: try row.value("limit_that_counted")))
            default: throw HansardError(.internal, "claim_lease answered '\(outcome)'")
            }
        }
    }

    /// See `ConnectionStore`.
    public func renew(_ lease: Lease) async throws -> Bool {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT renew_lease(\(lease.tenant.rawValue), \(lease.session.rawValue), \(lease.nonce),
                    \(lease.connection.rawValue), \(lease.usedMilliseconds)) AS renewed
                """
            )
            return try rows.only().value("renewed")
        }
    }

    /// See `ConnectionStore`.
    public func release(_ lease: Lease, status: SessionStatus) async throws -> ReleaseOutcome {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT release_lease(\(lease.tenant.rawValue), \(lease.session.rawValue), \(lease.nonce),
                    ROW(\(status.session.rawValue), \(status.tenant.rawValue), \(status.key.rawValue),
                        \(status.state.rawValue), \(status.endState.rawValue), \(status.reason.storable),
                        \(status.startedAt), \(status.endedAt), \(status.audioMilliseconds), \(status.finals),
                        \(status.transcriptLocation), \(status.region), now(),
                        \(status.engineMilliseconds))::session_status) AS released
                """
            )
            return try rows.only().value("released") ? .released : .alreadyGone
        }
    }

    /// See `ConnectionStore`.
    public func reap(_ lease: Lease, status: SessionStatus) async throws -> Bool {
        try await HansardError.mapping {
            let rows = try await pool.query(
                """
                SELECT reap_lease(\(lease.tenant.rawValue), \(lease.session.rawValue), \(lease.holder.node),
                    \(lease.holder.epoch),
                    ROW(\(status.session.rawValue), \(status.tenant.rawValue), \(status.key.rawValue),
                        \(status.state.rawValue), \(status.endState.rawValue), \(status.reason.storable),
                        \(status.startedAt), \(status.endedAt), \(status.audioMilliseconds), \(status.finals),
                        \(status.transcriptLocation), \(status.region), now(),
                        \(status.engineMilliseconds))::session_status) AS reaped
                """
            )
            return try rows.only().value("reaped")
        }
    }

    /// See `ConnectionStore`.
    public func finishStoring(_ session: SessionID, transcriptLocation: String) async throws -> Bool {
        try await HansardError.mapping {
            let rows = try await pool.query(
                "SELECT finish_storing(\(session.rawValue), \(transcriptLocation)) AS finished")
            return try rows.only().value("finished")
        }
    }

    /// See `ConnectionStore`.
    public func status(of session: SessionID) async throws -> SessionStatus? {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM status_of_session(\(session.rawValue))")
            return try rows.first.map(SessionStatus.init(row:))
        }
    }

    /// See `ConnectionStore`.
    public func setLimit(_ limit: AdmissionLimit, owner: QuotaOwner) async throws {
        try await HansardError.mapping {
            try await pool.query(
                """
                SELECT state_admission_limit(\(owner.description),
                    ROW(\(limit.sessions)::bigint, \(limit.newPerMinute)::bigint,
                        \(limit.version))::admission_limit)::text
                """
            )
        }
    }

    /// See `ConnectionStore`.
    public func newSessions(of owner: QuotaOwner, inMinuteOf moment: Date) async throws -> Int {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT new_sessions_in_minute(\(owner.description), \(moment)) AS begun")
            return try rows.only().value("begun")
        }
    }

    /// See `ConnectionStore`.
    public func leases(of tenant: TenantID) async throws -> [Lease] {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM leases_of_tenant(\(tenant.rawValue))")
            return try rows.map(Lease.init(row:))
        }
    }

    /// See `ConnectionStore`.
    public func leases(heldBy epoch: NodeEpoch) async throws -> [Lease] {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM leases_held_by(\(epoch.node), \(epoch.epoch))")
            return try rows.map(Lease.init(row:))
        }
    }

    /// See `ConnectionStore`.
    public func sessions(heldBy epoch: NodeEpoch) async throws -> [TenantID: Int] {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM sessions_held_by(\(epoch.node), \(epoch.epoch))")
            return try rows.reduce(into: [:]) { $0[TenantID(try $1.value("tenant_id"))] = try $1.value("sessions") }
        }
    }

    /// See `ConnectionStore`.
    public func heartbeat(_ node: NodeRecord) async throws {
        try await HansardError.mapping {
            try await pool.query(
                """
                SELECT heartbeat_of_node(\(node.epoch.node), \(node.epoch.epoch), \(node.heartbeat), \(node.address),
                    \(node.region), \(node.version), \(node.isDraining))::text
                """
            )
        }
    }

    /// See `ConnectionStore`.
    public func nodes() async throws -> [NodeRecord] {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM all_nodes()")
            return try rows.map(NodeRecord.init(row:))
        }
    }

    /// See `ConnectionStore`.
    public func remove(_ epoch: NodeEpoch) async throws {
        try await HansardError.mapping {
            try await pool.query("SELECT remove_node(\(epoch.node), \(epoch.epoch))::text")
        }
    }

    /// See `ConnectionStore`.
    public func repairCount(of owner: QuotaOwner) async throws -> Int {
        try await HansardError.mapping {
            let rows =
                switch owner {
                case .tenant(let tenant):
                    try await pool.query("SELECT repair_tenant_slots(\(tenant.rawValue)) AS difference")
                case .key(let key): try await pool.query("SELECT repair_key_slots(\(key.rawValue)) AS difference")
                }
            return try rows.only().value("difference")
        }
    }
}
