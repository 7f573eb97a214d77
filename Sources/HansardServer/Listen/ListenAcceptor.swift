import Audio
import EventLoops
import FoundationEssentials
import Hansard
import Logging
import Web

/// Decides handshakes of `/v1/listen` from memory, in the order of the close table: what is wrong with the credential
/// comes before what is wrong with the request, and both before what the node cannot do now.
struct ListenAcceptor: WebSocketAcceptor {
    static let path = "/v1/listen"
    /// Unlike the close reason, it has room to say what would help.
    static let minutesExhausted =
        "\(Ending.minutesExhausted.reason): do not retry before the next month, or before the limit is raised"
    let services: ListenServices

    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision {
        let now = Date.now
        let id = SessionID(startedAt: now, random: services.randomBytes(10))
        do {
            return try accept(request, id: id, on: loop, now: now)
        } catch {
            let refusal = HandshakeRefusal(error, request: id, now: now)
            services.metrics.refused(refusal.status)
            services.metrics.refusedCredential(error.credential)
            services.logger.debug(
                "handshake refused",
                metadata: [
                    "request_id": "\(id)", "status": "\(refusal.status)", "error": "\(error.explanation)",
                    "peer": "\(request.peer)",
                ])
            return .refuse(refusal.response)
        }
    }

    private func accept(
        _ request: HTTPRequest, id: SessionID, on loop: EventLoop, now: Date
    ) throws(HansardError) -> HandshakeDecision {
        guard request.path == Self.path else {
            throw HansardError(.notFound, "there is no WebSocket at \(request.path); use \(Self.path)")
        }
        let credential = try Authenticator.Credential(
            authorization: request.headers["authorization"], subprotocols: request.headers["sec-websocket-protocol"])
        let caller = try services.authenticator.caller(credential.secret, now: now)
        try caller.require(.listen)
        try caller.requireAddress(request.peer.address)
        let engine = try services.engines.engine(for: caller.tenant)
        var options = try ListenParameters(query: request.query, engine: engine.description).options
        try caller.tenant.requireLanguage(options.language)
        options.tags += caller.key.tags.filter { !options.tags.contains($0) }
        let decoder = try Self.decoder(for: options.source)
        try checkRoom(for: caller, now: now)
        if services.minutes.isExhausted(for: caller), caller.tenant.quotas.policy == .hard {
            throw HansardError(.exhausted, Self.minutesExhausted)
        }
        let reservation = try engine.reserve(for: options)
        let connection = ListenConnection(
            id: id, caller: caller, options: options, decoder: decoder, engine: engine.description,
            reservation: reservation, loop: loop, services: services, startedAt: now)
        return .accept(connection, subprotocol: credential.subprotocol, headers: Self.headers(request, id: id))
    }

    /// What this node, at this moment, cannot do for anyone, and limits that it has just seen reached.
    private func checkRoom(for caller: Caller, now: Date) throws(HansardError) {
        if services.sessions.isDraining {
            throw HansardError(.unavailable, "this node is restarting", retryAfter: .seconds(1))
        }
        guard services.storeHealth.isReachable || services.admitsUnclaimed(caller.tenant.id) else {
            throw HansardError(.unavailable, "the connection store is away", retryAfter: .seconds(2))
        }
        if services.spool.isFull || services.spool.isFailing {
            let state = services.spool.isFull ? "is full" : "cannot be written"
            throw HansardError(.unavailable, "this node's spool \(state)", retryAfter: .seconds(30))
        }
        if let obstacle = services.usage.obstacle() {
            throw HansardError(.unavailable, "this node cannot meter: \(obstacle)", retryAfter: .seconds(30))
        }
        if let limit = services.limits.recent(tenant: caller.tenant.id, key: caller.key.id, now: .now) {
            var error = HansardError(
                .limited, limit.reason, retryAfter: .seconds(RateLimit(limit, now: now).reset ?? 1))
            error.limit = limit
            throw error
        }
    }

    private static func decoder(for source: AudioSource) throws(HansardError) -> AudioDecoder {
        guard case .raw(let name, let sampleRate, let channels) = source else { return AudioDecoder() }
        guard let encoding = AudioEncoding(rawValue: name) else {
            throw HansardError(.invalid, "unsupported encoding '\(name)'", field: "encoding")
        }
        do {
            return AudioDecoder(format: try AudioFormat(encoding: encoding, sampleRate: sampleRate, channels: channels))
        } catch {
            throw HansardError(.invalid, error.message, field: "encoding")
        }
    }

