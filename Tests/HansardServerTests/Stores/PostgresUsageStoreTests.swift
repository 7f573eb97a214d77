import Foundation
import Hansard
import HansardServer
import Postgres
import Testing

@Suite struct PostgresUsageStoreTests {
    private func row(_ session: SessionID = SessionID(UUID()), tenant: TenantID, audio: Int64, connected: Int64 = 0)
        -> UsageRow
    {
        UsageRow(
            session: session,
            tenant: tenant,
            key: KeyID("key_1"),
            engine: "pocketsphinx",
            model: "general",
            language: "en-US",
            tags: ["a", "b \"c\", {d}", "é"],
            region: "eu",
            channels: 2,
            audioMilliseconds: audio,
            connectedMilliseconds: connected,
            startedAt: moment(0),
            endedAt: moment(Int(audio))
        )
    }

    private func withStore(_ body: (PostgresUsageStore) async throws -> Void) async throws {
        try await StoreFixture.with { fixture in try await body(PostgresUsageStore(pool: fixture.pool)) }
    }

    @Test func rowsComeBackAsTheyWere() async throws {
        try await withStore { store in
            let tenant = TenantID(UUID())
            var plain = row(tenant: tenant, audio: 0)
            plain.tags = []
            plain.engineMilliseconds = 15_000
            let rows = [row(tenant: tenant, audio: 5, connected: 9), plain]
            try await store.record(rows)
            try await store.record([])
            for row in rows { #expect(try await store.usage(of: row.session, tenant: tenant) == row) }
            #expect(try await store.usage(of: rows[0].session, tenant: TenantID(UUID())) == nil)
            #expect(try await store.usage(of: SessionID(UUID()), tenant: tenant) == nil)
        }
    }

    @Test func countersOnlyEverGoUp() async throws {
        try await withStore { store in
            let (tenant, session) = (TenantID(UUID()), SessionID(UUID()))
            try await store.record([row(session, tenant: tenant, audio: 10, connected: 5)])
            try await store.record([row(session, tenant: tenant, audio: 8, connected: 7)])
            // Twice in one batch, in the wrong order.
            try await store.record([
                row(session, tenant: tenant, audio: 12, connected: 6), row(session, tenant: tenant, audio: 11),
            ])
            let expected = row(session, tenant: tenant, audio: 12, connected: 7)
            #expect(try await store.usage(of: session, tenant: tenant) == expected)
        }
    }

    @Test func engineTimeGoesUpByItself() async throws {
        try await withStore { store in
            let tenant = TenantID(UUID())
            var usage = row(tenant: tenant, audio: 10)
            usage.engineMilliseconds = 15_000
            try await store.record([usage])
            var later = usage
            later.engineMilliseconds = 14_000
            try await store.record([later])
            #expect(try await store.usage(of: usage.session, tenant: tenant) == usage)
            later.engineMilliseconds = 16_000
            try await store.record([usage, later, usage])
            #expect(try await store.usage(of: usage.session, tenant: tenant) == later)
        }
    }

    private func outcome(_ state: SessionState, finals: Int = 3) -> SessionOutcome {
        SessionOutcome(state: state, reason: "so \"it\" ended, é", finals: finals, hasTranscript: true)
    }

    /// Whatever the order, in one batch or several: none, `storing`, an end; the first end stays.
    @Test(
        arguments: [
            [nil, .storing, .completed], [.storing, .completed, nil], [.completed, .storing, nil],
            [.completed, nil, .storing],
            [.storing, nil, .completed], [nil, .completed, .storing], [nil, .completed, .failed],
        ] as [[SessionState?]])
    func outcomesGoForward(_ states: [SessionState?]) async throws {
        try await withStore { store in
            let tenant = TenantID(UUID())
            let (apart, together) = (row(tenant: tenant, audio: 5), row(tenant: tenant, audio: 5))
            func told(_ base: UsageRow) -> [UsageRow] {
                states.map { state in
                    var row = base
                    row.outcome = state.map { outcome($0) }
                    return row
                }
            }
            for row in told(apart) { try await store.record([row]) }
            try await store.record(told(together))
            for session in [apart.session, together.session] {
                #expect(try await store.usage(of: session, tenant: tenant)?.outcome == outcome(.completed))
            }
        }
    }

    @Test func rowsFromBeforeOutcomesWereKeptAreRead() throws {
        var usage = row(tenant: TenantID(UUID()), audio: 5)
        usage.outcome = outcome(.failed)
        let encoded = try JSONEncoder().encode(usage)
        #expect(try JSONDecoder().decode(UsageRow.self, from: encoded) == usage)
        var fields = try #require(try JSONSerialization.jsonObject(with: encoded) as? [String: Any])
        #expect(fields.removeValue(forKey: "outcome") != nil)
        usage.outcome = nil
        let older = try JSONSerialization.data(withJSONObject: fields)
        #expect(try JSONDecoder().decode(UsageRow.self, from: older) == usage)
    }

    @Test func batchesMayBeRepeatedInAnyOrderAndAtOnce() async throws {
        try await withStore { store in
            let tenant = TenantID(UUID())
            var random = SeededGenerator(seed: 7)
            let sessions = (0..<40).map { _ in SessionID(UUID()) }
            let batches = (0..<12).map { _ in
                sessions.shuffled(using: &random).prefix(25).map {
                    row($0, tenant: tenant, audio: .random(in: 0..<1_000, using: &random))
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for batch in batches + batches { group.addTask { try await store.record(batch) } }
                try await group.waitForAll()
            }
            for session in sessions {
                let most = batches.joined().filter { $0.session == session }.map(\.audioMilliseconds).max()
                #expect(try await store.usage(of: session, tenant: tenant)?.audioMilliseconds == most)
            }
        }
    }

    @Test func aBatchOfManyStatementsIsOneStep() async throws {
        try await withStore { store in
            let tenant = TenantID(UUID())
            var rows = (0..<2_500).map { row(tenant: tenant, audio: Int64($0)) }
            var broken = rows
            broken[rows.count / 2].channels = 0
            let refused = await code { try await store.record(broken) }
            #expect(refused == .invalid)
            var found = 0
            for row in [rows[0], rows[1_200], rows[2_499]] {
                if try await store.usage(of: row.session, tenant: tenant) != nil { found += 1 }
            }
            #expect(found == 0)
            // What a client may send in a label must not make its session's row impossible to store.
            rows[7].tags = ["a\0b"]
            try await store.record(rows)
            #expect(try await store.usage(of: rows[2_499].session, tenant: tenant) == rows[2_499])
            #expect(try await store.usage(of: rows[7].session, tenant: tenant)?.tags == ["a\u{FFFD}b"])
        }
    }
}
