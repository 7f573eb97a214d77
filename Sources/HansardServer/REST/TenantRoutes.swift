import FoundationEssentials
import Hansard
import Web

/// The tenant's own plane: what a key may do besides listening.
struct TenantRoutes: Sendable {
    static let transcriptsPath = "/v1/transcripts"
    static let defaultGrantSeconds = 30

    let authenticator: Authenticator
    let transcripts: any TranscriptStore

    var routes: [Route] {
        [
            Route("POST", "/v1/auth/grant", grant),
            Route("GET", ListenAcceptor.path, upgrade),
            Route("GET", Self.transcriptsPath, list),
            Route("GET", Self.transcriptsPath + "/{session_id}", read),
        ]
    }

    /// The WebSocket's address without a WebSocket handshake (RFC 9110 section 15.5.22).
    private func upgrade(_ match: Route.Match) async throws -> HTTPResponse {
        let error = HansardError(.invalid, "\(ListenAcceptor.path) is a WebSocket: connect with ws:// or wss://")
        var response = Problem(error, status: 426, title: "Upgrade required", code: "upgrade_required").response(
            match.id)
        response.headers.add("Upgrade", "websocket")
        return response
    }

    /// Makes a short-lived token for browsers. Deepgram's form: `{"ttl_seconds": 30}`, body optional.
    private func grant(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.listen)
        // Else one short-lived token would live for as long as its holder likes.
        guard !caller.isToken else {
            throw HansardError(.forbidden, "an access token cannot make another: use the API key")
        }
        let seconds = try Self.grantSeconds(match.request.body)
        let token = try authenticator.grant(to: caller, seconds: seconds, now: .now)
        return .json { text in
            text.field("access_token", token)
            text.field("expires_in", seconds)
        }
    }

    private static func grantSeconds(_ body: [UInt8]) throws -> Int {
        // Deepgram's SDKs may send more than this, so that nobody asks for the end.
        var fields = try ObjectReader(body)
        var seconds = defaultGrantSeconds
        try fields.nullable("ttl_seconds", { try $0.seconds(1...AccessToken.maximumSeconds) }) {
            seconds = $0 ?? defaultGrantSeconds
        }
        return seconds
    }

    private func list(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.transcriptsRead)
        try match.requireQuery(only: PageRequest.parameters)
        let limit = try match.number("limit", PageRequest.sizes) ?? PageRequest.defaultSize
        let after = try match.value("after").map(Self.cursor)
        let page = try await transcripts.list(tenant: caller.tenant.id, before: after, limit: limit)
        let next = try await cursor(after: page, limit: limit, tenant: caller.tenant.id)
        var response = HTTPResponse.json { text in
            text.array("data") { text in
                for entry in page {
                    text.object { entry.write(into: &$0, path: Self.transcriptsPath) }
                }
            }
            text.field("has_more", next != nil)
            if let next { text.field("next_cursor", next.description) }
        }
        if let next { response.headers.add("Link", "</v1/transcripts?after=\(next)&limit=\(limit)>; rel=\"next\"") }
        return response
    }

    /// The last entry of a full page, if another follows it.
    private func cursor(after page: [TranscriptEntry], limit: Int, tenant: TenantID) async throws -> SessionID? {
        guard page.count == limit, let last = page.last?.session else { return nil }
        return try await transcripts.list(tenant: tenant, before: last, limit: 1).isEmpty ? nil : last
    }

    private func read(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.transcriptsRead)
        try match.requireQuery(only: ["format"])
        let format = try TranscriptAnswers.format(match)
        guard let id = match.segments["session_id"].flatMap(SessionID.init),
            let transcript = try await transcripts.get(id, tenant: caller.tenant.id)
        else { throw HansardError(.notFound, "there is no such transcript") }
        return try TranscriptAnswers.document(transcript, format)
    }

    private static func cursor(_ text: String) throws(HansardError) -> SessionID {
        guard let cursor = SessionID(text) else {
            throw HansardError(.invalid, "after must be a next_cursor of an earlier answer", field: "after")
        }
        return cursor
    }
}
