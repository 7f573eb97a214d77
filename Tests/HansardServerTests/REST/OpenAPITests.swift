import Foundation
import Hansard
import Logging
import Postgres
import Testing
import Yams

@testable import HansardServer

/// openapi.yaml is the contract: what it lists and what is served are the same, both ways.
@Suite struct OpenAPITests {
    private static let methods: Set<String> = ["get", "put", "post", "delete", "patch"]

    static func text() throws -> String {
        let root = URL(filePath: #filePath).pathComponents.dropLast(4).joined(separator: "/").dropFirst()
        return try String(contentsOfFile: "\(root)/openapi.yaml", encoding: .utf8)
    }

    /// What the document says of each operation, by method and path.
    private func documented() throws -> [String: [String: Any]] {
        let document = try #require(try Yams.load(yaml: Self.text()) as? [String: Any])
        let paths = try #require(document["paths"] as? [String: [String: Any]])
        var operations: [String: [String: Any]] = [:]
        for (path, item) in paths {
            for (method, operation) in item where Self.methods.contains(method) {
                operations["\(method.uppercased()) \(path)"] = try #require(operation as? [String: Any])
            }
        }
        return operations
    }

    private var directory: AccessDirectory {
        AccessDirectory(store: MemoryTenantStore(), logger: Logger(label: "test"))
    }

    private var tenant: TenantRoutes {
        TenantRoutes(
            authenticator: Authenticator(directory: directory, secrets: [[1]]), transcripts: MemoryTranscriptStore())
    }

    private func sessions(_ admin: AdminPlane) -> TenantSessionRoutes {
        TenantSessionRoutes(
            authenticator: Authenticator(directory: directory, secrets: [[1]]), connections: MemoryConnectionStore(),
            history: admin.services.history, transcripts: MemoryTranscriptStore(),
            auditLog: PostgresAuditLog(pool: admin.services.pool), secrets: [[1]])
    }

    private func usage(_ admin: AdminPlane) -> [Route] {
        let authenticator = Authenticator(directory: directory, secrets: [[1]])
        let usage = admin.services.usage
        return TenantUsageRoutes(authenticator: authenticator, usage: usage).routes
            + ProjectRoutes(authenticator: authenticator, reports: usage.reports, history: admin.services.history)
            .routes
    }

    private func invoices(_ admin: AdminPlane) -> [Route] {
        TenantInvoiceRoutes(
            authenticator: Authenticator(directory: directory, secrets: [[1]]), pool: admin.services.pool,
            secrets: [[1]], reader: BillingReader(issuer: "", isTenant: true)
        ).routes
    }

    private var node: NodeRoutes { NodeRoutes(checks: [], metrics: Metrics(), gauges: { [] }, document: []) }

    /// Runs `body` with the admin plane over a pool that connects to nothing.
    private func withAdmin(_ body: (AdminPlane) throws -> Void) async throws {
        let pool = ConnectionPool(try DatabaseURL("postgres:///nowhere?host=/nonexistent"))
        let logger = Logger(label: "test")
        let services = AdminServices(
            access: directory, pool: pool, connections: PostgresConnectionStore(pool: pool),
            transcripts: MemoryTranscriptStore(), auditHeads: MemoryTranscriptStore(), engines: [], secrets: [[1]],
            logger: logger,
            randomBytes: { [UInt8](repeating: 0, count: $0) })
        try body(AdminPlane(services: services))
        await pool.close()
    }

    @Test func everyRouteIsInTheDocumentAndTheOtherWayRound() async throws {
        let documented = Set(try documented().keys)
        try await withAdmin { admin in
            let served =
                (tenant.routes + sessions(admin).routes + usage(admin) + invoices(admin) + admin.routes
                + node.routes)
                .map { "\($0.method) \($0.path)" }
            #expect(Set(served).count == served.count, "a route is there twice")
            #expect(documented.subtracting(served) == [], "documented and not served")
            #expect(Set(served).subtracting(documented) == [], "served and not documented")
        }
    }

    @Test func theDocumentHasEachRoutesRoles() async throws {
        let documented = try documented()
        try await withAdmin { admin in
            var withRoles = Set(documented.filter { $0.value["x-roles"] != nil }.keys)
            for route in admin.adminRoutes {
                let name = "\(route.method) \(route.path)"
                let operation = try #require(documented[name])
                // In the order in which the type has them.
                let roles = AdminRole.allCases.filter(route.roles.contains).map(\.rawValue)
                #expect(operation["x-roles"] as? [String] == roles, "\(name)")
                #expect((operation["security"] as? [[String: Any]])?.map { Array($0.keys) } == [["admin"]], "\(name)")
                withRoles.remove(name)
            }
            #expect(withRoles == [], "roles of what is not in the admin plane")
        }
    }

    /// A key is required, optional or unknown in the document as it is to the route.
    @Test func theDocumentHasEachRoutesIdempotencyKey() async throws {
        let documented = try documented()
        try await withAdmin { admin in
            for route in admin.adminRoutes {
                let name = "\(route.method) \(route.path)"
                let parameters = documented[name]?["parameters"] as? [[String: Any]] ?? []
                let names = parameters.compactMap { ($0["$ref"] as? String)?.split(separator: "/").last }
                let expected: [Substring] =
                    switch route.idempotency {
                    case .required: ["IdempotencyKey"]
                    case .optional: ["OptionalIdempotencyKey"]
                    case .unused: []
                    }
                #expect(names.filter { $0.hasSuffix("IdempotencyKey") } == expected, "\(name)")
            }
        }
    }

    @Test func theDocumentHasTheCurrenciesThatThereAre() throws {
        let document = try #require(try Yams.load(yaml: Self.text()) as? [String: Any])
        let components = try #require(document["components"] as? [String: Any])
        let currency = try #require((components["schemas"] as? [String: [String: Any]])?["Currency"])
        #expect(currency["enum"] as? [String] == Currency.all.map(\.code))
    }

    /// Receivers are told how many events come at once at most.
    @Test func theDocumentHasTheMostEventsOfARequest() throws {
        let document = try #require(try Yams.load(yaml: Self.text()) as? [String: Any])
        var place = try #require(document["webhooks"] as? [String: Any])
        for name in ["usageEvents", "post", "requestBody", "content", "application/cloudevents-batch+json", "schema"] {
            place = try #require(place[name] as? [String: Any], "\(name)")
        }
        #expect(place["maxItems"] as? Int == EventPacing.Limits().events)
    }

    @Test func whatATenantsKeyOpensSaysWhichScopeItNeeds() throws {
        let known = Set(Scope.allCases.map(\.rawValue))
        for (name, operation) in try documented() where operation["security"] == nil {
            let scopes = try #require(operation["x-scopes"] as? [String], "\(name)")
            #expect(!scopes.isEmpty && known.isSuperset(of: scopes), "\(name)")
        }
    }
}
