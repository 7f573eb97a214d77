import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Each line of an invoice has its sessions, and they add up to it, through the router and Postgres.
@Suite struct InvoicedLineTests {
    private typealias Fixture = BillingFixture
    private let january = BillingFixture.january
    private let february = BillingFixture.february
    private let march = BillingFixture.march

    private static let overlapping = """
        {"currency":"USD","increment_ms":1000,"minimum_ms":15000,"charges":[
        {"engine":"synthetic","language":"de","tiers":[{"unit_price":"1"}]},
        {"language":"de","mode":"volume","tiers":[{"up_to":2,"unit_price":"1"},{"unit_price":"0.5"}]},
        {"engine":"synthetic","included_minutes":1,"tiers":[{"up_to":2,"unit_price":"1"},{"unit_price":"0.5"}]},
        {"engine":"pocketsphinx","tiers":[{"unit_price":"0.1"}]}]}
        """

    private func ids(_ sessions: [BilledSession]) -> Set<String> { Set(sessions.map(\.session.description)) }

    private func id(_ number: Int, _ startedAt: Date) -> String {
        Sample.session(number, startedAt: startedAt).description
    }

    // MARK: What a line has

    /// Specific charges before general ones, tiers of both kinds, a minimum, and time without a price.
    @Test func ofOverlappingChargesEachHasItsOwn() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.overlapping)
            let start = january.start + 60
            let all: [(engine: String, language: String, line: Int)] = [
                ("synthetic", "de", 0), ("pocketsphinx", "de", 1), ("deepgram", "de", 1), ("synthetic", "en", 2),
                ("pocketsphinx", "en", 3), ("deepgram", "en", 4),
            ]
            var expected = Array(repeating: Set<String>(), count: 5)
            for (number, kind) in (all + all + all).enumerated() {
                expected[kind.line].insert(id(number, start))
                try await fixture.record(
                    UsageRecord.session(
                        number, startedAt: start, language: kind.language,
                        at: [(kind.engine, Int64(1_999 + 31_001 * number))]))
            }
            // One of two lines, the minimum of which is on the first.
            try await fixture.record(
                UsageRecord.session(99, startedAt: start, at: [("synthetic", 2_500), ("pocketsphinx", 13_100)]))
            for line in [2, 3] { expected[line].insert(id(99, start)) }
            let preview = try await fixture.invoice(january, isPreview: true)
            let previewed = try await fixture.check(preview)
            #expect(previewed.map(ids) == expected)
            #expect(
                previewed[3].contains(
                    BilledSession(
                        session: Sample.session(99, startedAt: start), sessions: 0, raw: 13_100, billed: 1_000)))
            #expect(await fixture.close(january).status == 200)
            let invoice = try await fixture.invoice(january)
            #expect(invoice.lines == preview.lines)
            #expect(try await fixture.check(invoice) == previewed)
            #expect(try await fixture.findings().filter { $0.check == .invoices } == [])
        }
    }

    /// What a session had of each month, also in the one in which it did not begin.
    @Test func aSessionThatCrossesTheEndIsInBothMonths() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(
                by:
                    #"{"currency":"USD","increment_ms":60000,"minimum_ms":180000,"charges":[{"tiers":[{"unit_price":"1"}]}]}"#
            )
            let (start, other) = (january.end - 30, february.start + 5)
            try await fixture.ingest(
                UsageRecord.session(1, startedAt: start, seconds: 200),
                UsageRecord.session(2, startedAt: other, seconds: 10))
            for month in [january, february] { #expect(await fixture.close(month).status == 200) }
            let first = try await fixture.check(fixture.invoice(january))
            let second = try await fixture.check(fixture.invoice(february))
            let crossing = Sample.session(1, startedAt: start)
            #expect(first == [[BilledSession(session: crossing, sessions: 1, raw: 30_000, billed: 180_000)]])
            #expect(
                second == [
                    [
                        BilledSession(session: crossing, sessions: 0, raw: 170_000, billed: 60_000),
                        BilledSession(
                            session: Sample.session(2, startedAt: other), sessions: 1, raw: 10_000, billed: 180_000),
                    ]
                ])
            #expect(try await fixture.findings(february) == [])
        }
    }

    // MARK: Late usage

    /// A closed invoice's sessions stay, and each adjustment has what was new when it was made.
    @Test func lateUsageIsOfItsAdjustment() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            let live = UsageRecord.session(1, startedAt: january.start, seconds: 9)
            try await fixture.record(Array(live.dropLast()))
            try await fixture.record(UsageRecord.session(2, startedAt: january.start + 1, seconds: 30))
            #expect(await fixture.close(january).status == 200)
            let billed = try await fixture.check(fixture.invoice(january))
            #expect(billed[0].map(\.raw) == [0, 30_000])
            // The rest of one, another that is new, and what is February's own.
            try await fixture.record(Array(live.suffix(1)))
            try await fixture.record(UsageRecord.session(3, startedAt: january.start + 2, seconds: 40))
            try await fixture.record(UsageRecord.session(4, startedAt: february.start, seconds: 50))
            let preview = try await fixture.check(fixture.invoice(february, isPreview: true))
            #expect(await fixture.close(february).status == 200)
            #expect(try await fixture.check(fixture.invoice(february)) == preview && preview.count == 2)
            #expect(preview[1].map(\.raw) == [9_000, 40_000] && preview[1].map(\.sessions) == [0, 1])
            // More of the same.
            try await fixture.record([live[live.count - 1].later(by: 7)])
            #expect(await fixture.close(march).status == 200)
            let last = try await fixture.check(fixture.invoice(march))
            #expect(last.last?.map(\.raw) == [7] && last.last?.map(\.sessions) == [0])
            #expect(try await fixture.check(fixture.invoice(january)) == billed)
            #expect(try await fixture.check(fixture.invoice(february)) == preview)
        }
    }

    /// Time at one engine uses an increment up that another line was billed for.
    @Test func anAdjustmentMayTakeBack() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(
                by: """
                    {"currency":"USD","increment_ms":1000,"charges":[{"engine":"pocketsphinx","tiers":[{"unit_price":"60"}]},
                    {"engine":"deepgram","tiers":[{"unit_price":"60"}]}]}
                    """)
            let records = UsageRecord.session(
                1, startedAt: january.start, at: [("pocketsphinx", 1_900), ("deepgram", 200)])
            try await fixture.record(records)
            #expect(await fixture.close(january).status == 200)
            let end = try #require(records.last { $0.segment == 0 })
            try await fixture.record([end.later(by: 200)])
            #expect(await fixture.close(february).status == 200)
            let invoice = try await fixture.invoice(february)
            let lines = try await fixture.check(invoice)
            #expect(Fixture.amounts(invoice).suffix(2) == ["1.00", "-1.00"])
            #expect(lines.suffix(2).map { $0.map(\.raw) } == [[200], [0]])
            #expect(lines.suffix(2).map { $0.map(\.billed) } == [[1_000], [-1_000]])
            try await fixture.checkInvoices([january])
        }
    }

    /// A month that was passed over has nothing billed, and all of it is an adjustment's.
    @Test func aMonthThatWasPassedOverIsWhole() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.record(UsageRecord.session(1, startedAt: february.start, seconds: 60))
            #expect(await fixture.close(february).status == 200)
            try await fixture.record(UsageRecord.session(2, startedAt: january.start, seconds: 120))
            #expect(await fixture.close(march).status == 200)
            let first = try await fixture.check(fixture.invoice(march))
            #expect(first.last?.map(\.raw) == [120_000])
            try await fixture.record(UsageRecord.session(3, startedAt: january.start, seconds: 60))
            let april = QuotaPeriod("2026-04")!
            #expect(await fixture.close(april).status == 200)
            #expect(try await fixture.check(fixture.invoice(april)).last?.map(\.raw) == [60_000])
            #expect(try await fixture.check(fixture.invoice(march)) == first)
        }
    }

    /// Of a month that is closing: what comes before the tenant's invoice is made is in it.
    @Test func whatComesWhileAMonthIsClosingIsInItsInvoice() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.record(UsageRecord.session(1, startedAt: january.start, seconds: 60))
            try await fixture.alter("UPDATE usage_segments SET audio_ms = audio_ms + 1")
            #expect(await fixture.close(january).status == 409)
            try await fixture.alter("UPDATE usage_segments SET audio_ms = audio_ms - 1")
            try await fixture.record(UsageRecord.session(2, startedAt: january.start, seconds: 30))
            #expect(await fixture.close(january).status == 200)
            try await fixture.record(UsageRecord.session(3, startedAt: january.start, seconds: 20))
            let sessions = try await fixture.check(fixture.invoice(january))
            #expect(sessions.map { $0.map(\.raw) } == [[60_000, 30_000]])
            #expect(await fixture.close(february).status == 200)
            #expect(try await fixture.check(fixture.invoice(february)).last?.map(\.raw) == [20_000])
        }
    }

    /// Whoever records has seen the month open: the first invoice is made once that is there.
    @Test func closingWaitsForThoseWhoRecord() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            let answers = try await fixture.admin.answers(
                [{ await fixture.close(january) }], beside: "LOCK TABLE ONLY usage_records IN ROW EXCLUSIVE MODE")
            #expect(answers.map(\.status) == [200])
        }
    }

    @Test func usageThatComesWhileInvoicesAreMadeIsOnOneOfThem() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.overlapping)
            let (ledger, start) = (PostgresUsageLedger(pool: fixture.stores.peerPool), january.start)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for number in 0..<60 {
                        let records = UsageRecord.session(
                            number % 20, startedAt: start,
                            at: [(number % 2 == 0 ? "synthetic" : "deepgram", Int64(500 + number * 77))])
                        _ = try await ledger.ingest(records.map { $0.later(by: 0, sequence: number) })
                    }
                }
                for month in [january, february, march] { #expect(await fixture.close(month).status == 200) }
                try await group.waitForAll()
            }
            let april = QuotaPeriod("2026-04")!
            #expect(await fixture.close(april).status == 200)
            try await fixture.checkInvoices([january, february, march, april])
            let sums = try await fixture.stores.ownerPool.query(
                """
                SELECT (SELECT sum(raw_ms)::bigint FROM invoice_lines) AS billed,
                    (SELECT sum(audio_ms)::bigint FROM usage_segments) AS used
                """
            ).only()
            #expect(try sums.value("billed", as: Int64.self) == sums.value("used"))
        }
    }

    // MARK: Who may read what

    @Test func aTenantThatIsDeletedHasItsSessionsStill() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1"))
            try await fixture.ingest(UsageRecord.session(1, startedAt: january.start, seconds: 60))
            #expect(await fixture.close(january).status == 200)
            #expect(await fixture.admin.call("DELETE", "/v1/admin/tenants/\(Sample.tenant)").status == 204)
            let usage = "/v1/admin/tenants/\(Sample.tenant)/usage/sessions"
            #expect(await fixture.admin.call("GET", usage, query: "start_time=2026-01-01T00:00:00Z").status == 404)
            #expect(try await fixture.check(fixture.invoice(january)).first?.map(\.raw) == [60_000])
        }
    }

    @Test func aLineIsOfItsTenantAlone() async throws {
        try await Fixture.run { fixture async throws in
            for (number, tenant) in [Sample.tenant, Sample.otherTenant].enumerated() {
                try await fixture.bill(tenant, by: Fixture.minutes("1"))
                try await fixture.ingest(UsageRecord.session(number, of: tenant, startedAt: january.start, seconds: 60))
            }
            #expect(await fixture.close(january).status == 200)
            try await fixture.ingest(
                UsageRecord.session(7, of: Sample.otherTenant, startedAt: january.start, seconds: 5))
            var token = AdminToken(id: "adm_1", name: "", role: .billing, createdAt: moment(0))
            token.tenants = [Sample.tenant]
            let limited = AdminFixture(
                stores: fixture.stores, transcripts: fixture.admin.transcripts,
                router: try await fixture.stores.adminRouter(as: .token(token)))
            let own = try #require(try await fixture.invoice(january).lines[0].sessionsURL)
            let theirs = own.replacing("\(Sample.tenant)", with: "\(Sample.otherTenant)")
            #expect(await limited.call("GET", own).status == 200)
            #expect(await limited.call("GET", theirs).status == 404)
            // The tenant's own plane reads under the policy that binds the tenant.
            let pool = fixture.stores.pool
            for isLate in [false, true] {
                let line = try await pool.asOperator {
                    try await $0.invoicedLine(
                        of: Sample.otherTenant, in: isLate ? february : january, for: january, named: "charge-0",
                        mayPreview: true)
                }
                let found = try #require(line)
                #expect(found.isRest == isLate)
                let mine = try await pool.asTenant(Sample.tenant) { try await $0.sessions(of: found, after: nil, 9) }
                #expect(mine.sessions == [] && mine.next == nil)
                let whose = try await pool.asTenant(Sample.otherTenant) {
                    try await $0.sessions(of: found, after: nil, 9)
                }
                #expect(whose.sessions.map(\.raw) == [isLate ? 5_000 : 60_000])
            }
        }
    }

    @Test func whatIsNoLineIsNotThere() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Fixture.minutes("1", commitment: "5"))
            #expect(await fixture.close(january).status == 200)
            let invoices = "/v1/admin/tenants/\(Sample.tenant)/invoices"
            for path in [
                "2026-01/lines/2026-01/charge-1", "2026-01/lines/2026-01/charge-00", "2026-01/lines/2026-01/commitment",
                "2026-01/lines/2025-12/charge-0", "2026-01/lines/2026-01/unpriced", "2026-01/lines/x/charge-0",
                "2026-02/lines/2026-02/charge-1", "2026-02/lines/2026-03/charge-0", "2026-03/lines/2026-02/charge-0",
                "2026-02/lines/2026-02/credit", "1999-01/lines/1999-01/charge-0",
            ] { #expect(await fixture.admin.call("GET", "\(invoices)/\(path)/sessions").status == 404, "\(path)") }
            for path in [
                "2026-01/lines/2026-01/charge-0", "2026-02/lines/2026-02/charge-0", "2026-02/lines/2026-02/unpriced",
                "2026-02/lines/2026-01/charge-0",
            ] {
                let answer = await fixture.admin.call("GET", "\(invoices)/\(path)/sessions")
                #expect(answer.status == 200 && answer.text.hasPrefix(#"{"data":[],"has_more":false"#), "\(path)")
            }
        }
    }

    // MARK: Pages

    @Test func pagesFitTogetherAndAreBounded() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.overlapping)
            for number in 0..<40 {
                let engine = number % 10 == 9 ? "pocketsphinx" : "synthetic"
                try await fixture.record(
                    UsageRecord.session(
                        number, startedAt: january.start + Double(number), at: [(engine, 1_000), ("deepgram", 1_000)]))
            }
            #expect(await fixture.close(january).status == 200)
            let lines = try await fixture.invoice(january).lines
            #expect(lines.map(\.sessions) == [0, 0, 36, 4, 0])
            for limit in [1, 2, 4, 7, 36, 40, 41, 1_000] {
                for line in lines where line.raw > 0 {
                    let found = try await fixture.listed(line, limit: limit)
                    #expect(found.reduce(0) { $0 + $1.raw } == line.raw, "\(line.subject) by \(limit)")
                }
            }
            // A page that looks at few segments is short, and the next one goes on behind what it has looked at.
            let (pages, found) = try await fixture.stores.pool.asOperator { connection in
                let line = try #require(
                    try await connection.invoicedLine(
                        of: Sample.tenant, in: january, for: january, named: "charge-3", mayPreview: false))
                var (pages, found, last): (Int, [LineSession], SessionID?) = (0, [], nil)
                repeat {
                    let page = try await connection.sessions(of: line, after: last, 2, lookingAt: 5)
                    pages += 1
                    found += page.sessions
                    last = page.next
                } while last != nil
                return (pages, found)
            }
            #expect(pages > 5 && found.map(\.raw) == [1_000, 1_000, 1_000, 1_000])
        }
    }

    @Test func cursorsAreOfOneLineAndTablesHaveTheSame() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.bill(by: Self.overlapping)
            for number in 0..<3 {
                try await fixture.record(
                    UsageRecord.session(number, startedAt: january.start, at: [("synthetic", 1_500), ("x", 500)]))
            }
            #expect(await fixture.close(january).status == 200)
            let lines = try await fixture.invoice(january).lines
            let (one, other) = (try #require(lines[2].sessionsURL), try #require(lines[4].sessionsURL))
            let page = await fixture.admin.call("GET", one, query: "limit=2")
            let next = try #require(page.object["next_cursor"] as? String)
            #expect(page.headers["link"]?.contains("<\(one)?limit=2&after=\(next)>") == true)
            #expect(await fixture.admin.call("GET", other, query: "after=\(next)").status == 400)
            for query in ["limit=0", "limit=1001", "format=html", "engine=x"] {
                #expect(await fixture.admin.call("GET", one, query: query).status == 400, "\(query)")
            }
            let table = await fixture.admin.call("GET", one, query: "format=csv&limit=2")
            let rows = table.text.components(separatedBy: "\r\n")
            #expect(rows[0] == "session_id,started_at,sessions,raw_ms,billed_ms" && rows.count == 4)
            #expect(rows[1] == "\(id(0, january.start)),2026-01-01T00:00:00.000Z,1,1500,15000")
            #expect(table.headers["link"]?.contains("format=csv") == true && table.headers["data-as-of"] != nil)
        }
    }
}
