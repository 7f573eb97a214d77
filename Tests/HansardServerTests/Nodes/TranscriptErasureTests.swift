import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// What is to be forgotten is erased, once, and the audit log says so.
@Suite struct TranscriptErasureTests {
    private let transcripts = MemoryTranscriptStore()
    private let log = LogRecorder()
    private let now = moment(100_000_000)

    private func session(daysAgo days: Double, _ number: UInt8) -> SessionID {
        SessionID(
            startedAt: now.addingTimeInterval(-86_400 * days), random: [UInt8](repeating: number, count: 10))
    }

    private func withErasure(
        _ body: (PostgresTenantStore, StoreFixture, [TranscriptErasure]) async throws -> Void
    ) async throws {
        try await StoreFixture.with { fixture in
            let store = PostgresTenantStore(pool: fixture.ownerPool)
            let directory = AccessDirectory(store: PostgresTenantStore(pool: fixture.pool), logger: log.logger)
            let erasures = ["node-1", "node-2"].map {
                TranscriptErasure(
                    pool: fixture.pool, access: directory, transcripts: transcripts, node: $0, logger: log.logger)
            }
            try await body(store, fixture, erasures)
        }
    }

    private func actions(_ fixture: StoreFixture) async throws -> [String] {
        try await fixture.ownerPool.query("SELECT action, changes FROM audit_log ORDER BY occurred_at, place").map {
            try $0.value("action", as: String.self) + " " + $0.value("changes", as: String.self)
        }
    }

    @Test func transcriptsOfADeletedTenantAreErasedByOneNode() async throws {
        try await withErasure { store, fixture, erasures in
            for number in 1...3 {
                _ = try await transcripts.put(
                    Sample.transcript(session(daysAgo: 1, UInt8(number)), tenant: Sample.tenant))
            }
            _ = try await transcripts.put(Sample.transcript(session(daysAgo: 1, 9), tenant: Sample.otherTenant))
            try await store.create(Tenant(id: Sample.tenant, name: "one", createdAt: now))
            try await store.create(Tenant(id: Sample.otherTenant, name: "two", createdAt: now))
            for erasure in erasures { try await erasure.look(now: now) }
            #expect(try await transcripts.list(tenant: Sample.tenant, before: nil, limit: 10).count == 3)
            try await fixture.ownerPool.query(
                "UPDATE tenants SET status = 'deleted' WHERE tenant_id = \(Sample.tenant.rawValue)")
            for erasure in erasures + erasures { try await erasure.look(now: now) }
            #expect(try await transcripts.list(tenant: Sample.tenant, before: nil, limit: 10).isEmpty)
            #expect(try await transcripts.list(tenant: Sample.otherTenant, before: nil, limit: 10).count == 1)
            #expect(try await actions(fixture) == ["tenant.erase {}"])
        }
    }

    @Test func oldTranscriptsAreErasedAfterTheirTenantsDays() async throws {
        try await withErasure { store, fixture, erasures in
            let ages = [0.5, 9.9, 10.1, 40]
            for (number, age) in ages.enumerated() {
                for (offset, tenant) in [(0, Sample.tenant), (100, Sample.otherTenant)] {
                    _ = try await transcripts.put(
                        Sample.transcript(session(daysAgo: age, UInt8(number + offset)), tenant: tenant))
                }
            }
            var tenant = Tenant(id: Sample.tenant, name: "one", createdAt: now)
            tenant.retentionDays = 10
            try await store.create(tenant)
            try await store.create(Tenant(id: Sample.otherTenant, name: "two", createdAt: now))
            for erasure in erasures {
                try await erasure.access.refresh()
                try await erasure.look(now: now)
            }
            let kept = try await transcripts.list(tenant: Sample.tenant, before: nil, limit: 10).map(\.session)
            #expect(kept == [session(daysAgo: 0.5, 0), session(daysAgo: 9.9, 1)])
            #expect(try await transcripts.list(tenant: Sample.otherTenant, before: nil, limit: 10).count == 4)
            // Another look comes too soon, and a later one finds what has become old meanwhile.
            for hours in [0.5, 3] {
                for erasure in erasures { try await erasure.look(now: now.addingTimeInterval(3_600 * hours)) }
            }
            #expect(try await transcripts.list(tenant: Sample.tenant, before: nil, limit: 10).count == 1)
            #expect(
                try await actions(fixture)
                    == ["transcripts.expire {\"transcripts\": 2}", "transcripts.expire {\"transcripts\": 1}"])
        }
    }
}
