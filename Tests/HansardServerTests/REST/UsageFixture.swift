import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// Usage on every plane that has it, over a ledger of two tenants.
struct UsageFixture {
    static let paths = ["/v1/usage", "/v1/admin/tenants/\(Sample.tenant)/usage"]

    let stores: StoreFixture
    let history: UsageHistory
    let router: Router

    static func run(_ body: (UsageFixture) async throws -> Void) async throws {
        try await StoreFixture.with { stores in
            let owner = PostgresTenantStore(pool: stores.ownerPool)
            let tenants = [
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)),
                Tenant(id: Sample.otherTenant, name: "two", createdAt: moment(0)),
            ]
            for tenant in tenants { try await owner.create(tenant) }
            let keys = MemoryTenantStore()
            keys.set(
                tenants: tenants,
                keys: [
                    Sample.apiKey(1), Sample.apiKey(2, tenant: Sample.otherTenant),
                    Sample.apiKey(3, scopes: Set(Scope.allCases).subtracting([.usageRead])),
                ])
            let directory = AccessDirectory(store: keys, logger: LogRecorder().logger)
            try await directory.refresh()
            let authenticator = Authenticator(directory: directory, secrets: [[1]])
            let reports = PostgresUsageReports(pool: stores.pool)
            let own = TenantUsageRoutes(
                authenticator: authenticator, usage: UsageAnswers(reports: reports, secrets: [[1]]))
            let projects = ProjectRoutes(
                authenticator: authenticator, reports: reports, history: PostgresSessionHistory(pool: stores.pool))
            let admin = try await stores.adminRouter()
            let history = UsageHistory(seed: 11, sessions: 40)
            try await stores.pool.ingest(history.shuffled(seed: 12))
            _ = try await stores.pool.rollUsage(atMost: 30)
            let router = Router(
                routes: own.routes + projects.routes + admin.routes, metrics: Metrics(), logger: LogRecorder().logger,
                randomBytes: { [UInt8](repeating: 7, count: $0) })
            try await body(UsageFixture(stores: stores, history: history, router: router))
        }
    }

    /// - Parameter key: whose; the admin plane is a command's here and asks for none.
    func get(_ path: String, _ query: String = "", key: UInt8 = 1) async -> HTTPResponse {
        await router.respond(to: REST.request("GET", path, query: query, key: Sample.secret(key)))
    }

    /// What an answer of buckets says, without the order of its results.
    func buckets(_ response: HTTPResponse) throws -> [[String: Any]] {
        try #require(response.object["data"] as? [[String: Any]])
    }
}

extension HTTPResponse {
    /// The query of the `Link` to the next page.
    var nextQuery: String? {
        headers["link"].flatMap { $0.split(separator: "?").last?.split(separator: ">").first }.map(String.init)
    }
}
