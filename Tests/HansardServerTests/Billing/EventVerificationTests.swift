import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// What `hansard usage verify` finds of events: whatever was altered, with its session, and nothing that is as it should be.
@Suite struct EventVerificationTests {
    private typealias Fixture = BillingFixture
    private static let january = BillingFixture.january
    private static let start = january.start + 9
    /// The session that is altered.
    private static let session = Sample.session(7, startedAt: start).description

    struct Alteration: Sendable, CustomTestStringConvertible {
        /// Of the session's event.
        var change: String
        /// What one of the findings says.
        var said: String

        init(_ change: String, _ said: String) {
            self.change = change
            self.said = said
        }

        var testDescription: String { change }
    }

    static let alterations: [Alteration] = [
        Alteration("SET audio_ms = audio_ms + 1", "its events have audio_ms 60001"),
        Alteration("SET connected_ms = connected_ms - 1", "connected_ms 59999"),
        Alteration("SET engine_ms = 0", "engine_ms 0 of 1 sessions, its marks say audio_ms 60000"),
        Alteration("SET sessions = 2", "of 2 sessions, its marks say"),
        Alteration("SET hour = hour + interval '1 hour'", "its events have nothing of 0 sessions"),
        Alteration("SET hour = hour + interval '1 hour'", "its marks say nothing of 0"),
        Alteration("SET segment = 3", "its events have nothing of 0 sessions"),
        Alteration("SET revision = 2", "the last of its 1 events is revision 2"),
        Alteration("SET key_id = 'x'", "key_id is x, the segment has key_1"),
        Alteration("SET engine = 'x'", "engine is x, the segment has pocketsphinx"),
        Alteration(
            "SET model = 'x', language = 'de'", "model is x, the segment has m; language is de, the segment has en"),
        Alteration("SET region = 'x'", "region is x, the segment has r"),
        Alteration("SET tags = '{a}'", "tags are {a}, the segment has {}"),
        Alteration("SET channels = 5", "channels are 5, the segment has 1"),
        Alteration("SET used_until = used_until + interval '1 second'", "used until a later time"),
    ]

    @Test(arguments: alterations)
    func anEventThatWasAlteredIsFoundWithItsSession(_ alteration: Alteration) async throws {
        try await expectFound(
            "UPDATE usage_events \(alteration.change) WHERE session_id = '\(Self.session)'", alteration.said)
    }

    @Test func anEventThatIsGoneIsFoundWithItsSession() async throws {
        try await expectFound(
            "DELETE FROM usage_events WHERE session_id = '\(Self.session)'", "its events have nothing of 0 sessions")
    }

    /// The hour has as much as before.
    @Test func timeThatWasMovedFromOneSessionToAnotherIsFound() async throws {
        let own = "session_id = '\(Self.session)'"
        let found = try await expectFound(
            "UPDATE usage_events SET audio_ms = CASE WHEN \(own) THEN 60005 ELSE 59995 END", "audio_ms 60005")
        #expect(found.count == 2 && found.contains { $0.text.contains("audio_ms 59995") }, "\(found)")
    }

    /// Alters what two sessions have in one hour, of which nothing is found before.
    @discardableResult private func expectFound(
        _ statement: String, _ said: String
    ) async throws -> [UsageVerification.Finding] {
        var found: [UsageVerification.Finding] = []
        try await Fixture.run { fixture async throws in
            _ = try await fixture.stores.outbox()
            try await fixture.ingest(
                UsageRecord.session(7, startedAt: Self.start, seconds: 60),
                UsageRecord.session(8, startedAt: Self.start, seconds: 60))
            try await fixture.stores.makeEvents()
            #expect(try await fixture.stores.events().count == 2)
            #expect(try await fixture.findings() == [])
            try await fixture.alter(statement)
            found = try await fixture.findings()
        }
        #expect(Set(found.map(\.check)) == [.events], "\(found)")
        #expect(
            found.contains {
                $0.isFault && $0.text.contains(said) && $0.text.contains(Self.session)
                    && $0.text.contains("\(Sample.tenant)")
            }, "\(found)")
        return found
    }

    /// One has more in an hour of which something was told, the other has some in the next one as well.
    @Test func correctionsAreNoDifference() async throws {
        try await Fixture.run { fixture async throws in
            _ = try await fixture.stores.outbox()
            let one = UsageRecord.session(7, startedAt: Self.start, seconds: 60)
            let other = UsageRecord.session(8, startedAt: Self.january.start + 3_580, seconds: 60)
            try await fixture.ingest(Array(one.prefix(1)), Array(other.prefix(1)))
            try await fixture.stores.makeEvents()
            #expect(try await fixture.findings() == [])
            try await fixture.ingest(Array(one.dropFirst()), Array(other.dropFirst()))
            // What is yet to be told is no difference either.
            #expect(try await fixture.findings() == [])
            try await fixture.stores.makeEvents()
            #expect(try await fixture.stores.events().map(\.revision).sorted() == [1, 1, 1, 2])
            #expect(try await fixture.findings() == [])
        }
    }
}
