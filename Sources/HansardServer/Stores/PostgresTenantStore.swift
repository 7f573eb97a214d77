import FoundationEssentials
public import Hansard
public import Postgres

/// Tenants, keys and admin tokens in Postgres (`Migrations/0001_access.sql`, `0005_quotas_and_policies.sql`).
///
/// What nodes need is behind doors (`0008_isolation.sql`). Whoever makes or looks up a tenant, a key or a token logs in
/// as the owner of the tables.
public struct PostgresTenantStore: TenantStore {
    /// Rows of one statement of a snapshot: a million in one answer would be there twice.
    static let snapshotPage = 10_000

    private let pool: ConnectionPool
    /// Changes that are read one by one; a snapshot is read in place of more.
    var changeLimit = 10_000
    /// Commands of one statement.
    var commandsPage = 1_000

    /// A store in a database that has been migrated.
    public init(pool: ConnectionPool) { self.pool = pool }

    /// See `TenantStore`.
    public func create(_ tenant: Tenant) async throws {
        let statement = try Self.insertion(of: tenant)
        try await HansardError.mapping { try await pool.query(statement) }
    }

    /// See `TenantStore`.
    public func create(_ key: APIKey, digest: SecretDigest) async throws {
        try await HansardError.mapping { try await pool.query(Self.insertion(of: key, digest: digest)) }
    }

    /// See `TenantStore`.
    public func create(_ token: AdminToken, digest: SecretDigest) async throws {
        try await HansardError.mapping { try await pool.query(Self.insertion(of: token, digest: digest)) }
    }

    /// See `TenantStore`.
    public func tenant(named name: String) async throws -> Tenant? {
        try await HansardError.mapping {
            let rows = try await pool.query(
                "SELECT * FROM tenants WHERE name = \(name) ORDER BY created_at, tenant_id LIMIT 1"
            )
            return try rows.first.map(Tenant.init(row:))
        }
    }

    /// See `TenantStore`.
    public func key(digest: SecretDigest) async throws -> APIKey? {
        try await HansardError.mapping {
            let rows = try await pool.query("SELECT * FROM api_keys WHERE digest = \(digest.bytes)")
            return try rows.first.map(APIKey.init(row:))
        }
    }

    /// See `TenantStore`.
    public func adminToken(digest: SecretDigest) async throws -> AdminToken? {
        try await HansardError.mapping {
            let rows = try await pool.query(
                "SELECT * FROM admin_tokens WHERE digest = \(digest.bytes) AND revoked_at IS NULL"
            )
            return try rows.first.map(AdminToken.init(row:))
        }
    }

    /// See `TenantStore`.
    public func accessPosition() async throws -> AccessPosition {
        try await HansardError.mapping { try AccessPosition(row: try await pool.query(Self.position).only()) }
    }

    /// See `TenantStore`.
    public func accessSnapshot() async throws -> AccessSnapshot {
        try await HansardError.mapping {
            // All statements see the same moment.
            try await pool.transaction(isolation: .repeatableReadOnly) { connection in
                let position = try AccessPosition(row: try await connection.query(Self.position).only())
                let tenants = try await connection.query("SELECT * FROM tenants_for_nodes(NULL)").map(
                    Tenant.init(row:))
                let tokens = try await connection.query("SELECT * FROM admin_tokens_for_nodes()")
                    .map { (try SecretDigest(row: $0), try AdminToken(row: $0)) }
                var snapshot = AccessSnapshot(position: position, tenants: tenants, keys: [], adminTokens: tokens)
                var last = ""
                while true {
                    let page = try await connection.query("SELECT * FROM keys_after(\(last), \(Self.snapshotPage))")
                    for row in page { snapshot.insert(try APIKey(row: row), digest: try SecretDigest(row: row)) }
                    guard page.count == Self.snapshotPage, let end = page.last else { return snapshot }
                    last = try end.value("key_id")
                }
            }
        }
    }
}

// The feed.
extension PostgresTenantStore {
    private static let position: Query = "SELECT * FROM access_position()"

    /// See `TenantStore`.
    public func accessChanges(since known: AccessPosition) async throws -> AccessChanges? {
        try await HansardError.mapping {
            try await pool.transaction(isolation: .repeatableReadOnly) { connection in
                let events = try await connection.query(
                    """
                    SELECT sequence, change_id, follows, subject, subject_id
                    FROM access_events_since(\(known.sequence), \(changeLimit + 1))
                    """)
                guard events.count <= changeLimit else { return nil }
                guard let first = events.first, let last = events.last else {
                    let position = try AccessPosition(row: try await connection.query(Self.position).only())
                    return position == known ? AccessChanges(position: known) : nil
                }
                // Each change names the one before. If that is not the known one, what came between was cleared away, or the
                // known one is none of this history.
                guard try first.value("follows", as: UUID?.self) == known.change else { return nil }
                var changed: [String: [String]] = [:]
                for event in events {
                    changed[try event.value("subject"), default: []].append(try event.value("subject_id"))
                }
                var changes = AccessChanges(position: try AccessPosition(row: last))
                try await read(changed, into: &changes, on: connection)
                if changed["command"] != nil {
                    changes.commands = try await commands(after: known, through: changes.position, on: connection)
                }
                return changes
            }
        }
    }

