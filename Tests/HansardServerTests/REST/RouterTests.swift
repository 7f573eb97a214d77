import Foundation
import Hansard
import Logging
import Testing
import Web

@testable import HansardServer

/// What a client without sockets can send, and what of it comes back.
enum REST {
    // Four bytes are an address.
    static let peer = PeerAddress(address: IPAddress(bytes: [127, 0, 0, 1])!, port: 1)

    static func request(
        _ method: String, _ path: String, query: String = "", key: String? = nil, body: String = ""
    ) -> HTTPRequest {
        var headers = HTTPHeaders()
        if let key { headers.add("authorization", "Token \(key)") }
        return HTTPRequest(
            method: method, path: path, query: query, headers: headers, body: Array(body.utf8), peer: peer)
    }
}

extension HTTPResponse {
    var object: [String: Any] { (try? JSONTextTests.parsed(body)) ?? [:] }
    var text: String { String(decoding: body, as: UTF8.self) }
}

/// How requests find their route, and the one shape of everything that goes wrong (RFC 9457).
@Suite struct RouterTests {
    let log = LogRecorder()
    let metrics = Metrics()

    private func router(_ routes: [Route]) -> Router {
        Router(routes: routes, metrics: metrics, logger: log.logger) { [UInt8](repeating: 7, count: $0) }
    }

    private var things: Router {
        router([
            Route("GET", "/things/{id}") { match in
                HTTPResponse(
                    status: 200, text: "\(match.segments["id"] ?? "-") \(match.query("a").joined(separator: ","))")
            },
            Route("PUT", "/things/{id}") { _ in HTTPResponse(status: 204) },
            Route("POST", "/things") {
                HTTPResponse(status: 201, text: String(decoding: $0.request.body, as: UTF8.self))
            },
        ])
    }

    private func failing(_ error: any Error) -> Router { router([Route("GET", "/x") { _ in throw error }]) }

    @Test func aRouteIsFoundByItsPathAndMethod() async {
        let got = await things.respond(to: REST.request("GET", "/things/7", query: "a=1&b=2&a=x+y"))
        #expect(got.status == 200)
        #expect(got.text == "7 1,x y")
        #expect(await things.respond(to: REST.request("PUT", "/things/7")).status == 204)
        #expect(await things.respond(to: REST.request("POST", "/things", body: "é")).text == "é")
        #expect(metrics.requests.value == 3)
    }

    @Test(arguments: ["/", "/thing/7", "/things/7/", "/things/7/8", "/things7", "/THINGS/7", "//things/7", ""])
    func whatIsNotThereIsNotFound(_ path: String) async {
        let response = await things.respond(to: REST.request("GET", path))
        #expect(response.status == 404)
        #expect(response.object["code"] as? String == "not_found")
    }

    @Test func anEmptySegmentIsAValue() async {
        #expect(await things.respond(to: REST.request("GET", "/things/")).text == " ")
    }

    /// Nothing could be found by it, and Postgres refuses NUL.
    @Test(arguments: ["a=%00", "b=1&a=x%FFy", "a=%C0%80", "a=%ED%A0%80"])
    func aQueryThatIsNoTextIsRefusedByName(_ query: String) async throws {
        let response = await things.respond(to: REST.request("GET", "/things/7", query: query))
        #expect(response.status == 400)
        #expect(response.object["code"] as? String == "invalid")
        let errors = try #require(response.object["errors"] as? [[String: String]])
        #expect(errors.map { $0["pointer"] } == ["a"])
        #expect(errors.first?["detail"]?.contains("UTF-8 without NUL") == true)
    }

    @Test func aHeadIsAnsweredLikeAGet() async {
        // The server leaves the body out.
        #expect(await things.respond(to: REST.request("HEAD", "/things/7")).status == 200)
        #expect(await things.respond(to: REST.request("HEAD", "/things")).status == 405)
    }

