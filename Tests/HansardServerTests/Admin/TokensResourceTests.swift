import Crypto
import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Operators' credentials, through the router.
@Suite struct TokensResourceTests {
    /// Whether so many come to wait for a lock.
    private func areWaiting(_ count: Int, _ fixture: StoreFixture) async throws -> Bool {
        for _ in 0..<400 {
            let waiting: Int = try await fixture.ownerPool.query(
                """
                SELECT count(*) AS waiting FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
                """
            ).only().value("waiting")
            if waiting == count { return true }
            try await Task.sleep(for: .milliseconds(25))
        }
        return false
    }

    /// Both are under way before either is done.
    @Test func ofTwoOwnersRevokedAtOnceOneStays() async throws {
        try await StoreFixture.with { fixture in
            let owner = PostgresTenantStore(pool: fixture.ownerPool)
            for id in ["adm_1", "adm_2"] {
                let token = AdminToken(id: id, name: id, role: .owner, createdAt: moment(0))
                try await owner.create(token, digest: SecretDigest(SecureRandom.bytes(count: 32)))
            }
            let router = try await fixture.adminRouter()
            let calls = try await fixture.ownerPool.transaction { connection in
                // Entries of the installation's chain wait, and so does whoever writes one.
                try await connection.query("SELECT pg_advisory_xact_lock(hashtextextended('hansard.audit.', 0))")
                let calls = ["adm_1", "adm_2"].map { id in
                    Task { await router.respond(to: REST.request("POST", "/v1/admin/tokens/\(id)/revoke")).status }
                }
                #expect(try await areWaiting(2, fixture))
                return calls
            }
            var statuses: [Int] = []
            for call in calls { statuses.append(await call.value) }
            #expect(statuses.sorted() == [200, 409])
            let left = try await fixture.ownerPool.query("SELECT FROM admin_tokens WHERE revoked_at IS NULL")
            #expect(left.count == 1)
        }
    }
}
