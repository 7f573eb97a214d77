import Foundation
import Hansard
import Logging
import Testing
import Yams

@testable import HansardServer

/// openapi.yaml is the contract: what it lists and what is served are the same, both ways.
@Suite struct OpenAPITests {
    private static let methods: Set<String> = ["get", "put", "post", "delete", "patch"]

    private func documented() throws -> Set<String> {
        let root = URL(filePath: #filePath).pathComponents.dropLast(4).joined(separator: "/").dropFirst()
        let text = try String(contentsOfFile: "\(root)/openapi.yaml", encoding: .utf8)
        let document = try #require(try Yams.load(yaml: text) as? [String: Any])
        let paths = try #require(document["paths"] as? [String: [String: Any]])
        return Set(
            paths.flatMap { path, item in
                item.keys.filter(Self.methods.contains).map { "\($0.uppercased()) \(path)" }
            })
    }

    @Test func everyRouteIsInTheDocumentAndTheOtherWayRound() throws {
        let directory = AccessDirectory(store: MemoryTenantStore(), logger: Logger(label: "test"))
        let tenant = TenantRoutes(
            authenticator: Authenticator(directory: directory, secrets: [[1]]), transcripts: MemoryTranscriptStore())
        let node = NodeRoutes(checks: [], metrics: Metrics(), gauges: { [] }, document: [])
        let served = Set((tenant.routes + node.routes).map { "\($0.method) \($0.path)" })
        #expect(try documented() == served)
    }
}
