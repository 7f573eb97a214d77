import EventLoops
import Foundation

/// Waits for NOTIFY on one channel, on a connection and a thread of its own, until it is stopped.
///
/// Notifications are lost on whoever is not connected, so that `listening` is told after each connecting: whoever needs
/// to know what happened meanwhile looks then.
///
/// Source: https://www.postgresql.org/docs/15/libpq-notify.html
public final class NotificationListener: Sendable {
    /// What is told, on the listener's own thread; it should not block there.
    public enum Event: Sendable, Equatable {
        /// From now on notifications arrive.
        case listening
        /// A notification, with what the notifier said.
        case notified(String)
        /// The connection broke, or could not be made; it is tried again.
        case lost(PostgresError)
    }

    /// How long stopping may go unnoticed.
    static let stopCheck = Duration.milliseconds(250)

    private let thread = WorkerThread(name: "pg-listen")
    private let isStopping = Locked(false)

    /// Starts listening.
    public init(_ url: DatabaseURL, channel: String, onEvent: @escaping @Sendable (Event) -> Void) {
        let isStopping = isStopping
        thread.execute {
            var pause = ReconnectBackoff.firstPause
            while !isStopping.withLock({ $0 }) {
                do {
                    let session = try Self.connect(url, channel: channel)
                    onEvent(.listening)
                    pause = ReconnectBackoff.firstPause
                    while !isStopping.withLock({ $0 }) {
                        for payload in try session.notifications(within: Self.stopCheck) { onEvent(.notified(payload)) }
                    }
                } catch {
                    onEvent(.lost(error as? PostgresError ?? PostgresError(.protocol, "\(error)")))
                    Thread.sleep(forTimeInterval: pause / .seconds(1))
                    pause = min(pause * 2, ReconnectBackoff.longestPause)
                }
            }
        }
    }

    private static func connect(_ url: DatabaseURL, channel: String) throws(PostgresError) -> ServerSession {
        var options = ConnectionOptions()
        options.applicationName = "hansard feed"
        let session = try ServerSession(url: url, options: options)
        _ = try session.run("LISTEN \(identifier: channel)")
        return session
    }

    /// Ends the connection; returns when the thread is gone. Never call it on an event loop.
    public func stop() {
        isStopping.withLock { $0 = true }
        thread.stop()
        thread.join()
    }
}
