import EventLoops
import FoundationEssentials
import Hansard
import Web

/// What machines ask of the node: is it alive, can it serve, what are its numbers.
struct NodeRoutes: Sendable {
    /// One condition of readiness.
    struct Check: Sendable {
        let name: String
        /// nil if it holds; else what is wrong.
        let failure: @Sendable () -> String?
    }

    let checks: [Check]
    let metrics: Metrics
    let gauges: @Sendable () async -> [Metrics.Gauge]
    /// The OpenAPI document.
    let document: [UInt8]

    /// They ask as often as they need: none of these costs the database anything.
    var routes: [Route] {
        let page = KeptResponse()
        let routes = [
            Route("GET", "/healthz") { _ in .json { $0.field("status", "ok") } },
            Route("GET", "/readyz", ready),
            Route("GET", "/metrics") { [metrics, gauges] _ in
                let page = metrics.page(await gauges())
                return HTTPResponse(
                    status: 200, headers: ["Content-Type": "text/plain; version=0.0.4; charset=utf-8"],
                    body: Array(page.utf8))
            },
            Route("GET", "/openapi.yaml") { [document] _ in
                HTTPResponse(status: 200, headers: ["Content-Type": "application/yaml"], body: document)
            },
            Route("GET", "/docs") { [document] _ in try page.get { try DocumentPage.response(document) } },
        ]
        return routes.map { route in
            var route = route
            route.isLimited = false
            return route
        }
    }

    private func ready(_ match: Route.Match) async throws -> HTTPResponse {
        let failures = checks.compactMap { check in check.failure().map { (check.name, $0) } }
        return .json(failures.isEmpty ? 200 : 503) { text in
            text.field("status", failures.isEmpty ? "ready" : "not ready")
            text.object("checks") { text in
                for check in checks {
                    text.field(dynamic: check.name, failures.first { $0.0 == check.name }?.1 ?? "ok")
                }
            }
        }
    }
}

/// An answer that is made when it is first asked for, and then is the same for everybody.
private final class KeptResponse: Sendable {
    private let kept = Locked<HTTPResponse?>(nil)

    func get(_ make: () throws -> HTTPResponse) throws -> HTTPResponse {
        if let response = kept.withLock({ $0 }) { return response }
        let response = try make()
        kept.withLock { $0 = response }
        return response
    }
}
