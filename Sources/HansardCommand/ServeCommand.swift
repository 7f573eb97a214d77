import ArgumentParser
import HansardServer
import Logging

/// The server in production.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serve, configured for production.",
        usage: "hansard serve [--config <file>]",
        discussion: """
            Runs until SIGTERM or SIGINT, then lets running sessions end within HANSARD_DRAIN_DEADLINE; a second signal \
            ends it at once. Apply migrations first: hansard migrate.

            EXIT STATUS
            0 stopped as asked; 1 could not start; 2 settings are wrong; 130, 143 ended by a second signal

            \(SettingsReference.help)
            """
    )

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let (settings, logger) = try options.load(for: .serve)
        let signals = StopSignals.install()
        try ListenProbe.check(settings.listen)
        let application = try await Application.start(orFail: settings, logger: logger)
        await signals.wait()
        await application.stop()
    }
}

extension Application {
    /// Starts the server; what keeps it from starting ends the command with status 1.
    static func start(orFail settings: Settings, logger: Logger) async throws -> Application {
        do {
            return try await start(settings: settings, logger: logger)
        } catch {
            throw CommandFailure(message: "the server cannot start: \(explain(error))")
        }
    }
}
