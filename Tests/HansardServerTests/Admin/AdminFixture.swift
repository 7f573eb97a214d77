import Foundation
import Hansard
import Postgres
import Web

@testable import HansardServer

/// The admin plane through the router, over a database with a tenant.
struct AdminFixture {
    let stores: StoreFixture
    let transcripts: MemoryTranscriptStore
    let router: Router

    static func run(
        as identity: AdminIdentity = .command("tester"), _ body: (AdminFixture) async throws -> Void
    ) async throws {
        try await StoreFixture.with { stores in
            let owner = PostgresTenantStore(pool: stores.ownerPool)
            try await owner.create(Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
            let transcripts = MemoryTranscriptStore()
            let router = try await stores.adminRouter(transcripts, as: identity)
            try await body(AdminFixture(stores: stores, transcripts: transcripts, router: router))
        }
    }

    /// - Parameters:
    ///   - name: the `Idempotency-Key`.
    ///   - tag: for `If-Match`.
    func call(
        _ method: String, _ path: String, query: String = "", name: String? = nil, tag: String? = nil, body: String = ""
    ) async -> HTTPResponse {
        var headers: HTTPHeaders = [:]
        if let name { headers.add("idempotency-key", name) }
        if let tag { headers.add("if-match", tag) }
        return await router.respond(
            to: HTTPRequest(
                method: method, path: path, query: query, headers: headers, body: Array(body.utf8), peer: REST.peer))
    }

    /// What a chain of the audit log has, oldest first; nil is the installation's.
    func log(_ tenant: TenantID? = nil) async throws -> [String] {
        try await stores.ownerPool.query(
            """
            SELECT action || ' ' || outcome AS said FROM audit_log
            WHERE tenant_id IS NOT DISTINCT FROM \(tenant?.rawValue) ORDER BY place
            """
        ).map { try $0.value("said") }
    }
}
