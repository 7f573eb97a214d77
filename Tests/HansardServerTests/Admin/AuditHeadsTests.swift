import Foundation
import Hansard
import Logging
import Postgres
import Testing

@testable import HansardServer

/// Whoever owns the database may write what they like; heads that are kept elsewhere tell.
@Suite struct AuditHeadsTests {
    private let store = MemoryTranscriptStore()
    private let metrics = Metrics()
    private let log = LogRecorder()

    private func heads(_ fixture: StoreFixture, isPeer: Bool = false) -> AuditHeads {
        AuditHeads(
            pool: isPeer ? fixture.peerPool : fixture.pool, store: store, metrics: metrics, logger: log.logger)
    }

    private func append(_ count: Int, _ tenant: TenantID?, _ fixture: StoreFixture) async throws {
        for number in 0..<count {
            try await PostgresAuditLog(pool: fixture.pool).append(
                AuditEntry(
                    id: UUID(), tenant: tenant, occurredAt: moment(number), actor: .command("test"), action: "test",
                    target: .init("thing", "\(number)")))
        }
    }

    /// What a superuser can do: another text from some entry on, and hashes that fit it.
    static let rebuild: Query = """
        DO $$
        DECLARE
            link audit_log;
            previous bytea := '';
        BEGIN
            ALTER TABLE audit_log DISABLE TRIGGER audit_is_immutable;
            UPDATE audit_log SET actor_id = 'somebody else' WHERE place = 2 AND tenant_id IS NULL;
            FOR link IN SELECT * FROM audit_log WHERE tenant_id IS NULL ORDER BY place LOOP
                previous := sha256(previous || audit_text(link));
                UPDATE audit_log SET hash = previous WHERE event_id = link.event_id;
            END LOOP;
            ALTER TABLE audit_log ENABLE TRIGGER audit_is_immutable;
        END $$
        """

    private func places(_ tenant: TenantID?) async throws -> [Int] {
        try await store.heads(of: tenant).map(\.place)
    }

    @Test func eachChainsHeadIsKeptOnceAndWhenItHasGrown() async throws {
        try await StoreFixture.with { fixture in
            try await append(3, nil, fixture)
            try await append(2, Sample.tenant, fixture)
            try await append(1, Sample.otherTenant, fixture)
            let (node, peer) = (heads(fixture), heads(fixture, isPeer: true))
            try await node.keep(now: moment(0))
            #expect(try await places(nil) == [3])
            #expect(try await places(Sample.tenant) == [2])
            #expect(try await places(Sample.otherTenant) == [1])
            store.faults.forgetCalls()
            try await peer.keep(now: moment(0))
            #expect(store.faults.calls == ["chains", "heads", "heads", "heads"], "what is there is not kept again")
            store.faults.forgetCalls()
            for one in [node, peer] { try await one.keep(now: moment(0)) }
            #expect(store.faults.calls == ["chains", "chains"], "chains that have not grown cost nothing more")
            try await append(2, Sample.tenant, fixture)
            try await node.keep(now: moment(0))
            #expect(try await places(Sample.tenant) == [2, 4])
            #expect(metrics.auditHeadsKept.value == 4)
            #expect(metrics.auditDifferences.value == 0)
        }
    }

    /// More chains than one page has.
    @Test func allTenantsChainsAreFound() async throws {
        try await StoreFixture.with { fixture in
            try await fixture.ownerPool.query(
                """
                SELECT append_audit(ROW(gen_random_uuid(), gen_random_uuid(), 1, now(), 'node', 'n', 'a', 'done', 't', 'i',
                    NULL, NULL, NULL, '{}', ''::bytea)::audit_log)
                FROM generate_series(1, \(AuditHeads.chainsPerPage + 5))
                """)
            try await heads(fixture).keep(now: moment(0))
            #expect(metrics.auditHeadsKept.value == AuditHeads.chainsPerPage + 5)
        }
    }

    @Test func aRebuiltChainIsFoundOutAndKeepsNoHead() async throws {
        try await StoreFixture.with { fixture in
            try await append(3, nil, fixture)
            try await append(3, Sample.tenant, fixture)
            try await heads(fixture).keep(now: moment(0))
            try await append(2, nil, fixture)
            try await fixture.ownerPool.query(Self.rebuild)
            let row = try await fixture.ownerPool.query("SELECT * FROM verify_audit(NULL)").only()
            #expect(try row.value("first_wrong", as: Int?.self) == nil, "by itself the chain is whole")
            let kept = try await store.heads(of: nil)
            let differing = try await fixture.pool.auditDifferences(from: kept)
            #expect(differing.map(\.head.place) == [3])
            #expect(differing.first?.present != nil && differing.first?.present != kept[0].hash)
            #expect(try await fixture.pool.auditDifferences(from: store.heads(of: Sample.tenant)) == [])
            // A node that has just started knows nothing of before.
            try await heads(fixture).keep(now: moment(0))
            #expect(try await places(nil) == [3], "the new end is not kept")
            #expect(metrics.auditDifferences.value == 1)
            #expect(log.count(of: "not what it was", atLeast: .error) == 1)
            #expect(log.entries.last { $0.level == .error }?.metadata["place"] == "3")
        }
    }

