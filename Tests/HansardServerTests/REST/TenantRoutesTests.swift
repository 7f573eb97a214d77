import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// The tenant's plane through the router, without sockets.
@Suite struct TenantRoutesTests {
    let tenants = MemoryTenantStore()
    let transcripts = MemoryTranscriptStore()
    let directory: AccessDirectory
    let router: Router
    let key = Sample.secret(1)

    init() async throws {
        tenants.set(
            tenants: [
                Tenant(id: Sample.tenant, name: "one", createdAt: moment(0)),
                Tenant(id: Sample.otherTenant, name: "two", createdAt: moment(0)),
            ],
            keys: [
                Sample.apiKey(1), Sample.apiKey(2, tenant: Sample.otherTenant), Sample.apiKey(3, scopes: [.listen]),
                Sample.apiKey(4, scopes: [.transcriptsRead]), Sample.apiKey(5, isEnabled: false),
            ])
        directory = AccessDirectory(store: tenants, logger: LogRecorder().logger)
        try await directory.refresh()
        let routes = TenantRoutes(
            authenticator: Authenticator(directory: directory, secrets: [Array("secret".utf8)]),
            transcripts: transcripts)
        router = Router(routes: routes.routes, metrics: Metrics(), logger: LogRecorder().logger) { count in
            (0..<count).map { _ in UInt8.random(in: 0...255) }
        }
    }

    private func get(_ path: String, _ query: String = "", key: String? = nil) async -> HTTPResponse {
        await router.respond(to: REST.request("GET", path, query: query, key: key ?? self.key))
    }

    private func grant(_ body: String, key: String? = nil) async -> HTTPResponse {
        await router.respond(to: REST.request("POST", "/v1/auth/grant", key: key ?? self.key, body: body))
    }

    private func store(_ numbers: some Sequence<Int>, tenant: TenantID = Sample.tenant) async throws {
        for number in numbers {
            _ = try await transcripts.put(Sample.transcript(Sample.session(number), tenant: tenant))
        }
    }

    /// The address decides for REST calls as it does for handshakes.
    @Test func aKeyIsAcceptedFromItsAddressesAlone() async throws {
        for (range, status) in [
            ("192.0.2.0/24", 403), ("127.0.0.0/8", 200), ("::ffff:127.0.0.0/104", 200), ("::ffff:10.0.0.0/104", 403),
        ] {
            var (digest, key) = Sample.apiKey(1)
            key.allowedCIDRs = [range]
            tenants.set(
                tenants: [Tenant(id: Sample.tenant, name: "one", createdAt: moment(0))], keys: [(digest, key)])
            try await directory.refresh()
            #expect(await get("/v1/transcripts").status == status, "\(range)")
            #expect(await grant("").status == status, "\(range)")
        }
    }

    // MARK: Lists

    @Test func anEmptyListIsAList() async {
        let response = await get("/v1/transcripts")
        #expect(response.status == 200)
        #expect(response.headers["content-type"] == "application/json")
        #expect((response.object["data"] as? [Any])?.isEmpty == true)
        #expect(response.object["has_more"] as? Bool == false)
        #expect(response.object["next_cursor"] == nil)
        #expect(response.headers["link"] == nil)
    }

    @Test func anEntrySaysWhereItIs() async throws {
        try await store([1])
        let entry = try #require((await get("/v1/transcripts").object["data"] as? [[String: Any]])?.first)
        #expect(entry["session_id"] as? String == Sample.session(1).description)
        #expect(entry["started_at"] as? String == "2026-05-28T20:26:41.000Z")
        #expect(entry["bytes"] as? Int == 1)
        let url = try #require(entry["url"] as? String)
        #expect(await get(url).status == 200)
    }

