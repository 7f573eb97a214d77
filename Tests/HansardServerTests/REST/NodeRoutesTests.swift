import EventLoops
import Foundation
import Hansard
import Testing
import Web

@testable import HansardServer

/// What machines ask of a node.
@Suite struct NodeRoutesTests {
    final class Condition: Sendable {
        let failure = Locked<String?>(nil)
    }

    let spool = Condition()
    let metrics = Metrics()

    private var router: Router {
        let node = NodeRoutes(
            checks: [
                .init(name: "keys") { nil },
                .init(name: "spool") { [spool] in spool.failure.withLock { $0 } },
            ],
            metrics: metrics, gauges: { [.init(name: "hansard_x", help: "X.", value: 2)] },
            document: Array("openapi: 3.1.0\n".utf8))
        return Router(routes: node.routes, metrics: metrics, logger: LogRecorder().logger) {
            [UInt8](repeating: 0, count: $0)
        }
    }

    @Test func aNodeIsAliveWhateverItLacks() async {
        spool.failure.withLock { $0 = "full" }
        let response = await router.respond(to: REST.request("GET", "/healthz"))
        #expect(response.status == 200)
        #expect(response.object["status"] as? String == "ok")
    }

    @Test func readinessNamesWhatIsMissing() async {
        let ready = await router.respond(to: REST.request("GET", "/readyz"))
        #expect(ready.status == 200)
        #expect(ready.object["status"] as? String == "ready")
        #expect(ready.object["checks"] as? [String: String] == ["keys": "ok", "spool": "ok"])
        spool.failure.withLock { $0 = "full" }
        let full = await router.respond(to: REST.request("GET", "/readyz"))
        #expect(full.status == 503)
        #expect(full.object["status"] as? String == "not ready")
        #expect(full.object["checks"] as? [String: String] == ["keys": "ok", "spool": "full"])
    }

    @Test func metricsAreForPrometheus() async {
        let response = await router.respond(to: REST.request("GET", "/metrics"))
        #expect(response.headers["content-type"]?.hasPrefix("text/plain; version=0.0.4") == true)
        #expect(response.text.contains("\nhansard_http_requests_total 1\n"), "this one")
        #expect(response.text.contains("\nhansard_x 2.0\n"))
    }

    @Test func theDocumentIsServed() async {
        let response = await router.respond(to: REST.request("GET", "/openapi.yaml"))
        #expect(response.headers["content-type"] == "application/yaml")
        #expect(response.text == "openapi: 3.1.0\n")
    }

    @Test(arguments: ["/healthz", "/readyz", "/metrics", "/openapi.yaml", "/docs"])
    func theyAreReadOnly(_ path: String) async {
        #expect(await router.respond(to: REST.request("POST", path)).status == 405)
        #expect(await router.respond(to: REST.request("HEAD", path)).status == 200)
    }
}
