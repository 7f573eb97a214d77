import FoundationEssentials
import Hansard
import Postgres

extension [Row] {
    /// The row of a statement that always answers one.
    func only() throws(PostgresError) -> Row {
        guard count == 1 else { throw PostgresError(.protocol, "one row was expected, not \(count)") }
        return self[0]
    }
}

extension Row {
    /// The value of a column that holds the name of a case.
    func named<Value: RawRepresentable>(_ column: String) throws -> Value where Value.RawValue == String {
        let name: String = try value(column)
        guard let value = Value(rawValue: name) else {
            throw HansardError(.internal, "the column '\(column)' holds '\(name)', which this version does not know")
        }
        return value
    }
}

extension Row {
    /// The same where there may be none.
    func namedIfPresent<Value: RawRepresentable>(_ column: String) throws -> Value? where Value.RawValue == String {
        try value(column, as: String?.self) == nil ? nil : named(column)
    }
}

extension NodeEpoch {
    init(row: Row) throws {
        self.init(node: try row.value("node"), epoch: try row.value("epoch"))
    }
}

extension NodeRecord {
    init(row: Row) throws {
        self.init(
            epoch: try NodeEpoch(row: row),
            heartbeat: try row.value("heartbeat"),
            address: try row.value("address"),
            region: try row.value("region"),
            version: try row.value("version"),
            isDraining: try row.value("is_draining")
        )
    }
}

extension Lease {
    init(row: Row) throws {
        self.init(
            tenant: TenantID(try row.value("tenant_id")),
            session: SessionID(try row.value("session_id")),
            connection: ConnectionID(try row.value("connection_id")),
            key: KeyID(try row.value("key_id")),
            holder: try NodeEpoch(row: row),
            nonce: try row.value("nonce"),
            address: try row.value("address"),
            region: try row.value("region"),
            claimedAt: try row.value("claimed_at"),
            usedMilliseconds: try row.value("used_ms"),
            countsKey: try row.value("counts_key")
        )
    }
}

extension SessionStatus {
    init(row: Row) throws {
        self.init(
            session: SessionID(try row.value("session_id")),
            tenant: TenantID(try row.value("tenant_id")),
            key: KeyID(try row.value("key_id")),
            state: try row.named("state"),
            endState: try row.named("end_state"),
            reason: try row.value("reason"),
            startedAt: try row.value("started_at"),
            endedAt: try row.value("ended_at"),
            audioMilliseconds: try row.value("audio_ms"),
            engineMilliseconds: try row.value("engine_ms", as: Int64.self),
            finals: try row.value("finals"),
            transcriptLocation: try row.value("transcript_location"),
            region: try row.value("region")
        )
    }
}

extension QuotaLimits {
    /// - Parameter policy: the tenant's; keys have none of their own.
    init(row: Row, policy: QuotaPolicy) throws {
        self.init(
            maxConcurrentSessions: try row.value("max_concurrent_sessions"),
            maxNewSessionsPerMinute: try row.value("max_new_sessions_per_minute"),
            maxMinutesPerMonth: try row.value("max_minutes_per_month"),
            maxSecondsPerSession: try row.value("max_seconds_per_session"),
            policy: policy,
            version: try row.value("limit_version")
        )
    }
}

extension Tenant {
    init(row: Row) throws {
        self.init(
            id: TenantID(try row.value("tenant_id")),
            name: try row.value("name"),
            status: try row.named("status"),
            quotas: try QuotaLimits(row: row, policy: row.named("quota_policy")),
            defaultEngine: try row.value("default_engine"),
            fallbackEngine: try row.value("fallback_engine"),
            createdAt: try row.value("created_at")
        )
        allowedEngines = try row.value("allowed_engines")
        allowedLanguages = try row.value("allowed_languages")
        onLeaseLost = try row.namedIfPresent("on_lease_lost")
        quotaUnavailable = try row.namedIfPresent("quota_unavailable")
        admitUnclaimed = try row.namedIfPresent("admit_unclaimed")
        retentionDays = try row.value("retention_days")
        metadata = try JSONDecoder().decode(
            [String: String].self, from: Data(row.value("metadata", as: String.self).utf8))
        revision = try row.value("revision")
        updatedAt = try row.value("updated_at")
    }
}

extension APIKey {
    init(row: Row) throws {
        let scopes: [String] = try row.value("scopes")
        let id: String = try row.value("key_id")
        let family: String = try row.value("family")
        self.init(
            id: KeyID(id),
            tenant: TenantID(try row.value("tenant_id")),
            name: try row.value("name"),
            // A scope that a newer version wrote allows nothing here.
            scopes: Set(scopes.compactMap(Scope.init(rawValue:))),
            displayPrefix: try row.value("display_prefix"),
            displaySuffix: try row.value("display_suffix"),
            isEnabled: try row.value("is_enabled"),
            expiresAt: try row.value("expires_at"),
            tags: try row.value("tags"),
            allowedCIDRs: try row.value("allowed_cidrs"),
            // Mostly its own name, which then is in memory once.
            family: family == id ? id : family,
            quotas: try QuotaLimits(row: row, policy: .hard),
            createdAt: try row.value("created_at")
        )
        revokedAt = try row.value("revoked_at")
        lastUsedAt = try row.value("last_used_at")
        revision = try row.value("revision")
        updatedAt = try row.value("updated_at")
    }
}

extension SecretDigest {
    init(row: Row) throws {
        self.init(try row.value("digest"))
    }
}

extension AdminToken {
    init(row: Row) throws {
        self.init(
            id: try row.value("token_id"),
            name: try row.value("name"),
            role: try row.named("role"),
            expiresAt: try row.value("expires_at"),
            createdAt: try row.value("created_at")
        )
        tenants = try row.value("tenants", as: [UUID]?.self)?.map(TenantID.init)
        displayPrefix = try row.value("display_prefix")
        displaySuffix = try row.value("display_suffix")
    }
}

extension AccessPosition {
    init(row: Row) throws { self.init(sequence: try row.value("sequence"), change: try row.value("change_id")) }
}

extension NodeCommand {
    /// nil for a command of a newer version, and for one that names nothing.
    init?(row: Row) throws {
        let target: String = try row.value("target")
        switch try row.value("command", as: String.self) {
        case "terminate":
            guard let session = SessionID(target) else { return nil }
            self = .terminate(session)
        case "drain": self = .drain(target)
        case "undrain": self = .undrain(target)
        default: return nil
        }
    }
}

extension UsageRow {
    init(row: Row) throws {
        self.init(
            session: SessionID(try row.value("session_id")),
            tenant: TenantID(try row.value("tenant_id")),
            key: KeyID(try row.value("key_id")),
            engine: try row.value("engine"),
            model: try row.value("model"),
            language: try row.value("language"),
            tags: try row.value("tags"),
            region: try row.value("region"),
            channels: try row.value("channels"),
            audioMilliseconds: try row.value("audio_ms"),
            engineMilliseconds: try row.value("engine_ms", as: Int64.self),
            connectedMilliseconds: try row.value("connected_ms"),
            startedAt: try row.value("started_at"),
            endedAt: try row.value("ended_at"),
            outcome: try SessionOutcome(row: row)
        )
    }
}

extension SessionOutcome {
    /// nil if the row does not say.
    init?(row: Row) throws {
        guard let state: SessionState = try row.namedIfPresent("state") else { return nil }
        self.init(
            state: state, reason: try row.value("reason"), finals: try row.value("finals"),
            hasTranscript: try row.value("has_transcript"))
    }
}