    /// Following the cursors, and following the Link headers, both lead through everything once.
    @Test(arguments: [(1, 3), (2, 4), (20, 45), (50, 100), (100, 250), (100, 100), (99, 100)])
    func pagesLeadThroughEverything(_ limit: Int, _ count: Int) async throws {
        try await store(1...count)
        var listed: [String] = []
        var query = "limit=\(limit)"
        var pages = 0
        while true {
            let response = await get("/v1/transcripts", query)
            let data = try #require(response.object["data"] as? [[String: Any]])
            #expect(data.count <= limit)
            listed += data.compactMap { $0["session_id"] as? String }
            pages += 1
            guard response.object["has_more"] as? Bool == true else {
                #expect(response.object["next_cursor"] == nil)
                #expect(response.headers["link"] == nil)
                break
            }
            let cursor = try #require(response.object["next_cursor"] as? String)
            query = "after=\(cursor)&limit=\(limit)"
            #expect(response.headers["link"] == "</v1/transcripts?\(query)>; rel=\"next\"")
        }
        #expect(listed == (1...count).reversed().map { Sample.session($0).description })
        #expect(pages == (count + limit - 1) / limit, "there is no empty page at the end")
    }

    @Test func aPageHasTwentyEntriesUnlessAskedOtherwise() async throws {
        try await store(1...21)
        #expect((await get("/v1/transcripts").object["data"] as? [Any])?.count == 20)
    }

    @Test(arguments: [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=", "limit"),
        ("limit=1.5", "limit"), ("after=x", "after"), ("after=", "after"),
        ("after=0190d6a0-0000-7000-8000-00000000000", "after"), ("limit=5&limit=5", "limit"), ("page=2", "page"),
        ("limit=5&Limit=5", "Limit"),
    ])
    func aBadQueryIsNamed(_ query: String, _ field: String) async throws {
        let response = await get("/v1/transcripts", query)
        #expect(response.status == 400)
        let errors = try #require(response.object["errors"] as? [[String: String]])
        #expect(errors.first?["pointer"] == field)
        #expect((response.object["detail"] as? String)?.contains(field) == true)
    }

    @Test func whatNoTranscriptHasIsNamed() async throws {
        try await store([1])
        let response = await get("/v1/transcripts/\(Sample.session(1))", "format=txt&lines=1")
        #expect(response.status == 400)
        #expect((response.object["errors"] as? [[String: String]])?.first?["pointer"] == "lines")
    }

    // MARK: Reading

    @Test func everyFormatIsOffered() async throws {
        try await store([1])
        let path = "/v1/transcripts/\(Sample.session(1))"
        let types = [
            "json": "application/json", "txt": "text/plain; charset=utf-8",
            "srt": "application/x-subrip; charset=utf-8",
            "vtt": "text/vtt; charset=utf-8",
        ]
        for (format, type) in types {
            let response = await get(path, "format=\(format)")
            #expect(response.status == 200)
            #expect(response.headers["content-type"] == type)
            #expect(response.text.contains("go"))
        }
        #expect(await get(path).body == get(path, "format=json").body)
        #expect(await get(path).object["session_id"] as? String == Sample.session(1).description)
        #expect(await get(path, "format=vtt").text.hasPrefix("WEBVTT\n\n"))
        #expect(await get(path, "format=srt").text.hasPrefix("1\n00:00:00,000 --> "))
        #expect(await get(path, "format=txt").text == "go forward\ngo forward\n")
    }

    @Test(arguments: ["pdf", "", "JSON", "json%0A"]) func anotherFormatIsToldTheRightOnes(_ format: String) async throws
    {
        try await store([1])
        let response = await get("/v1/transcripts/\(Sample.session(1))", "format=\(format)")
        #expect(response.status == 400)
        #expect((response.object["detail"] as? String)?.contains("json, txt, srt, vtt") == true)
    }

