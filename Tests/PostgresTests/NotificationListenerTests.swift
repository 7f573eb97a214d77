import EventLoops
import Postgres
import PostgresTesting
import Testing

@Suite(.timeLimit(.minutes(10))) struct NotificationListenerTests {
    private final class Heard: Sendable {
        let events = Locked<[NotificationListener.Event]>([])
        func listener(_ url: DatabaseURL, _ channel: String) -> NotificationListener {
            NotificationListener(url, channel: channel) { event in self.events.withLock { $0.append(event) } }
        }
        func wait(_ what: Comment, _ isSo: @Sendable ([NotificationListener.Event]) -> Bool) async throws {
            for _ in 0..<3_000 where !isSo(events.withLock { $0 }) { try await Task.sleep(for: .milliseconds(10)) }
            #expect(isSo(events.withLock { $0 }), what)
        }
    }

    @Test func whatIsNotifiedIsToldInOrderAndOtherChannelsAreNot() async throws {
        let url = try await TestPostgres.database()
        let (pool, heard) = (ConnectionPool(url), Heard())
        let listener = heard.listener(url, "Mine \"quoted\"")
        try await heard.wait("it listens") { $0 == [.listening] }
        try await pool.query("SELECT pg_notify('mine', 'not for us')")
        for number in 1...3 { try await pool.query("SELECT pg_notify('Mine \"quoted\"', \("\(number)"))") }
        try await heard.wait("three came") { $0.count == 4 }
        #expect(heard.events.withLock { $0.dropFirst() } == [.notified("1"), .notified("2"), .notified("3")])
        listener.stop()
        await pool.close()
    }

    /// Whoever listens must know that something may have been missed.
    @Test func aBrokenConnectionIsMadeAgainAndToldOf() async throws {
        let url = try await TestPostgres.database()
        let (pool, heard) = (ConnectionPool(url), Heard())
        let listener = heard.listener(url, "c")
        try await heard.wait("it listens") { $0 == [.listening] }
        try await pool.query(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%'
            """)
        try await heard.wait("it listens again") { $0.count { $0 == .listening } == 2 }
        #expect(heard.events.withLock { $0.contains { if case .lost = $0 { true } else { false } } })
        try await pool.query("SELECT pg_notify('c', 'after')")
        try await heard.wait("it hears") { $0.last == .notified("after") }
        listener.stop()
        await pool.close()
    }

    @Test func aServerThatIsNotThereIsTriedAgainAndStoppingEndsThat() async throws {
        let heard = Heard()
        let listener = heard.listener(try DatabaseURL("host=127.0.0.1 port=1 dbname=none user=nobody"), "c")
        try await heard.wait("it is lost twice") { $0.count >= 2 }
        listener.stop()
        let count = heard.events.withLock(\.count)
        try await Task.sleep(for: .milliseconds(300))
        #expect(heard.events.withLock(\.count) == count)
    }
}
