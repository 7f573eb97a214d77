import EventLoops
import Foundation
import HTTPClient
import Hansard
import Logging
import Postgres
import Testing

@testable import HansardServer

/// A receiver that says what the test wants, and knows what it was sent.
final class EventReceiver: HTTPTransport {
    struct Event: Hashable, Decodable {
        struct Content: Hashable, Decodable { var audio_ms: Int64 }
        var id: String
        var data: Content
    }

    private struct State {
        var answers: [Int?] = []
        var decide: (@Sendable ([Event]) -> Int?)?
        var requests: [TransferRequest] = []
        var stored: [Event] = []
    }

    private let state = Locked(State())

    /// Statuses of the next requests; nil is an answer that is lost after all was stored. Then 200.
    func answer(_ answers: [Int?]) { state.withLock { $0.answers = answers } }
    /// Decides by what is sent.
    func decide(_ decide: @escaping @Sendable ([Event]) -> Int?) { state.withLock { $0.decide = decide } }

    var requests: [TransferRequest] { state.withLock(\.requests) }
    /// Everything that arrived, as often as it did.
    var stored: [Event] { state.withLock(\.stored) }

    func send(_ request: TransferRequest) async throws -> TransferResponse {
        let events = try JSONDecoder().decode([Event].self, from: Data(request.body))
        let status: Int? = state.withLock { state in
            state.requests.append(request)
            let status = state.answers.isEmpty ? state.decide?(events) ?? 200 : state.answers.removeFirst()
            if status == nil || status == 200 { state.stored += events }
            return status
        }
        guard let status else { throw CurlError(code: 52, message: "nothing", wasNotSent: false) }
        return TransferResponse(status: status)
    }
}

@Suite struct UsageEventDeliveryTests {
    private let log = LogRecorder()
    private let metrics = Metrics()

    private func delivery(
        _ fixture: StoreFixture, _ receiver: EventReceiver, pool: Bool = false,
        change: (inout UsageEventDelivery.Limits) -> Void = { _ in }
    ) throws -> UsageEventDelivery {
        var limits = UsageEventDelivery.Limits()
        limits.makingInterval = .zero
        limits.pacing.events = 4
        limits.pacing.firstPause = .milliseconds(1)
        change(&limits)
        return UsageEventDelivery(
            outbox: PostgresUsageEvents(pool: pool ? fixture.peerPool : fixture.pool),
            receiver: .init(
                destination: try #require(EventDestination("https://meter.example/api?x=1")), source: "here",
                signing: WebhookSigning([Secret("whsec_" + Data(count: 32).base64EncodedString())]),
                authorization: Secret("Bearer t0ken")),
            transport: receiver, holder: UUID(), metrics: metrics, logger: log.logger, limits: limits, chance: { 0 })
    }

    private func ingest(_ numbers: Range<Int>, _ fixture: StoreFixture) async throws {
        let ledger = PostgresUsageLedger(pool: fixture.pool)
        _ = try await ledger.ingest(numbers.map { .sample($0, sequence: 1, at: $0 + 10, isFinal: true) })
        _ = try await ledger.rollUp(atMost: 1_000)
    }

    private func pending(_ fixture: StoreFixture) async throws -> Int {
        try await fixture.ownerPool.query(
            "SELECT last_position - delivered AS n FROM usage_event_delivery"
        ).only().value("n")
    }

