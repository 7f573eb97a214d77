import ArgumentParser
import HansardServer

/// What is done on AWS before a node can serve there.
struct AWSCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aws", abstract: "Prepare Amazon DynamoDB and S3.",
        subcommands: [AWSInitCommand.self, AWSCheckCommand.self])
}

/// Makes the table and checks the bucket.
struct AWSInitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make the table of HANSARD_CONNECTIONS=dynamodb, and check the bucket of HANSARD_TRANSCRIPTS.",
        discussion: """
            Takes the same settings as serve, and AWS's own: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL and so on. Needs \
            the permissions of deploy/iam/init.json, which a node itself does not need. Running it again changes nothing.

            EXIT STATUS
            0 everything is there; 1 something could not be made or used; 2 settings are wrong
            """
    )

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let (settings, logger) = try options.load(for: .awsPreparation)
        do {
            try await AWSPreparation.run(settings: settings, logger: logger) { print($0) }
        } catch {
            throw CommandFailure(message: "\(explain(error))")
        }
    }
}

/// Tries what a node does there.
struct AWSCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Try every kind of call that a node makes on AWS, with its credentials and for no tenant's data.",
        discussion: """
            Takes the same settings as serve. Says of each call whether it works, and which permission it lacks: \
            deploy/iam/node.json has all that it needs. What it leaves in the table expires by itself.

            EXIT STATUS
            0 every call works; 1 some do not; 2 settings are wrong
            """
    )

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let (settings, logger) = try options.load(for: .awsPreparation)
        let isGood: Bool
        do {
            isGood = try await AWSPreparation.check(settings: settings, logger: logger) { print($0) }
        } catch {
            throw CommandFailure(message: "\(explain(error))")
        }
        guard isGood else { throw CommandFailure(message: "a node could not serve with these settings") }
    }
}
