import EventLoops
import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// What callers are told of limits of requests, and that nothing is done for those beyond them.
@Suite struct RequestLimitsTests {
    private let metrics = Metrics()
    private let time = Locked(Duration.zero)
    private let calls = Locked(0)

    /// A request's key is its credential: "t..." is a token's, "k..." a key's.
    private func limits(_ quotas: RequestLimits.Quotas) -> RequestLimits {
        let time = time
        return RequestLimits(quotas) { request in
            guard let name = request.headers["authorization"]?.dropFirst(6) else { return nil }
            return name.hasPrefix("t") ? .token(String(name)) : name.hasPrefix("k") ? .key(KeyID(String(name))) : nil
        } now: {
            time.withLock { $0 }
        }
    }

    private func router(_ quotas: RequestLimits.Quotas) -> Router {
        let calls = calls
        var free = Route("GET", "/healthz") { _ in HTTPResponse(status: 200) }
        free.isLimited = false
        return Router(
            routes: [
                Route("GET", "/v1/things") { _ in
                    calls.withLock { $0 += 1 }
                    return HTTPResponse(status: 200)
                }, free,
            ], metrics: metrics, logger: LogRecorder().logger, randomBytes: { [UInt8](repeating: 7, count: $0) },
            limits: limits(quotas))
    }