    /// Whether an id exists for someone else must not be learned from the answer.
    @Test func anothersTranscriptIsNotThereInTheSameWords() async throws {
        try await store([1], tenant: Sample.otherTenant)
        #expect(await get("/v1/transcripts/\(Sample.session(1))", key: Sample.secret(2)).status == 200)
        func answer(_ id: String) async -> (Int, [String], String) {
            let response = await get("/v1/transcripts/\(id)")
            let request = response.headers["x-request-id"] ?? "none"
            return (
                response.status, response.headers.map(\.name).sorted(), response.text.replacing(request, with: "-")
            )
        }
        let anothers = await answer("\(Sample.session(1))")
        #expect(anothers.0 == 404)
        for id in ["\(Sample.session(2))", "not-an-id", ""] { #expect(await answer(id) == anothers, "\(id)") }
    }

    @Test func listsShowOnesOwnAlone() async throws {
        try await store([1, 3])
        try await store([2], tenant: Sample.otherTenant)
        let response = await get("/v1/transcripts", "after=\(Sample.session(2))")
        let data = try #require(response.object["data"] as? [[String: Any]])
        #expect(data.map { $0["session_id"] as? String } == [Sample.session(1).description])
    }

    @Test func aStoreThatIsAwayIsToldWithWhenToComeBack() async {
        transcripts.faults.set { _, _ in .away }
        for path in ["/v1/transcripts", "/v1/transcripts/\(Sample.session(1))"] {
            let response = await get(path)
            #expect(response.status == 503)
            #expect(response.headers["retry-after"] != nil)
        }
    }

    // MARK: Who may

    @Test func everyRouteWantsItsScope() async throws {
        try await store([1])
        let read = "/v1/transcripts/\(Sample.session(1))"
        for path in ["/v1/transcripts", read] {
            #expect(await router.respond(to: REST.request("GET", path)).status == 401, "no key")
            #expect(await get(path, key: "junk").status == 401)
            #expect(await get(path, key: Sample.secret(5)).status == 401, "disabled")
            #expect(await get(path, key: Sample.secret(3)).status == 403, "may only listen")
            #expect(await get(path, key: Sample.secret(4)).status == 200)
        }
        #expect(await router.respond(to: REST.request("POST", "/v1/auth/grant")).status == 401)
        #expect(await grant("", key: Sample.secret(4)).status == 403, "may only read")
        #expect(await grant("", key: Sample.secret(3)).status == 200)
    }

    @Test func theCallerIsKnownBeforeTheRequestIsJudged() async {
        #expect(await router.respond(to: REST.request("GET", "/v1/transcripts", query: "limit=x")).status == 401)
        #expect(await get("/v1/transcripts", "limit=x", key: Sample.secret(3)).status == 403)
    }

    // MARK: Grants

    @Test func aGrantIsAShortTokenForListening() async throws {
        let response = await grant("")
        #expect(response.status == 200)
        #expect(response.object["expires_in"] as? Int == 30)
        let token = try #require(response.object["access_token"] as? String)
        #expect(token.utf8.count <= 60)
        #expect(await get("/v1/transcripts", key: token).status == 403, "it is good for listening alone")
    }

    /// Else a token that was given to a browser for 30 seconds would be good for ever.
    @Test func aTokenCannotMakeAnother() async throws {
        let token = try #require(await grant("").object["access_token"] as? String)
        let response = await grant("", key: token)
        #expect(response.status == 403)
        #expect(response.object["access_token"] == nil)
    }

    @Test(arguments: [
        (#"{"ttl_seconds":1}"#, 1), (#"{"ttl_seconds":3600}"#, 3_600), (#"{"ttl_seconds":90.9}"#, 90), ("{}", 30),
        (#"{"ttl_seconds":null}"#, 30), (#"{"more":1}"#, 30),
    ])
    func itsLifeCanBeAskedFor(_ body: String, _ seconds: Int) async {
        #expect(await grant(body).object["expires_in"] as? Int == seconds)
    }

    @Test(arguments: [
        (#"{"ttl_seconds":0}"#, "/ttl_seconds"), (#"{"ttl_seconds":-1}"#, "/ttl_seconds"),
        (#"{"ttl_seconds":3601}"#, "/ttl_seconds"), (#"{"ttl_seconds":1e300}"#, "/ttl_seconds"),
        (#"{"ttl_seconds":"30"}"#, "/ttl_seconds"), ("[]", ""), ("x", ""), ("{", ""),
        (#"{"ttl_seconds":30,}"#, ""), (#"{"ttl_seconds":30,"ttl_seconds":3600}"#, "/ttl_seconds"),
    ])
    func aBadLifeIsRefused(_ body: String, _ pointer: String) async throws {
        let response = await grant(body)
        #expect(response.status == 400)
        #expect((response.object["errors"] as? [[String: String]])?.first?["pointer"] == pointer)
    }
}
