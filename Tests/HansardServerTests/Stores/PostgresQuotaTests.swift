import Foundation
import Hansard
import Postgres
import PostgresTesting
import Testing

@testable import HansardServer

/// What is Postgres's own in counting sessions and minutes.
@Suite struct PostgresQuotaTests {
    private func run(_ fixture: StoreFixture, _ body: (PostgresConnectionStore) async throws -> Void) async throws {
        do {
            try await body(PostgresConnectionStore(pool: fixture.pool))
        } catch {
            await fixture.close()
            throw error
        }
        await fixture.close()
    }

    /// Slots that are held while the database is migrated stay counted, and are given back.
    @Test func slotsOfEarlierVersionsStayCounted() async throws {
        let url = try await TestPostgres.database()
        let folder = try TestFolder()
        let all = URL(filePath: StoreFixture.migrationsDirectory)
        for name in try FileManager.default.contentsOfDirectory(atPath: all.path).filter({ $0 < "0006" }) {
            try FileManager.default.copyItem(at: all.appending(path: name), to: folder.url.appending(path: name))
        }
        try await Migrations(directory: folder.url.path).apply(to: url)
        let tenant = TenantID(UUID())
        let leases = (0..<2).map { _ in Lease.new(tenant) }
        let pool = ConnectionPool(url, options: ConnectionPool.Options())
        for lease in leases {
            try await pool.query(
                """
                SELECT claim_lease(ROW(\(tenant.rawValue), \(lease.session.rawValue), \(lease.connection.rawValue),
                    \(lease.key.rawValue), \(lease.holder.node), \(lease.holder.epoch), \(lease.nonce),
                    \(lease.address), \(lease.region), \(lease.claimedAt), 0)::leases, 2, 3)::text
                """
            )
        }
        await pool.close()
        try await run(try await StoreFixture.make(url: url)) { store async throws in
            #expect(Set(try await store.leases(of: tenant).map(\.session)) == Set(leases.map(\.session)))
            let before = AdmissionLimit(sessions: 9, version: 2)
            #expect(try await store.claim(.new(tenant), limit: before) == .full(2, tenant))
            #expect(try await store.release(leases[0], status: .new(leases[0])) == .released)
            #expect(try await store.reap(leases[1], status: .new(leases[1], .interrupted)))
            #expect(try await store.repairCount(of: tenant) == 0)
            #expect(try await store.claim(.new(tenant), limit: before) == .claimed)
        }
    }

    @Test func minutesThatAreOverGoAFewAtATime() async throws {
        let fixture = try await StoreFixture.make()
        try await run(fixture) { store async throws in
            try await fixture.ownerPool.query(
                """
                INSERT INTO new_sessions
                SELECT 'T#gone', now() - i * interval '1 minute', 1, now() - interval '1 second'
                FROM generate_series(1, 10) i
                """
            )
            func left() async throws -> Int {
                try await fixture.ownerPool.query("SELECT count(*) AS n FROM new_sessions WHERE owner = 'T#gone'")
                    .only().value("n")
            }
            // One whose new sessions are not limited has nothing to do with them.
            #expect(
                try await store.claim(.new(TenantID(UUID())), limit: AdmissionLimit(sessions: 1, version: 1))
                    == .claimed)
            #expect(try await left() == 10)
            let tenant = TenantID(UUID())
            for expected in [6, 2, 0] {
                let limit = AdmissionLimit(sessions: nil, newPerMinute: 9, version: 1)
                #expect(try await store.claim(.new(tenant), limit: limit) == .claimed)
                #expect(try await left() == expected)
            }
            let kept: Int = try await fixture.ownerPool.query(
                "SELECT begun AS n FROM new_sessions WHERE owner = \(QuotaOwner.tenant(tenant).description)"
            ).only().value("n")
            #expect(kept == 3)
        }
    }

    @Test func grantsOfMonthsLongPastGo() async throws {
        let fixture = try await StoreFixture.make()
        try await run(fixture) { store async throws in
            let owner = QuotaOwner.tenant(TenantID(UUID()))
            let limit = MinuteLimit(milliseconds: 1_000, version: 1)
            func grow(_ period: QuotaPeriod, _ holder: NodeEpoch) async throws {
                _ = try await store.grow(
                    GrantRequest(
                        owner: owner, period: period, holder: holder, sequence: 1, milliseconds: 1, limit: limit))
            }
            let (old, now) = (QuotaPeriod(moment(0)), QuotaPeriod(.now))
            let node = NodeEpoch.new()
            for _ in 0..<2 { try await grow(old, .new()) }
            try await grow(old, node)
            #expect(try await store.grants(heldBy: node).map(\.period) == [old], "as long as it is asked for")
            try await grow(now, .new())
            #expect(try await store.grants(heldBy: node).isEmpty)
        }
    }
}
