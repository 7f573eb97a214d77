import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// What nobody needs any more goes, once, in batches; and a node that was away for longer notices what it missed.
@Suite struct RowPruningTests {
    private let metrics = Metrics()
    private let log = LogRecorder()

    private func pruning(_ fixture: StoreFixture, isPeer: Bool = false) -> RowPruning {
        RowPruning(
            pool: isPeer ? fixture.peerPool : fixture.pool, metrics: metrics, logger: log.logger,
            recordsDays: 400)
    }

    private func count(_ table: String, _ fixture: StoreFixture) async throws -> Int {
        try await fixture.ownerPool.query("SELECT count(*) AS n FROM \(identifier: table)").only().value("n")
    }

    /// So many tenants, whose events are so many days old.
    private func makeTenants(_ range: ClosedRange<Int>, daysOld: Int, _ fixture: StoreFixture) async throws {
        let store = PostgresTenantStore(pool: fixture.ownerPool)
        for number in range {
            try await store.create(Tenant(id: TenantID(UUID()), name: "tenant \(number)", createdAt: moment(0)))
        }
        try await fixture.ownerPool.query(
            """
            UPDATE access_events SET occurred_at = now() - make_interval(days => \(daysOld)::int)
            WHERE sequence > (SELECT max(sequence) FROM access_events) - \(range.count)
            """)
    }

    // MARK: The feed

    /// Whether all that a node missed is gone or a part of it is left: it reads everything.
    @Test(arguments: [true, false])
    func aNodeThatMissedWhatIsGoneReadsEverythingAnew(_ isSomethingLeft: Bool) async throws {
        try await StoreFixture.with { fixture in
            let store = PostgresTenantStore(pool: fixture.pool)
            try await makeTenants(1...2, daysOld: 9, fixture)
            let directory = AccessDirectory(store: store, logger: log.logger)
            try await directory.refresh()
            #expect(directory.snapshot?.tenants.count == 2)
            let known = try await store.accessPosition()
            // Missed by that node, and old.
            try await makeTenants(3...5, daysOld: 8, fixture)
            if isSomethingLeft { try await makeTenants(6...6, daysOld: 1, fixture) }
            #expect(try await pruning(fixture).look(now: .now)["access_events"] == 5)
            #expect(try await count("access_events", fixture) == (isSomethingLeft ? 1 : 0))
            #expect(try await store.accessChanges(since: known) == nil, "not to be had one by one")
            try await directory.refresh()
            #expect(directory.snapshot?.tenants.count == (isSomethingLeft ? 6 : 5))
            #expect(directory.snapshot?.position.sequence == (isSomethingLeft ? 6 : 5))
        }
    }

    /// A node that had seen all that is gone goes on one by one.
    @Test func aNodeThatMissedNothingReadsOnlyWhatIsNew() async throws {
        try await StoreFixture.with { fixture in
            let store = PostgresTenantStore(pool: fixture.pool)
            try await makeTenants(1...3, daysOld: 8, fixture)
            try await pruning(fixture).look(now: .now)
            #expect(try await count("access_events", fixture) == 0)
            let known = try await store.accessPosition()
            #expect(try await store.accessChanges(since: known)?.position == known)
            try await makeTenants(4...4, daysOld: 0, fixture)
            #expect(try await store.accessChanges(since: known)?.tenants.count == 1)
        }
    }

    /// Numbers tell a node what it missed, so that none may go from the middle, whatever their times are.
    @Test func theFeedGoesFromItsFrontAlone() async throws {
        try await StoreFixture.with { fixture in
            try await makeTenants(1...2, daysOld: 8, fixture)
            try await makeTenants(3...3, daysOld: 1, fixture)
            try await makeTenants(4...5, daysOld: 8, fixture)
            #expect(try await pruning(fixture).look(now: .now) == ["access_events": 2])
            let left = try await fixture.ownerPool.query("SELECT sequence FROM access_events ORDER BY sequence")
            #expect(try left.map { try $0.value("sequence", as: Int.self) } == [3, 4, 5])
        }
    }

    @Test func aCommandStaysForAsLongAsTheFeedNamesIt() async throws {
        try await StoreFixture.with { fixture in
            let store = PostgresTenantStore(pool: fixture.pool)
            var positions: [AccessPosition] = []
            for (node, days) in [("a", 20), ("b", 10), ("c", 5)] {
                try await fixture.ownerPool.query(
                    """
                    INSERT INTO node_commands (command_id, command, target, given_at)
                    VALUES (gen_random_uuid(), 'drain', \(node), now() - make_interval(days => \(days)::int))
                    """)
                // Its event is younger than its node's clock said.
                try await fixture.ownerPool.query(
                    """
                    UPDATE access_events SET occurred_at = now() - make_interval(days => \(days - 4)::int)
                    WHERE sequence = (SELECT max(sequence) FROM access_events)
                    """)
                positions.append(try await store.accessPosition())
            }
            #expect(try await pruning(fixture).look(now: .now) == ["access_events": 1, "node_commands": 1])
            let left = try await store.accessChanges(since: positions[0])
            #expect(left?.commands == [.drain("b"), .drain("c")])
        }
    }

