import FoundationEssentials
import Hansard
import Logging
import Postgres

/// Erases transcripts that are to be forgotten: those of deleted tenants, and those older than their tenant's
/// `retention_days`. Every node looks; whichever gets to it first does it, and writes into the audit log what it did.
struct TranscriptErasure: Sendable {
    /// Between looks.
    static let interval = Duration.seconds(60)
    /// A tenant's transcripts are looked through for old ones at most this often.
    static let expiryInterval = Duration.seconds(3_600)
    /// Tenants of each look; the others are for the next.
    static let tenantsPerLook = 20
    /// Transcripts of one tenant in one look.
    static let transcriptsPerLook = 1_000

    let pool: ConnectionPool
    let access: AccessDirectory
    let transcripts: any TranscriptStore
    let node: String
    let logger: Logger

    /// Looks until the task is cancelled.
    func run() async {
        await lookRegularly(every: Self.interval, logger, otherwise: "nothing could be erased") {
            try await look(now: .now)
        }
    }

    /// Looks once.
    func look(now: Date) async throws {
        for tenant in try await deletedTenants() { try await erase(tenant, now: now) }
        let aging = (access.snapshot?.tenants.filter { $0.retentionDays != nil } ?? [])
            .sorted { $0.id.description < $1.id.description }
        for tenant in aging { try await expire(tenant, now: now) }
    }

    // MARK: Deleted tenants

    private func deletedTenants() async throws -> [TenantID] {
        try await pool.asOperator { connection in
            try await connection.query(
                """
                SELECT tenant_id FROM tenants WHERE status = 'deleted' AND erased_at IS NULL
                ORDER BY updated_at LIMIT \(Self.tenantsPerLook)
                """
            ).map { TenantID(try $0.value("tenant_id")) }
        }
    }

    private func erase(_ tenant: TenantID, now: Date) async throws {
        var count = 0
        while count < Self.transcriptsPerLook {
            let page = try await transcripts.list(tenant: tenant, before: nil, limit: 100)
            for entry in page { try await transcripts.delete(entry.session, tenant: tenant) }
            count += page.count
            if page.isEmpty { return try await erased(tenant, now: now) }
        }
    }

    private func erased(_ tenant: TenantID, now: Date) async throws {
        try await pool.asOperator { connection in
            let isFirst =
                try await connection.execute(
                    "UPDATE tenants SET erased_at = \(now) WHERE tenant_id = \(tenant.rawValue) AND erased_at IS NULL")
                == 1
            guard isFirst else { return }
            try await connection.append(entry("tenant.erase", tenant, now: now))
        }
    }

    // MARK: Old transcripts

    private func expire(_ tenant: Tenant, now: Date) async throws {
        guard let days = tenant.retentionDays, try await claimExpiry(of: tenant.id, now: now) else { return }
        // Ids begin with the session's start: everything below this one is older.
        let end = SessionID(
            startedAt: now.addingTimeInterval(-86_400 * Double(days)), random: [UInt8](repeating: 0, count: 10))
        var count = 0
        while count < Self.transcriptsPerLook {
            let page = try await transcripts.list(tenant: tenant.id, before: end, limit: 100)
            if page.isEmpty { break }
            for entry in page { try await transcripts.delete(entry.session, tenant: tenant.id) }
            count += page.count
        }
        guard count > 0 else { return }
        let expired = count
        logger.notice(
            "transcripts erased, as their time was over",
            metadata: ["tenant_id": "\(tenant.id)", "count": "\(expired)"])
        try await pool.asOperator { connection in
            try await connection.append(
                entry("transcripts.expire", tenant.id, now: now, changes: "{\"transcripts\":\(expired)}"))
        }
    }

    /// - Returns: false if another node has looked lately.
    private func claimExpiry(of tenant: TenantID, now: Date) async throws -> Bool {
        let due = now.addingTimeInterval(-(Self.expiryInterval / .seconds(1)))
        return try await pool.asOperator { connection in
            try await connection.execute(
                """
                INSERT INTO transcript_expiry (tenant_id, expired_through) VALUES (\(tenant.rawValue), \(now))
                ON CONFLICT (tenant_id) DO UPDATE SET expired_through = excluded.expired_through
                WHERE transcript_expiry.expired_through < \(due)
                """) == 1
        }
    }

    private func entry(_ action: String, _ tenant: TenantID, now: Date, changes: String = "{}") -> AuditEntry {
        AuditEntry(
            id: UUID(), tenant: tenant, occurredAt: now, actor: .node(node), action: action,
            target: .init("tenant", tenant.description), changes: changes)
    }
}
