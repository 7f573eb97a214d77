import EventLoops
import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// What a node knows stays what the database has, where the changes between are not to be had one by one.
@Suite struct AccessHistoryTests {
    private let log = LogRecorder()

    private func make(_ names: String..., on fixture: StoreFixture) async throws {
        let store = PostgresTenantStore(pool: fixture.ownerPool)
        for name in names { try await store.create(Tenant(id: TenantID(UUID()), name: name, createdAt: moment(0))) }
    }

    private func give(_ command: NodeCommand, _ fixture: StoreFixture) async throws {
        let entry = AuditEntry(
            id: UUID(), tenant: nil, occurredAt: moment(0), actor: .command("test"), action: "test",
            target: .init("node", "n"))
        try await PostgresAuditLog(pool: fixture.pool).append(entry, commanding: command, of: nil)
    }

    /// A backup was restored, or a standby took over that lacked the last change: whether the database has changed since less
    /// often, as often or more often than what the node has seen.
    @Test(arguments: 0...2) func aHistoryThatIsAnotherIsReadAnew(_ changes: Int) async throws {
        try await StoreFixture.with { fixture in
            let store = PostgresTenantStore(pool: fixture.pool)
            let directory = AccessDirectory(store: store, logger: log.logger)
            try await make("kept", on: fixture)
            let position = try await store.accessPosition()
            try await make("lost", on: fixture)
            try await directory.refresh()
            #expect(directory.snapshot?.tenants.count == 2)
            for statement: Query in [
                "ALTER TABLE tenants DISABLE TRIGGER USER", "DELETE FROM tenants WHERE name = 'lost'",
                "ALTER TABLE tenants ENABLE TRIGGER USER",
                "DELETE FROM access_events WHERE sequence > \(position.sequence)",
                "UPDATE access_sequence SET value = \(position.sequence), change_id = \(position.change)",
            ] {
                try await fixture.ownerPool.execute(statement)
            }
            for number in 0..<changes { try await make("new \(number)", on: fixture) }
            try await directory.refresh()
            let whole = try await store.accessSnapshot()
            #expect(directory.snapshot == whole)
            #expect(whole.tenants.count == 1 + changes)
        }
    }

    /// More commands than a page of them as well.
    @Test func commandsAreNotLostAmongTooManyChanges() async throws {
        try await StoreFixture.with { fixture in
            var store = PostgresTenantStore(pool: fixture.pool)
            (store.changeLimit, store.commandsPage) = (3, 2)
            let directory = AccessDirectory(store: store, logger: log.logger)
            let sessions = LiveSessions()
            let feed = AccessFeed(node: "node-1", sessions: sessions, logger: log.logger)
            let told = Locked<[[NodeCommand]]>([])
            directory.observe { update in
                feed.updated(update)
                told.withLock { $0.append(update.commands) }
            }
            try await give(.undrain("node-2"), fixture)
            try await directory.refresh()
            #expect(told.withLock { $0 } == [[]], "a node that begins was not told")
            try await make("one", on: fixture)
            let commands: [NodeCommand] = [
                .drain("node-2"), .terminate(Sample.session(1)), .undrain("node-1"), .terminate(Sample.session(2)),
                .drain("node-1"),
            ]
            for command in commands { try await give(command, fixture) }
            try await directory.refresh()
            #expect(told.withLock { $0 } == [[], commands])
            #expect(sessions.isDraining)
            try await directory.refresh()
            try await make("two", on: fixture)
            try await directory.refresh()
            #expect(told.withLock { $0 } == [[], commands, []], "once")
        }
    }
}
