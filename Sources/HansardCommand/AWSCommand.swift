import ArgumentParser
import HansardServer

/// What is done on AWS before a node can serve there.
struct AWSCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aws", abstract: "Prepare Amazon DynamoDB and S3.", subcommands: [AWSInitCommand.self])
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
