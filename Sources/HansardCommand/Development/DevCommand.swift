import ArgumentParser
import Foundation
import HansardServer

/// Everything on this machine with one command: a private Postgres, a tenant, a key, the server.
struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev",
        abstract: "Serve on this machine, with everything that takes.",
        usage: "hansard dev [--config <file>]",
        discussion: """
            Takes the settings of `hansard serve` (see its --help) and makes what is not given: a private Postgres and a \
            secret in HANSARD_STATE_DIR. On the first start it makes the tenant demo, a key and an admin token, and writes \
            them to dev.env there. A second start keeps all data. SIGINT or SIGTERM stops everything that it started.

            EXIT STATUS
            0 stopped as asked; 1 could not start; 2 settings are wrong; 130, 143 ended by a second signal
            """
    )

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let (settings, logger) = try options.load(for: .development)
        let signals = StopSignals.install()
        let server = try DevServer(settings: settings, logger: logger, signals: signals)
        do {
            try await server.start()
        } catch is StopSignals.Stopped {
            return
        }
        StandardOutput.write(DevGuide(server: server).text)
        await signals.wait()
        await server.stop()
    }
}
