import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

extension UsageRecord {
    /// A session of some seconds, all of them audio; where it crosses a month's end that is two segments.
    static func session(
        _ number: Int, of tenant: TenantID = Sample.tenant, startedAt: Date, seconds: Int,
        engine: String = "pocketsphinx",
        language: String = "en"
    ) -> [UsageRecord] {
        let first = UsageRecord(
            session: Sample.session(number, startedAt: startedAt), tenant: tenant, key: KeyID("key_1"), engine: engine,
            model: "m", language: language, tags: [], region: "r", channels: 1, startedAt: startedAt)
        var meter = UsageMeter(first)
        var records = [first]
        let end = first.period.end
        let before = Int(end.timeIntervalSince(startedAt))
        func total(_ seconds: Int) -> UsageCounters {
            UsageCounters(
                audio: Int64(seconds) * 1_000, connected: Int64(seconds) * 1_000, engine: Int64(seconds) * 1_000)
        }
        if before < seconds { records += meter.advance(to: total(before), engine: engine, channels: 1, at: end) }
        return records
            + meter.end(at: total(seconds), engine: engine, channels: 1, now: startedAt + Double(seconds))
    }

    /// The row that the session's node leaves beside its records.
    static func row(of records: [UsageRecord]) throws -> UsageRow {
        let last = try #require(records.last)
        return UsageRow(
            session: last.session, tenant: last.tenant, key: last.key, engine: records[0].engine, model: last.model,
            language: last.language, tags: last.tags, region: last.region, channels: last.channels,
            audioMilliseconds: last.total.audio, engineMilliseconds: last.total.engine,
            connectedMilliseconds: last.total.connected, startedAt: last.sessionStartedAt, endedAt: last.madeAt,
            outcome: SessionOutcome(state: .completed, reason: "", finals: 0, hasTranscript: false))
    }
}

/// The admin plane over a ledger, with months that are long over.
struct BillingFixture {
    static let january = QuotaPeriod("2026-01")!
    static let february = QuotaPeriod("2026-02")!
    static let march = QuotaPeriod("2026-03")!

    let admin: AdminFixture
    var stores: StoreFixture { admin.stores }

    static func run(_ body: (BillingFixture) async throws -> Void) async throws {
        try await AdminFixture.run { fixture async throws in try await body(BillingFixture(admin: fixture)) }
    }

    /// A tenant that is billed from a month on.
    func bill(
        _ tenant: TenantID = Sample.tenant, from: QuotaPeriod = january, to: QuotaPeriod? = nil, by prices: String
    ) async throws {
        if tenant != Sample.tenant {
            try await PostgresTenantStore(pool: stores.ownerPool).create(
                Tenant(id: tenant, name: "\(tenant)", createdAt: moment(0)))
        }
        let plan = try await admin.plan("\(UUID())")
        let path = "\(AdminFixture.plans)/\(plan)/versions/1"
        let set = await admin.call("PUT", path, body: prices)
        #expect(set.status == 200, "\(set.text)")
        let assigned = await admin.assign(plan, from: "\(from)", to: to.map { "\"\($0)\"" } ?? "null", tenant: tenant)
        #expect(assigned.status == 201, "\(assigned.text)")
    }

    /// So much a minute.
    static func minutes(_ price: String, commitment: String = "0") -> String {
        #"{"currency":"USD","commitment":"\#(commitment)","charges":[{"tiers":[{"unit_price":"\#(price)"}]}]}"#
    }

    func ingest(_ sessions: [UsageRecord]...) async throws {
        let records = sessions.flatMap { $0 }
        #expect(try await PostgresUsageLedger(pool: stores.pool).ingest(records) == records.count)
        let ended = Dictionary(grouping: records, by: \.session).values.filter { $0.contains(where: \.isFinal) }
        try await PostgresUsageStore(pool: stores.pool).record(ended.map { try UsageRecord.row(of: $0) })
    }

    /// Sums up what came.
    func rollUp() async throws { _ = try await PostgresUsageLedger(pool: stores.pool).rollUp(atMost: 100) }

    /// What verifying a month finds.
    func findings(_ period: QuotaPeriod = january) async throws -> [UsageVerification.Finding] {
        try await UsageVerification(stores.pool.url, period: period).findings()
    }

    /// Changes tables as nobody may: with the rights of their owner, and no trigger that would refuse.
    func alter(_ statements: String) async throws {
        let connection = Connection(stores.url)
        try await connection.query("SELECT set_config('hansard.statements', \(statements), false)")
        try await connection.execute("SET session_replication_role = replica")
        try await connection.execute("DO $$ BEGIN EXECUTE current_setting('hansard.statements'); END $$")
        await connection.disconnect()
    }

    func close(_ period: QuotaPeriod, _ body: String = "") async -> HTTPResponse {
        await admin.call("POST", "/v1/admin/periods/\(period)/close", body: body)
    }

    func invoice(
        _ period: QuotaPeriod, of tenant: TenantID = Sample.tenant, isPreview: Bool = false
    ) async throws -> Invoice {
        let path = "/v1/admin/tenants/\(tenant)/invoices/\(period)"
        let answer = await admin.call("GET", isPreview ? path + "/preview" : path)
        #expect(answer.status == 200, "\(answer.text)")
        return try Invoice(document: answer.text)
    }

    func credit(_ amount: String, _ period: QuotaPeriod, tenant: TenantID = Sample.tenant) async -> HTTPResponse {
        await admin.call(
            "POST", "/v1/admin/tenants/\(tenant)/credits", name: UUID().uuidString,
            body: #"{"amount":"\#(amount)","period":"\#(period)","reason":"an outage"}"#)
    }

    /// Lines as amounts, in their order.
    static func amounts(_ invoice: Invoice) -> [String] { invoice.lines.map { "\($0.amount)" } }
}

extension InvoiceLine {
    /// One that needs nothing else.
    static func credit(of tenant: TenantID, _ cents: Int) -> InvoiceLine {
        InvoiceLine(
            Credit(
                id: CreditID(UUID()), tenant: tenant, period: BillingFixture.january,
                amount: Money(minor: Int128(cents), currency: Currency("USD")!), reason: "r", actor: "a",
                createdAt: moment(0)))
    }
}
