import EventLoops
import Hansard
import Logging
import Postgres

/// Carries what operators change to this node's live sessions: revoked keys and suspended tenants end theirs, and commands
/// to end a session or to drain a node are obeyed. Notifications bring it at once, the directory's poll within a second.
struct AccessFeed: Sendable {
    static let channel = "hansard_access"

    let node: String
    let sessions: LiveSessions
    let logger: Logger

    /// What an update means to the sessions and the node. Called after the snapshot has it.
    func updated(_ update: AccessUpdate) {
        sessions.recheck(update)
        for command in update.commands { obey(command) }
    }

    private func obey(_ command: NodeCommand) {
        switch command {
        case .terminate(let session):
            sessions.end(session, .terminated)
        case .drain(let name) where name == node:
            logger.notice("draining, as an operator wishes: nothing new is admitted")
            sessions.drain(true)
        case .undrain(let name) where name == node:
            logger.notice("admitting again, as an operator wishes")
            sessions.drain(false)
        case .drain, .undrain: break
        }
    }

    /// Follows the directory, and makes it look whenever the database says that something changed.
    func follow(_ directory: AccessDirectory, _ url: DatabaseURL) -> NotificationListener {
        directory.observe(updated)
        return NotificationListener(url, channel: Self.channel) { [logger] event in
            // The poll goes on without it, and says when the database is away.
            if case .lost(let error) = event {
                logger.debug("not notified of changes", metadata: ["error": "\(error)"])
            }
            directory.refreshSoon()
        }
    }
}