    @Test func anotherMethodIsToldTheRightOnes() async {
        let response = await things.respond(to: REST.request("DELETE", "/things/7"))
        #expect(response.status == 405)
        #expect(response.headers["allow"] == "GET, HEAD, PUT")
        #expect(response.object["status"] as? Int == 405)
        #expect(response.object["code"] as? String == "method_not_allowed")
    }

    @Test func everyAnswerHasItsRequestID() async throws {
        for path in ["/things/7", "/nothing"] {
            let response = await things.respond(to: REST.request("GET", path))
            let id = try #require(response.headers["x-request-id"])
            #expect(SessionID(id) != nil)
            if response.status == 404 { #expect(response.object["request_id"] as? String == id) }
        }
    }

    @Test(arguments: [
        (HansardError.Code.invalid, 400, "invalid"), (.unauthenticated, 401, "unauthenticated"),
        (.forbidden, 403, "forbidden"), (.notFound, 404, "not_found"), (.conflict, 409, "conflict"),
        (.limited, 429, "limited"), (.unavailable, 503, "unavailable"), (.internal, 500, "internal"),
    ])
    func eachErrorHasItsStatus(_ code: HansardError.Code, _ status: Int, _ name: String) async {
        let response = await failing(HansardError(code, "what was wrong")).respond(to: REST.request("GET", "/x"))
        #expect(response.status == status)
        #expect(response.headers["content-type"] == "application/problem+json")
        let problem = response.object
        #expect(problem["type"] as? String == "urn:hansard:problem:\(name)")
        #expect((problem["title"] as? String)?.isEmpty == false)
        #expect(problem["status"] as? Int == status)
        #expect(problem["code"] as? String == name)
        #expect((problem["detail"] as? String == "what was wrong") == (code != .internal))
        #expect(problem["errors"] == nil)
        #expect((response.headers["retry-after"] != nil) == [429, 503].contains(status))
        #expect((response.headers["www-authenticate"] != nil) == (status == 401))
    }

    @Test func anOffendingFieldIsNamed() async throws {
        let error = HansardError(.invalid, "must be a number", field: "/limit")
        let problem = await failing(error).respond(to: REST.request("GET", "/x")).object
        let errors = try #require(problem["errors"] as? [[String: String]])
        #expect(errors == [["pointer": "/limit", "detail": "must be a number"]])
    }

    @Test(arguments: [
        (nil, "1"), (Duration.zero, "1"), (.seconds(5), "5"), (.milliseconds(2_500), "3"), (.milliseconds(1), "1"),
    ])
    func retryAfterIsWholeSecondsAndNeverTooEarly(_ delay: Duration?, _ header: String) async {
        let error = HansardError(.unavailable, "away", retryAfter: delay)
        #expect(await failing(error).respond(to: REST.request("GET", "/x")).headers["retry-after"] == header)
        #expect(
            HandshakeRefusal(error, request: Sample.session(1), now: moment(0)).response.headers["retry-after"]
                == header)
    }

    /// What is wrong inside is for the log alone.
    @Test func anInternalErrorIsHiddenAndLogged() async throws {
        struct Surprise: Error { let secret = "table users" }
        for error: any Error in [Surprise(), HansardError(.internal, "table users", field: "users")] {
            let response = await failing(error).respond(to: REST.request("GET", "/x"))
            #expect(response.status == 500)
            #expect(!response.text.contains("users"))
            let entry = try #require(log.entries.last)
            #expect(entry.level == .error)
            #expect(entry.metadata["error"]?.contains("table users") == true)
            #expect(entry.metadata["path"] == "/x")
            #expect(entry.metadata["request_id"] == response.headers["x-request-id"])
        }
        #expect(log.entries.count == 2)
    }

    @Test func whatTheClientDidWrongIsNotLoggedAsAnError() async {
        _ = await failing(HansardError(.invalid, "no")).respond(to: REST.request("GET", "/x"))
        #expect(log.count(of: "", atLeast: .warning) == 0)
    }
}
