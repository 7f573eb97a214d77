import ArgumentParser
import Hansard
import HansardServer

/// What can be found out about usage on the database itself.
struct UsageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Look at the usage ledger.", subcommands: [UsageVerifyCommand.self])
}

/// Proves that a month was counted and billed right.
struct UsageVerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare sessions, the ledger, its sums, its events and the invoices of a month.",
        discussion: """
            Reads only, with HANSARD_DATABASE_OWNER_URL, or HANSARD_DATABASE_URL without it. Prints each difference with \
            its session, or with its tenant and place where there is none, at most 100 of each kind. What is late or recent \
            is told and is no difference: usage that came after its month was closed, which the next invoice has; and \
            sessions that were at work in the last two minutes, whose rows are not compared yet. Records that were taken out \
            after their time are told as gone. Sessions that are live are compared as far as they have got.

            EXIT STATUS
            0 everything agrees; 1 something does not, or the database is away; 2 settings or options are wrong
            """)

    @Option(help: "The UTC month, for instance 2026-11.")
    var period: String
    @OptionGroup var options: SettingsOptions

    func run() async throws {
        guard let month = QuotaPeriod(period) else {
            throw CommandFailure(message: "--period must be a month such as 2026-11, not '\(period)'", status: .usage)
        }
        let (settings, _) = try options.load(for: .migration)
        guard let url = settings.databaseOwnerURL ?? settings.databaseURL else { return }
        let findings: [UsageVerification.Finding]
        do {
            findings = try await UsageVerification(url, period: month).findings()
        } catch {
            throw CommandFailure(message: "\(month) could not be verified: \(explain(error))")
        }
        for finding in findings { print("\(finding.check.rawValue): \(finding.text)") }
        let faults = findings.count(where: \.isFault)
        guard faults == 0 else { throw CommandFailure(message: "\(month): \(faults) differences") }
        print("\(month): sessions, ledger, sums, events and invoices agree")
    }
}
