import FoundationEssentials
import Hansard
import Web

/// The tenant's own plane: its sessions, and what becomes of its transcripts. Whatever is changed is in the audit log.
struct TenantSessionRoutes: Sendable {
    /// How long a download address may be good, in seconds: up to a day.
    static let downloadSeconds = 1...86_400
    static let defaultDownloadSeconds = 900

    let authenticator: Authenticator
    let connections: any ConnectionStore
    let transcripts: any TranscriptStore
    let auditLog: any AuditLog

    var routes: [Route] {
        [
            Route("GET", "/v1/sessions", list),
            Route("GET", "/v1/sessions/{session_id}", get),
            Route("POST", "/v1/sessions/{session_id}/terminate", terminate),
            Route("GET", "/v1/transcripts/{session_id}/download", download),
            Route("DELETE", "/v1/transcripts/{session_id}", delete),
        ]
    }

    private static let nothingHere = HansardError(.notFound, "there is no such session")

    private func caller(_ match: Route.Match, _ scope: Scope, _ action: String) async throws -> Caller {
        let caller = try authenticator.caller(of: match)
        guard caller.scopes.contains(scope) else {
            try await auditLog.append(
                AuditEntry(
                    action, by: .apiKey(caller.key.id), tenant: caller.tenant.id,
                    target: .init("session", match.segments["session_id"] ?? ""), match, at: .now, outcome: .denied))
            try caller.require(scope)
            return caller
        }
        return caller
    }

    private func list(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.sessionsRead)
        let leases = try await connections.leases(of: caller.tenant.id)
        return .json { text in
            text.array("data") { text in
                for lease in leases { text.object { lease.write(into: &$0) } }
            }
            text.field("has_more", false)
            text.field("next_cursor", orNull: String?.none)
        }
    }

    private func get(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.sessionsRead)
        let id = try match.session
        if let status = try await connections.status(of: id), status.tenant == caller.tenant.id {
            return .json { status.write(into: &$0) }
        }
        guard let lease = try await lease(id, of: caller.tenant.id) else { throw Self.nothingHere }
        return .json { lease.write(into: &$0) }
    }

    private func terminate(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try await caller(match, .sessionsTerminate, "session.terminate")
        let (tenant, id) = (caller.tenant.id, try match.session)
        guard let lease = try await lease(id, of: tenant) else {
            if let status = try await connections.status(of: id), status.tenant == tenant {
                throw HansardError(.conflict, "the session has ended: it is \(status.state.rawValue)")
            }
            throw Self.nothingHere
        }
        try await auditLog.append(
            AuditEntry(
                "session.terminate", by: .apiKey(caller.key.id), tenant: tenant,
                target: .init("session", id.description), match, at: .now),
            commanding: .terminate(id), of: tenant)
        return .json(202) { lease.write(into: &$0) }
    }

    private func lease(_ id: SessionID, of tenant: TenantID) async throws -> Lease? {
        try await connections.leases(of: tenant).first { $0.session == id }
    }

    // MARK: Transcripts

    private func download(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.transcriptsRead)
        let seconds = try Self.seconds(match.query("valid_seconds").first)
        let id = try match.session
        guard try await transcripts.get(id, tenant: caller.tenant.id) != nil else { throw Self.noTranscript }
        let url = try await transcripts.downloadURL(of: id, tenant: caller.tenant.id, validFor: .seconds(seconds))
        guard let url else {
            throw HansardError(
                .conflict, "this server keeps transcripts where they have no address of their own; read them here")
        }
        let end = Date.now.addingTimeInterval(Double(seconds))
        return .json { text in
            text.field("url", url)
            text.field("expires_at", Timestamp.format(end))
        }
    }

    private static func seconds(_ text: String?) throws(HansardError) -> Int {
        guard let text else { return defaultDownloadSeconds }
        guard let seconds = Int(plain: text), downloadSeconds.contains(seconds) else {
            throw HansardError(
                .invalid, "valid_seconds must be a whole number from 1 to \(downloadSeconds.upperBound)",
                field: "valid_seconds")
        }
        return seconds
    }

    private func delete(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try await caller(match, .transcriptsDelete, "transcript.delete")
        let (tenant, id) = (caller.tenant.id, try match.session)
        guard try await transcripts.get(id, tenant: tenant) != nil else { throw Self.noTranscript }
        // Before it is done: what was erased without a word could not be explained to anybody.
        try await auditLog.append(
            AuditEntry(
                "transcript.delete", by: .apiKey(caller.key.id), tenant: tenant,
                target: .init("transcript", id.description), match, at: .now))
        try await transcripts.delete(id, tenant: tenant)
        return HTTPResponse(status: 204)
    }

    private static let noTranscript = HansardError(.notFound, "there is no such transcript")
}

extension Route.Match {
    /// The session in the path.
    var session: SessionID {
        get throws(HansardError) {
            guard let id = segments["session_id"].flatMap(SessionID.init) else {
                throw HansardError(.notFound, "there is no such session")
            }
            return id
        }
    }
}

extension Authenticator {
    /// Whose key or access token a request presents.
    func caller(of match: Route.Match) throws(HansardError) -> Caller {
        let credential = try Credential(authorization: match.request.headers["authorization"], subprotocols: nil)
        return try caller(credential.secret, now: .now)
    }
}
