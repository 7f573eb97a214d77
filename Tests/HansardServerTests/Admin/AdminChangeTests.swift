import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Changes by operators: at the same moment, repeated, refused, and what stays of them.
@Suite struct AdminChangeTests {
    private let tenantPath = "/v1/admin/tenants/\(Sample.tenant)"

    private typealias Call = AdminFixture.Call

    private static let untouched: Query = "UPDATE tenants SET name = name WHERE tenant_id = \(Sample.tenant.rawValue)"

    // MARK: At the same moment

    /// Each read the same revision: only one may go on from it.
    @Test(arguments: ["PUT quotas", "PATCH", "DELETE"]) func ofTwoChangesOfOneRevisionTheSecondIsStale(
        _ change: String
    ) async throws {
        try await AdminFixture.run { fixture async throws in
            let words = change.split(separator: " ").map(String.init)
            let path = words.count == 2 ? "\(tenantPath)/\(words[1])" : tenantPath
            let body = ["PUT quotas": #"{"max_concurrent_sessions":5}"#, "PATCH": #"{"name":"x"}"#][change] ?? ""
            let call: Call = {
                await fixture.call(words[0], path, tag: "\"r1\"", body: body)
            }
            let statuses = try await fixture.answers([call, call], beside: Self.untouched).map(\.status).sorted()
            #expect(statuses == (change == "DELETE" ? [204, 404] : [200, 412]))
        }
    }

    /// Without a revision the last one wins, and nodes know which that was.
    @Test func eachOfTwoLimitsHasAVersionOfItsOwn() async throws {
        try await AdminFixture.run { fixture async throws in
            let calls: [Call] = [5, 6].map { limit in
                {
                    await fixture.call(
                        "PUT", "\(tenantPath)/quotas", body: #"{"max_concurrent_sessions":\#(limit)}"#)
                }
            }
            func version() async throws -> Int {
                try await fixture.stores.ownerPool.query("SELECT limit_version FROM tenants").only().value(
                    "limit_version")
            }
            let before = try await version()
            let answers = try await fixture.answers(calls, beside: Self.untouched)
            #expect(answers.map(\.status) == [200, 200])
            #expect(Set(answers.map { $0.headers["etag"] }) == ["\"r2\"", "\"r3\""])
            #expect(try await version() == before + 2)
        }
    }

    @Test func aTenantThatIsBeingDeletedGetsNoKey() async throws {
        try await AdminFixture.run { fixture async throws in
            let path = "\(tenantPath)/keys"
            let call: Call = {
                await fixture.call("POST", path, name: "a", body: #"{"name":"late"}"#)
            }
            let deletion: Query = "UPDATE tenants SET status = 'deleted' WHERE tenant_id = \(Sample.tenant.rawValue)"
            #expect(try await fixture.answers([call], beside: deletion).map(\.status) == [404])
            #expect(try await fixture.stores.ownerPool.query("SELECT FROM api_keys").isEmpty)
        }
    }

    // MARK: Repeated

    /// What a call was about may be gone when it is repeated because its answer was lost.
    @Test func aRepeatedCallIsAnsweredThoughItsObjectIsGone() async throws {
        try await AdminFixture.run { fixture async throws in
            let store = PostgresConnectionStore(pool: fixture.stores.pool)
            let epoch = Sample.epoch()
            try await store.heartbeat(
                NodeRecord(epoch: epoch, heartbeat: UUID(), address: "", region: "", version: ""))
            let lease = Sample.lease(Sample.session(1), holder: epoch)
            let unlimited = ClaimLimits(tenant: AdmissionLimit(sessions: nil, version: 0), key: nil)
            #expect(try await store.claim(lease, limits: unlimited) == .claimed)
            let paths = [
                "/v1/admin/nodes/\(epoch.node)/drain", "\(tenantPath)/sessions/\(lease.session)/terminate",
            ]
            var first: [HTTPResponse] = []
            for path in paths { first.append(await fixture.call("POST", path, name: "a")) }
            #expect(first.map(\.status) == [202, 202])
            _ = try await store.release(lease, status: .new(lease))
            try await store.remove(epoch)
            for (path, first) in zip(paths, first) {
                let again = await fixture.call("POST", path, name: "a")
                #expect(
                    again.status == 202 && again.body == first.body && again.headers["idempotent-replayed"] == "true")
                #expect(await fixture.call("POST", path, name: "b").status != 202)
            }
        }
    }

    // MARK: Refused

    @Test(arguments: [
        ("GET", "/v1/admin/nodes"), ("GET", "/v1/admin/nodes/n"), ("POST", "/v1/admin/nodes/{node}/drain"),
        ("GET", "/v1/admin/tokens"), ("POST", "/v1/admin/tenants"),
    ])
    func whatATokenOfSomeTenantsMayNotDoIsOnRecord(_ method: String, _ path: String) async throws {
        var token = AdminToken(id: "adm_1", name: "", role: .owner, createdAt: moment(0))
        token.tenants = [Sample.tenant]
        try await AdminFixture.run(as: .token(token)) { fixture async throws in
            #expect(await fixture.call(method, path, name: "a").status == 403)
            let log = try await fixture.log()
            #expect(log.count == 1 && log.first?.hasPrefix("\(method) /v1/admin/") == true)
            #expect(log.first?.hasSuffix(" denied") == true)
        }
    }

    /// It is answered as what is not there, and on record as what was tried.
    @Test func whoReachesForAnothersTenantIsOnRecord() async throws {
        var token = AdminToken(id: "adm_1", name: "", role: .owner, createdAt: moment(0))
        token.tenants = [Sample.tenant]
        try await AdminFixture.run(as: .token(token)) { fixture async throws in
            let path = "/v1/admin/tenants/\(Sample.otherTenant)"
            for (method, path) in [("GET", path), ("DELETE", path), ("PUT", path + "/quotas"), ("GET", path + "/keys")]
            {
                #expect(await fixture.call(method, path, body: method == "PUT" ? "{}" : "").status == 404)
            }
            let rows = try await fixture.stores.ownerPool.query("SELECT * FROM audit_log")
            #expect(rows.count == 4)
            for row in rows {
                #expect(try row.value("outcome") == "denied" && row.value("tenant_id", as: UUID?.self) == nil)
                #expect(try row.value("target_id") == Sample.otherTenant.description)
            }
            // What is not there at all is no secret of anybody.
            #expect(await fixture.call("GET", "\(tenantPath)/keys/key_none").status == 404)
            #expect(try await fixture.log().count == 4)
        }
    }

    @Test func anExpiredKeyIsNotRevived() async throws {
        try await AdminFixture.run { fixture async throws in
            let made = await fixture.call("POST", "\(tenantPath)/keys", name: "a", body: #"{"name":"k"}"#)
            let path = "\(tenantPath)/keys/\(try #require(made.object["id"] as? String))"
            #expect(
                await fixture.call("POST", path + "/rotate", name: "b", body: #"{"overlap_seconds":0}"#).status == 201)
            for end in ["null", #""2099-01-01T00:00:00Z""#] {
                #expect(await fixture.call("PATCH", path, body: #"{"expires_at":\#(end)}"#).status == 409)
            }
            #expect(await fixture.call("PATCH", path, body: #"{"name":"old"}"#).status == 200)
        }
    }

    // MARK: What stays

    @Test func answersThatAreKeptForgetADeletedTenant() async throws {
        try await AdminFixture.run { fixture async throws in
            let body = #"{"name":"Ann Example","metadata":{"city":"Example"}}"#
            let made = await fixture.call("POST", "/v1/admin/tenants", name: "a", body: body)
            let id = try #require(made.object["id"] as? String)
            let key = #"{"name":"Example's"}"#
            #expect(await fixture.call("POST", "/v1/admin/tenants/\(id)/keys", name: "b", body: key).status == 201)
            #expect(await fixture.call("DELETE", "/v1/admin/tenants/\(id)").status == 204)
            let again = await fixture.call("POST", "/v1/admin/tenants", name: "a", body: body)
            #expect(again.status == 201 && again.object["id"] as? String == id)
            #expect(again.object["status"] as? String == "deleted" && again.object["name"] == nil)
            let kept = try await fixture.stores.ownerPool.query("SELECT body FROM kept_answers").map {
                try $0.value("body", as: String.self)
            }
            #expect(kept.count == 2 && kept.allSatisfy { !$0.contains("Example") })
        }
    }

    /// Of what is said of many, or of another one, a deleted tenant takes nothing away.
    @Test func answersThatAreKeptStayWhereATenantIsOneOfMany() async throws {
        try await AdminFixture.run { fixture async throws in
            let made = await fixture.call("POST", "/v1/admin/tenants", name: "a", body: #"{"name":"gone"}"#)
            let id = try #require(made.object["id"] as? String)
            let token = #"{"name":"t","role":"viewer","tenants":["\#(id)"]}"#
            #expect(await fixture.call("POST", "/v1/admin/tokens", name: "b", body: token).status == 201)
            let other = #"{"name":"other","metadata":{"parent":"\#(id)"}}"#
            #expect(await fixture.call("POST", "/v1/admin/tenants", name: "c", body: other).status == 201)
            #expect(await fixture.call("DELETE", "/v1/admin/tenants/\(id)").status == 204)
            let again = await fixture.call("POST", "/v1/admin/tokens", name: "b", body: token)
            #expect(again.status == 201 && again.object["tenants"] as? [String] == [id], "\(again.text)")
            let others = await fixture.call("POST", "/v1/admin/tenants", name: "c", body: other)
            #expect(others.status == 201 && others.object["name"] as? String == "other", "\(others.text)")
            let deleted = await fixture.call("POST", "/v1/admin/tenants", name: "a", body: #"{"name":"gone"}"#)
            #expect(deleted.object["status"] as? String == "deleted", "\(deleted.text)")
        }
    }

    @Test func namesAndTagsAreNotInTheAuditLog() async throws {
        try await AdminFixture.run { fixture async throws in
            let body = #"{"name":"Ann Example","tags":["cost-centre-ann"],"scopes":["listen"]}"#
            let made = await fixture.call("POST", "\(tenantPath)/keys", name: "a", body: body)
            let path = "\(tenantPath)/keys/\(try #require(made.object["id"] as? String))"
            #expect(await fixture.call("PATCH", path, body: #"{"name":"Bob Example"}"#).status == 200)
            #expect(await fixture.call("POST", "\(path)/rotate", name: "b").status == 201)
            #expect(await fixture.call("DELETE", tenantPath).status == 204)
            #expect(
                try await fixture.log(Sample.tenant)
                    == ["key.create done", "key.update done", "key.rotate done", "tenant.delete done"])
            let changes = try await fixture.stores.ownerPool.query("SELECT changes::text AS text FROM audit_log").map {
                try $0.value("text", as: String.self)
            }
            #expect(changes.contains { $0.contains("scopes") })
            #expect(changes.allSatisfy { !$0.contains("Example") && !$0.contains("cost-centre") })
        }
    }
}
