import FoundationEssentials
import Hansard
import Logging
import Web

/// One route: a method, a path with `{name}` segments, and what answers it.
struct Route: Sendable {
    /// A request with the values of its path's segments.
    struct Match: Sendable {
        let request: HTTPRequest
        let id: SessionID
        let segments: [String: String]

        /// The query's items of that name.
        func query(_ name: String) -> [String] {
            QueryItem.parse(request.query).filter { $0.name == name }.map(\.value)
        }
    }

    let method: String
    let path: String
    /// Whether requests are counted against the limits of REST calls.
    var isLimited = true
    let respond: @Sendable (Match) async throws -> HTTPResponse
    private let pattern: [Substring]

    init(_ method: String, _ path: String, _ respond: @escaping @Sendable (Match) async throws -> HTTPResponse) {
        self.method = method
        self.path = path
        self.respond = respond
        pattern = Self.parts(of: path)
    }

    /// What is between the slashes of a path.
    static func parts(of path: String) -> [Substring] { path.split(separator: "/", omittingEmptySubsequences: false) }

    /// The values of the path's `{name}` segments, if a path of these parts fits.
    func segments(of parts: [Substring]) -> [String: String]? {
        guard pattern.count == parts.count else { return nil }
        var values: [String: String] = [:]
        for (expected, part) in zip(pattern, parts) {
            if expected.hasPrefix("{") {
                values[String(expected.dropFirst().dropLast())] = String(part)
            } else if expected != part {
                return nil
            }
        }
        return values
    }
}

/// Finds the route of a request and turns whatever its handler throws into one shape of error (RFC 9457).
struct Router: HTTPResponder {
    let routes: [Route]
    let metrics: Metrics
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]
    private let limits: RequestLimits?
    private let unlimitedPaths: Set<String>

    /// - Parameter limits: nil limits nothing.
    init(
        routes: [Route], metrics: Metrics, logger: Logger, randomBytes: @escaping @Sendable (Int) -> [UInt8],
        limits: RequestLimits? = nil
    ) {
        self.routes = routes
        self.metrics = metrics
        self.logger = logger
        self.randomBytes = randomBytes
        self.limits = limits
        unlimitedPaths = Set(routes.filter { !$0.isLimited }.map(\.path))
    }

    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse {
        let id = SessionID(startedAt: .now, random: randomBytes(10))
        metrics.requests.add()
        // Whatever is not there is counted too.
        let count = unlimitedPaths.contains(request.path) ? nil : limits?.count(request)
        var response: HTTPResponse
        do {
            try requireRoom(count)
            try QueryItem.requireText(request.query)
            response = try await route(request, id: id)
        } catch {
            response = problem(error, request: request, id: id)
        }
        response.headers.add("x-request-id", id.description)
        if let count { response.headers.add(count.limits) }
        return response
    }

    private func requireRoom(_ count: RequestLimits.Count?) throws(HansardError) {
        guard let refusal = count?.refusal else { return }
        metrics.limited(refusal.policy)
        let quota = count?.limits.last?.quota ?? 0
        throw HansardError(.limited, refusal.policy.reason(quota: quota), retryAfter: refusal.retryAfter)
    }

    private func route(_ request: HTTPRequest, id: SessionID) async throws -> HTTPResponse {
        var allowed: [String] = []
        let parts = Route.parts(of: request.path)
        for route in routes {
            guard let segments = route.segments(of: parts) else { continue }
            if route.method == request.method || (route.method == "GET" && request.method == "HEAD") {
                return try await route.respond(Route.Match(request: request, id: id, segments: segments))
            }
            allowed += route.method == "GET" ? ["GET", "HEAD"] : [route.method]
        }
        guard allowed.isEmpty else {
            let error = HansardError(.invalid, "\(request.method) is not allowed at \(request.path)")
            var response = Problem(error, status: 405, title: "Method not allowed", code: "method_not_allowed")
                .response(id)
            response.headers.add("Allow", allowed.joined(separator: ", "))
            return response
        }
        throw HansardError(.notFound, "there is nothing at \(request.path)")
    }

    private func problem(_ error: any Error, request: HTTPRequest, id: SessionID) -> HTTPResponse {
        let known = error as? HansardError ?? HansardError(.internal, String(describing: error))
        metrics.refusedCredential(known.credential)
        // What the caller is told leaves that out.
        if known.code == .internal || known.cause != nil {
            logger.log(
                level: known.code == .internal ? .error : .warning, "a request failed",
                metadata: [
                    "request_id": "\(id)", "method": "\(request.method)", "path": "\(request.path)",
                    "error": "\(known.explanation)",
                ])
        }
        return Problem(known).response(id)
    }
}

/// The one mapper of errors to HTTP on REST routes.
struct Problem {
    private let error: HansardError
    private let status: Int
    private let title: String
    private let code: String

    init(_ error: HansardError) {
        let (status, title, code) =
            switch error.code {
            case .invalid: (400, "Invalid request", "invalid")
            case .unauthenticated: (401, "Not authenticated", "unauthenticated")
            case .forbidden: (403, "Not allowed", "forbidden")
            case .notFound: (404, "Not found", "not_found")
            case .conflict: (409, "Conflict", "conflict")
            case .stale: (412, "Precondition failed", "stale")
            case .contradictory: (422, "Contradictory request", "contradictory")
            case .exhausted: (402, "Quota exhausted", "exhausted")
            case .limited: (429, "Too many requests", "limited")
            case .unavailable: (503, "Not available now", "unavailable")
            case .internal: (500, "Internal error", "internal")
            }
        self.init(error, status: status, title: title, code: code)
    }

    init(_ error: HansardError, status: Int, title: String, code: String) {
        self.error = error
        self.status = status
        self.title = title
        self.code = code
    }

    /// `application/problem+json` with a stable `code`, the request's id, and the offending field.
    func response(_ id: SessionID) -> HTTPResponse {
        var text = JSONText()
        let detail =
            error.code == .internal ? "The server failed; the log has more under this request id." : error.message
        text.object { text in
            text.field("type", "urn:hansard:problem:" + code)
            text.field("title", title)
            text.field("status", status)
            text.field("detail", detail)
            text.field("code", code)
            text.field("request_id", id.description)
            if error.code != .internal, let field = error.field {
                text.array("errors") { text in
                    text.object { text in
                        text.field("pointer", field)
                        text.field("detail", error.message)
                    }
                }
            }
        }
        var headers: HTTPHeaders = ["Content-Type": "application/problem+json"]
        if status == 401 { headers.add("WWW-Authenticate", "Bearer, Token") }
        if status == 429 || status == 503 {
            headers.add("Retry-After", error.retryAfterSeconds)
        }
        return HTTPResponse(status: status, headers: headers, body: text.bytes)
    }
}

extension HansardError {
    /// The value of a `Retry-After` header (RFC 9110 section 10.2.3): whole seconds, at least one, never too early.
    var retryAfterSeconds: String { String(max(1, (retryAfter ?? .seconds(1)).wholeSeconds)) }
}

extension HTTPResponse {
    /// A JSON document.
    static func json(_ status: Int = 200, _ body: (inout JSONText) -> Void) -> HTTPResponse {
        var text = JSONText()
        text.object(body)
        return HTTPResponse(status: status, headers: ["Content-Type": "application/json"], body: text.bytes)
    }
}

extension Int {
    /// A number in the one way that the API's document has for it: neither "+7" nor "07".
    init?(plain text: String) {
        guard let number = Int(text), String(number) == text else { return nil }
        self = number
    }
}
