import Crypto
import Foundation
import Hansard
import HansardServer
import Postgres
import PostgresTesting
import Testing

@Suite struct PostgresTenantStoreTests {
    private func tenant(_ name: String = "Acme", created: Int = 0) -> Tenant {
        var tenant = Tenant(
            id: TenantID(UUID()),
            name: name,
            quotas: QuotaLimits(
                maxConcurrentSessions: 10, maxNewSessionsPerMinute: 20, maxMinutesPerMonth: 30,
                maxSecondsPerSession: 40, policy: .soft, version: 3),
            defaultEngine: "pocketsphinx",
            fallbackEngine: "synthetic",
            createdAt: moment(created)
        )
        tenant.allowedEngines = ["pocketsphinx", "synthetic"]
        tenant.allowedLanguages = ["en"]
        tenant.onLeaseLost = .close
        tenant.quotaUnavailable = .continue
        tenant.admitUnclaimed = .allow
        tenant.retentionDays = 90
        tenant.metadata = ["plan": "\"gold\"", "é": ""]
        tenant.revision = 7
        tenant.updatedAt = moment(created + 5)
        return tenant
    }

    private func key(_ tenant: Tenant, _ id: String = "key_\(UUID().uuidString)") -> APIKey {
        var key = APIKey(
            id: KeyID(id),
            tenant: tenant.id,
            name: "Ci \"1\"",
            scopes: [.listen, .usageRead],
            displayPrefix: "hsk_live_abcd",
            displaySuffix: "wxyz",
            isEnabled: false,
            expiresAt: moment(99),
            tags: ["a", "b,c"],
            allowedCIDRs: ["10.0.0.0/8", "2001:db8::/32"],
            family: "key_first",
            quotas: QuotaLimits(
                maxConcurrentSessions: 1, maxNewSessionsPerMinute: 2, maxMinutesPerMonth: 3, maxSecondsPerSession: 4,
                version: 5),
            createdAt: moment(1)
        )
        key.revokedAt = moment(98)
        key.lastUsedAt = moment(97)
        key.revision = 6
        key.updatedAt = moment(96)
        return key
    }

    private func digest() -> SecretDigest { SecretDigest(SecureRandom.bytes(count: 32)) }

    /// Runs a test with a node's store, and the owner's, which makes what there is.
    private func withStore(
        _ body: (PostgresTenantStore, StoreFixture, PostgresTenantStore) async throws -> Void
    ) async throws {
        try await StoreFixture.with { fixture in
            try await body(
                PostgresTenantStore(pool: fixture.pool), fixture, PostgresTenantStore(pool: fixture.ownerPool))
        }
    }

    @Test func theSnapshotHoldsWhatWasCreated() async throws {
        try await withStore { store, _, owner in
            let empty = try await store.accessSnapshot()
            #expect(empty.tenants.isEmpty && empty.keys.isEmpty)
            var bare = Tenant(id: TenantID(UUID()), name: "Bare", status: .suspended, createdAt: moment(5))
            bare.quotas.version = 0
            let full = tenant()
            try await owner.create(full)
            try await owner.create(bare)
            let (first, second) = (key(full), key(bare))
            let digests = [digest(), digest()]
            try await owner.create(first, digest: digests[0])
            try await owner.create(second, digest: digests[1])
            let snapshot = try await store.accessSnapshot()
            #expect(snapshot.tenants.count == 2 && snapshot.tenant(full.id) == full && snapshot.tenant(bare.id) == bare)
            #expect(snapshot.keys.count == 2 && snapshot.key(digests[0]) == first && snapshot.key(digests[1]) == second)
            #expect(snapshot.key(named: second.id) == second)
            #expect(try await owner.key(digest: digests[1]) == second)
            #expect(try await owner.key(digest: digest()) == nil)
            #expect(try await snapshot.position == store.accessPosition())
        }
    }

    @Test func theSequenceGrowsWithEveryChangeAndIsInOrder() async throws {
        try await withStore { store, fixture, owner in
            var last = try await store.accessPosition().sequence
            func expectGrowth() async throws {
                let now = try await store.accessPosition().sequence
                #expect(now > last)
                last = now
            }
            let acme = tenant()
            try await owner.create(acme)
            try await expectGrowth()
            try await owner.create(key(acme, "key_1"), digest: digest())
            try await expectGrowth()
            try await fixture.ownerPool.query("UPDATE api_keys SET is_enabled = true, revision = revision + 1")
            try await expectGrowth()
            try await fixture.ownerPool.query("DELETE FROM tenants")
            try await expectGrowth()
            let events = try await fixture.ownerPool.query(
                "SELECT sequence, tenant_id, subject, subject_id, change FROM access_events ORDER BY sequence"
            )
            #expect(try events.map { try $0.value("sequence", as: Int64.self) } == Array(1...last))
            #expect(try events.allSatisfy { try $0.value("tenant_id", as: UUID.self) == acme.id.rawValue })
            let changes = try events.map { try $0.value("change", as: String.self) }
            #expect(changes == ["insert", "insert", "update", "delete", "delete"])
            #expect(try events[1].value("subject", as: String.self) == "key")
            #expect(try events[1].value("subject_id", as: String.self) == "key_1")
        }
    }

