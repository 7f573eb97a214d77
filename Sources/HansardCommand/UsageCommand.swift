import ArgumentParser
import Foundation
import Hansard
import HansardServer

/// What can be found out about usage on the database itself.
struct UsageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Look at the usage ledger.",
        subcommands: [UsageVerifyCommand.self, UsageExportCommand.self, UsageEndEventsCommand.self])
}

/// A month, and where its usage is read.
struct UsageOptions: ParsableArguments {
    @Option(help: "The UTC month, for instance 2026-11.")
    var period: String
    @OptionGroup var options: SettingsOptions

    func load() throws -> (month: QuotaPeriod, settings: Settings) {
        guard let month = QuotaPeriod(period) else {
            throw CommandFailure(message: "--period must be a month such as 2026-11, not '\(period)'", status: .usage)
        }
        return (month, try options.load(for: .migration).settings)
    }
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

    @OptionGroup var usage: UsageOptions

    func run() async throws {
        let (month, settings) = try usage.load()
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

/// Writes out a month, for programs that bill.
struct UsageExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write what was used in a month to standard output.",
        discussion: """
            Reads only, with HANSARD_DATABASE_OWNER_URL, or HANSARD_DATABASE_URL without it. csv and jsonl have a row for \
            each segment of a session, a part of it at one engine and in one month. cloudevents has what segments used in \
            each hour, an event on each line, with the ids and HANSARD_EVENTS_SOURCE that HANSARD_EVENTS_URL is sent.

            EXIT STATUS
            0 all of it is written; 1 the database is away, or the output cannot be written; 2 settings or options are wrong
            """)

    @OptionGroup var usage: UsageOptions
    @Option(help: "A tenant's id; all tenants without it.")
    var tenant: String?
    @Option(help: "csv, jsonl or cloudevents.", transform: Self.format)
    var format: UsageExport.Format

    private static func format(_ text: String) throws -> UsageExport.Format {
        guard let format = UsageExport.Format(rawValue: text) else {
            throw ValidationError("it must be csv, jsonl or cloudevents, not '\(text)'")
        }
        return format
    }

    func run() async throws {
        let id = tenant.flatMap(UUID.init(uuidString:)).map(TenantID.init)
        guard tenant == nil || id != nil else {
            throw CommandFailure(message: "--tenant must be a tenant's id, not '\(tenant ?? "")'", status: .usage)
        }
        let (month, settings) = try usage.load()
        guard let url = settings.databaseOwnerURL ?? settings.databaseURL else { return }
        let export = UsageExport(url, period: month, tenant: id, source: settings.eventsSource)
        do {
            try await export.write(format) { try StandardOutput.write(all: $0) }
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure(message: "\(month) could not be exported: \(explain(error))")
        }
    }
}

/// Stops telling a meter elsewhere for good.
struct UsageEndEventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "end-events",
        abstract: "End usage events for good, where there is no receiver any more.",
        discussion: """
            Take HANSARD_EVENTS_URL from all nodes first: one that has it begins anew. Without this, hours are queued for as \
            long as there is no receiver, so that none is missing when there is one again. What was not delivered never is, \
            but `hansard usage export` has it. Logs in with HANSARD_DATABASE_OWNER_URL, or HANSARD_DATABASE_URL without it, as \
            the owner of the tables.

            EXIT STATUS
            0 ended, or there were none; 1 the database is away or refused it; 2 settings are wrong
            """)

    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let settings = try options.load(for: .migration).settings
        guard let url = settings.databaseOwnerURL ?? settings.databaseURL else { return }
        do {
            let pending = try await UsageEventsEnd(url).end()
            print(pending.map { "usage events have ended; \($0) were not delivered" } ?? "there are no usage events")
        } catch {
            throw CommandFailure(message: "usage events could not be ended: \(explain(error))")
        }
    }
}
