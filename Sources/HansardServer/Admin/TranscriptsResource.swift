import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/transcripts`: what tenants' clients said. Whoever reads it is on record, as is whoever deletes it; who handles
/// invoices has no business here.
struct TranscriptsResource: Sendable {
    static let path = "/v1/admin/transcripts"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{session_id}"
        return [
            AdminRoute("GET", Self.path, .watchers, list),
            AdminRoute("GET", one, .watchers, read),
            AdminRoute("DELETE", one, .operators, idempotency: .optional, delete),
            AdminRoute("GET", one + "/download", .watchers, download),
        ]
    }

    /// One tenant's: the store knows transcripts by tenant.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(call, list: "transcripts", filters: ["tenant_id"], secrets: admin.secrets)
        guard let tenant = try call.tenantParameter() else {
            throw HansardError(.invalid, "tenant_id is missing: transcripts are listed by tenant", field: "tenant_id")
        }
        _ = try await admin.read { try await $0.tenant(tenant) }
        let before = page.after.flatMap { SessionID($0.id) }
        var entries = try await admin.transcripts.list(tenant: tenant, before: before, limit: page.limit)
        // The store gives at most a page, so that whether there are others is a question of its own.
        if entries.count == page.limit, let last = entries.last {
            entries += try await admin.transcripts.list(tenant: tenant, before: last.session, limit: 1)
        }
        return page.response(entries, call, secret: admin.secrets[0]) { entry in
            Cursor(time: entry.startedAt, id: entry.session.description)
        } write: {
            $0.write(into: &$1, path: Self.path)
        }
    }

    private func read(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: ["format"])
        let format = try TranscriptAnswers.format(call.match)
        let transcript = try await find(call)
        let answer = try TranscriptAnswers.document(transcript, format)
        try await record(call, "transcript.read", transcript)
        return answer
    }

    private func download(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: ["valid_seconds"])
        let seconds = try TranscriptAnswers.seconds(call.match)
        let transcript = try await find(call)
        let answer = try await TranscriptAnswers.download(
            transcript.session, of: transcript.tenant, from: admin.transcripts, seconds: seconds, now: call.now)
        try await record(call, "transcript.download", transcript)
        return answer
    }

    private func delete(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        try call.body().end()
        let id = try call.session
        return try await admin.transactions.runElsewhere(call, "transcript.delete") {
            // Reading it asks the store whether it is there at all, before the log says that it is erased.
            let transcript = try await find(call)
            return (transcript.tenant, .init("transcript", transcript.session.description))
        } change: { tenant in
            try await admin.transcripts.delete(id, tenant: tenant)
        }
    }

    /// Before the caller gets what it asked for: nobody has read what the log does not know of.
    private func record(_ call: AdminCall, _ action: String, _ transcript: Transcript) async throws {
        try await PostgresAuditLog(pool: admin.pool).append(
            AuditEntry(
                action, by: call.caller.actor, tenant: transcript.tenant,
                target: .init("transcript", transcript.session.description), call.match, at: call.now))
    }

    /// The transcript in the path.
    ///
    /// - Throws: `.notFound` if there is none, if the caller may not know of it, or if its tenant was deleted.
    private func find(_ call: AdminCall) async throws -> Transcript {
        let id = try call.session
        guard let tenant = try await tenant(of: id), call.caller.mayReach(tenant) else { throw AdminCall.nothingHere }
        _ = try await admin.read { try await $0.tenant(tenant) }
        guard let transcript = try await admin.transcripts.get(id, tenant: tenant) else { throw AdminCall.nothingHere }
        return transcript
    }

    /// Whose session it was: what must be known to find a transcript.
    private func tenant(of session: SessionID) async throws -> TenantID? {
        if let row = try await admin.history.past(session, .tenants(nil)) { return row.tenant }
        // Its usage row follows its end by some moments.
        return try await admin.connections.status(of: session)?.tenant
    }
}
