import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// Operators' reading and erasing of transcripts, through the router: what the audit log has of it whatever fails.
@Suite struct TranscriptsResourceTests {
    /// A database with a tenant and its past session, and a store that can be made to fail.
    struct Fixture {
        let stores: StoreFixture
        let transcripts = MemoryTranscriptStore()
        let router: Router
        let session = Sample.session(1)
        var path: String { "/v1/admin/transcripts/\(session)" }

        static func run(_ body: (Fixture) async throws -> Void) async throws {
            let stores = try await StoreFixture.make()
            do {
                try await body(try await Fixture(stores))
            } catch {
                await stores.close()
                throw error
            }
            await stores.close()
        }

        private init(_ stores: StoreFixture) async throws {
            self.stores = stores
            let owner = PostgresTenantStore(pool: stores.ownerPool)
            try await owner.create(Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)))
            router = try await stores.adminRouter(transcripts)
            let end = Sample.end(session, holder: Sample.epoch())
            try await PostgresUsageStore(pool: stores.pool).record([end.usage(transcriptLocation: "x")])
            _ = try await transcripts.put(try #require(end.end.transcript))
        }

        func call(
            _ method: String, _ path: String? = nil, query: String = "", name: String? = nil
        ) async -> HTTPResponse {
            var headers: HTTPHeaders = [:]
            if let name { headers.add("idempotency-key", name) }
            return await router.respond(
                to: HTTPRequest(
                    method: method, path: path ?? self.path, query: query, headers: headers, body: [], peer: REST.peer))
        }

        /// What the tenant's chain has, oldest first.
        func log() async throws -> [String] {
            try await stores.ownerPool.query(
                "SELECT action || ' ' || outcome AS said FROM audit_log WHERE tenant_id = \(Sample.tenant.rawValue) ORDER BY place"
            ).map { try $0.value("said") }
        }