    // MARK: Answers and counts

    private func keepAnswer(_ hoursOld: Double, _ fixture: StoreFixture) async throws {
        try await fixture.ownerPool.query(
            """
            INSERT INTO kept_answers (caller, route, idempotency_key, fingerprint, status, headers, body, kept_at)
            VALUES ('c', 'r', gen_random_uuid()::text, sha256(''), 200, '[]', '',
                now() - make_interval(secs => \(hoursOld * 3_600)))
            """)
    }

    /// What was promised for a day is kept for a day, whatever a node takes the time to be.
    @Test(arguments: [0.0, 10, 1_000])
    func answersAreKeptForADay(_ daysAhead: Double) async throws {
        try await StoreFixture.with { fixture in
            for hours in [0, 23.9, 25.1, 100] { try await keepAnswer(hours, fixture) }
            #expect(
                try await pruning(fixture).look(now: .now.addingTimeInterval(daysAhead * 86_400))["kept_answers"] == 2)
            #expect(try await count("kept_answers", fixture) == 2)
        }
    }

    @Test func countsOfPeriodsThatAreLongOverGo() async throws {
        try await StoreFixture.with { fixture in
            try await fixture.ownerPool.query(
                """
                INSERT INTO minute_quotas (owner, period, granted_ms)
                SELECT 'T#' || o, to_char(now() - make_interval(days => d), 'YYYY-MM'), 5
                FROM generate_series(1, 3) AS o, unnest(ARRAY[0, 60, 200, 400]) AS d
                """)
            try await fixture.ownerPool.query(
                """
                INSERT INTO minute_grants (owner, period, node, epoch, granted_ms, seq)
                SELECT owner, period, 'n', gen_random_uuid(), 5, 1 FROM minute_quotas WHERE owner = 'T#1'
                """)
            try await fixture.ownerPool.query(
                """
                INSERT INTO new_sessions (owner, minute, begun, expires_at)
                SELECT 'T#1', now() + make_interval(mins => m), 1, now() + make_interval(mins => m)
                FROM unnest(ARRAY[-9, -1, 30]) AS m
                """)
            try await fixture.ownerPool.query(
                """
                INSERT INTO reaped_sessions (session_id, nonce, reaped_at)
                SELECT gen_random_uuid(), gen_random_uuid(), now() - make_interval(days => d)
                FROM unnest(ARRAY[1, 99, 101]) AS d
                """)
            let gone = try await pruning(fixture).look(now: .now)
            #expect(
                gone == ["minute_grants": 2, "minute_quotas": 6, "new_sessions": 2, "reaped_sessions": 1])
            #expect(try await count("minute_quotas", fixture) == 6)
            #expect(try await count("minute_grants", fixture) == 2)
            #expect(metrics.page([]).contains("hansard_rows_pruned_total{table=\"minute_quotas\"} 6\n"))
            #expect(log.count(of: "old rows pruned") == 1)
        }
    }

    // MARK: Once, and in batches

    @Test func oneNodeDoesItOnceAnHour() async throws {
        try await StoreFixture.with { fixture in
            let nodes = [pruning(fixture), pruning(fixture, isPeer: true)]
            let now = Date.now
            try await keepAnswer(30, fixture)
            #expect(try await nodes[0].look(now: now) == ["kept_answers": 1])
            try await keepAnswer(30, fixture)
            for node in nodes { #expect(try await node.look(now: now.addingTimeInterval(3_000)) == [:]) }
            #expect(try await nodes[1].look(now: now.addingTimeInterval(3_700)) == ["kept_answers": 1])
        }
    }

    @Test func whileAnotherIsAtItNothingIsDone() async throws {
        try await StoreFixture.with { fixture in
            try await keepAnswer(30, fixture)
            try await fixture.peerPool.transaction { connection in
                let lock = try await connection.query(
                    "SELECT pg_try_advisory_xact_lock(hashtextextended('hansard.pruning', 0)) AS taken")
                #expect(try lock.only().value("taken"))
                #expect(try await pruning(fixture).look(now: .now) == [:])
            }
            #expect(try await pruning(fixture).look(now: .now) == ["kept_answers": 1])
        }
    }

    @Test func aLookIsBoundedAndTheNextGoesOn() async throws {
        try await StoreFixture.with { fixture in
            for _ in 1...25 { try await keepAnswer(30, fixture) }
            var pruning = pruning(fixture)
            (pruning.rounds, pruning.rowsPerRound) = (2, 4)
            #expect(try await pruning.look(now: .now) == ["kept_answers": 8])
            #expect(try await pruning.look(now: .now) == ["kept_answers": 8], "it is still due")
            pruning.rounds = 100
            #expect(try await pruning.look(now: .now) == ["kept_answers": 9])
            #expect(try await pruning.look(now: .now) == [:], "it is not due any more")
        }
    }
}
