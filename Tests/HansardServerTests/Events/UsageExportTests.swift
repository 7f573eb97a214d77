import EventLoops
import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

@Suite struct UsageExportTests {
    private let period = QuotaPeriod(moment(0))

    private func export(
        _ format: UsageExport.Format, _ fixture: StoreFixture, tenant: TenantID? = nil, period: QuotaPeriod? = nil
    ) async throws -> [String] {
        let written = Locked<[UInt8]>([])
        try await UsageExport(fixture.pool.url, period: period ?? self.period, tenant: tenant, source: "here")
            .write(format) { bytes in written.withLock { $0 += bytes } }
        return String(decoding: written.withLock { $0 }, as: UTF8.self).split(whereSeparator: \.isNewline)
            .map(String.init)
    }

    private func ids(_ lines: [String]) throws -> [String] {
        try lines.map { try JSONDecoder().decode(EventReceiver.Event.self, from: Data($0.utf8)).id }
    }

    @Test func segmentsAreRows() async throws {
        try await StoreFixture.with { fixture in
            let other = UsageRecord.sample(2, sequence: 1, at: 20, isFinal: true, tenant: Sample.otherTenant)
            _ = try await PostgresUsageLedger(pool: fixture.pool).ingest([
                .sample(0, sequence: 1, at: 10, audio: 7, isFinal: true, tags: ["=a", "b,\"c\""]),
                .sample(0, segment: 1, sequence: 1, at: 15), other,
            ])
            let csv = try await export(.csv, fixture)
            try #require(csv.count == 4)
            #expect(csv[0].hasPrefix("tenant_id,session_id,period,"))
            #expect(csv[1].contains("\"[\"\"=a\"\",\"\"b,\\\"\"c\\\"\"\"\"]\",0,1,7,7,7,1,true"))
            #expect(try await export(.csv, fixture, tenant: Sample.otherTenant).count == 2)
            #expect(try await export(.csv, fixture, period: period.next).count == 1)
            let lines = try await export(.jsonl, fixture, tenant: Sample.tenant)
            #expect(lines.count == 2)
            let row = try #require(
                try JSONSerialization.jsonObject(with: Data(lines[0].utf8)) as? [String: Any])
            #expect(row["tags"] as? [String] == ["=a", "b,\"c\""] && row["audio_ms"] as? Int == 7)
            #expect(row["started_at"] as? String == Timestamp.format(moment(0)) && row["sessions"] as? Int == 1)
        }
    }

    /// More than a page: rows come from the database by the thousand.
    @Test func thereAreAsManyAsThereAre() async throws {
        try await StoreFixture.with { fixture in
            let records = (0..<2_345).map { UsageRecord.sample($0, sequence: 1, at: $0, isFinal: true) }
            _ = try await PostgresUsageLedger(pool: fixture.pool).ingest(records)
            let pages = Locked(0)
            try await UsageExport(fixture.pool.url, period: period, tenant: nil, source: "here").write(.jsonl) { _ in
                pages.withLock { $0 += 1 }
            }
            #expect(pages.withLock { $0 } == 3)
            let lines = try await export(.cloudevents, fixture)
            #expect(Set(try ids(lines)).count == 2_345)
            struct Full: Error {}
            await #expect(throws: Full.self) {
                try await UsageExport(fixture.pool.url, period: period, tenant: nil, source: "x").write(.csv) { _ in
                    throw Full()
                }
            }
        }
    }

    @Test func eventsAreTheOutboxAndWhatWasBeforeIt() async throws {
        try await StoreFixture.with { fixture in
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let before = UsageRecord.sample(0, sequence: 1, at: 3_610, audio: 30_000, isFinal: true)
            _ = try await ledger.ingest([before])
            // There was never a destination: everything as it would have been told.
            let first = try await export(.cloudevents, fixture)
            let session = Sample.session(0)
            #expect(Set(try ids(first)) == ["\(session).0.20260528T20.1", "\(session).0.20260528T21.1"])
            // Now there is one, from nine o'clock on.
            _ = try await fixture.outbox()
            try await fixture.ownerPool.execute(
                "UPDATE usage_event_delivery SET first_hour = date_trunc('hour', \(before.madeAt), 'UTC')")
            _ = try await ledger.ingest([.sample(0, sequence: 2, at: 3_620, audio: 40_000)])
            #expect(try await export(.cloudevents, fixture).count == 1, "what is yet to be made is told by the outbox")
            try await fixture.makeEvents()
            _ = try await ledger.ingest([.sample(0, sequence: 3, at: 3_630, audio: 45_000)])
            try await fixture.makeEvents()
            let second = try await export(.cloudevents, fixture)
            #expect(
                Set(try ids(second)) == [
                    "\(session).0.20260528T20.1", "\(session).0.20260528T21.1", "\(session).0.20260528T21.2",
                ])
            let told = try second.map { try JSONDecoder().decode(EventReceiver.Event.self, from: Data($0.utf8)).data }
            #expect(told.map(\.audio_ms).reduce(0, +) == 45_000)
            #expect(try await export(.cloudevents, fixture, tenant: Sample.otherTenant).isEmpty)
        }
    }
}
