import EventLoops
import Foundation
import Hansard
import Postgres
import Web

@testable import HansardServer

/// The admin plane through the router, over a database with a tenant.
struct AdminFixture {
    typealias Call = @Sendable () async -> HTTPResponse

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

    /// Runs `calls` while a transaction has made a change, and commits it once each of them waits for it or was answered.
    func answers(_ calls: [Call], beside change: Query) async throws -> [HTTPResponse] {
        let other = Connection(stores.url)
        try await other.execute("BEGIN")
        try await other.execute(change)
        let answered = Locked(0)
        return try await withThrowingTaskGroup(of: HTTPResponse.self) { group in
            for call in calls {
                group.addTask {
                    let answer = await call()
                    answered.withLock { $0 += 1 }
                    return answer
                }
            }
            try await eventually("the calls wait") {
                let waiting = try await stores.ownerPool.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).count
                return waiting + answered.withLock { $0 } == calls.count
            }
            try await other.execute("COMMIT")
            await other.disconnect()
            return try await group.reduce(into: []) { $0.append($1) }
        }
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