    @Test func everythingIsSentOnceAndInOrder() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<10, fixture)
            let receiver = EventReceiver()
            let delivery = try delivery(fixture, receiver)
            try await delivery.look()
            #expect(receiver.stored.map(\.id) == (try await fixture.events()).map(\.id))
            #expect(receiver.requests.count == 3 && metrics.eventsDelivered.value == 10)
            #expect(try await pending(fixture) == 0 && delivery.pending == 0)
            try await delivery.look()
            #expect(receiver.requests.count == 3)
            let request = try #require(receiver.requests.first)
            #expect(request.method == "POST" && request.url == "https://meter.example/api?x=1")
            #expect(request.header("content-type") == "application/cloudevents-batch+json")
            #expect(request.header("authorization") == "Bearer t0ken")
            #expect(request.header("webhook-signature")?.hasPrefix("v1,") == true)
            #expect(log.entries.allSatisfy { !"\($0)".contains("t0ken") })
        }
    }

    @Test func anAnswerThatIsLostMakesTheSameEventsComeAgain() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<4, fixture)
            let receiver = EventReceiver()
            receiver.answer([nil, 500, nil])
            let delivery = try delivery(fixture, receiver)
            try await eventually("it is delivered") {
                try await delivery.look()
                return try await pending(fixture) == 0
            }
            #expect(receiver.requests.count == 4 && receiver.stored.count == 12)
            #expect(Set(receiver.stored).count == 4, "they are the same, and have the same names")
            #expect(Set(receiver.requests.map { $0.header("webhook-id") }).count == 1)
            #expect(metrics.eventDeliveriesFailed.value == 3)
            #expect(log.count(of: "usage events wait", atLeast: .warning) == 3, "what is wrong changed each time")
            #expect(log.count(of: "takes usage events again") == 1)
        }
    }

    @Test func poisonIsSetAsideAndHoldsUpNobody() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<9, fixture)
            let poison = "\(Sample.session(5))"
            let receiver = EventReceiver()
            receiver.decide { $0.contains { $0.id.hasPrefix(poison) } ? 422 : 200 }
            try await delivery(fixture, receiver).look()
            #expect(receiver.stored.count == 8 && Set(receiver.stored).count == 8)
            #expect(try await pending(fixture) == 0)
            #expect(metrics.eventsRefused.value == 1 && metrics.eventsDelivered.value == 8)
            let row = try await fixture.ownerPool.query(
                "SELECT session_id, refused_status FROM usage_events WHERE refused_at IS NOT NULL"
            ).only()
            #expect(try SessionID(row.value("session_id")) == Sample.session(5) && row.value("refused_status") == 422)
        }
    }

    /// As those do that are given another secret: the events are not the matter.
    @Test func whoRefusesEverythingGetsEverythingOnceItIsMended() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<30, fixture)
            let receiver = EventReceiver()
            receiver.decide { _ in 400 }
            let delivery = try delivery(fixture, receiver) { $0.pacing.longestPause = .milliseconds(2) }
            try await eventually("it was asked again and again") {
                try await delivery.look()
                return metrics.eventDeliveriesFailed.value >= 10
            }
            #expect(try await pending(fixture) == 30 && metrics.eventsRefused.value == 0 && receiver.stored.isEmpty)
            #expect(log.count(of: "HANSARD_EVENTS_SECRET", atLeast: .warning) == 1)
            receiver.decide { _ in 200 }
            try await eventually("it has all") {
                try await delivery.look()
                return try await pending(fixture) == 0
            }
            #expect(receiver.stored.map(\.id) == (try await fixture.events()).map(\.id))
            #expect(metrics.eventsRefused.value == 0 && log.count(of: "takes usage events again") == 1)
        }
    }

    @Test func theOnlyEventThereIsWaitsForAnother() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(5..<6, fixture)
            let poison = "\(Sample.session(5))"
            let receiver = EventReceiver()
            receiver.decide { $0.contains { $0.id.hasPrefix(poison) } ? 422 : 200 }
            let delivery = try delivery(fixture, receiver) { $0.pacing.longestPause = .milliseconds(2) }
            try await eventually("it was asked again and again") {
                try await delivery.look()
                return metrics.eventDeliveriesFailed.value >= 5
            }
            #expect(try await pending(fixture) == 1 && metrics.eventsRefused.value == 0)
            try await ingest(6..<7, fixture)
            try await eventually("nothing waits") {
                try await delivery.look()
                return try await pending(fixture) == 0
            }
            #expect(metrics.eventsRefused.value == 1 && metrics.eventsDelivered.value == 1)
            #expect(Set(receiver.stored).count == 1, "it came again in its turn, as the same event")
        }
    }

    /// Made, and delivered or not: whoever comes after a node that died goes on from what the database knows.
    @Test func anotherNodeTakesOver() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<8, fixture)
            let receiver = EventReceiver()
            receiver.answer([200, 503])
            let first = try delivery(fixture, receiver) { $0.lease = .seconds(2) }
            try await first.look()
            #expect(try await pending(fixture) == 4 && first.pending == 4)
            // The first one is not heard of any more.
            let second = try delivery(fixture, receiver, pool: true)
            try await second.look()
            #expect(receiver.requests.count == 2, "it may still be at it")
            try await eventually("the lease is over") {
                try await second.look()
                return try await pending(fixture) == 0
            }
            #expect(Set(receiver.stored).count == 8 && receiver.stored.count == 8)
            try await first.look()
            #expect(receiver.requests.count == 3)
            await second.stop()
            try await ingest(8..<9, fixture)
            try await first.look()
            #expect(receiver.stored.count == 9, "who stops lets another one go on at once")
        }
    }

    /// As if it took longer than a statement may.
    @Test func whereMakingTakesTooLongFewerHoursAreMadeAtOnce() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            let ledger = PostgresUsageLedger(pool: fixture.pool)
            let starts = (0..<20).map { $0 * 3_600 }
            let records = starts.map { UsageRecord.sample($0, sequence: 1, at: $0 + 10, isFinal: true) }
            _ = try await ledger.ingest(records)
            _ = try await ledger.rollUp(atMost: 1_000)
            try await fixture.ownerPool.execute(
                """
                CREATE FUNCTION take_too_long() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF NEW.last_position - OLD.last_position > 3 THEN
                        RAISE EXCEPTION USING ERRCODE = 'query_canceled', MESSAGE = 'it takes too long';
                    END IF;
                    RETURN NEW;
                END
                $$
                """)
            try await fixture.ownerPool.execute(
                """
                CREATE TRIGGER too_long BEFORE UPDATE ON usage_event_delivery
                FOR EACH ROW EXECUTE FUNCTION take_too_long()
                """)
            let receiver = EventReceiver()
            let delivery = try delivery(fixture, receiver)
            try await eventually("all are made and delivered") {
                try await delivery.look()
                return receiver.stored.count == 20
            }
            #expect(Set(receiver.stored).count == 20)
            #expect(log.count(of: "with fewer hours at once", atLeast: .warning) >= 4, "of 50, 25, 12 and 6")
        }
    }

    /// What was made before is not held up.
    @Test func whereNothingCanBeMadeWhatThereIsIsSent() async throws {
        try await StoreFixture.with { fixture in
            _ = try await fixture.outbox()
            try await ingest(0..<3, fixture)
            try await fixture.makeEvents()
            try await fixture.ownerPool.execute("ALTER TABLE usage_event_hours RENAME TO away")
            let receiver = EventReceiver()
            try await delivery(fixture, receiver).look()
            #expect(receiver.stored.count == 3 && log.count(of: "usage events are not made", atLeast: .warning) == 1)
        }
    }

    @Test func theFirstLookBeginsAndTheReceiverIsLeftAloneMeanwhile() async throws {
        try await StoreFixture.with { fixture in
            let receiver = EventReceiver()
            let delivery = try delivery(fixture, receiver) { $0.pacing.firstPause = .seconds(60) }
            try await delivery.look()
            let rows = try await fixture.ownerPool.query("SELECT FROM usage_event_delivery")
            #expect(rows.count == 1)
            _ = try await fixture.outbox()
            try await ingest(0..<1, fixture)
            receiver.answer([401])
            for _ in 0..<3 { try await delivery.look() }
            #expect(receiver.requests.count == 1)
            #expect(log.count(of: "HANSARD_EVENTS_AUTHORIZATION", atLeast: .warning) == 1)
            #expect(delivery.pending == 1 && delivery.delay() >= .zero)
        }
    }
}
