import ArgumentParser
import HansardServer
import Postgres

/// Brings the database's schema up to date.
struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Apply the migrations that the database does not have yet.",
        discussion: """
            Logs in with HANSARD_DATABASE_OWNER_URL, or HANSARD_DATABASE_URL without it, and applies the files of \
            HANSARD_MIGRATIONS. Several nodes may do so at once: one applies, the others wait.

            EXIT STATUS
            0 up to date; 1 the database is away or a migration failed, of which nothing was kept; 2 settings are wrong
            """
    )

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let (settings, _) = try options.load(for: .migration)
        guard let url = settings.databaseOwnerURL ?? settings.databaseURL else { return }
        try await Self.migrate(url, folder: settings.migrations) { print($0) }
    }

    /// Applies what is missing and says so, a line for each.
    static func migrate(_ url: DatabaseURL, folder: String, say: (String) -> Void) async throws {
        do {
            let applied = try await Migrations(directory: folder).apply(to: url)
            for migration in applied { say("applied migration \(migration.version): \(migration.name)") }
            if applied.isEmpty { say("the database is up to date") }
        } catch {
            throw CommandFailure(message: "the database could not be migrated: \(explain(error))")
        }
    }
}