    /// Deepgram's headers of the 101, CORS for this handshake alone among them: browsers' SDKs read them.
    private static func headers(_ request: HTTPRequest, id: SessionID) -> [(String, String)] {
        var headers = [("dg-request-id", id.description)]
        if let origin = request.headers["origin"] {
            headers.append(("access-control-allow-origin", origin))
            headers.append(("access-control-allow-credentials", "true"))
            headers.append(("access-control-expose-headers", HandshakeRefusal.exposedHeaders))
        }
        return headers
    }
}

/// The answer to a handshake that is refused: Deepgram's error body and headers, since its SDKs read those.
struct HandshakeRefusal {
    static let exposedHeaders = "dg-model-name,dg-model-uuid,dg-char-count,dg-request-id,dg-error"

    let status: Int
    let response: HTTPResponse

    /// - Parameter now: tells how long a minute that is counted still lasts.
    init(_ error: HansardError, request: SessionID, now: Date) {
        let (status, code) = Self.status(error.code)
        let message = error.code == .internal ? "internal error" : error.message
        var text = JSONText()
        text.object { text in
            text.field("err_code", code)
            text.field("err_msg", message)
            text.field("request_id", request.description)
        }
        var headers: HTTPHeaders = [
            "Content-Type": "application/json", "dg-error": Self.headerSafe(message),
            "dg-request-id": request.description,
        ]
        if status == 429 || status == 503 { headers.add("Retry-After", error.retryAfterSeconds) }
        if let limit = error.limit { headers.add([RateLimit(limit, now: now)]) }
        if status == 401 { headers.add("WWW-Authenticate", "Token") }
        self.status = status
        response = HTTPResponse(status: status, headers: headers, body: text.bytes)
    }

    private static func status(_ code: HansardError.Code) -> (Int, String) {
        switch code {
        case .invalid: (400, "INVALID_QUERY_PARAMETER")
        case .unauthenticated: (401, "INVALID_AUTH")
        case .forbidden: (403, "INSUFFICIENT_PERMISSIONS")
        case .notFound: (404, "NOT_FOUND")
        case .conflict: (409, "CONFLICT")
        case .stale: (412, "PRECONDITION_FAILED")
        case .contradictory: (422, "UNPROCESSABLE")
        case .exhausted: (402, "ASR_PAYMENT_REQUIRED")
        case .limited: (429, "TOO_MANY_REQUESTS")
        case .unavailable: (503, "SERVICE_UNAVAILABLE")
        case .internal: (500, "INTERNAL_SERVER_ERROR")
        }
    }

    /// RFC 9110 section 5.5: visible ASCII and spaces only, so that a query cannot write headers.
    static func headerSafe(_ text: String) -> String {
        String(decoding: text.utf8.prefix(512).map { 0x20...0x7E ~= $0 ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}

extension Tenant {
    /// Throws `.forbidden` unless the tenant's sessions may be in that language: a tag allows its dialects too.
    fileprivate func requireLanguage(_ language: String) throws(HansardError) {
        guard let allowed = allowedLanguages else { return }
        let asked = language.lowercased()
        guard !allowed.contains(where: { asked == $0.lowercased() || asked.hasPrefix($0.lowercased() + "-") }) else {
            return
        }
        throw HansardError(
            .forbidden, "language '\(language)' is not allowed for this tenant: " + allowed.joined(separator: ", "),
            field: "language")
    }
}

extension RateLimit {
    /// A limit of sessions that is reached. New sessions are counted in UTC minutes.
    init(_ limit: LimitReached, now: Date) {
        switch limit.kind {
        case .concurrentSessions:
            self.init(policy: "concurrency", quota: limit.limit, unit: "concurrent-requests", remaining: 0)
        case .newSessionsPerMinute:
            let second = Int(now.timeIntervalSince1970.rounded(.down))
            self.init(
                policy: "new-sessions", quota: limit.limit, window: 60, remaining: 0,
                reset: 60 - (second % 60 + 60) % 60)
        }
    }
}