    /// See `TenantStore`.
    public func accessCommands(
        after position: AccessPosition, through end: AccessPosition
    ) async throws -> [NodeCommand] {
        try await HansardError.mapping {
            try await pool.transaction(isolation: .repeatableReadOnly) { connection in
                try await commands(after: position, through: end, on: connection)
            }
        }
    }

    private func commands(
        after position: AccessPosition, through end: AccessPosition, on connection: Connection
    ) async throws -> [NodeCommand] {
        var (commands, last) = ([NodeCommand](), position.sequence)
        while true {
            let page = try await connection.query(
                "SELECT * FROM commands_between(\(last), \(end.sequence), \(commandsPage))")
            commands += try page.compactMap(NodeCommand.init(row:))
            guard page.count == commandsPage, let row = page.last else { return commands }
            last = try row.value("sequence")
        }
    }

    private func read(
        _ changed: [String: [String]], into changes: inout AccessChanges, on connection: Connection
    ) async throws {
        let tenants = Set((changed["tenant"] ?? []).compactMap(UUID.init(uuidString:)))
        if !tenants.isEmpty {
            changes.tenants = try await connection.query(
                "SELECT * FROM tenants_for_nodes(\(Array(tenants)))"
            ).map(Tenant.init(row:))
            changes.removedTenants = tenants.subtracting(changes.tenants.map(\.id.rawValue)).map(TenantID.init)
        }
        let keys = Set(changed["key"] ?? [])
        if !keys.isEmpty {
            changes.keys = try await connection.query("SELECT * FROM keys_for_nodes(\(Array(keys)))")
                .map { (try SecretDigest(row: $0), try APIKey(row: $0)) }
            changes.removedKeys = keys.subtracting(changes.keys.map(\.1.id.rawValue)).map(KeyID.init)
        }
        if changed["token"] != nil {
            changes.adminTokens = try await connection.query("SELECT * FROM admin_tokens_for_nodes()")
                .map { (try SecretDigest(row: $0), try AdminToken(row: $0)) }
        }
    }
}

// Statements, for transactions that do more.
extension PostgresTenantStore {
    static func insertion(of tenant: Tenant) throws -> Query {
        let metadata = String(decoding: try JSONEncoder().encode(tenant.metadata), as: UTF8.self)
        return """
            INSERT INTO tenants (tenant_id, name, status, max_concurrent_sessions, max_new_sessions_per_minute,
                max_minutes_per_month, max_seconds_per_session, quota_policy, limit_version, default_engine,
                fallback_engine, allowed_engines, allowed_languages, on_lease_lost, quota_unavailable,
                admit_unclaimed, retention_days, metadata, revision, created_at, updated_at)
            VALUES (\(tenant.id.rawValue), \(tenant.name), \(tenant.status.rawValue),
                \(tenant.quotas.maxConcurrentSessions), \(tenant.quotas.maxNewSessionsPerMinute),
                \(tenant.quotas.maxMinutesPerMonth), \(tenant.quotas.maxSecondsPerSession),
                \(tenant.quotas.policy.rawValue), \(tenant.quotas.version), \(tenant.defaultEngine),
                \(tenant.fallbackEngine), \(tenant.allowedEngines), \(tenant.allowedLanguages),
                \(tenant.onLeaseLost?.rawValue), \(tenant.quotaUnavailable?.rawValue),
                \(tenant.admitUnclaimed?.rawValue), \(tenant.retentionDays), \(metadata)::jsonb,
                \(tenant.revision), \(tenant.createdAt), \(tenant.updatedAt))
            """
    }

    static func insertion(of key: APIKey, digest: SecretDigest) -> Query {
        let scopes = key.scopes.map(\.rawValue).sorted()
        return """
            INSERT INTO api_keys (key_id, tenant_id, digest, name, scopes, display_prefix, display_suffix,
                is_enabled, expires_at, tags, allowed_cidrs, family, max_concurrent_sessions,
                max_new_sessions_per_minute, max_minutes_per_month, max_seconds_per_session, limit_version,
                revoked_at, last_used_at, revision, created_at, updated_at)
            VALUES (\(key.id.rawValue), \(key.tenant.rawValue), \(digest.bytes), \(key.name), \(scopes),
                \(key.displayPrefix), \(key.displaySuffix), \(key.isEnabled), \(key.expiresAt),
                \(key.tags), \(key.allowedCIDRs), \(key.family), \(key.quotas.maxConcurrentSessions),
                \(key.quotas.maxNewSessionsPerMinute), \(key.quotas.maxMinutesPerMonth),
                \(key.quotas.maxSecondsPerSession), \(key.quotas.version), \(key.revokedAt),
                \(key.lastUsedAt), \(key.revision), \(key.createdAt), \(key.updatedAt))
            """
    }

    static func insertion(of token: AdminToken, digest: SecretDigest) -> Query {
        """
        INSERT INTO admin_tokens (token_id, digest, name, role, tenants, display_prefix, display_suffix,
            expires_at, created_at)
        VALUES (\(token.id), \(digest.bytes), \(token.name), \(token.role.rawValue),
            \(token.tenants?.map(\.rawValue)), \(token.displayPrefix), \(token.displaySuffix),
            \(token.expiresAt), \(token.createdAt))
        """
    }
}
