import Foundation
import Hansard
@testable import HansardServer
import Postgres
import PostgresTesting
import Testing
import Web

/// What only Postgres has: outages of the server, the age of tombstones, the mapping of its errors.
@Suite struct PostgresOutageTests {
    @Test func whileTheServerIsAwayCallsFailAtOnceAndThenWorkAgain() async throws {
        let cluster = try TestPostgres.separateCluster()
        let fixture = try await StoreFixture.make(url: cluster.url())
        let store = PostgresConnectionStore(pool: fixture.pool)
        let lease = Lease.new(TenantID(UUID()))
        let limit = AdmissionLimit(sessions: 1, version: 1)
        #expect(try await store.claim(lease, limit: limit) == .claimed)
        cluster.stop()
        // Were each to wait for a time-out, two hundred of them would take longer than any test may.
        for _ in 0..<200 {
            do {
                _ = try await store.claim(.new(lease.tenant), limit: limit)
                Issue.record("a claim was answered by a server that is stopped")
            } catch let error as HansardError {
                #expect(error.code == .unavailable)
                #expect(error.retryAfter == .seconds(1))
            }
        }
        #expect(await code { _ = try await PostgresTenantStore(pool: fixture.pool).accessSnapshot() } == .unavailable)
        #expect(await code { _ = try await store.release(lease, status: .new(lease)) } == .unavailable)
        try cluster.restart()
        var outcome: ReleaseOutcome?
        for _ in 0..<100 where outcome == nil {
            outcome = try? await store.release(lease, status: .new(lease))
            if outcome == nil { try await Task.sleep(for: .milliseconds(50)) }
        }
        #expect(outcome == .released)
        #expect(try await store.repairCount(of: lease.tenant) == 0)
        await fixture.close()
        cluster.stop()
    }

    /// The tenant's first claim has not committed when its release arrives: there is no row yet that others can see.
    @Test func aReleaseWaitsForTheFirstClaimOfItsTenant() async throws {
        let fixture = try await StoreFixture.make()
        let store = PostgresConnectionStore(pool: fixture.peerPool)
        let lease = Lease.new(TenantID(UUID()))
        let outcome = try await fixture.pool.transaction { connection in
            try await connection.query(
                """
                SELECT claim_lease(ROW(\(lease.tenant.rawValue), \(lease.session.rawValue),
                    \(lease.connection.rawValue), \(lease.key.rawValue), \(lease.holder.node),
                    \(lease.holder.epoch), \(lease.nonce), \(lease.address), \(lease.region),
                    \(lease.claimedAt), 0, false)::leases, ROW(NULL, NULL, 1)::admission_limit, NULL)::text
                """
            )
            let release = Task { try await store.release(lease, status: .new(lease)) }
            // Commit only once the release waits for us. If it does not wait, the count ends this and the test fails.
            for _ in 0..<300 {
                let waiting = try await fixture.ownerPool.query(
                    """
                    SELECT 1 FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'
                    """
                )
                if !waiting.isEmpty { break }
                try await Task.sleep(for: .milliseconds(10))
            }
            return release
        }.value
        #expect(outcome == .released)
        #expect(try await store.leases(of: lease.tenant).isEmpty)
        #expect(try await store.repairCount(of: lease.tenant) == 0)
        await fixture.close()
    }

    @Test func tombstonesExpireAndAreRemoved() async throws {
        let fixture = try await StoreFixture.make()
        let store = PostgresConnectionStore(pool: fixture.pool)
        let limit = AdmissionLimit(sessions: 9, version: 1)
        let old = Lease.new(TenantID(UUID()))
        _ = try await store.release(old, status: .new(old))
        #expect(try await store.claim(old, limit: limit) == .superseded)
        try await fixture.ownerPool.query("UPDATE lease_tombstones SET expires_at = now() - interval '1 second'")
        #expect(try await store.claim(old, limit: limit) == .claimed)
        // Any later release removes what has expired.
        let other = Lease.new(TenantID(UUID()))
        _ = try await store.release(other, status: .new(other))
        let left = try await fixture.ownerPool.query("SELECT session_id FROM lease_tombstones")
        #expect(left.map(\.values) == [[.uuid(other.session.rawValue)]])
        await fixture.close()
    }

    @Test(arguments: [
        (PostgresError(.unreachable, "x"), HansardError.Code.unavailable), (PostgresError(.timeout, "x"), .unavailable),
        (PostgresError(.poolExhausted, "x"), .unavailable), (PostgresError(.protocol, "x"), .internal),
        (PostgresError(.server, "x", sqlState: "40P01"), .unavailable),
        (PostgresError(.server, "x", sqlState: "53100"), .unavailable),
        (PostgresError(.server, "x", sqlState: "23505"), .conflict),
        (PostgresError(.server, "x", sqlState: "23503"), .notFound),
        (PostgresError(.server, "x", sqlState: "22021"), .invalid),
        (PostgresError(.server, "x", sqlState: "42P01"), .internal),
    ])
    func errorsOfPostgresHaveOneMeaning(error: PostgresError, code: HansardError.Code) {
        #expect(HansardError(error).code == code)
    }

    @Test func storedValuesStayOutOfMessages() {
        let error = PostgresError(.server, "duplicate", detail: "Key (digest)=(\\xdeadbeef)", sqlState: "23505")
        #expect(!HansardError(error).message.contains("deadbeef"))
    }

    /// A tenant learns that something is away, and nothing of where it is.
    @Test(arguments: [PostgresError.Kind.unreachable, .timeout, .poolExhausted])
    func whatLiesBehindIsForOperatorsAlone(_ kind: PostgresError.Kind) {
        let error = HansardError(PostgresError(kind, "connection to server on socket '/run/db' failed"))
        #expect(error.explanation.contains("/run/db") && describe(error).contains("/run/db"))
        #expect(!error.message.contains("/run/db") && error.retryAfter != nil)
        let answer = String(decoding: Problem(error).response(Sample.session(1)).body, as: UTF8.self)
        #expect(answer.contains("unavailable") && !answer.contains("/run/db"))
    }
}
