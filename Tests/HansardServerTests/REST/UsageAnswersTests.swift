import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// Usage as both planes answer it.
@Suite struct UsageAnswersTests {
    private static let range = "start_time=2026-01-30T10:00:00Z&end_time=2026-02-03T05:00:00Z"

    private func times(_ buckets: [[String: Any]], _ name: String = "start_time") -> [String] {
        buckets.compactMap { $0[name] as? String }
    }

    private func sum(_ buckets: [[String: Any]], _ name: String) -> Int {
        buckets.flatMap { $0["results"] as? [[String: Any]] ?? [] }.compactMap { $0[name] as? Int }.reduce(0, +)
    }

    @Test func bucketsComeInOrderAndWithEmptyOnes() async throws {
        try await UsageFixture.run { fixture async throws in
            for path in UsageFixture.paths {
                let response = await fixture.get(path, Self.range)
                #expect(response.status == 200, "\(response.text)")
                let buckets = try fixture.buckets(response)
                #expect(
                    times(buckets) == [
                        "2026-01-30T10:00:00.000Z", "2026-01-31T00:00:00.000Z", "2026-02-01T00:00:00.000Z",
                        "2026-02-02T00:00:00.000Z", "2026-02-03T00:00:00.000Z",
                    ])
                #expect(times(buckets, "end_time").last == "2026-02-03T05:00:00.000Z")
                #expect(response.object["has_more"] as? Bool == false && response.object["next_page"] is NSNull)
                let asOf = try #require(response.object["data_as_of"] as? String)
                #expect(Timestamp.read(asOf) != nil)
                let empty = await fixture.get(path, "start_time=2026-01-01T00:00:00Z&end_time=2026-01-03T00:00:00Z")
                #expect(try fixture.buckets(empty).map { ($0["results"] as? [Any])?.count } == [0, 0])
                let first = try #require((buckets[1]["results"] as? [[String: Any]])?.first)
                #expect(Set(first.keys) == ["audio_ms", "connected_ms", "engine_ms", "sessions"])
            }
        }
    }

    @Test func resultsHaveTheFieldsThatTheyAreGroupedBy() async throws {
        try await UsageFixture.run { fixture async throws in
            let whole = try fixture.buckets(await fixture.get("/v1/usage", Self.range))
            for query in [
                "group_by[]=tag&group_by[]=engine", "group_by%5B%5D=engine&group_by=tag",
                "group_by=engine&group_by=tag",
            ] {
                for path in UsageFixture.paths {
                    let buckets = try fixture.buckets(await fixture.get(path, "\(Self.range)&\(query)"))
                    let results = buckets.flatMap { $0["results"] as? [[String: Any]] ?? [] }
                    #expect(!results.isEmpty)
                    for result in results { #expect(result["engine"] is String && result.keys.contains("tag")) }
                    #expect(
                        results.contains { $0["tag"] is NSNull } && results.contains { $0["tag"] as? String == "=c" })
                    #expect(
                        sum(buckets, "audio_ms") > sum(whole, "audio_ms"), "a session counts under each of its tags")
                }
            }
            let byEngine = try fixture.buckets(await fixture.get("/v1/usage", "\(Self.range)&group_by=engine"))
            #expect(sum(byEngine, "audio_ms") == sum(whole, "audio_ms"))
            #expect(sum(byEngine, "sessions") == sum(whole, "sessions"))
            let some = try fixture.buckets(await fixture.get("/v1/usage", "\(Self.range)&engine=deepgram"))
            #expect(sum(some, "audio_ms") > 0 && sum(some, "audio_ms") < sum(whole, "audio_ms"))
        }
    }

    /// A lost node's session of which nothing else is known is at an engine that can be asked for.
    @Test func usageOfAnUnknownEngineIsFound() async throws {
        try await UsageFixture.run { fixture async throws in
            let lost = LostSession(90, .month)
            try await fixture.stores.register([lost])
            for arrival in [LostSession.Arrival.told, .retired] { try await fixture.stores.arrive(arrival, of: lost) }
            for path in UsageFixture.paths {
                let results = try fixture.buckets(
                    await fixture.get(path, "\(Self.range)&group_by=engine&engine=unknown"))
                #expect(sum(results, "audio_ms") == 45_000 && sum(results, "sessions") == 1)
                let sessions = await fixture.get(path + "/sessions", "\(Self.range)&engine=unknown")
                let found = try #require(sessions.object["data"] as? [[String: Any]])
                #expect(found.map { $0["session_id"] as? String } == [lost.session.description])
                #expect(found.map { $0["engine"] as? String } == ["unknown"], "\(sessions.text)")
                #expect(found.map { $0["is_final"] as? Bool } == [true])
            }
        }
    }

    @Test func pagesJoinToTheWhole() async throws {
        try await UsageFixture.run { fixture async throws in
            for (width, limit) in [("1h", 13), ("1d", 2), ("1mo", 1), ("1m", 1_000)] {
                for path in UsageFixture.paths {
                    let start = width == "1m" ? "2026-02-01T00:00:00Z" : "2026-01-30T10:00:00Z"
                    let query = "start_time=\(start)&end_time=2026-02-03T05:00:00Z&bucket_width=\(width)&limit=\(limit)"
                    var (next, buckets): (String?, [[String: Any]]) = (query, [])
                    while let query = next {
                        let response = await fixture.get(path, query)
                        #expect(response.status == 200, "\(response.text)")
                        let page = try fixture.buckets(response)
                        #expect(page.count <= limit)
                        buckets += page
                        next = response.nextQuery
                        let cursor = response.object["next_page"] as? String
                        #expect(next.map { $0.hasSuffix("page=\(cursor ?? "")") } ?? (cursor == nil))
                        #expect(response.object["has_more"] as? Bool == (next != nil))
                    }
                    #expect(times(buckets).first == start.replacing("Z", with: ".000Z"))
                    #expect(times(buckets).dropFirst() == times(buckets, "end_time").dropLast())
                    #expect(times(buckets, "end_time").last == "2026-02-03T05:00:00.000Z")
                    let whole = await fixture.get(
                        path, "start_time=\(start)&end_time=2026-02-03T05:00:00Z&bucket_width=1mo")
                    #expect(sum(buckets, "audio_ms") == sum(try fixture.buckets(whole), "audio_ms"), "\(width)")
                    #expect(sum(buckets, "sessions") == sum(try fixture.buckets(whole), "sessions"), "\(width)")
                }
            }
        }
    }

    /// A page of one question says nothing of another.
    @Test func aPageIsOfOneQuestion() async throws {
        try await UsageFixture.run { fixture async throws in
            let query = "start_time=2026-01-30T10:00:00Z&end_time=2026-02-03T05:00:00Z&bucket_width=1d&limit=2"
            let page = try #require(await fixture.get("/v1/usage", query).object["next_page"] as? String)
            for other in [
                query.replacing("01-30T10", with: "01-30T00"), query.replacing("02-03", with: "02-02"),
                query + "&group_by=engine", query + "&engine=deepgram", query.replacing("1d", with: "1h"),
            ] { #expect(await fixture.get("/v1/usage", "\(other)&page=\(page)").status == 400, "\(other)") }
            for same in [query.replacing("limit=2", with: "limit=1"), query + "&format=csv"] {
                #expect(await fixture.get("/v1/usage", "\(same)&page=\(page)").status == 200, "\(same)")
            }
        }
    }

    /// Buckets that begin between two pages do not belong to what was asked.
    @Test func withoutAnEndAllPagesEndWhereTheFirstOneDid() async throws {
        try await UsageFixture.run { fixture async throws in
            let answers = UsageAnswers(reports: PostgresUsageReports(pool: fixture.stores.pool), secrets: [[1]])
            func page(_ query: String, at time: String) async throws -> HTTPResponse {
                let match = Route.Match(
                    request: REST.request("GET", "/u", query: query), id: Sample.session(0), segments: [:])
                return try await answers.report(match, of: Sample.tenant, now: #require(Timestamp.read(time)))
            }
            let query = "start_time=2026-02-01T00:00:00Z&bucket_width=1h&limit=2"
            let first = try await page(query, at: "2026-02-01T02:30:00Z")
            let second = try await page(#require(first.nextQuery), at: "2026-02-01T09:30:00Z")
            #expect(times(try fixture.buckets(second), "end_time") == ["2026-02-01T03:00:00.000Z"])
            #expect(second.nextQuery == nil)
        }
    }

    @Test func sessionsComeByPages() async throws {
        try await UsageFixture.run { fixture async throws in
            let own = fixture.history.records.filter { $0.tenant == Sample.tenant }
            for path in UsageFixture.paths.map({ $0 + "/sessions" }) {
                var (next, sessions): (String?, [[String: Any]]) = (Self.range + "&limit=7", [])
                while let query = next {
                    let response = await fixture.get(path, query)
                    #expect(response.status == 200, "\(response.text)")
                    #expect(response.object["data_as_of"] is String)
                    sessions += try fixture.buckets(response)
                    next = response.nextQuery
                }
                let ids = sessions.compactMap { $0["session_id"] as? String }
                #expect(ids == Set(own.map(\.session.description)).sorted(by: >))
                let whole = try fixture.buckets(await fixture.get("/v1/usage", Self.range + "&bucket_width=1mo"))
                for name in ["audio_ms", "connected_ms", "engine_ms"] {
                    #expect(sessions.compactMap { $0[name] as? Int }.reduce(0, +) == sum(whole, name))
                }
                #expect(sessions.count == sum(whole, "sessions"))
                let fields: Set = [
                    "session_id", "started_at", "key_id", "engine", "model", "language", "tags", "region", "channels",
                    "audio_ms", "connected_ms", "engine_ms", "segments", "is_final", "periods",
                ]
                for session in sessions { #expect(Set(session.keys) == fields) }
            }
        }
    }

    // MARK: CSV

    private func rows(_ response: HTTPResponse) -> [[String]] {
        response.text.components(separatedBy: "\r\n").dropLast().map { $0.components(separatedBy: ",") }
    }

    @Test func csvIsTheSamePage() async throws {
        try await UsageFixture.run { fixture async throws in
            for path in UsageFixture.paths {
                let query = Self.range + "&group_by=tag&limit=2"
                let (json, csv) = (await fixture.get(path, query), await fixture.get(path, query + "&format=csv"))
                #expect(csv.headers["content-type"] == "text/csv; charset=utf-8")
                #expect(csv.headers["data-as-of"].flatMap(Timestamp.read) != nil)
                let lines = rows(csv)
                #expect(
                    lines.first == [
                        "start_time", "end_time", "tag", "audio_ms", "connected_ms", "engine_ms", "sessions",
                    ])
                let expected = try fixture.buckets(json).flatMap { bucket in
                    (bucket["results"] as? [[String: Any]] ?? []).map { result in
                        [
                            bucket["start_time"] as? String ?? "", bucket["end_time"] as? String ?? "",
                            (result["tag"] as? String).map { $0 == "=c" ? "'=c" : $0 } ?? "",
                            "\(result["audio_ms"] ?? "")", "\(result["connected_ms"] ?? "")",
                            "\(result["engine_ms"] ?? "")", "\(result["sessions"] ?? "")",
                        ]
                    }
                }
                #expect(Array(lines.dropFirst()) == expected && expected.contains { $0[2] == "'=c" })
                let next = try #require(csv.nextQuery)
                let second = await fixture.get(path, next)
                #expect(next.contains("format=csv") && rows(second).count > 1)

                let sessions = await fixture.get(path + "/sessions", Self.range + "&limit=3&format=csv")
                #expect(
                    sessions.text.hasPrefix("session_id,started_at,key_id,engine,model,language,region,tags,channels,"))
                #expect(rows(sessions).count == 4 && sessions.headers["data-as-of"] != nil)
                let rest = try #require(sessions.nextQuery)
                #expect(rows(await fixture.get(path + "/sessions", rest)).count == 4)
            }
        }
    }

    // MARK: What is refused

    @Test func badInputSaysWhereAndWhat() async throws {
        try await UsageFixture.run { fixture async throws in
            let start = "start_time=2026-01-30T10:00:00Z"
            let page = try #require(
                await fixture.get("/v1/usage", Self.range + "&limit=1").object["next_page"] as? String)
            let cases: [(String, String, String)] = [
                ("", "start_time", "required"), ("start_time=yesterday", "start_time", "RFC 3339"),
                ("start_time=2026-01-30T10:30:00Z", "start_time", "2026-01-30T10:00:00Z"),
                ("\(start)&start_time=2026-01-30T10:00:00Z", "start_time", "once"),
                ("\(start)&end_time=2026-01-30T10:00:00Z", "end_time", "after start_time"),
                ("\(start)&bucket_width=1w", "bucket_width", "'1mo'"), ("\(start)&limit=32", "limit", "1 to 31"),
                ("\(start)&limit=0", "limit", "1 to 31"), ("\(start)&bucket_width=1h&limit=169", "limit", "1 to 168"),
                ("\(start)&bucket_width=1mo&limit=61", "limit", "1 to 60"),
                ("\(start)&bucket_width=1m&limit=1441", "limit", "1 to 1440"),
                ("\(start)&group_by[]=colour", "group_by[]", "'key_id'"), ("\(start)&group_by=", "group_by", "'tag'"),
                ("\(start)&colour=red", "colour", "known are"), ("\(start)&page=00", "page", "next_page"),
                ("\(start)&bucket_width=1h&page=\(page)", "page", "next_page"),
                ("start_time=2026-02-02T10:00:00Z&end_time=2026-02-03T10:00:00Z&page=\(page)", "page", "next_page"),
                ("\(start)&end_time=2027-02-01T10:00:00Z&bucket_width=1h", "end_time", "366 days"),
                ("\(start)&engine=whisper", "engine", "'pocketsphinx'"), ("\(start)&engine=", "engine", "'unknown'"),
                ("\(start)&key_id=", "key_id", "1 to 256"),
                ("\(start)&format=xml", "format", "'csv'"), ("\(start)&tag=%01", "tag", "control characters"),
            ]
            for path in UsageFixture.paths {
                for (query, field, hint) in cases {
                    let response = await fixture.get(path, query)
                    #expect(response.status == 400, "\(query): \(response.text)")
                    let errors = response.object["errors"] as? [[String: String]]
                    #expect(errors?.first?["pointer"] == field, "\(query): \(response.text)")
                    #expect(errors?.first?["detail"]?.contains(hint) == true, "\(query): \(response.text)")
                }
                for (query, field) in [
                    ("", "start_time"), ("\(start)&end_time=2026-01-30T10:00:00Z", "end_time"),
                    ("\(start)&end_time=2027-02-01T10:00:00Z", "end_time"),
                    ("\(start)&bucket_width=1h", "bucket_width"),
                    ("\(start)&limit=101", "limit"), ("\(start)&after=\(page)", "after"),
                ] {
                    let response = await fixture.get(path + "/sessions", query)
                    let errors = response.object["errors"] as? [[String: String]]
                    #expect(response.status == 400 && errors?.first?["pointer"] == field, "\(query): \(response.text)")
                }
            }
        }
    }

    @Test func aKeySeesItsOwnTenantAndNeedsTheScope() async throws {
        try await UsageFixture.run { fixture async throws in
            let query = Self.range + "&bucket_width=1mo"
            let (mine, theirs) = (await fixture.get("/v1/usage", query), await fixture.get("/v1/usage", query, key: 2))
            let admin = await fixture.get("/v1/admin/tenants/\(Sample.otherTenant)/usage", query)
            #expect(theirs.object["data"] as? NSArray == admin.object["data"] as? NSArray)
            #expect(theirs.object["data"] as? NSArray != mine.object["data"] as? NSArray)
            let nobody = UUID()
            for path in ["/v1/usage", "/v1/usage/sessions"] {
                #expect(await fixture.get(path, Self.range, key: 3).status == 403)
                #expect(await fixture.get(path, Self.range, key: 9).status == 401)
            }
            for path in ["/v1/admin/tenants/\(nobody)/usage", "/v1/admin/tenants/\(nobody)/usage/sessions"] {
                #expect(await fixture.get(path, Self.range).status == 404)
            }
        }
    }
}
