import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// Usage in Deepgram's form.
@Suite struct ProjectRoutesTests {
    private static let project = "/v1/projects/\(Sample.tenant)"
    private static let range = "start=2026-01-30&end=2026-02-03"

    private func results(_ response: HTTPResponse) throws -> [[String: Any]] {
        #expect(response.status == 200, "\(response.text)")
        return try #require(response.object["results"] as? [[String: Any]])
    }

    private func sum(_ results: [[String: Any]], _ name: String) -> Double {
        results.compactMap { ($0[name] as? NSNumber)?.doubleValue }.reduce(0, +)
    }

    @Test func aKeyHasOneProject() async throws {
        try await UsageFixture.run { fixture async throws in
            let listed = await fixture.get("/v1/projects").object["projects"] as? [[String: String]]
            #expect(listed == [["project_id": "\(Sample.tenant)", "name": "one"]])
            #expect(await fixture.get(Self.project).object as? [String: String] == listed?.first)
            for path in [
                "", "/usage", "/usage/breakdown", "/usage/fields", "/requests", "/requests/\(Sample.session(1))",
            ] {
                #expect(await fixture.get("/v1/projects/\(Sample.otherTenant)\(path)").status == 404, "\(path)")
                #expect(await fixture.get("/v1/projects/other\(path)").status == 404, "\(path)")
                #expect(await fixture.get(Self.project + path, key: 3).status == 403, "\(path)")
            }
        }
    }

