import EventLoops
import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Usage records of months that are closed and long over go, and nothing that is made of totals changes.
@Suite struct UsageRecordsRetentionTests {
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let log = LogRecorder()

    private func pruning(_ fixture: BillingFixture) -> RowPruning {
        RowPruning(
            pool: fixture.stores.pool, metrics: Metrics(), logger: log.logger, recordsDays: 40)
    }

    /// As if it were so many days after the end of January.
    private func drop(_ fixture: BillingFixture, daysAfter days: Int = 41) async throws -> [String] {
        try await pruning(fixture).dropUsageRecords(now: january.end + Double(days) * 86_400)
    }

    private func records(_ fixture: BillingFixture) async throws -> Int {
        try await fixture.stores.ownerPool.query("SELECT count(*) AS n FROM usage_records").only().value("n")
    }

    private func findings(_ fixture: BillingFixture) async throws -> [UsageVerification.Finding] {
        try await UsageVerification(fixture.stores.pool.url, period: january).findings()
    }

    private func session(_ number: Int, in period: QuotaPeriod) -> [UsageRecord] {
        UsageRecord.session(number, startedAt: period.start + Double(number), seconds: 60)
    }

    /// By the day and by the hour, from what is summed up and from marks.
    private func reports(_ fixture: BillingFixture) async throws -> [[UsageReport.Bucket]] {
        let reports = PostgresUsageReports(pool: fixture.stores.pool)
        return [
            try await reports.report(
                UsageQuery(
                    tenant: Sample.tenant, boundaries: [january.start, january.end, february.end], width: .month,
                    dimensions: [.engine], filter: UsageGroup())
            ).buckets,
            try await reports.report(
                UsageQuery(
                    tenant: Sample.tenant, boundaries: [january.start, january.start + 3_600], width: .hour,
                    dimensions: [], filter: UsageGroup())
            ).buckets,
        ]
    }

