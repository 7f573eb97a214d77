import Foundation
import Hansard
import Postgres

@testable import HansardServer

extension StoreFixture {
    /// The outbox, as if there had been a destination for long.
    func outbox() async throws -> PostgresUsageEvents {
        let outbox = PostgresUsageEvents(pool: pool)
        _ = try await outbox.make(hours: 1, slack: .zero)
        try await ownerPool.execute("UPDATE usage_event_delivery SET first_hour = '2001-01-01'")
        try await ownerPool.execute("DELETE FROM usage_event_hours")
        return outbox
    }

    /// Sums up, and makes what is due.
    func makeEvents(slack: Duration = .seconds(60)) async throws {
        while try await PostgresUsageLedger(pool: pool).rollUp(atMost: 500) == 500 {}
        while try await PostgresUsageEvents(pool: pool).make(hours: 50, slack: slack) == 50 {}
    }

    /// All events in their order.
    func events() async throws -> [UsageEvent] {
        try await PostgresUsageEvents(pool: pool).events(after: 0, atMost: 100_000).map(\.event)
    }

    /// Hours that are queued.
    func queuedHours() async throws -> Int {
        try await ownerPool.query("SELECT count(*) AS n FROM usage_event_hours").only().value("n")
    }
}

extension UsageEvent {
    /// What is told of an hour of a segment together.
    struct Told: Hashable {
        var counters = UsageCounters()
        var sessions = 0
        var revisions: [Int] = []
    }

    /// Which hour of which segment.
    var place: String { id.split(separator: ".").dropLast().joined(separator: ".") }

    static func told(_ events: [UsageEvent]) -> [String: Told] {
        events.reduce(into: [:]) { told, event in
            var here = told[event.place] ?? Told()
            here.counters = here.counters + event.counters
            here.sessions += event.sessions
            here.revisions.append(event.revision)
            told[event.place] = here
        }
    }
}
