import AWS
import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// What was stored before engines were metered apart is read as if they had been.
@Suite struct EngineColumnsTests {
    @Test func migratedRowsHaveUsedWhatWasAdmitted() async throws {
        let url = try await TestPostgres.database()
        let folder = try TestFolder()
        let all = URL(filePath: StoreFixture.migrationsDirectory)
        let names = try FileManager.default.contentsOfDirectory(atPath: all.path).filter { $0 < "0004" }
        #expect(names.count == 3)
        for name in names {
            try FileManager.default.copyItem(at: all.appending(path: name), to: folder.url.appending(path: name))
        }
        try await Migrations(directory: folder.url.path).apply(to: url)
        let (tenant, session) = (UUID(), UUID())
        let pool = ConnectionPool(url, options: ConnectionPool.Options())
        try await pool.query(
            """
            INSERT INTO usage_rows VALUES (\(tenant), \(session), 'key_1', 'pocketsphinx', 'general', 'en', '{}', 'eu', 1,
                1234, 5678, now(), now())
            """)
        try await pool.query(
            """
            INSERT INTO session_status VALUES (\(session), \(tenant), 'key_1', 'completed', 'completed', '', now(), now(),
                1234, 5, null, 'eu')
            """)
        try await pool.query(
            "INSERT INTO tenants VALUES (\(tenant), 'Acme', 'active', null, 1, 'pocketsphinx', now())")
        await pool.close()

        let fixture = try await StoreFixture.make(url: url)
        do {
            let usage = try await PostgresUsageStore(pool: fixture.pool).usage(
                of: SessionID(session), tenant: TenantID(tenant))
            #expect(usage?.engineMilliseconds == 1_234)
            let status = try await PostgresConnectionStore(pool: fixture.pool).status(of: SessionID(session))
            #expect(status?.engineMilliseconds == 1_234)
            #expect(status?.finals == 5)
            let stored = try await PostgresTenantStore(pool: fixture.pool).accessSnapshot().tenant(TenantID(tenant))
            #expect(stored?.defaultEngine == "pocketsphinx")
            #expect(stored != nil && stored?.fallbackEngine == nil)
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

    @Test func olderItemsHaveUsedWhatWasAdmitted() throws {
        let lease = Sample.lease(Sample.session(1), holder: Sample.epoch())
        var item = SessionStatus.new(lease).item(now: moment(0))
        #expect(try SessionStatus(item: item).engineMilliseconds == 75_000)
        item["engine_ms"] = nil
        #expect(try SessionStatus(item: item).engineMilliseconds == 59_999)
    }
}
