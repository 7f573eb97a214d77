import FoundationEssentials
import Hansard
import Web

/// The tenant's own plane: its sessions, and what becomes of its transcripts. Whatever is changed is in the audit log.
struct TenantSessionRoutes: Sendable {
    let authenticator: Authenticator
    let connections: any ConnectionStore
    let history: any SessionHistory
    let transcripts: any TranscriptStore
    let auditLog: any AuditLog
    /// MAC keys of cursors: the first signs, all are accepted.
    let secrets: [[UInt8]]

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
        do {
            try caller.require(scope)
        } catch {
            try await auditLog.append(
                AuditEntry(
                    action, by: .apiKey(caller.key.id), tenant: caller.tenant.id,
                    target: .init("session", match.segments["session_id"] ?? ""), match, at: .now, outcome: .denied))
            throw error
        }
        return caller
    }

    private func list(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.sessionsRead)
        try match.requireQuery(only: PageRequest.parameters.union(SessionFilter.parameters))
        let page = try PageRequest(match, list: "own sessions", secrets: secrets)
        return try await sessions(of: caller).list(match, page, secret: secrets[0])
    }

    private func get(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.sessionsRead)
        try match.requireQuery(only: [])
        return try await sessions(of: caller).get(match.session)
    }

    private func terminate(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try await caller(match, .sessionsTerminate, "session.terminate")
        try match.requireQuery(only: [])
        try ObjectReader(match.request.body).end()
        let (tenant, id) = (caller.tenant.id, try match.session)
        let lease = try await sessions(of: caller).live(id)
        try await auditLog.append(
            AuditEntry(
                "session.terminate", by: .apiKey(caller.key.id), tenant: tenant,
                target: .init("session", id.description), match, at: .now),
            commanding: .terminate(id), of: tenant)
        return .json(202) { lease.write(into: &$0) }
    }

    private func sessions(of caller: Caller) -> ReachableSessions {
        ReachableSessions(
            reach: .own(caller.tenant.id), connections: connections, history: history,
            transcripts: TenantRoutes.transcriptsPath, absence: Self.nothingHere)
    }

    // MARK: Transcripts

    private func download(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try authenticator.caller(of: match)
        try caller.require(.transcriptsRead)
        try match.requireQuery(only: ["valid_seconds"])
        let seconds = try TranscriptAnswers.seconds(match)
        let id = try match.session
        guard try await transcripts.get(id, tenant: caller.tenant.id) != nil else { throw Self.noTranscript }
        return try await TranscriptAnswers.download(
            id, of: caller.tenant.id, from: transcripts, seconds: seconds, now: .now)
    }

    private func delete(_ match: Route.Match) async throws -> HTTPResponse {
        let caller = try await caller(match, .transcriptsDelete, "transcript.delete")
        try match.requireQuery(only: [])
        let (tenant, id) = (caller.tenant.id, try match.session)
        guard try await transcripts.get(id, tenant: tenant) != nil else { throw Self.noTranscript }
        let entry = AuditEntry(
            "transcript.delete", by: .apiKey(caller.key.id), tenant: tenant,
            target: .init("transcript", id.description), match, at: .now)
        try await auditLog.append(entry)
        try await auditLog.noting(entry) { try await transcripts.delete(id, tenant: tenant) }
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
    ///
    /// - Throws: what `caller(_:now:)` throws, and `.forbidden` if the key is not accepted from there.
    func caller(of match: Route.Match) throws(HansardError) -> Caller {
        let credential = try Credential(authorization: match.request.headers["authorization"], subprotocols: nil)
        let caller = try caller(credential.secret, now: .now)
        try caller.requireAddress(match.request.peer.address)
        return caller
    }
}