    /// Nor is it believed because it is as long as it was.
    @Test func aNodeThatRunsFindsOutToo() async throws {
        try await StoreFixture.with { fixture in
            try await append(3, nil, fixture)
            let node = heads(fixture)
            try await node.keep(now: moment(0))
            try await fixture.ownerPool.query(Self.rebuild)
            for looks in 1...2 {
                try await node.keep(now: moment(0))
                #expect(metrics.auditDifferences.value == looks, "each look says so")
            }
            #expect(try await places(nil) == [3])
        }
    }

    @Test func aChainThatWasCutOffIsFoundOut() async throws {
        try await StoreFixture.with { fixture in
            try await append(5, nil, fixture)
            try await heads(fixture).keep(now: moment(0))
            try await fixture.ownerPool.query("ALTER TABLE audit_log DISABLE TRIGGER audit_is_immutable")
            try await fixture.ownerPool.query("DELETE FROM audit_log WHERE place > 3")
            let differing = try await fixture.pool.auditDifferences(from: store.heads(of: nil))
            #expect(differing == [AuditDifference(head: try #require(await store.heads(of: nil).first), present: nil)])
            try await heads(fixture).keep(now: moment(0))
            #expect(metrics.auditDifferences.value == 1)
        }
    }

    /// Of a chain that is gone wholly, the installation's or a tenant's, the database says nothing.
    @Test(arguments: [nil, Sample.tenant])
    func aChainThatWasRemovedWhollyIsFoundOut(_ removed: TenantID?) async throws {
        try await StoreFixture.with { fixture in
            for tenant in [nil, Sample.tenant, Sample.otherTenant] { try await append(2, tenant, fixture) }
            let node = heads(fixture)
            try await node.keep(now: moment(0))
            try await fixture.ownerPool.query("ALTER TABLE audit_log DISABLE TRIGGER audit_is_immutable")
            try await fixture.ownerPool.query(
                "DELETE FROM audit_log WHERE tenant_id IS NOT DISTINCT FROM \(removed?.rawValue)")
            // One that has kept the heads itself, and one that has just started.
            for (number, one) in [node, heads(fixture, isPeer: true)].enumerated() {
                try await one.keep(now: moment(0))
                #expect(metrics.auditDifferences.value == number + 1)
            }
            #expect(log.count(of: "not what it was", atLeast: .error) == 2)
            let said = log.entries.last { $0.level == .error }?.metadata
            #expect(said?["tenant_id"] == "\(removed?.description ?? "none")" && said?["place"] == "2")
        }
    }

    @Test func whatCannotBeKeptIsKeptLater() async throws {
        try await StoreFixture.with { fixture in
            try await append(1, nil, fixture)
            let node = heads(fixture)
            store.faults.set(.away, for: ["keep"])
            await #expect(throws: HansardError.self) { try await node.keep(now: moment(0)) }
            store.faults.clear()
            try await node.keep(now: moment(0))
            #expect(try await places(nil) == [1])
        }
    }
}

/// Heads in a folder and in a bucket.
@Suite struct AuditHeadStoreTests {
    private static let heads = [1, 2, 10, 400].flatMap { place in
        [nil, Sample.tenant].map {
            AuditHead(tenant: $0, place: place, hash: [UInt8](repeating: UInt8(place % 256), count: 32))
        }
    }

    private func check(_ store: any AuditHeadStore & TranscriptStore) async throws {
        #expect(try await store.heads(of: nil) == [])
        #expect(try await store.chains() == [])
        for head in Self.heads.reversed() + Self.heads { try await store.keep(head, at: moment(1)) }
        for tenant in [nil, Sample.tenant] {
            #expect(try await store.heads(of: tenant) == Self.heads.filter { $0.tenant == tenant })
        }
        #expect(try await store.heads(of: Sample.otherTenant) == [])
        #expect(try await store.chains() == [nil, Sample.tenant])
        // They are no transcripts.
        #expect(try await store.list(tenant: Sample.tenant, before: nil, limit: 10).isEmpty)
    }

    @Test func inAFolder() async throws {
        let folder = try TestFolder()
        let store = FolderTranscriptStore(folder: folder.url)
        try await check(store)
        #expect(folder.files.count == Self.heads.count)
        #expect(folder.files.contains(AuditHead.folder(of: nil) + Self.heads[0].name))
        let body = try Data(contentsOf: folder.url.appending(path: AuditHead.folder(of: nil) + Self.heads[0].name))
        let object = try JSONTextTests.parsed(Array(body))
        #expect(object["place"] as? Int == 1 && object["hash"] as? String == String(repeating: "01", count: 32))
        #expect(object["written_at"] as? String != nil && object["tenant_id"] is NSNull)
        store.stop()
    }

    @Test func inABucket() async throws {
        let bucket = S3MemoryBucket()
        let location = try #require(S3MemoryBucket.location)
        try await check(S3TranscriptStore(s3: bucket.s3(), location: location))
        #expect(bucket.objects.keys.contains("some where/" + AuditHead.folder(of: nil) + Self.heads[0].name))
        #expect(bucket.objects.count == Self.heads.count)
    }
}
