import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// A session as a line's address has it.
struct BilledSession: Equatable {
    var session: SessionID
    var sessions: Int64
    var raw: Int64
    var billed: Int64
}

extension BillingFixture {
    /// All pages of a line's address.
    func listed(_ line: InvoiceLine, limit: Int = 3) async throws -> [BilledSession] {
        let path = try #require(line.sessionsURL)
        var (found, query): ([BilledSession], String?) = ([], "limit=\(limit)")
        while let asked = query {
            let answer = await admin.call("GET", path, query: asked)
            try #require(answer.status == 200, "\(answer.text)")
            let data = try #require(answer.object["data"] as? [[String: Any]])
            #expect(data.count <= limit)
            found += try data.map { one in
                BilledSession(
                    session: try #require((one["session_id"] as? String).flatMap { SessionID($0) }),
                    sessions: Int64(try #require(one["sessions"] as? Int)),
                    raw: Int64(try #require(one["raw_ms"] as? Int)),
                    billed: Int64(try #require(one["billed_ms"] as? Int)))
            }
            let next = answer.object["next_cursor"] as? String
            #expect((next != nil) == (answer.object["has_more"] as? Bool) && (next == nil || data.count == limit))
            query = next.map { "limit=\(limit)&after=\($0)" }
        }
        return found
    }

    /// Finds out whether the sessions of each line are the line.
    ///
    /// - Returns: those of each.
    @discardableResult func check(_ invoice: Invoice) async throws -> [[BilledSession]] {
        var all: [[BilledSession]] = []
        for line in invoice.lines {
            guard line.subject.usage != nil else {
                #expect(line.sessionsURL == nil && line.raw == 0 && line.billed == 0)
                all.append([])
                continue
            }
            let sessions = try await listed(line)
            let place = "\(invoice.period), \(line.kind) of \(line.subject) for \(line.period)"
            #expect(sessions.reduce(0) { $0 + $1.sessions } == line.sessions, "\(place)")
            #expect(sessions.reduce(0) { $0 + $1.raw } == line.raw, "\(place)")
            #expect(sessions.reduce(0) { $0 + $1.billed } == line.billed, "\(place)")
            let ids = sessions.map(\.session.description)
            #expect(ids == ids.sorted() && Set(ids).count == ids.count, "\(place)")
            #expect(sessions.allSatisfy { $0.sessions != 0 || $0.raw != 0 || $0.billed != 0 }, "\(place)")
            all.append(sessions)
        }
        return all
    }

    /// Records alone, of which sessions' rows say nothing.
    func record(_ records: [UsageRecord]) async throws {
        #expect(try await PostgresUsageLedger(pool: stores.pool).ingest(records) == records.count)
    }

    /// Finds out whether all invoices of a tenant are what their lines' sessions come to.
    func checkInvoices(_ months: [QuotaPeriod], of tenant: TenantID = Sample.tenant) async throws {
        for month in months {
            let path = "/v1/admin/tenants/\(tenant)/invoices/\(month)"
            let answer = await admin.call("GET", path)
            if answer.status == 200 { try await check(Invoice(document: answer.text)) }
        }
    }
}

extension UsageRecord {
    /// A session that is at one engine after the other, with so many milliseconds at each, all audio; the end of a month begins
    /// another segment.
    static func session(
        _ number: Int, startedAt: Date, language: String = "en", at parts: [(engine: String, milliseconds: Int64)]
    ) -> [UsageRecord] {
        let first = UsageRecord(
            session: Sample.session(number, startedAt: startedAt), tenant: Sample.tenant, key: KeyID("key_1"),
            engine: parts[0].engine, model: "m", language: language, tags: [], region: "r", channels: 1,
            startedAt: startedAt)
        var meter = UsageMeter(first)
        var (records, used): ([UsageRecord], Int64) = ([first], 0)
        func total() -> UsageCounters { UsageCounters(audio: used, connected: used, engine: used) }
        func now() -> Date { startedAt + Double(used) / 1_000 }
        for (place, part) in parts.enumerated() {
            if place > 0 {
                records += meter.advance(to: total(), engine: part.engine, channels: 1, at: now())
            }
            let end = QuotaPeriod(now()).end
            let before = Int64((end.timeIntervalSince(now()) * 1_000).rounded())
            if before < part.milliseconds {
                used += before
                records += meter.advance(to: total(), engine: part.engine, channels: 1, at: end)
                used += part.milliseconds - before
            } else {
                used += part.milliseconds
            }
        }
        return records + meter.end(at: total(), engine: parts[parts.count - 1].engine, channels: 1, now: now())
    }

    /// The same segment a while later.
    func later(by milliseconds: Int64, sequence: Int = 1) -> UsageRecord {
        var record = self
        record.sequence += sequence
        record.counters.audio += milliseconds
        record.counters.connected += milliseconds
        record.counters.engine += milliseconds
        return record
    }
}
