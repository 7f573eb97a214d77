import AWS
import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import HansardServer

/// DynamoDB as ministack plays it: one process for a run of the tests, ended by the end of its standard input on whatever
/// path, and a table for each test.
enum TestDynamoDB {
    /// Where it is, and who may do everything there.
    struct Server: Sendable {
        var origin: String
        var credentials: AWSCredentials
        var http: PatientTransport
    }

    /// Waits for answers for as long as a busy machine takes: how long they may take is not what tests of stores are about.
    struct PatientTransport: HTTPTransport {
        let client: HTTPClient

        func send(_ request: TransferRequest) async throws -> TransferResponse {
            var request = request
            request.timeout = .seconds(60)
            return try await client.send(request)
        }
    }

    private static let project = URL(fileURLWithPath: StoreFixture.migrationsDirectory).deletingLastPathComponent()

    static let server = Result { try start() }
    private static let tables = Locked(0)
    /// Keeps the process's standard input open.
    private static let input = Pipe()

    private static func start() throws -> Server {
        let process = Process()
        process.executableURL = project.appending(path: ".venvs/tests/bin/python")
        process.arguments = [project.appending(path: "Tests/StandIns/ministack_server.py").path]
        var environment = ProcessInfo.processInfo.environment
        environment["PYTHONPATH"] = project.appending(path: "Tests/Support").path
        process.environment = environment
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        var line = Data()
        while !line.contains(UInt8(ascii: "\n")) {
            let piece = output.fileHandleForReading.availableData
            guard !piece.isEmpty else { throw CocoaError(.executableLoad) }
            line += piece
        }
        let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init)
        guard words.count == 3 else { throw CocoaError(.executableLoad) }
        var options = HTTPClient.Options()
        options.maximumConnectionsPerOrigin = 32
        return Server(
            origin: words[0], credentials: AWSCredentials(accessKeyID: words[1], secretAccessKey: words[2]),
            http: PatientTransport(client: try HTTPClient(options: options)))
    }

    /// A table without items, over a transport that may make faults.
    static func table(
        _ faults: (any HTTPTransport)? = nil, retries: Int = 3
    ) async throws -> (table: DynamoDB, name: String) {
        let name = "table-\(tables.withLock { $0 += 1; return $0 })"
        let table = try self.table(named: name)
        // Tests have times of their own, long past: the emulator, which removes once a minute what has expired, would take
        // items away under them.
        var layout = DynamoDBItems.layout
        layout.expiry = "expires_never"
        _ = try await table.prepare(layout) { try await Task.sleep(for: $0) }
        return (try self.table(named: name, faults, retries: retries), name)
    }

    /// Another client of a table.
    static func table(named name: String, _ faults: (any HTTPTransport)? = nil, retries: Int = 3) throws -> DynamoDB {
        let server = try server.get()
        let environment = [
            "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": server.origin, "AWS_MAX_ATTEMPTS": "\(retries)",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        ]
        let configuration = try AWSConfiguration(environment: AWSEnvironment(variables: environment))
        let clock = AWSClock(report: { _ in })
        let credentials = CredentialsProvider(
            sources: [FixedCredentials(server.credentials)], clock: clock)
        let service = try configuration.service(
            .dynamoDB, credentials: credentials, transport: faults ?? server.http, clock: clock)
        return DynamoDB(table: name, caller: service)
    }
}
