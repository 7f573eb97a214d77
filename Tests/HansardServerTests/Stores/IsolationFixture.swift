import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// A database in which there is something to hide.
extension StoreFixture {
    /// All tables, in the order of their names.
    func tables() async throws -> [(name: String, hasTenant: Bool, isPartition: Bool)] {
        try await ownerPool.query(
            """
            SELECT relname::text AS name, EXISTS (
                SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant_id' AND NOT attisdropped
            ) AS has_tenant, relispartition AS is_partition
            FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
            ORDER BY relname
            """
        ).map { (try $0.value("name"), try $0.value("has_tenant"), try $0.value("is_partition")) }
    }

    /// Two tenants with a row in every table.
    func fillEveryTable() async throws -> [TenantID] {
        let tenants = [TenantID(UUID()), TenantID(UUID())]
        for tenant in tenants {
            try await fillAccess(of: tenant)
            try await fillSessions(of: tenant)
            try await fillCalls(of: tenant)
            try await fillPlans(of: tenant)
        }
        try await fillInvoices(of: tenants)
        try await fillSumsAndEvents(of: tenants)
        return tenants
    }

    private func fillAccess(of tenant: TenantID) async throws {
        let owner = PostgresTenantStore(pool: ownerPool)
        try await owner.create(Tenant(id: tenant, name: "\(tenant)", createdAt: moment(0)))
        let key = APIKey(
            id: KeyID("key_\(tenant)"), tenant: tenant, name: "one", displayPrefix: "", displaySuffix: "",
            createdAt: moment(0))
        try await owner.create(key, digest: SecretDigest(SecureBytes.digest()))
        let token = AdminToken(id: "adm_\(tenant)", name: "Ops", role: .viewer, createdAt: moment(0))
        try await owner.create(token, digest: SecretDigest(SecureBytes.digest()))
    }

    /// Sessions that are live, over and reaped, on nodes that hold minutes, and what they used.
    private func fillSessions(of tenant: TenantID) async throws {
        let store = PostgresConnectionStore(pool: pool)
        let limits = ClaimLimits(tenant: AdmissionLimit(sessions: 9, newPerMinute: 9, version: 1))
        let leases = (0..<3).map { _ in Lease.new(tenant) }
        for lease in leases { #expect(try await store.claim(lease, limits: limits) == .claimed) }
        _ = try await store.release(leases[0], status: .new(leases[0]))
        _ = try await store.reap(leases[1], status: .new(leases[1], .interrupted))
        try await store.heartbeat(
            NodeRecord(epoch: .new(), heartbeat: UUID(), address: "", region: "", version: "", isDraining: false))
        _ = try await store.grow(
            GrantRequest(
                owner: .tenant(tenant), period: QuotaPeriod(.now), holder: .new(), sequence: 1, milliseconds: 1,
                limit: MinuteLimit(milliseconds: 9, version: 1)))
        try await PostgresUsageStore(pool: pool).record([usage(of: leases[0])])
        let ledger = PostgresUsageLedger(pool: pool)
        try await ledger.register(.new(), spool: UUID())
        #expect(try await ledger.ingest([record(of: leases[0])]) == 1)
        try await ledger.note([ReapedUsage(leases[1], audio: 1, foundAt: moment(0))])
    }

    /// What operators' calls leave.
    private func fillCalls(of tenant: TenantID) async throws {
        try await PostgresAuditLog(pool: pool).append(
            AuditEntry(
                id: UUID(), tenant: tenant, occurredAt: moment(0), actor: .node("n"), action: "test",
                target: .init("tenant", "\(tenant)"), changes: "{}"),
            commanding: .drain("n"), of: tenant)
        try await pool.asOperator { connection in
            try await connection.execute("INSERT INTO transcript_expiry VALUES (\(tenant.rawValue), now())")
            try await connection.execute(
                """
                INSERT INTO kept_answers (caller, route, idempotency_key, fingerprint, status, headers, body)
                VALUES (\("\(tenant)"), '', '', sha256(''), 200, '{}', '')
                """)
        }
    }

    private func fillPlans(of tenant: TenantID) async throws {
        let plan = UUID()
        let statements: [Query] = [
            "INSERT INTO plans (plan_id, name, created_at, updated_at) VALUES (\(plan), \("\(plan)"), now(), now())",
            "INSERT INTO plan_versions VALUES (\(plan), 1, '{}', NULL, 1, now(), now())",
            """
            INSERT INTO plan_assignments
            VALUES (\(tenant.rawValue), '2026-01', NULL, \(plan), 1, 1, now(), now())
            """,
            "INSERT INTO billing_periods (period, state) VALUES ('2026-01', 'open') ON CONFLICT DO NOTHING",
            """
            INSERT INTO credits
            VALUES (\(UUID()), \(tenant.rawValue), '2026-02', 'USD', -1, 'r', 'a', now())
            """,
        ]
        try await pool.asOperator { connection in
            for statement in statements { try await connection.execute(statement) }
        }
    }

    private func fillInvoices(of tenants: [TenantID]) async throws {
        try await pool.asOperator { connection in
            try await connection.execute("UPDATE billing_periods SET state = 'closing', closing_at = now()")
            for (number, tenant) in tenants.enumerated() {
                try await connection.store(
                    Invoice(
                        state: .preview, tenant: tenant, period: BillingFixture.january, currency: Currency("USD")!,
                        lines: [.credit(of: tenant, number)], dataAsOf: moment(0), createdAt: moment(0)))
            }
        }
        try await ownerPool.query(
            "INSERT INTO late_usage (tenant_id, period, session_id, segment) SELECT tenant_id, now(), tenant_id, 0 FROM tenants"
        )
        try await ownerPool.query("INSERT INTO dropped_usage_records VALUES ('2026-01-01', now())")
    }

    /// Some hours are summed up and told of, and some are not.
    private func fillSumsAndEvents(of tenants: [TenantID]) async throws {
        let outbox = try await outbox()
        let ledger = PostgresUsageLedger(pool: pool)
        #expect(try await ledger.rollUp(atMost: 10) == tenants.count)
        #expect(try await outbox.make(hours: 10, slack: .zero) == tenants.count)
        try await ownerPool.execute("INSERT INTO usage_event_hours SELECT tenant_id, now(), now() FROM tenants")
        let more = tenants.map { record(of: Lease.new($0)) }
        #expect(try await ledger.ingest(more) == tenants.count)
    }

    private func usage(of lease: Lease) -> UsageRow {
        UsageRow(
            session: lease.session, tenant: lease.tenant, key: lease.key, engine: "", model: "", language: "", tags: [],
            region: "", channels: 1, audioMilliseconds: 1, connectedMilliseconds: 1, startedAt: moment(0),
            endedAt: moment(1))
    }

    private func record(of lease: Lease) -> UsageRecord {
        UsageRecord(
            session: lease.session, tenant: lease.tenant, key: lease.key, engine: "", model: "", language: "", tags: [],
            region: "", channels: 1, startedAt: moment(0))
    }
}

/// Bytes that are digests of nothing.
private enum SecureBytes {
    static func digest() -> [UInt8] { (0..<32).map { _ in .random(in: 0...255) } }
}