    /// A snapshot of a million keys would sort them all for each page.
    @Test func aPageOfKeysIsReadOffAnIndex() async throws {
        try await withStore { store, fixture, owner in
            let acme = tenant()
            try await owner.create(acme)
            try await fixture.ownerPool.query(
                """
                INSERT INTO api_keys (key_id, tenant_id, digest, name, scopes, display_prefix, display_suffix,
                    is_enabled, family, created_at)
                SELECT 'key_' || number, \(acme.id.rawValue), sha256(number::text::bytea), '', '{}', '', '', true, '',
                    now()
                FROM generate_series(1, 3000) AS number
                """)
            try await fixture.ownerPool.query("ANALYZE api_keys")
            let scans: Int = try await fixture.pool.transaction { connection in
                let page = try await connection.query("SELECT * FROM keys_after('key_2', 10)")
                #expect(page.count == 10)
                let counts = try await connection.query(
                    "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'api_keys'::regclass")
                return try #require(counts.first).value("seq_scan")
            }
            #expect(scans == 0)
        }
    }

    /// Whoever applies changes, in whatever portions, has what a whole snapshot has.
    @Test(arguments: 0..<5) func changesAddUpToTheSnapshot(seed: Int) async throws {
        try await withStore { store, fixture, owner in
            var known = try await store.accessSnapshot()
            var tenants: [Tenant] = []
            for step in 0..<40 {
                let choice = (step * 7 + seed * 13 + step * step) % 6
                switch choice {
                case 0, 1:
                    tenants.append(tenant("t\(step)"))
                    try await owner.create(tenants[tenants.count - 1])
                case 2 where !tenants.isEmpty:
                    try await owner.create(key(tenants[step % tenants.count]), digest: digest())
                case 3:
                    let token = AdminToken(id: "adm_\(step)", name: "Ops", role: .viewer, createdAt: moment(0))
                    try await owner.create(token, digest: digest())
                case 4 where !tenants.isEmpty:
                    let id = tenants[step % tenants.count].id.rawValue
                    try await fixture.ownerPool.query(
                        "UPDATE api_keys SET is_enabled = NOT is_enabled WHERE tenant_id = \(id)")
                    try await fixture.ownerPool.query("UPDATE tenants SET status = 'suspended' WHERE tenant_id = \(id)")
                default:
                    try await fixture.ownerPool.query(
                        "UPDATE admin_tokens SET revoked_at = now() WHERE token_id LIKE '%3'")
                    guard step % 5 == 0, let gone = tenants.popLast() else { break }
                    try await fixture.ownerPool.query("DELETE FROM tenants WHERE tenant_id = \(gone.id.rawValue)")
                }
                guard step % 3 == 0 else { continue }
                known.apply(try #require(try await store.accessChanges(since: known.position)))
                let whole = try await store.accessSnapshot()
                #expect(known == whole)
            }
        }
    }

    @Test func changesThatWereClearedAwayAreNotPassedOver() async throws {
        try await withStore { store, fixture, owner in
            var positions = [try await store.accessPosition()]
            for number in 0..<5 {
                try await owner.create(tenant("t\(number)"))
                positions.append(try await store.accessPosition())
            }
            try await fixture.ownerPool.query("DELETE FROM access_events WHERE sequence <= 3")
            #expect(try await store.accessChanges(since: positions[1]) == nil)
            #expect(try await store.accessChanges(since: positions[3])?.tenants.count == 2)
            #expect(try await store.accessChanges(since: positions[5])?.position == positions[5])
        }
    }

    @Test func commandsComeOnceAndInOrder() async throws {
        try await withStore { store, fixture, _ in
            let (session, other) = (SessionID(UUID()), UUID())
            let before = try await store.accessPosition()
            let commands = [("drain", "node-1"), ("terminate", "\(session)"), ("undrain", "node-1")]
            for (number, (command, target)) in commands.enumerated() {
                // Each by a node whose clock is behind that of the one before.
                try await fixture.ownerPool.query(
                    """
                    INSERT INTO node_commands (command_id, tenant_id, command, target, given_at)
                    VALUES (gen_random_uuid(), \(other), \(command), \(target), \(moment(-number)))
                    """)
            }
            let changes = try #require(try await store.accessChanges(since: before))
            #expect(changes.commands == [.drain("node-1"), .terminate(session), .undrain("node-1")])
            #expect(try await store.accessChanges(since: changes.position)?.commands == [])
        }
    }

    /// Each use of a key is written; nodes need not read the key again for that.
    @Test func thatAKeyWasUsedIsNoChange() async throws {
        try await withStore { store, fixture, owner in
            let acme = tenant()
            try await owner.create(acme)
            try await owner.create(key(acme), digest: digest())
            let before = try await store.accessPosition()
            try await fixture.ownerPool.query("UPDATE api_keys SET last_used_at = now()")
            #expect(try await store.accessPosition() == before)
        }
    }

    /// A reader that polls the sequence must never see a number before all lower ones are visible: whoever has the higher
    /// one waits for whoever has the lower one to commit. Writers that only happen to meet would show it too seldom.
    @Test func numbersBecomeVisibleInOrder() async throws {
        try await withStore { store, fixture, owner in
            let (first, second) = (tenant("first"), tenant("second"))
            for made in [first, second] { try await owner.create(made) }
            let before = try await store.accessPosition()
            @Sendable func suspension(_ tenant: Tenant) -> Query {
                "UPDATE tenants SET status = 'suspended' WHERE tenant_id = \(tenant.id.rawValue)"
            }
            let later = try await fixture.ownerPool.transaction { connection in
                try await connection.execute(suspension(first))
                let later = Task { try await fixture.ownerPool.execute(suspension(second)) }
                #expect(try await isWaiting(fixture), "the second did not wait for the first")
                #expect(try await store.accessPosition() == before)
                #expect(try await store.accessChanges(since: before)?.tenants == [])
                return later
            }
            _ = try await later.value
            #expect(try await store.accessChanges(since: before)?.tenants.count == 2)
            let events = try await fixture.ownerPool.query(
                "SELECT subject_id FROM access_events WHERE sequence > \(before.sequence) ORDER BY sequence")
            let order: [String] = try events.map { try $0.value("subject_id") }
            #expect(order == [first, second].map { $0.id.description })
        }
    }

    /// Whether somebody comes to wait for a lock.
    private func isWaiting(_ fixture: StoreFixture) async throws -> Bool {
        for _ in 0..<200 {
            let row = try await fixture.ownerPool.query(
                """
                SELECT count(*) AS waiting FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
                """
            )[0]
            if try row.value("waiting", as: Int.self) > 0 { return true }
            try await Task.sleep(for: .milliseconds(25))
        }
        return false
    }

    @Test func duplicatesAndOrphansAreRefused() async throws {
        try await withStore { _, _, owner in
            let acme = tenant()
            try await owner.create(acme)
            #expect(await code { try await owner.create(acme) } == .conflict)
            let (first, secret) = (key(acme, "key_1"), digest())
            try await owner.create(first, digest: secret)
            #expect(await code { try await owner.create(first, digest: digest()) } == .conflict)
            #expect(await code { try await owner.create(key(acme, "key_2"), digest: secret) } == .conflict)
            #expect(await code { try await owner.create(key(tenant()), digest: digest()) } == .notFound)
            let token = AdminToken(id: "adm_1", name: "Ops", role: .operator, createdAt: moment(0))
            try await owner.create(token, digest: secret)
            #expect(await code { try await owner.create(token, digest: digest()) } == .conflict)
            #expect(await code { try await owner.create(tenant("a\0b")) } == .invalid)
        }
    }

    @Test func tokensAndNamesAreFound() async throws {
        try await withStore { _, fixture, owner in
            let (older, newer) = (tenant("Same", created: 1), tenant("Same", created: 2))
            try await owner.create(newer)
            try await owner.create(older)
            #expect(try await owner.tenant(named: "Same") == older)
            #expect(try await owner.tenant(named: "same") == nil)
            let token = AdminToken(
                id: "adm_1",
                name: "Ops",
                role: .owner,
                expiresAt: moment(60),
                createdAt: moment(0)
            )
            let secret = digest()
            try await owner.create(token, digest: secret)
            #expect(try await owner.adminToken(digest: secret) == token)
            #expect(try await owner.adminToken(digest: digest()) == nil)
            try await fixture.ownerPool.query("UPDATE admin_tokens SET revoked_at = now()")
            #expect(try await owner.adminToken(digest: secret) == nil)
        }
    }
}
