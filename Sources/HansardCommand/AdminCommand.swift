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
        let answer = try await AdminCallCommand.call(
            options, "POST", "/v1/admin/tokens", String(decoding: wish, as: UTF8.self))
        guard let made = try? JSONDecoder().decode(Made.self, from: Data(answer.utf8)) else {
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
            openapi.yaml has the calls. Running nodes learn of what is changed at once.

            EXIT STATUS
            0 done; 1 refused, or the database is away; 2 settings are wrong
            """)

    @Argument(help: "GET, POST, PUT, PATCH or DELETE.")
    var method: String
    @Argument(help: "For instance /v1/admin/tenants.")
    var path: String
    @Argument(help: "A JSON document.")
    var body = ""
    @OptionGroup var options: SettingsOptions

    func run() async throws { print(try await Self.call(options, method.uppercased(), path, body)) }

    /// - Throws: `CommandFailure` with the problem's own words.
    static func call(
        _ options: SettingsOptions, _ method: String, _ path: String, _ body: String
    ) async throws -> String {
        struct Problem: Decodable { var detail: String }
        let (settings, logger) = try options.load(for: .administration)
        do {
            let administration = try await LocalAdministration.open(
                settings: settings, as: NSUserName(), logger: logger, randomBytes: { SecureRandom.bytes(count: $0) })
            let answer = await administration.call(method, path, body: body)
            await administration.close()
            if 200...299 ~= answer.status { return answer.body }
            let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body.utf8))
            throw CommandFailure(message: "\(answer.status): \(problem?.detail ?? answer.body)")
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure(message: explain(error))
        }
    }
}
