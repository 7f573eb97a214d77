import EventLoops
import FoundationEssentials
import Hansard
import Logging
import Postgres

/// Keeps the heads of the audit log's chains beside the transcripts, where whoever owns the database does not reach, and
/// compares the chains with them. Every node does, each day and when it stops; a head that is there already is not kept again.
///
/// Entries are never removed today. Whoever makes that possible keeps the heads first, by `keep(now:)`.
final class AuditHeads: Sendable {
    /// Between looks.
    static let interval = Duration.seconds(86_400)
    /// Until the next look after one that failed.
    static let retryInterval = Duration.seconds(600)
    /// What a stop may take; what could not be kept then is for another node, or for the next start.
    static let stopWait = Duration.seconds(5)
    /// Chains that are read at once.
    static let chainsPerPage = 1_000

    private let pool: ConnectionPool
    private let store: any AuditHeadStore
    private let metrics: Metrics
    private let logger: Logger
    /// The hash of each chain's last entry that is known to be kept.
    private let kept = Locked<[TenantID?: [UInt8]]>([:])

    init(pool: ConnectionPool, store: any AuditHeadStore, metrics: Metrics, logger: Logger) {
        self.pool = pool
        self.store = store
        self.metrics = metrics
        self.logger = logger
    }

    /// Looks each day until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            let isDone = await keepLoggingFailure()
            try? await Task.sleep(for: isDone ? Self.interval : Self.retryInterval)
        }
    }

    /// Looks once more, for as long as a stop may take.
    func stop() async {
        if await firstWithin(Self.stopWait, { [self] in await keepLoggingFailure() }) == nil {
            logger.warning("the heads of the audit log could not all be kept in time")
        }
    }

    private func keepLoggingFailure() async -> Bool {
        do {
            try await keep(now: .now)
            return true
        } catch {
            if !Task.isCancelled { logger.warning("the heads of the audit log cannot be kept", error) }
            return false
        }
    }

    /// Keeps the head of each chain that has grown. One that differs from what was kept before, or is not there any more, is
    /// reported, and not kept: the earlier heads stay what it is judged by.
    func keep(now: Date) async throws {
        // Asked first: of a chain whose head was kept by now there are entries below, unless somebody removed them.
        var removed = try await store.chains()
        if let head = try await pool.auditHeadOfInstallation() {
            removed.remove(nil)
            try await keep(head, now: now)
        }
        var last: TenantID?
        while true {
            let page = try await pool.auditHeads(after: last, limit: Self.chainsPerPage)
            for head in page {
                removed.remove(head.tenant)
                try await keep(head, now: now)
            }
            guard page.count == Self.chainsPerPage, let next = page.last?.tenant else { break }
            last = next
        }
        for tenant in removed { _ = try await earlierHeads(of: tenant) }
    }

    private func keep(_ head: AuditHead, now: Date) async throws {
        guard kept.withLock({ $0[head.tenant] }) != head.hash, let earlier = try await earlierHeads(of: head.tenant)
        else { return }
        if !earlier.contains(head) {
            try await store.keep(head, at: now)
            metrics.auditHeadsKept.add()
        }
        kept.withLock { $0[head.tenant] = head.hash }
    }

    /// The heads that were kept of a chain; nil, once that is reported, if the chain is not what they say.
    private func earlierHeads(of tenant: TenantID?) async throws -> [AuditHead]? {
        let earlier = try await store.heads(of: tenant)
        let differing = try await pool.auditDifferences(from: earlier)
        guard let first = differing.first else { return earlier }
        metrics.auditDifferences.add()
        logger.error(
            "a chain of the audit log is not what it was when its head was kept",
            metadata: [
                "tenant_id": "\(tenant?.description ?? "none")", "place": "\(first.head.place)",
                "heads": "\(differing.count)",
            ])
        return nil
    }
}

/// A head that was kept, and what the database has in its place.
struct AuditDifference: Sendable, Equatable {
    var head: AuditHead
    /// nil if there is no such entry.
    var present: [UInt8]?
}

extension ConnectionPool {
    /// Which of one chain's heads are not what the chain has now, in the order of their places.
    func auditDifferences(from heads: [AuditHead]) async throws -> [AuditDifference] {
        guard !heads.isEmpty else { return [] }
        return try await asOperator(isolation: .repeatableReadOnly) { try await $0.auditDifferences(from: heads) }
    }

    /// The last entry of the installation's chain.
    fileprivate func auditHeadOfInstallation() async throws -> AuditHead? {
        try await asOperator(isolation: .repeatableReadOnly) { connection in
            try await connection.query(
                "SELECT place, hash FROM audit_log WHERE tenant_id IS NULL ORDER BY place DESC LIMIT 1"
            ).first.map { AuditHead(tenant: nil, place: try $0.value("place"), hash: try $0.value("hash")) }
        }
    }

    /// The last entries of tenants' chains, in the order of the tenants' ids. From one tenant the index leads to the next, past
    /// all of its entries.
    fileprivate func auditHeads(after last: TenantID?, limit: Int) async throws -> [AuditHead] {
        let start = last?.rawValue ?? UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        return try await asOperator(isolation: .repeatableReadOnly) { connection in
            try await connection.query(
                """
                WITH RECURSIVE chains AS (
                    (SELECT tenant_id FROM audit_log WHERE tenant_id > \(start) ORDER BY tenant_id LIMIT 1)
                    UNION ALL
                    SELECT (
                        SELECT a.tenant_id FROM audit_log a WHERE a.tenant_id > c.tenant_id ORDER BY a.tenant_id LIMIT 1)
                    FROM chains c WHERE c.tenant_id IS NOT NULL
                )
                SELECT c.tenant_id, head.place, head.hash
                FROM chains c CROSS JOIN LATERAL (
                    SELECT place, hash FROM audit_log a WHERE a.tenant_id = c.tenant_id ORDER BY place DESC LIMIT 1
                ) AS head
                LIMIT \(limit)
                """
            ).map {
                AuditHead(
                    tenant: TenantID(try $0.value("tenant_id")), place: try $0.value("place"),
                    hash: try $0.value("hash"))
            }
        }
    }
}

extension Connection {
    /// As the pool's, within a transaction that sees all tenants.
    func auditDifferences(from heads: [AuditHead]) throws -> [AuditDifference] {
        guard let tenant = heads.first?.tenant else { return try differences(of: heads, try installation(heads)) }
        return try differences(
            of: heads,
            try query(
                """
                SELECT place, hash FROM audit_log
                WHERE tenant_id = \(tenant.rawValue) AND place = ANY(\(heads.map(\.place)))
                """))
    }

    private func installation(_ heads: [AuditHead]) throws -> [Row] {
        try query(
            "SELECT place, hash FROM audit_log WHERE tenant_id IS NULL AND place = ANY(\(heads.map(\.place)))")
    }

    private func differences(of heads: [AuditHead], _ rows: [Row]) throws -> [AuditDifference] {
        var present: [Int: [UInt8]] = [:]
        for row in rows { present[try row.value("place")] = try row.value("hash", as: [UInt8].self) }
        return heads.filter { present[$0.place] != $0.hash }.map {
            AuditDifference(head: $0, present: present[$0.place])
        }
    }
}
