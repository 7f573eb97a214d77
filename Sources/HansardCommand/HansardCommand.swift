import ArgumentParser
import HansardServer
import Foundation

/// `hansard`: each subcommand is parsing and wiring; what it does lives in the libraries.
struct HansardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hansard",
        abstract: "Self-hosted real-time transcription that speaks Deepgram's streaming protocol.",
        discussion: "To try it on this machine: hansard dev",
        version: Application.version,
        subcommands: [
            ServeCommand.self, DevCommand.self, MigrateCommand.self, AWSCommand.self, AdminCommand.self,
            UsageCommand.self, TranscribeCommand.self,
            HealthcheckCommand.self,
            SettingsReferenceCommand.self,
        ]
    )
}

@main
enum Program {
    static func main() async {
        // A reader that goes away, of standard output or of a socket, is an error to be handled and no reason to die.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try HansardCommand.parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            printError("hansard: \(failure.message)")
            exit(failure.status.rawValue)
        } catch  where HansardCommand.exitCode(for: error) == .validationFailure {
            printError(HansardCommand.fullMessage(for: error))
            exit(ExitStatus.usage.rawValue)
        } catch {
            HansardCommand.exit(withError: error)
        }
    }
}

/// How commands end. A second SIGINT or SIGTERM ends `serve` and `dev` at once with 128 and the signal's number.
enum ExitStatus: Int32 {
    /// Done; of `serve` and `dev`, stopped as asked.
    case done = 0
    /// What was asked could not be done; standard error says why.
    case failed = 1
    /// The command line or the settings are wrong, or a file is missing; trying again will not help.
    case usage = 2
}

/// Why a command ends, for people.
struct CommandFailure: Error {
    var message: String
    var status = ExitStatus.failed
}

/// Writes a line to standard error, past the log.
func printError(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}
