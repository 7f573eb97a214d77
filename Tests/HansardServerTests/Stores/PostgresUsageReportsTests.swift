import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// Reports from the ledger are what the records say, to the millisecond, whatever has been rolled up.
@Suite struct PostgresUsageReportsTests {
    /// Bucket ends of every width over the whole history, or as much of it as is telling.
    private static let spans: [(BucketWidth, [Date])] = {
        func boundaries(_ width: BucketWidth, _ start: Date, _ end: Date) -> [Date] {
            Array(sequence(first: start) { $0 < end ? min(width.boundary(after: $0), end) : nil })
        }
        let (start, end) = (UsageHistory.start, UsageHistory.end)
        let month = QuotaPeriod(start).end
        return [
            (.month, boundaries(.month, start, end)), (.month, boundaries(.month, month, end)),
            (.day, boundaries(.day, start, end)), (.day, boundaries(.day, month - 86_400, month + 86_400)),
            (.day, [start, end]), (.hour, boundaries(.hour, start, end)),
            (.minute, boundaries(.minute, month - 43_200, month + 43_200)),
            (.minute, boundaries(.minute, start + 40_020, start + 47_220)),
        ]
    }()

    private static let groupings: [Set<UsageDimension>] =
        [[]] + UsageDimension.allCases.map { [$0] } + [[.key, .tag], Set(UsageDimension.allCases)]

    private static let filters: [UsageGroup] = {
        func filter(_ dimensions: [UsageDimension: String]) -> UsageGroup {
            var group = UsageGroup()
            for (dimension, value) in dimensions { group[dimension] = value }
            return group
        }
        return [
            filter([:]), filter([.engine: "deepgram"]), filter([.tag: "b"]), filter([.key: "key_2", .language: "de"]),
            filter([.model: "general", .region: "far"]), filter([.tag: "nobody's"]),
        ]
    }()

    private func check(
        _ reports: PostgresUsageReports, _ history: UsageHistory, _ stage: String
    ) async throws {
        for tenant in [Sample.tenant, Sample.otherTenant] {
            for (width, boundaries) in Self.spans {
                for (index, dimensions) in Self.groupings.enumerated() {
                    // Each grouping with some filters, each filter with some groupings.
                    for filter in index < 2 ? Self.filters : [Self.filters[0], Self.filters[index % 6]] {
                        let query = UsageQuery(
                            tenant: tenant, boundaries: boundaries, width: width, dimensions: dimensions, filter: filter
                        )
                        let found = try await reports.report(query).buckets
                        let expected = history.report(query)
                        guard found != expected else { continue }
                        let first = zip(found, expected).first { $0 != $1 }
                        Issue.record(
                            "\(stage), \(width), \(dimensions), \(filter): \(String(describing: first)) differ")
                    }
                }
            }
        }
    }

    @Test func reportsAreExactBeforeDuringAndAfterRollingUp() async throws {
        let history = UsageHistory(seed: 1, sessions: 120)
        #expect(history.records.contains { $0.segment > 1 })
        #expect(history.records.contains { $0.sequence > UsageMeter.recoveryGap })
        try await StoreFixture.with { fixture in
            let reports = PostgresUsageReports(pool: fixture.pool)
            let records = history.shuffled(seed: 2)
            let early = records.prefix(records.count * 2 / 3)
            try await fixture.pool.ingest(Array(early))
            // In the middle of things: some hours are rolled up, which more records then concern.
            #expect(try await fixture.pool.rollUsage(atMost: 40) == 40)
            try await fixture.pool.ingest(Array(records.dropFirst(early.count)))
            try await check(reports, history, "half of it rolled up before half of it came")
            #expect(try await fixture.pool.rollUsage() > 0)
            try await check(reports, history, "rolled up")
            #expect(try await fixture.pool.rollUsage() == 0)
            try await fixture.pool.ingest(history.records)
            #expect(try await fixture.pool.rollUsage() == 0, "what comes again changes nothing")
        }
    }

    @Test func reportsAreExactWithNothingRolledUp() async throws {
        let history = UsageHistory(seed: 3, sessions: 60)
        try await StoreFixture.with { fixture in
            let reports = PostgresUsageReports(pool: fixture.pool)
            try await fixture.pool.ingest(history.shuffled(seed: 4), by: 17)
            try await check(reports, history, "nothing rolled up")
            for step in 0..<3 {
                _ = try await fixture.pool.rollUsage(atMost: 7)
                try await check(reports, history, "step \(step)")
            }
        }
    }

    // MARK: Sessions

    private func all(
        _ reports: PostgresUsageReports, _ tenant: TenantID, _ stretch: Range<Date>, _ filter: UsageGroup, by limit: Int
    ) async throws -> [SessionUsage] {
        var (sessions, last): ([SessionUsage], SessionID?) = ([], nil)
        while true {
            let page = try await reports.sessions(
                of: tenant, startedIn: stretch, filter, before: last, limit: limit
            ).sessions
            sessions += page
            guard page.count == limit else { return sessions }
            last = page.last?.first.session
        }
    }

