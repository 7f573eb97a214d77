import ArgumentParser
import Foundation
import HansardServer
import Logging

/// How settings reach the commands that serve.
struct SettingsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A YAML file of settings; the environment comes first.", valueName: "file"))
    var config: String?

    /// Reads the settings; what is wrong with them ends the command with status 2.
    func load(for purpose: Settings.Purpose) throws -> (settings: Settings, logger: Logger) {
        do {
            let file = config.map { SettingsFile(path: $0) }
            let loaded = try Settings.load(
                environment: ProcessInfo.processInfo.environment,
                file: file,
                for: purpose
            )
            let logger = Logger.hansard(settings: loaded.settings)
            for warning in loaded.warnings { logger.warning("\(warning)") }
            return (loaded.settings, logger)
        } catch {
            throw CommandFailure(message: error.description, status: .usage)
        }
    }
}

/// Prints docs/settings.md; for those who change the table of settings.
struct SettingsReferenceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settings-reference",
        abstract: "Print docs/settings.md.",
        shouldDisplay: false
    )

    func run() { print(SettingsReference.markdown, terminator: "") }
}