    @Test func hoursAreThoseOfTheLedger() async throws {
        try await UsageFixture.run { fixture async throws in
            let ledger = await fixture.get(
                "/v1/usage", "start_time=2026-01-30T00:00:00Z&end_time=2026-02-04T00:00:00Z&bucket_width=1mo")
            let used = try fixture.buckets(ledger).flatMap { $0["results"] as? [[String: Any]] ?? [] }
            let (hours, requests) = (sum(used, "audio_ms") / 3_600_000, sum(used, "sessions"))
            for (path, query) in [
                ("/usage", ""), ("/usage/breakdown", ""), ("/usage/breakdown", "&grouping=accessor"),
                ("/usage/breakdown", "&grouping=models&endpoint=listen"),
                ("/usage/breakdown", "&grouping=method&method=streaming&deployment=self-hosted"),
            ] {
                let response = await fixture.get(Self.project + path, Self.range + query)
                let found = try results(response)
                #expect(response.headers["data-as-of"] != nil)
                #expect(
                    abs(sum(found, "hours") - hours) < 1e-7 && sum(found, "requests") == requests, "\(path)\(query)")
                #expect(sum(found, "total_hours") == sum(found, "hours"))
                #expect(response.object["start"] as? String == "2026-01-30")
                #expect(response.object["end"] as? String == "2026-02-03")
                #expect(response.object["resolution"] as? NSDictionary == ["units": "day", "amount": 1])
            }
            // From the first use on, and to today.
            let all = await fixture.get(Self.project + "/usage")
            #expect(abs(sum(try results(all), "hours") - hours) < 1e-7)
            let first = fixture.history.records.filter { $0.tenant == Sample.tenant }.map(\.sessionStartedAt).min()
            #expect(all.object["start"] as? String == first.map { String(Timestamp.format($0).prefix(10)) })
        }
    }

    @Test func groupsAreNamed() async throws {
        try await UsageFixture.run { fixture async throws in
            func groups(_ query: String) async throws -> [[String: Any]] {
                let response = await fixture.get(Self.project + "/usage/breakdown", "\(Self.range)&\(query)")
                return try results(response).compactMap { $0["grouping"] as? [String: Any] }
            }
            let plain = try await groups("")
            #expect(plain.allSatisfy { $0["start"] as? String == $0["end"] as? String })
            for name in ["accessor", "endpoint", "feature_set", "models", "method", "tags", "deployment"] {
                #expect(plain.allSatisfy { $0[name] is NSNull }, "\(name)")
            }
            #expect(Set(try await groups("grouping=accessor").compactMap { $0["accessor"] as? String }).count == 3)
            #expect(
                Set(try await groups("grouping=models").compactMap { $0["models"] as? [String] }) == [
                    ["general"], ["nova-3"],
                ])
            #expect(
                Set(try await groups("grouping=tags").compactMap { $0["tags"] as? [String] }).isSuperset(of: [
                    [], ["a"], ["b"],
                ]))
            #expect(try await groups("grouping=endpoint").allSatisfy { $0["endpoint"] as? String == "listen" })
            for other in ["endpoint=speak", "method=sync", "deployment=hosted"] {
                #expect(try await groups(other).isEmpty, "\(other)")
            }
            let some = try await groups("accessor=key_2&tag=a&model=general&grouping=accessor&grouping=models")
            #expect(
                some.allSatisfy { $0["accessor"] as? String == "key_2" && $0["models"] as? [String] == ["general"] })
            let fields = await fixture.get(Self.project + "/usage/fields", Self.range)
            #expect(fields.object["tags"] as? [String] == ["=c", "a", "b"])
            #expect((fields.object["models"] as? [[String: String]])?.count == 4)
            #expect(fields.object["processing_methods"] as? [String] == ["streaming"])
        }
    }

    @Test func whatWouldMakeNumbersWrongIsRefused() async throws {
        try await UsageFixture.run { fixture async throws in
            for (query, field, hint) in [
                ("diarize=true", "diarize", "not kept"), ("language=false", "language", "not kept"),
                ("start=2026-01-30T10:00:00Z", "start", "2026-11-22"), ("end=tomorrow", "end", "2026-11-22"),
                ("start=2026-02-03&end=2026-02-02", "end", "before start"),
                ("start=1990-01-01&end=2026-02-02", "end", "3660 days"),
                ("endpoint=write", "endpoint", "'listen'"), ("grouping=feature_set", "grouping", "'accessor'"),
                ("colour=red", "colour", "known are"), ("accessor=", "accessor", "1 to 256"),
            ] {
                let response = await fixture.get(Self.project + "/usage/breakdown", query)
                let errors = response.object["errors"] as? [[String: String]]
                #expect(response.status == 400 && errors?.first?["pointer"] == field, "\(query): \(response.text)")
                #expect(errors?.first?["detail"]?.contains(hint) == true, "\(query): \(response.text)")
            }
            for (query, field) in [
                ("limit=1001", "limit"), ("page=-1", "page"), ("page=1000&limit=1000", "page"),
                ("status=odd", "status"),
                ("request_id=x", "request_id"), ("start=soon", "start"), ("tag=a", "tag"), ("diarize=true", "diarize"),
                ("start=2026-02-03&end=2026-02-01", "end"),
                ("start=2026-02-03T10:00:00Z&end=2026-02-03T09:00:00Z", "end"),
            ] {
                let response = await fixture.get(Self.project + "/requests", query)
                let errors = response.object["errors"] as? [[String: String]]
                #expect(response.status == 400 && errors?.first?["pointer"] == field, "\(query): \(response.text)")
            }
            // Who gives no start did not give one that is after the end.
            let early = await fixture.get(Self.project + "/usage/breakdown", "end=2020-01-05")
            #expect(early.status == 200 && early.object["start"] as? String == "2020-01-05", "\(early.text)")
        }
    }

    @Test func requestsArePastSessions() async throws {
        try await UsageFixture.run { fixture async throws in
            let states: [SessionState] = [.completed, .failed, .interrupted, .terminated, .storing, .completed]
            let rows = states.enumerated().map { number, state in
                var row = Sample.end(Sample.session(number), holder: Sample.epoch()).end.usage
                row.outcome = SessionOutcome(state: state, reason: "why", finals: 2, hasTranscript: true)
                if number == 3 { row.key = KeyID("key_2") }
                return row
            }
            var other = rows[0]
            (other.tenant, other.session) = (Sample.otherTenant, Sample.session(9))
            try await PostgresUsageStore(pool: fixture.stores.pool).record(rows + [other])
            func numbers(_ query: String) async throws -> [Int] {
                let response = await fixture.get(Self.project + "/requests", query)
                #expect(response.status == 200, "\(response.text)")
                let found = try #require(response.object["requests"] as? [[String: Any]])
                return found.compactMap { one in
                    (0...9).first { Sample.session($0).description == one["request_id"] as? String }
                }
            }
            #expect(try await numbers("") == [5, 4, 3, 2, 1, 0])
            #expect(try await numbers("limit=2") == [5, 4])
            #expect(try await numbers("limit=2.0&page=1.0") == [3, 2])
            #expect(try await numbers("limit=4&page=1") == [1, 0])
            #expect(try await numbers("status=failed") == [1])
            #expect(try await numbers("status=succeeded&limit=3") == [5, 4, 3])
            #expect(try await numbers("accessor=key_2") == [3])
            #expect(try await numbers("request_id=\(Sample.session(2))") == [2])
            #expect(try await numbers("request_id=\(Sample.session(2))&status=failed") == [])
            #expect(try await numbers("request_id=\(Sample.session(9))") == [])
            #expect(try await numbers("method=async") == [])
            let (start, end) = (Timestamp.format(moment(2)), Timestamp.format(moment(4)))
            #expect(try await numbers("start=\(start)&end=\(end)") == [3, 2])
            #expect(try await numbers("start=\(start.prefix(10))&end=\(end.prefix(10))").count == 6)
            #expect(try await numbers("start=\(start.prefix(19))") == [5, 4, 3, 2])

            let failed = await fixture.get(Self.project + "/requests/\(Sample.session(1))").object["request"]
            let request = try #require(failed as? [String: Any])
            #expect(request["project_uuid"] as? String == "\(Sample.tenant)" && request["code"] as? Int == 500)
            let response = try #require(request["response"] as? [String: Any])
            let details = try #require(response["details"] as? [String: Any])
            #expect(details["duration"] as? Double == 2 && details["method"] as? String == "streaming")
            #expect(response["message"] as? String == "why")
            #expect(await fixture.get(Self.project + "/requests/\(Sample.session(9))").status == 404)
            #expect(await fixture.get(Self.project + "/requests/none").status == 404)
        }
    }
}
