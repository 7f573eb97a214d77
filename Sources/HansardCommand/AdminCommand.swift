import ArgumentParser
import Crypto
import Foundation
import HansardServer

/// What operators do by REST, from the command line of a machine that may log in to the database.
struct AdminCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admin", abstract: "Manage tenants, keys, quotas and tokens on the database itself.",
        discussion: """
            The first admin token is made this way:

              hansard admin token --name "Ops" --role owner

            Everything else of the admin REST API too:

              hansard admin call POST /v1/admin/tenants '{"name":"Acme"}'
            """,
        subcommands: [AdminTokenCommand.self, AdminCallCommand.self])
}

/// Makes an admin token.
struct AdminTokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make an admin token and print it: it cannot be shown again.",
        discussion: "EXIT STATUS\n0 made; 1 the database is away or refused it; 2 settings or options are wrong")

    @Option(help: "What the token is called in lists and in the audit log.")
    var name: String
    @Option(help: "owner, operator, billing or viewer.")
    var role = "owner"
    @OptionGroup var options: SettingsOptions

    func run() async throws {
        struct Wish: Encodable { var name, role: String }
        struct Made: Decodable { var token: String }
        let wish = try JSONEncoder().encode(Wish(name: name, role: role))
        let body = String(decoding: wish, as: UTF8.self)
        let answer = try await AdminCallCommand.answer(options) {
            await $0.call("POST", "/v1/admin/tokens", body: body)
        }
        guard let made = try? JSONDecoder().decode(Made.self, from: Data(answer.body.utf8)) else {
            throw CommandFailure(message: "there is no token in the answer")
        }
        print(made.token)
    }
}

/// Makes any call of the admin REST API.
struct AdminCallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "call", abstract: "Make a call of the admin REST API without a server, and print its answer.",
        discussion: """
            openapi.yaml has the calls. Running nodes learn of what is changed at once. What others may change at the same \
            time is read with --head, which shows its ETag, and changed with that as --if-match:

              hansard admin call --head GET /v1/admin/tenants/ID/quotas
              hansard admin call --if-match r7 PUT /v1/admin/tenants/ID/quotas '{"max_concurrent_sessions":5}'

            A script that may be run again after it was cut off gives each call an --idempotency-key of its own: a call \
            that was made already is not made again, and answered as it was, within 24 hours.

            EXIT STATUS
            0 done; 1 refused, or the database is away; 2 settings are wrong
            """)

    @Argument(help: "GET, POST, PUT, PATCH or DELETE.")
    var method: String
    @Argument(help: "For instance /v1/admin/tenants.")
    var path: String
    @Argument(help: "A JSON document.")
    var body = ""
    @Option(help: ArgumentHelp("Change nothing but what has this ETag, with quotes or without.", valueName: "etag"))
    var ifMatch: String?
    @Option(help: ArgumentHelp("Answer a call that was made with this key before as it was.", valueName: "key"))
    var idempotencyKey: String?
    @Flag(help: "Write the answer's status and headers to standard error.")
    var head = false
    @OptionGroup var options: SettingsOptions

    func run() async throws {
        let answer = try await Self.answer(options) { administration in
            await administration.call(
                method.uppercased(), path, body: body, idempotencyKey: idempotencyKey,
                ifMatch: ifMatch.map(Self.entityTag))
        }
        if head {
            printError("HTTP \(answer.status)")
            for header in answer.headers { printError("\(header.name): \(header.value)") }
        }
        print(answer.body)
    }

    /// As a header has it: shells take quotes away.
    static func entityTag(_ text: String) -> String { text.hasPrefix("\"") || text == "*" ? text : "\"\(text)\"" }

    /// - Throws: `CommandFailure` with the problem's own words.
    static func answer(
        _ options: SettingsOptions, to call: (LocalAdministration) async -> LocalAdministration.Answer
    ) async throws -> LocalAdministration.Answer {
        struct Problem: Decodable { var detail: String }
        let (settings, logger) = try options.load(for: .administration)
        do {
            let administration = try await LocalAdministration.open(
                settings: settings, as: NSUserName(), logger: logger, randomBytes: { SecureRandom.bytes(count: $0) })
            let answer = await call(administration)
            await administration.close()
            if 200...299 ~= answer.status { return answer }
            let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body.utf8))
            throw CommandFailure(message: "\(answer.status): \(problem?.detail ?? answer.body)")
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure(message: explain(error))
        }
    }
}
