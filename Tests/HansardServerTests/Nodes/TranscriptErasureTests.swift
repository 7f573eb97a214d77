import Foundation
import Hansard
import Logging
import Postgres
import Testing
import Web

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
            let erasures = ["node-1", "node-2"].map {
                TranscriptErasure(pool: fixture.pool, transcripts: transcripts, node: $0, logger: log.logger)
            }
            try await body(PostgresTenantStore(pool: fixture.ownerPool), fixture, erasures)
        }
    }

    private func make(_ tenant: TenantID, retentionDays: Int? = nil, in store: PostgresTenantStore) async throws {
        var tenant = Tenant(id: tenant, name: "one", createdAt: now)
        tenant.retentionDays = retentionDays
        try await store.create(tenant)
    }

    private func put(_ tenant: TenantID = Sample.tenant, daysAgo days: Double, _ numbers: ClosedRange<UInt8>)
        async throws
    {
        for number in numbers {
            _ = try await transcripts.put(Sample.transcript(session(daysAgo: days, number), tenant: tenant))
        }
    }

    private func left(_ tenant: TenantID = Sample.tenant) -> Int {
        transcripts.stored.values.count { $0.tenant == tenant }
    }

    private func delete(_ tenant: TenantID, _ fixture: StoreFixture) async throws {
        try await fixture.ownerPool.query(
            "UPDATE tenants SET status = 'deleted' WHERE tenant_id = \(tenant.rawValue)")
    }

    /// What the log has, without what says that it was done.
    private func actions(_ fixture: StoreFixture) async throws -> [String] {
        try await fixture.ownerPool.query(
            """
            SELECT action || CASE outcome WHEN 'done' THEN '' ELSE ' ' || outcome END || coalesce(
                ' ' || (changes ->> 'transcripts'), '') AS said
            FROM audit_log ORDER BY tenant_id, place
            """
        ).map { try $0.value("said") }
    }

    // MARK: Deleted tenants

    @Test func transcriptsOfADeletedTenantAreErasedByOneNode() async throws {
        try await withErasure { store, fixture, erasures in
            try await put(daysAgo: 1, 1...3)
            try await put(Sample.otherTenant, daysAgo: 1, 9...9)
            for tenant in [Sample.tenant, Sample.otherTenant] { try await make(tenant, in: store) }
            for erasure in erasures { try await erasure.look(now: now) }
            #expect(left() == 3)
            try await delete(Sample.tenant, fixture)
            for erasure in erasures + erasures { try await erasure.look(now: now) }
            #expect(left() == 0)
            #expect(left(Sample.otherTenant) == 1)
            #expect(try await actions(fixture) == ["transcripts.erase 3", "tenant.erase"])
        }
    }

    /// A node that was down when its tenant was deleted brings what its spool held, however much later.
    @Test func whatArrivesAfterADeletionIsErasedWithinADay() async throws {
        try await withErasure { store, fixture, erasures in
            try await make(Sample.tenant, in: store)
            try await delete(Sample.tenant, fixture)
            for erasure in erasures { try await erasure.look(now: now) }
            #expect(try await actions(fixture) == ["tenant.erase"])
            for days in [1.0, 400] {
                try await put(daysAgo: 0, 1...2)
                for erasure in erasures + erasures { try await erasure.look(now: now + days * 86_400) }
                #expect(left() == 0)
            }
            #expect(try await actions(fixture) == ["tenant.erase", "transcripts.erase 2", "transcripts.erase 2"])
        }
    }

    /// Its old transcripts are not due for an hour, but all of them are now.
    @Test func aTenantThatWasLookedThroughAndIsThenDeletedIsNextAllTheSame() async throws {
        try await withErasure { store, fixture, erasures in
            try await make(Sample.tenant, retentionDays: 10, in: store)
            try await put(daysAgo: 1, 1...1)
            try await erasures[0].look(now: now)
            #expect(left() == 1)
            let router = try await fixture.adminRouter(transcripts)
            let answer = await router.respond(to: REST.request("DELETE", "/v1/admin/tenants/\(Sample.tenant)"))
            #expect(answer.status == 204)
            try await erasures[1].look(now: now + 60)
            #expect(left() == 0)
        }
    }

    // MARK: Old transcripts

    @Test func oldTranscriptsAreErasedAfterTheirTenantsDays() async throws {
        try await withErasure { store, fixture, erasures in
            for (number, age) in zip(UInt8(0)..., [0.5, 9.9, 10.1, 40]) {
                try await put(daysAgo: age, number...number)
                try await put(Sample.otherTenant, daysAgo: age, 100 + number...100 + number)
            }
            try await make(Sample.tenant, retentionDays: 10, in: store)
            try await make(Sample.otherTenant, in: store)
            for erasure in erasures { try await erasure.look(now: now) }
            let kept = try await transcripts.list(tenant: Sample.tenant, before: nil, limit: 10).map(\.session)
            #expect(kept == [session(daysAgo: 0.5, 0), session(daysAgo: 9.9, 1)])
            #expect(left(Sample.otherTenant) == 4)
            // Another look comes too soon, and a later one finds what has become old meanwhile.
            for hours in [0.5, 3] {
                for erasure in erasures { try await erasure.look(now: now + 3_600 * hours) }
            }
            #expect(left() == 1)
            #expect(try await actions(fixture) == ["transcripts.expire 2", "transcripts.expire 1"])
        }
    }

    /// Whichever node it is.
    @Test func whatOneLookIsTooShortForTheNextGoesOnWith() async throws {
        try await withErasure { store, fixture, erasures in
            try await make(Sample.tenant, retentionDays: 10, in: store)
            try await put(daysAgo: 20, 1...8)
            var left: [Int] = []
            for (number, erasure) in (erasures + erasures).enumerated() {
                var erasure = erasure
                erasure.transcriptsPerLook = 3
                try await erasure.look(now: now + Double(number) * 60)
                left.append(self.left())
            }
            #expect(left == [5, 2, 0, 0])
            #expect(try await actions(fixture) == [3, 3, 2].map { "transcripts.expire \($0)" })
        }
    }

    // MARK: Failures

    /// Of a tenant's five transcripts two are gone when the store goes away.
    @Test func whatIsErasedIsOnRecordWhateverFails() async throws {
        try await withErasure { store, fixture, erasures in
            try await make(Sample.tenant, retentionDays: 10, in: store)
            try await put(daysAgo: 20, 1...5)
            let faults = transcripts.faults
            faults.set { name, _ in name == "delete" && faults.calls.count { $0 == "delete" } > 2 ? .away : .works }
            try await erasures[0].look(now: now)
            #expect(left() == 3)
            #expect(try await actions(fixture) == ["transcripts.expire 5", "transcripts.expire failed 5"])
            faults.clear()
            for seconds in [60.0, 601] { try await erasures[1].look(now: now + seconds) }
            #expect(left() == 0)
            #expect(try await actions(fixture).last == "transcripts.expire 3")
        }
    }

    @Test func nothingIsErasedThatCannotBePutOnRecord() async throws {
        try await withErasure { store, fixture, erasures in
            try await make(Sample.tenant, retentionDays: 10, in: store)
            try await put(daysAgo: 20, 1...1)
            try await fixture.ownerPool.execute("REVOKE INSERT ON audit_log FROM hansard_operator")
            try await erasures[0].look(now: now)
            #expect(left() == 1)
        }
    }

    /// The tenant that comes first cannot be erased, whichever of the two it is.
    @Test(arguments: [true, false])
    func aTenantThatCannotBeErasedHoldsUpNoOther(_ areDeleted: Bool) async throws {
        try await withErasure { store, fixture, erasures in
            for (tenant, number) in [(Sample.tenant, UInt8(1)), (Sample.otherTenant, 2)] {
                try await make(tenant, retentionDays: 10, in: store)
                if areDeleted { try await delete(tenant, fixture) }
                try await put(tenant, daysAgo: 20, number...number)
            }
            let faults = transcripts.faults
            faults.set { _, _ in faults.calls == ["put", "put", "list"] ? .away : .works }
            try await erasures[0].look(now: now)
            #expect(left() + left(Sample.otherTenant) == 1)
            #expect(log.count(of: "could not be erased", atLeast: .warning) == 1)
            #expect(log.entries.last { $0.level == .warning }?.metadata["tenants"] == "1")
            for erasure in erasures { try await erasure.look(now: now + 601) }
            #expect(left() + left(Sample.otherTenant) == 0)
        }
    }
}