    private func get(
        _ router: Router, _ path: String = "/v1/things", key: String? = nil, from address: String = "192.0.2.1"
    ) async throws -> HTTPResponse {
        var request = REST.request("GET", path, key: key)
        request.peer = PeerAddress(address: try #require(IPAddress(address)), port: 1)
        return await router.respond(to: request)
    }

    @Test func eachAnswerSaysWhatIsLeft() async throws {
        let router = router(.init(perAddress: 10, perToken: 3, perKey: 6))
        let first = try await get(router, key: "k1")
        #expect(first.headers["ratelimit-policy"] == "\"address\";q=10;w=60, \"key\";q=6;w=60")
        #expect(first.headers["ratelimit"] == "\"address\";r=9;t=6, \"key\";r=5;t=10")
        let second = try await get(router, key: "t1")
        #expect(second.headers["ratelimit-policy"] == "\"address\";q=10;w=60, \"token\";q=3;w=60")
        #expect(second.headers["ratelimit"] == "\"address\";r=8;t=12, \"token\";r=2;t=20")
        let nobody = try await get(router, "/v1/nothing")
        #expect(nobody.status == 404)
        #expect(nobody.headers["ratelimit"] == "\"address\";r=7;t=18")
    }

    @Test(arguments: [
        ("t1", RequestLimits.Policy.token, "this admin token"), ("k1", .key, "this API key"),
        ("", .address, "this address"),
    ])
    func whoComesTooOftenIsRefusedBeforeAnythingIsDone(
        _ key: String, _ policy: RequestLimits.Policy, _ whose: String
    ) async throws {
        let quotas =
            key.isEmpty
            ? RequestLimits.Quotas(perAddress: 2) : RequestLimits.Quotas(perAddress: 100, perToken: 2, perKey: 2)
        let router = router(quotas)
        for _ in 1...2 { #expect(try await get(router, key: key.isEmpty ? nil : key).status == 200) }
        let refused = try await get(router, key: key.isEmpty ? nil : key)
        #expect(refused.status == 429)
        #expect(refused.headers["content-type"] == "application/problem+json")
        #expect(refused.headers["retry-after"] == "30")
        #expect(refused.headers["ratelimit-policy"]?.contains("\"\(policy.rawValue)\";q=2;w=60") == true)
        #expect(refused.headers["ratelimit"]?.contains("\"\(policy.rawValue)\";r=0;t=60") == true)
        #expect(refused.object["code"] as? String == "limited")
        #expect((refused.object["detail"] as? String)?.contains("2 per minute to \(whose)") == true)
        #expect(calls.withLock { $0 } == 2)
        #expect(metrics.page([]).contains("hansard_requests_limited_total{policy=\"\(policy.rawValue)\"} 1\n"))
        time.withLock { $0 = .seconds(30) }
        #expect(try await get(router, key: key.isEmpty ? nil : key).status == 200)
    }

    @Test func oneCallersLimitIsNotAnothers() async throws {
        let router = router(.init(perAddress: 2, perKey: 1))
        #expect(try await get(router, key: "k1").status == 200)
        #expect(try await get(router, key: "k1").status == 429)
        #expect(try await get(router, key: "k2", from: "192.0.2.2").status == 200)
        #expect(try await get(router, key: "k3").status == 429, "the address is used up")
        #expect(try await get(router, key: "k3", from: "192.0.2.2").status == 200)
        // What the limit of the address refused was not counted against the key.
        #expect(try await get(router, key: "k4", from: "2001:db8:0:1::1").status == 200)
        #expect(try await get(router, from: "2001:db8:0:1::2").status == 200)
        #expect(try await get(router, from: "2001:db8:0:1::3").status == 429, "a /64 is one")
    }

    @Test func whatMachinesAskOfANodeIsNotLimited() async throws {
        let router = router(.init(perAddress: 1))
        for _ in 1...3 {
            let response = try await get(router, "/healthz")
            #expect(response.status == 200 && response.headers["ratelimit"] == nil)
        }
        #expect(try await get(router).status == 200)
        #expect(try await get(router, "/v1/nothing").status == 429, "what is not there is counted too")
        let node = NodeRoutes(checks: [], metrics: metrics, gauges: { [] }, document: [])
        #expect(node.routes.allSatisfy { !$0.isLimited })
    }

    @Test func withoutLimitsNothingIsSaid() async throws {
        let response = try await get(router(.init()), key: "k1")
        #expect(response.status == 200)
        #expect(response.headers["ratelimit"] == nil && response.headers["ratelimit-policy"] == nil)
    }

    /// A hundred callers at once get as many answers as there is room for.
    @Test func callsAtOnceAreCountedOneByOne() async throws {
        let router = router(.init(perKey: 40))
        let statuses = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<100 {
                group.addTask { await router.respond(to: REST.request("GET", "/v1/things", key: "k1")).status }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count { $0 == 200 } == 40 && statuses.count { $0 == 429 } == 60)
    }
}

/// A handshake that a limit of sessions refuses says which.
@Suite struct HandshakeLimitTests {
    private func refusal(_ kind: LimitReached.Kind, at second: Int) -> HTTPResponse {
        let limit = LimitReached(owner: .tenant(Sample.tenant), kind: kind, limit: 25)
        let now = Date(timeIntervalSince1970: 1_780_000_020 + Double(second) + 0.5)
        var error = HansardError(.limited, limit.reason, retryAfter: .seconds(RateLimit(limit, now: now).reset ?? 1))
        error.limit = limit
        return HandshakeRefusal(error, request: Sample.session(1), now: now).response
    }

    @Test func concurrencyHasNoTime() {
        let headers = refusal(.concurrentSessions, at: 0).headers
        #expect(headers["ratelimit-policy"] == "\"concurrency\";q=25;qu=\"concurrent-requests\"")
        #expect(headers["ratelimit"] == "\"concurrency\";r=0")
        #expect(headers["retry-after"] == "1")
    }

    /// 1,780,000,020 is divisible by 60: a minute begins.
    @Test(arguments: [(0, 60), (1, 59), (59, 1), (60, 60)])
    func newSessionsWaitForTheNextMinute(_ second: Int, _ left: Int) {
        let headers = refusal(.newSessionsPerMinute, at: second).headers
        #expect(headers["ratelimit-policy"] == "\"new-sessions\";q=25;w=60")
        #expect(headers["ratelimit"] == "\"new-sessions\";r=0;t=\(left)")
        #expect(headers["retry-after"] == "\(left)")
    }

    @Test func usedUpMinutesAreNotToBeAskedForAgain() {
        let error = HansardError(.exhausted, ListenAcceptor.minutesExhausted)
        let response = HandshakeRefusal(error, request: Sample.session(1), now: moment(0)).response
        #expect(response.status == 402)
        #expect(response.headers["retry-after"] == nil && response.headers["ratelimit"] == nil)
        #expect(response.text.contains("do not retry"))
    }
}
