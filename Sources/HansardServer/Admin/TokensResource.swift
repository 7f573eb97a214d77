import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tokens`: the operators' own credentials.
struct TokensResource: Sendable {
    static let path = "/v1/admin/tokens"
    static let tenantLimit = 1_000

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("POST", Self.path, .owners, idempotency: .required, create),
            AdminRoute("GET", Self.path, .owners, list),
            AdminRoute("POST", Self.path + "/{token_id}/revoke", .owners, idempotency: .optional, revoke),
        ]
    }

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see or make others")
        let page = try PageRequest(call, list: "tokens", secrets: admin.secrets)
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT * FROM admin_tokens
                WHERE \(page.after?.time)::timestamptz IS NULL
                    OR (created_at, token_id) < (\(page.after?.time), \(page.after?.id))
                ORDER BY created_at DESC, token_id DESC LIMIT \(page.rows)
                """)
        }
        let found = try rows.map { (try AdminToken(row: $0), try $0.value("revoked_at", as: Date?.self)) }
        return page.response(found, call, secret: admin.secrets[0]) { token, _ in
            Cursor(time: token.createdAt, id: token.id)
        } write: { found, text in
            found.0.write(into: &text, revokedAt: found.1)
        }
    }

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see or make others")
        try call.requireQuery(only: [])
        var body = try call.body()
        let name = try body.required("name") { try $0.text(1...200) }
        let role = try body.required("role") { try $0.name(AdminRole.self) }
        let secret = SecretFormat.make(.adminToken, random: admin.randomBytes(SecretFormat.randomBytes))
        let display = SecretFormat.display(secret, kind: .adminToken)
        var token = AdminToken(
            id: SecretFormat.makeName(prefix: "adm_", random: admin.randomBytes(SecretFormat.nameBytes)), name: name,
            role: role, createdAt: call.now)
        (token.displayPrefix, token.displaySuffix) = (display.prefix, display.suffix)
        try body.nullable("expires_at", { try $0.time(after: call.now) }) { token.expiresAt = $0 }
        try body.nullable(
            "tenants",
            { field in
                try field.list(Self.tenantLimit) { element in
                    guard case .string(let text) = element.value, let id = UUID(uuidString: text) else {
                        throw element.wrong("a tenant's id")
                    }
                    return TenantID(id)
                }
            }
        ) { token.tenants = $0 }
        try body.end()
        let made = token
        return try await admin.transactions.run(call, "token.create") { connection in
            for tenant in made.tenants ?? [] {
                guard
                    try await !connection.query(
                        "SELECT FROM tenants WHERE tenant_id = \(tenant.rawValue) AND status <> 'deleted'"
                    ).isEmpty
                else {
                    throw HansardError(.contradictory, "there is no tenant '\(tenant)'", field: "/tenants")
                }
            }
            try await connection.execute(
                PostgresTenantStore.insertion(of: made, digest: Authenticator.digest(of: secret)))
            return made.answerWithSecret(secret)
        }
    }

    private func revoke(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "see or make others")
        try call.requireQuery(only: [])
        try call.body().end()
        let id = try call.segment("token_id")
        return try await admin.transactions.run(call, "token.revoke") { connection in
            // First, since it waits for whoever revokes another: what they leave is looked at afterwards.
            let rows = try await connection.query(
                """
                UPDATE admin_tokens SET revoked_at = coalesce(revoked_at, \(call.now)) WHERE token_id = \(id)
                RETURNING *
                """)
            // The last owner could not be replaced without the command line.
            let others = try await connection.query(
                """
                SELECT FROM admin_tokens WHERE role = 'owner' AND token_id <> \(id) AND revoked_at IS NULL
                    AND tenants IS NULL AND (expires_at IS NULL OR expires_at > \(call.now)) LIMIT 1
                """)
            guard let row = rows.first else { throw AdminCall.nothingHere }
            let token = try AdminToken(row: row)
            if token.role == .owner, others.isEmpty {
                throw HansardError(.conflict, "this is the last owner's token: make another owner first")
            }
            var text = JSONText()
            let revokedAt = try row.value("revoked_at", as: Date?.self)
            text.object { token.write(into: &$0, revokedAt: revokedAt) }
            return AdminAnswer(body: text.bytes, target: .init("token", token.id), after: text.bytes)
        }
    }
}

extension AdminToken {
    fileprivate func answerWithSecret(_ secret: String) -> AdminAnswer {
        AdminAnswer(made: .init("token", id), secret: ("token", secret)) { write(into: &$0, revokedAt: nil) }
    }

    fileprivate func write(into text: inout JSONText, revokedAt: Date?) {
        text.field("id", id)
        text.field("name", name)
        text.field("role", role.rawValue)
        text.field("tenants", orNull: tenants?.map(\.description))
        text.field("prefix", displayPrefix)
        text.field("suffix", displaySuffix)
        text.field("expires_at", orNull: expiresAt.map(Timestamp.format))
        text.field("revoked_at", orNull: revokedAt.map(Timestamp.format))
        text.field("created_at", Timestamp.format(createdAt))
    }
}
