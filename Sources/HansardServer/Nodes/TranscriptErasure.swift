import FoundationEssentials
import Hansard
import Logging
import Postgres

/// Erases transcripts that are to be forgotten: those of deleted tenants, and those older than their tenant's
/// `retention_days`. Every node looks; whichever gets to a tenant first does it, and writes into the audit log what it does.
struct TranscriptErasure: Sendable {
    /// Between looks.
    static let interval = Duration.seconds(60)
    /// A tenant's transcripts are looked through for old ones at most this often.
    static let expiryInterval = Duration.seconds(3_600)
    /// A deleted tenant's are looked for again this often, and for ever: a node that was down brings what its spool held
    /// whenever it is started again.
    static let lateInterval = Duration.seconds(86_400)
    /// Until the next attempt at a tenant whose transcripts could not be erased, and until a node that has begun with one and
    /// said no more is taken to be gone.
    static let retryInterval = Duration.seconds(600)
    /// Tenants of each look; the others are for the next.
    static let tenantsPerLook = 100

    let pool: ConnectionPool
    let transcripts: any TranscriptStore
    let node: String
    let logger: Logger
    /// Transcripts of one tenant in one look; if there are more, the next look goes on.
    var transcriptsPerLook = 1_000

    /// A tenant some of whose transcripts may have to go.
    private struct Subject {
        enum Reason {
            /// All of them go. Whether there were none left at some time is known.
            case deleted(isErased: Bool)
            /// Those that are older go.
            case aging(days: Int)
        }
        var tenant: TenantID
        var reason: Reason

        init(row: Row) throws {
            tenant = TenantID(try row.value("tenant_id"))
            reason =
                if try row.value("is_deleted") {
                    .deleted(isErased: try row.value("is_erased"))
                } else {
                    .aging(days: try row.value("retention_days"))
                }
        }
    }

    /// Looks until the task is cancelled.
    func run() async {
        await lookRegularly(every: Self.interval, logger, otherwise: "nothing could be erased") {
            try await look(now: .now)
        }
    }

    /// Looks once. A tenant whose transcripts cannot be erased holds up no other.
    func look(now: Date) async throws {
        var failures: [(tenant: TenantID, error: any Error)] = []
        for tenant in try await due(now) {
            guard let subject = try await claim(tenant, now) else { continue }
            do {
                let wait = try await erase(subject, now: now)
                try await finish(tenant, now, next: now + wait)
            } catch {
                if Task.isCancelled { return }
                failures.append((tenant, error))
            }
        }
        guard let first = failures.first else { return }
        logger.warning(
            "transcripts that are to be forgotten could not be erased; it is tried again",
            metadata: [
                "tenants": "\(failures.count)", "tenant_id": "\(first.tenant)", "error": "\(describe(first.error))",
            ])
    }

    // MARK: Whose turn it is

    /// Those that have waited longest come first.
    private func due(_ now: Date) async throws -> [TenantID] {
        try await pool.asOperator { connection in
            try await connection.query(
                """
                SELECT t.tenant_id FROM tenants t LEFT JOIN transcript_expiry e ON e.tenant_id = t.tenant_id
                WHERE (t.status = 'deleted' OR t.retention_days IS NOT NULL) AND (e.due_at IS NULL OR e.due_at <= \(now))
                ORDER BY e.due_at NULLS FIRST LIMIT \(Self.tenantsPerLook)
                """
            ).map { TenantID(try $0.value("tenant_id")) }
        }
    }

    /// - Returns: nil if another node came first, or nothing of the tenant's is to go any more.
    private func claim(_ tenant: TenantID, _ now: Date) async throws -> Subject? {
        try await pool.asOperator { connection in
            try await connection.query(
                """
                WITH claimed AS (
                    INSERT INTO transcript_expiry (tenant_id, due_at) VALUES (\(tenant.rawValue), \(Self.retry(now)))
                    ON CONFLICT (tenant_id) DO UPDATE SET due_at = excluded.due_at
                    WHERE transcript_expiry.due_at <= \(now)
                    RETURNING tenant_id
                )
                SELECT t.tenant_id, t.status = 'deleted' AS is_deleted, t.erased_at IS NOT NULL AS is_erased,
                    t.retention_days
                FROM claimed JOIN tenants t ON t.tenant_id = claimed.tenant_id
                WHERE t.status = 'deleted' OR t.retention_days IS NOT NULL
                """
            ).first.map(Subject.init(row:))
        }
    }

    /// Says when the next look is due, unless somebody else has said so meanwhile: whoever deleted the tenant, perhaps.
    private func finish(_ tenant: TenantID, _ now: Date, next: Date) async throws {
        try await pool.asOperator { connection in
            try await connection.execute(
                """
                UPDATE transcript_expiry SET due_at = \(next)
                WHERE tenant_id = \(tenant.rawValue) AND due_at = \(Self.retry(now))
                """)
        }
    }

    private static func retry(_ now: Date) -> Date { now + retryInterval / .seconds(1) }

    // MARK: Erasing

    /// - Returns: the seconds until the next look.
    private func erase(_ subject: Subject, now: Date) async throws -> TimeInterval {
        let tenant = subject.tenant
        switch subject.reason {
        case .deleted(let isErased):
            let sessions = try await newest(of: tenant, before: nil)
            // The next look finds what has come meanwhile, or that nothing has.
            if !sessions.isEmpty {
                try await erase(sessions, of: tenant, "transcripts.erase", now: now)
                return 0
            }
            if !isErased { try await erased(tenant, now: now) }
            return Self.lateInterval / .seconds(1)
        case .aging(let days):
            // Ids begin with the session's start: everything below this one is older.
            let end = SessionID(startedAt: now - 86_400 * Double(days), random: [UInt8](repeating: 0, count: 10))
            let sessions = try await newest(of: tenant, before: end)
            if !sessions.isEmpty { try await erase(sessions, of: tenant, "transcripts.expire", now: now) }
            return sessions.count < transcriptsPerLook ? Self.expiryInterval / .seconds(1) : 0
        }
    }

    private func newest(of tenant: TenantID, before end: SessionID?) async throws -> [SessionID] {
        var (sessions, end) = ([SessionID](), end)
        while sessions.count < transcriptsPerLook {
            let page = try await transcripts.list(
                tenant: tenant, before: end, limit: min(100, transcriptsPerLook - sessions.count))
            guard let last = page.last else { break }
            sessions += page.map(\.session)
            end = last.session
        }
        return sessions
    }

    private func erase(_ sessions: [SessionID], of tenant: TenantID, _ action: String, now: Date) async throws {
        let log = PostgresAuditLog(pool: pool)
        let entry = entry(action, tenant, now: now, changes: "{\"transcripts\":\(sessions.count)}")
        try await log.append(entry)
        try await log.noting(entry) {
            for session in sessions { try await transcripts.delete(session, tenant: tenant) }
        }
        logger.notice(
            "transcripts erased",
            metadata: ["tenant_id": "\(tenant)", "action": "\(action)", "count": "\(sessions.count)"])
    }

    /// Nothing of a deleted tenant is left.
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

    private func entry(_ action: String, _ tenant: TenantID, now: Date, changes: String = "{}") -> AuditEntry {
        AuditEntry(
            id: UUID(), tenant: tenant, occurredAt: now, actor: .node(node), action: action,
            target: .init("tenant", tenant.description), changes: changes)
    }
}