    @Test func sessionsAddUpToWhatBucketsSay() async throws {
        let history = UsageHistory(seed: 5, sessions: 80)
        try await StoreFixture.with { fixture in
            let reports = PostgresUsageReports(pool: fixture.pool)
            try await fixture.pool.ingest(history.shuffled(seed: 6))
            let whole = UsageHistory.start..<UsageHistory.end
            for tenant in [Sample.tenant, Sample.otherTenant] {
                for filter in Self.filters {
                    let sessions = try await all(reports, tenant, whole, filter, by: 7)
                    #expect(sessions.map(\.first.session) == sessions.map(\.first.session).sorted(by: >))
                    #expect(Set(sessions.map(\.first.session)).count == sessions.count)
                    let fitting = history.records.filter {
                        $0.tenant == tenant && UsageHistory.fits($0, filter)
                    }
                    #expect(Set(sessions.map(\.first.session)) == Set(fitting.map(\.session)))
                    let query = UsageQuery(
                        tenant: tenant, boundaries: [whole.lowerBound, whole.upperBound], width: .day, filter: filter)
                    let result = try await reports.report(query).buckets[0].results.first
                    #expect(
                        sessions.reduce(UsageCounters()) { $0 + $1.amounts } == result?.amounts ?? UsageCounters())
                    #expect(
                        sessions.reduce(0) { $0 + $1.segments }
                            == Set(fitting.map { "\($0.session) \($0.segment)" }).count)
                }
            }
            let cut = UsageHistory.start + 100_000..<UsageHistory.start + 200_000
            let some = try await all(reports, Sample.tenant, cut, UsageGroup(), by: 100)
            let began = history.records.filter { $0.tenant == Sample.tenant && cut.contains($0.sessionStartedAt) }
            #expect(Set(some.map(\.first.session)) == Set(began.map(\.session)) && !some.isEmpty)
        }
    }

    @Test func aSessionSaysWhatItIs() async throws {
        try await StoreFixture.with { fixture in
            let month = QuotaPeriod(UsageHistory.start).end
            var group = UsageGroup()
            (group[.key], group[.engine], group[.model]) = ("key_1", "synthetic", "general")
            (group[.language], group[.region]) = ("en", "local")
            var record = LedgerRecord(
                tenant: Sample.tenant, session: Sample.session(1, startedAt: month - 100), madeAt: month - 0.001,
                counters: UsageCounters(audio: 1, connected: 2, engine: 3),
                isFinal: true, group: group, tags: ["b", "a"], channels: 2, sessionStartedAt: month - 100,
                startedAt: month - 100)
            let first = record
            (record.segment, record.madeAt, record.startedAt, record.isFinal) = (1, month + 60, month, false)
            record.group[.engine] = "deepgram"
            try await fixture.pool.ingest([record, first])
            let reports = PostgresUsageReports(pool: fixture.pool)
            func found(_ filter: UsageGroup = UsageGroup()) async throws -> [SessionUsage] {
                try await reports.sessions(
                    of: Sample.tenant, startedIn: month - 100..<month, filter, before: nil, limit: 10
                ).sessions
            }
            let one = try #require(try await found().first)
            #expect(one.first.session == record.session && one.first.sessionStartedAt == month - 100)
            #expect(one.first.group == group && one.first.tags == ["b", "a"] && one.channels == 2)
            #expect(one.segments == 2 && !one.isFinal && one.periods == [QuotaPeriod(month - 1), QuotaPeriod(month)])
            #expect(one.amounts == UsageCounters(audio: 2, connected: 4, engine: 6))
            var filter = UsageGroup()
            filter[.engine] = "deepgram"
            let part = try #require(try await found(filter).first)
            #expect(part.segments == 1 && part.amounts.audio == 1 && part.periods == [QuotaPeriod(month)])
            record.isFinal = true
            record.sequence = 1
            try await fixture.pool.ingest([record])
            #expect(try await found().first?.isFinal == true)
        }
    }

    // MARK: Whose, and as of when

    /// The policy, not the statement: a statement that names another tenant finds nothing.
    @Test func aTenantsOwnLookSeesNothingElse() async throws {
        let history = UsageHistory(seed: 7, sessions: 20)
        try await StoreFixture.with { fixture in
            try await fixture.pool.ingest(history.records)
            _ = try await fixture.pool.rollUsage(atMost: 20)
            let boundaries = [UsageHistory.start, UsageHistory.end]
            let query = UsageQuery(tenant: Sample.otherTenant, boundaries: boundaries, width: .day)
            let statements = [
                PostgresUsageReports.fromRollups(query), PostgresUsageReports.fromRecords(query),
                PostgresUsageReports.segments(
                    of: Sample.otherTenant, from: SessionID(firstFrom: boundaries[0]),
                    before: SessionID(firstFrom: boundaries[1]), UsageGroup(), limit: 10),
            ]
            for statement in statements {
                let own = try await fixture.pool.asTenant(Sample.otherTenant) { try await $0.query(statement) }
                #expect(!own.isEmpty)
                let others = try await fixture.pool.asTenant(Sample.tenant) { try await $0.query(statement) }
                #expect(others.isEmpty)
            }
        }
    }

    @Test func itSaysUpToWhenEverythingIsThere() async throws {
        try await StoreFixture.with { fixture in
            let reports = PostgresUsageReports(pool: fixture.pool)
            let query = UsageQuery(tenant: Sample.tenant, boundaries: [moment(0), moment(3_600)], width: .hour)
            let now = Date.now
            #expect(abs(try await reports.report(query).asOf.timeIntervalSince(now)) < 60)
            let epoch = UUID()
            _ = try await fixture.pool.query("SELECT register_usage_source('n', \(epoch), \(UUID()))")
            try await fixture.ownerPool.query("UPDATE usage_sources SET complete_through = \(moment(7))")
            #expect(try await reports.report(query).asOf == moment(7))
            let sessions = try await reports.sessions(
                of: Sample.tenant, startedIn: moment(0)..<moment(1), UsageGroup(), before: nil, limit: 1)
            #expect(sessions.asOf == moment(7) && sessions.sessions.isEmpty)
            #expect(try await reports.firstHour(of: Sample.tenant) == nil)
        }
    }
}
