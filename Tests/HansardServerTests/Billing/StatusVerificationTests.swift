import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// What `hansard usage verify` finds of sessions that the ledger knows nothing of.
@Suite struct StatusVerificationTests {
    /// A mistaken year is no proof.
    @Test func aMonthWithNothingIsTold() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.bill(by: BillingFixture.minutes("1", commitment: "5"))
            for month in ["1999-01", "2026-01"] {
                let found = try await fixture.findings(try #require(QuotaPeriod(month)))
                #expect(found.map(\.check) == [.nothing] && !found.contains(where: \.isFault), "\(found)")
                #expect(found[0].text == "there is neither usage nor an invoice of \(month)")
            }
            #expect(await fixture.close(BillingFixture.january).status == 200)
            #expect(try await fixture.findings() == [])
        }
    }

    /// A spool that is lost takes a session's row and its records: that it ended the connection store knows by itself.
    @Test func aSessionOfWhichTheLedgerHasNothingIsFound() async throws {
        try await BillingFixture.run { fixture async throws in
            let start = BillingFixture.january.start + 9
            let records = UsageRecord.session(7, startedAt: start, seconds: 60)
            try await fixture.ingest(UsageRecord.session(8, startedAt: start, seconds: 60))
            func ended(_ number: Int, _ milliseconds: Int) async throws {
                let (tenant, session) = (Sample.tenant.rawValue, Sample.session(number, startedAt: start).rawValue)
                let end = start + 60
                try await fixture.stores.ownerPool.execute(
                    """
                    INSERT INTO session_status (session_id, tenant_id, key_id, state, end_state, reason, started_at, ended_at,
                        audio_ms, engine_ms, finals, region)
                    VALUES (\(session), \(tenant), 'key_1', 'completed', 'completed', '', \(start), \(end), \(milliseconds),
                        \(milliseconds), 0, 'r')
                    """)
            }
            try await ended(8, 60_000)
            try await fixture.rollUp()
            #expect(try await fixture.findings() == [])
            try await ended(7, 60_000)
            let found = try await fixture.findings()
            #expect(found.map(\.check) == [.sessions] && found[0].isFault, "\(found)")
            #expect(
                found[0].text.hasSuffix(
                    "\(Sample.session(7, startedAt: start)) of tenant \(Sample.tenant): it ended with audio_ms 60000, the ledger has audio_ms 0"
                ))
            try await fixture.ingest(records)
            try await fixture.rollUp()
            #expect(try await fixture.findings() == [])
        }
    }
}