        /// Takes the log away, while the rest of the database is there.
        func takeLogAway() async throws {
            try await stores.ownerPool.execute("REVOKE INSERT ON audit_log FROM hansard_operator")
        }
    }

    @Test func whatIsErasedIsOnRecordOnce() async throws {
        try await Fixture.run { fixture async throws in
            #expect(await fixture.call("DELETE").status == 204)
            #expect(fixture.transcripts.stored.isEmpty)
            #expect(try await fixture.log() == ["transcript.delete done"])
            #expect(await fixture.call("DELETE").status == 404)
            #expect(try await fixture.log().count == 1)
        }
    }

    @Test func aStoreThatIsAwayFromTheStartLeavesNoTrace() async throws {
        try await Fixture.run { fixture async throws in
            fixture.transcripts.faults.set(.away, for: ["get", "delete"])
            let answer = await fixture.call("DELETE", name: "a")
            #expect(answer.status == 503 && answer.headers["retry-after"] != nil)
            #expect(try await fixture.log() == [])
            #expect(fixture.transcripts.stored.count == 1)
        }
    }

    /// The log never lacks what may have been erased, and says what did not come true for certain; the answer of the failed
    /// call is not kept for its repetition.
    @Test(arguments: [(StoreFaults.Fate.away, 1), (.answerLost, 0)])
    func aStoreThatGoesAwayMeanwhileIsOnRecordToo(_ fate: StoreFaults.Fate, _ left: Int) async throws {
        try await Fixture.run { fixture async throws in
            fixture.transcripts.faults.set(fate, for: ["delete"])
            #expect(await fixture.call("DELETE", name: "a").status == 503)
            #expect(fixture.transcripts.stored.count == left)
            #expect(try await fixture.log() == ["transcript.delete done", "transcript.delete failed"])
            let requests = try await fixture.stores.ownerPool.query("SELECT DISTINCT request_id FROM audit_log")
            #expect(requests.count == 1, "both are of the same call")
            fixture.transcripts.faults.clear()
            let repeated = await fixture.call("DELETE", name: "a")
            #expect(repeated.status == (left == 1 ? 204 : 404))
            #expect(repeated.headers["idempotent-replayed"] == nil)
            #expect(fixture.transcripts.stored.isEmpty)
            let chain = try await fixture.stores.ownerPool.query(
                "SELECT * FROM verify_audit(\(Sample.tenant.rawValue))"
            ).only()
            #expect(try chain.value("first_wrong", as: Int?.self) == nil)
        }
    }

    @Test func nothingIsErasedThatCannotBePutOnRecord() async throws {
        try await Fixture.run { fixture async throws in
            try await fixture.takeLogAway()
            #expect(await fixture.call("DELETE").status >= 500)
            #expect(fixture.transcripts.stored.count == 1)
            #expect(!fixture.transcripts.faults.calls.contains("delete"))
        }
    }

    @Test func aRepeatedCallIsAnsweredAsTheFirst() async throws {
        try await Fixture.run { fixture async throws in
            #expect(await fixture.call("DELETE", name: "a").status == 204)
            let again = await fixture.call("DELETE", name: "a")
            #expect(again.status == 204 && again.headers["idempotent-replayed"] == "true")
            #expect(await fixture.call("DELETE", "/v1/admin/transcripts/\(Sample.session(2))", name: "a").status == 422)
            #expect(try await fixture.log() == ["transcript.delete done"])
        }
    }

    @Test func whoReadsIsOnRecord() async throws {
        try await Fixture.run { fixture async throws in
            #expect(await fixture.call("GET", query: "format=txt").text == "go forward\ngo forward\n")
            #expect(await fixture.call("GET").object["session_id"] as? String == fixture.session.description)
            #expect(try await fixture.log() == ["transcript.read done", "transcript.read done"])
            // Refused before anybody sees anything.
            #expect(await fixture.call("GET", query: "format=pdf").status == 400)
            #expect(await fixture.call("GET", query: "other=1").status == 400)
            #expect(await fixture.call("GET", fixture.path + "/download").status == 409, "it has no addresses")
            #expect(try await fixture.log().count == 2)
            try await fixture.takeLogAway()
            let unseen = await fixture.call("GET")
            #expect(unseen.status >= 500 && !unseen.text.contains("forward"))
        }
    }

    /// Its usage row may come late: the connection store knows as well whose session it was.
    @Test func aTranscriptIsFoundBeforeItsUsageRowIsThere() async throws {
        try await Fixture.run { fixture async throws in
            let store = PostgresConnectionStore(pool: fixture.stores.pool)
            let session = Sample.session(2)
            let lease = Sample.lease(session, holder: Sample.epoch())
            _ = try await store.release(lease, status: .new(lease))
            _ = try await fixture.transcripts.put(Sample.transcript(session))
            #expect(await fixture.call("GET", "/v1/admin/transcripts/\(session)").status == 200)
        }
    }

    @Test func aDeletedTenantsTranscriptsAreGoneAtOnce() async throws {
        try await Fixture.run { fixture async throws in
            #expect(await fixture.call("DELETE", "/v1/admin/tenants/\(Sample.tenant)").status == 204)
            for method in ["GET", "DELETE"] { #expect(await fixture.call(method).status == 404) }
            let query = "tenant_id=\(Sample.tenant)"
            #expect(await fixture.call("GET", "/v1/admin/transcripts", query: query).status == 404)
        }
    }

    @Test(arguments: [1, 2, 3, 20]) func pagesLeadThroughEverything(_ limit: Int) async throws {
        try await Fixture.run { fixture async throws in
            for number in 2...6 { _ = try await fixture.transcripts.put(Sample.transcript(Sample.session(number))) }
            _ = try await fixture.transcripts.put(Sample.transcript(Sample.session(7), tenant: Sample.otherTenant))
            var (listed, query): ([String], String) = ([], "tenant_id=\(Sample.tenant)&limit=\(limit)")
            let first = query
            while true {
                let answer = await fixture.call("GET", "/v1/admin/transcripts", query: query)
                #expect(answer.status == 200)
                let data = try #require(answer.object["data"] as? [[String: Any]])
                #expect(!data.isEmpty)
                listed += data.compactMap { $0["session_id"] as? String }
                guard let cursor = answer.object["next_cursor"] as? String else { break }
                query = "\(first)&after=\(cursor)"
                #expect(answer.headers["link"] == "</v1/admin/transcripts?\(query)>; rel=\"next\"")
            }
            #expect(listed == (1...6).reversed().map { Sample.session($0).description })
        }
    }

    @Test(arguments: [
        ("", "tenant_id"), ("tenant_id=x", "tenant_id"), ("tenant_id=\(Sample.tenant)&limit=0", "limit"),
        ("tenant_id=\(Sample.tenant)&after=x", "after"), ("tenant_id=\(Sample.tenant)&status=live", "status"),
    ])
    func aBadQueryIsNamed(_ query: String, _ pointer: String) async throws {
        try await Fixture.run { fixture async throws in
            let answer = await fixture.call("GET", "/v1/admin/transcripts", query: query)
            #expect(answer.status == 400)
            #expect((answer.object["errors"] as? [[String: String]])?.first?["pointer"] == pointer)
        }
    }
}