    @Test func theyGoWhenTheirMonthIsClosedAndLongOver() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.ingest(session(1, in: january), session(2, in: february))
            let all = try await records(fixture)
            #expect(try await drop(fixture).isEmpty, "January is open")
            #expect(await fixture.close(january).status == 200)
            #expect(try await drop(fixture, daysAfter: 40).isEmpty, "not yet so long")
            let before = try await reports(fixture)
            #expect(try await drop(fixture) == ["2026-01"])
            #expect(try await records(fixture) == all - session(1, in: january).count)
            #expect(try await drop(fixture).isEmpty, "February is open")
            #expect(try await reports(fixture) == before)
            #expect(try await findings(fixture).map(\.check) == [.gone])
            #expect(log.count(of: "usage records dropped") == 1)
        }
    }

    /// By the minute it would be nothing, which is wrong.
    @Test func reportsByTheMinuteAreRefusedForThatTime() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.ingest(session(1, in: january), session(2, in: february))
            #expect(await fixture.close(january).status == 200)
            #expect(try await drop(fixture) == ["2026-01"])
            let reports = PostgresUsageReports(pool: fixture.stores.pool)
            func report(_ start: Date, _ end: Date) async throws -> UsageReport {
                try await reports.report(
                    UsageQuery(
                        tenant: Sample.tenant, boundaries: [start, end], width: .minute, dimensions: [],
                        filter: UsageGroup()))
            }
            await #expect(throws: UsageReport.recordsAreGone) { try await report(january.start, january.start + 60) }
            await #expect(throws: UsageReport.recordsAreGone) { try await report(january.end - 60, january.end + 60) }
            let there = try await report(january.end, january.end + 120)
            #expect(there.buckets[0].results.map(\.amounts.audio) == [60_000])
        }
    }

    /// Late records count as ever, whether they are new or were there before; and they go in their turn.
    @Test func whatComesLaterCountsAsBefore() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.bill(by: BillingFixture.minutes("1"))
            let early = session(1, in: january)
            try await fixture.ingest(Array(early.dropLast()))
            #expect(await fixture.close(january).status == 200)
            #expect(try await drop(fixture) == ["2026-01"])
            let ledger = PostgresUsageLedger(pool: fixture.stores.pool)
            let totals: Query =
                "SELECT tenant_id::text || session_id || audio_ms || connected_ms || is_final AS t FROM usage_segments"
            func total() async throws -> [String] {
                try await fixture.stores.ownerPool.query(totals).map { try $0.value("t") }.sorted()
            }
            let before = try await total()
            // What had come before its drop comes again, in another order.
            _ = try await ledger.ingest(early.dropLast().reversed())
            #expect(try await total() == before)
            #expect(try await ledger.ingest(Array(early.dropLast())) == 0, "the second time it is known")
            try await fixture.ingest(session(3, in: january))
            try await fixture.ingest(Array(early.suffix(1)))
            #expect(try await total() != before)
            let found = try await findings(fixture)
            #expect(Set(found.map(\.check)) == [.gone, .late] && !found.contains(where: \.isFault), "\(found)")
            #expect(try await drop(fixture) == ["2026-01"], "they go as well")
            let left = try await findings(fixture)
            #expect(Set(left.map(\.check)) == [.gone, .late] && !left.contains(where: \.isFault), "\(left)")
            #expect(await fixture.close(february).status == 200)
            #expect(try await findings(fixture).map(\.check) == [.gone], "the next invoice has it")
        }
    }

    /// A record may not say more than its total, whatever went.
    @Test func aTotalThatWasLoweredIsFoundByWhatIsLeft() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.ingest(session(1, in: january))
            #expect(await fixture.close(january).status == 200)
            #expect(try await drop(fixture) == ["2026-01"])
            try await fixture.ingest(session(2, in: january))
            try await fixture.stores.ownerPool.query("UPDATE usage_segments SET audio_ms = audio_ms - 1")
            let found = try await findings(fixture).filter { $0.check == .records }
            #expect(found.count == 1, "\(found)")
        }
    }

    /// Whoever reads records for long is not waited for, and nobody waits behind.
    @Test func itDoesNotWaitForOthers() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.ingest(session(1, in: january))
            #expect(await fixture.close(january).status == 200)
            let reader = Connection(fixture.stores.url)
            try await reader.execute("BEGIN")
            try await reader.query("SELECT FROM usage_records")
            #expect(try await drop(fixture).isEmpty)
            try await fixture.ingest(session(2, in: january))
            try await reader.execute("COMMIT")
            await reader.disconnect()
            #expect(try await drop(fixture) == ["2026-01"])
        }
    }

    /// Several nodes bring late records at once, and others look for what can go.
    @Test func lateRecordsAndDropsMeetUnharmed() async throws {
        try await BillingFixture.run { fixture async throws in
            try await fixture.ingest(session(1, in: january))
            #expect(await fixture.close(january).status == 200)
            let all = (2..<42).map { session($0, in: january) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for sessions in [all[..<20], all[20...]] {
                    group.addTask { () async throws -> Void in
                        let ledger = PostgresUsageLedger(pool: fixture.stores.pool)
                        for records in sessions { _ = try await ledger.ingest(records) }
                    }
                }
                group.addTask { () async throws -> Void in
                    for _ in 0..<20 { _ = try await drop(fixture) }
                }
                try await group.waitForAll()
            }
            let total = try await fixture.stores.ownerPool.query(
                "SELECT count(*) AS n, sum(audio_ms)::bigint AS audio FROM usage_segments"
            ).only()
            #expect(try total.value("n") == 41 && total.value("audio") == 41 * 60_000)
        }
    }

    /// What a clock that is wrong by years must not take out.
    @Test func theLastMonthStaysWhateverAClockSays() async throws {
        try await BillingFixture.run { fixture async throws in
            let last = QuotaPeriod(QuotaPeriod(.now).start - 1)
            try await fixture.ingest(session(1, in: last))
            let connection = Connection(fixture.stores.url)
            try await connection.execute("SET session_replication_role = replica")
            try await connection.query(
                """
                INSERT INTO billing_periods (period, state, closing_at, closed_at)
                VALUES (\(last.description), 'closed', now(), now())
                """)
            await connection.disconnect()
            #expect(try await pruning(fixture).dropUsageRecords(now: .now + 86_400 * 10_000).isEmpty)
        }
    }
}
