import Crypto
import EventLoops
import FoundationEssentials
import Hansard
import Logging
import Postgres
import Web

/// What the resources of the admin plane share.
struct AdminServices: Sendable {
    let access: AccessDirectory
    let pool: ConnectionPool
    let connections: any ConnectionStore & GrantStore
    let transcripts: any TranscriptStore
    /// Where the ends of the audit log's chains are kept.
    let auditHeads: any AuditHeadStore
    /// The engines that this server has, by name.
    let engines: [String]
    /// MAC keys of cursors: the first signs, all are accepted.
    let secrets: [[UInt8]]
    let logger: Logger
    let randomBytes: @Sendable (Int) -> [UInt8]
    /// How long after its end a month is closed at the earliest.
    var closeGrace: Duration = .seconds(3_600)
    /// What stands on invoices as who made them out.
    var invoiceIssuer = Settings().invoiceIssuer

    var reader: BillingReader { BillingReader(issuer: invoiceIssuer) }
    var history: any SessionHistory { PostgresSessionHistory(pool: pool) }
    var usage: UsageAnswers { UsageAnswers(reports: PostgresUsageReports(pool: pool), secrets: secrets) }
    var transactions: AdminTransactions { AdminTransactions(pool: pool, access: access) }

    /// Reads at one moment, whatever belongs to any tenant.
    func read<Value: Sendable>(_ body: @Sendable (Connection) async throws -> Value) async throws -> Value {
        try await pool.asOperator(isolation: .repeatableReadOnly, body)
    }

    /// The name of an engine that this server has.
    ///
    /// - Throws: `.invalid` if it is none of any server's, `.contradictory` if it is not one of this server's.
    func engine(_ field: JSONField) throws(HansardError) -> String {
        let name = try field.name(EngineChoice.self).rawValue
        guard engines.contains(name) else {
            let known = engines.sorted().joined(separator: ", ")
            throw field.impossible("this server does not have the engine '\(name)'; it has \(known)")
        }
        return name
    }

    /// A new key with its secret, which is not stored.
    func newKey(of tenant: TenantID, name: String, isTest: Bool, at now: Date) -> (secret: String, key: APIKey) {
        let kind: SecretFormat.Kind = isTest ? .testKey : .liveKey
        let secret = SecretFormat.make(kind, random: randomBytes(SecretFormat.randomBytes))
        let display = SecretFormat.display(secret, kind: kind)
        let id = KeyID(SecretFormat.makeName(prefix: "key_", random: randomBytes(SecretFormat.nameBytes)))
        return (
            secret,
            APIKey(
                id: id, tenant: tenant, name: name, displayPrefix: display.prefix, displaySuffix: display.suffix,
                createdAt: now)
        )
    }

    /// What a tenant uses now.
    func use(of tenant: Tenant, at now: Date) async throws -> LiveUse {
        let owner = QuotaOwner.tenant(tenant.id)
        var use = LiveUse(sessions: try await connections.leases(of: tenant.id).count)
        if tenant.quotas.maxNewSessionsPerMinute != nil {
            use.newSessions = try await connections.newSessions(of: owner, inMinuteOf: now)
        }
        if let limit = tenant.quotas.minutes.milliseconds,
            let granted = try await connections.use(of: owner, in: QuotaPeriod(now))?.granted
        {
            use.monthMilliseconds = granted
            use.overageMilliseconds = max(0, granted - limit)
        }
        return use
    }
}

/// The operators' side of the API: recognises tokens, checks roles, and leaves the rest to the resources.
struct AdminPlane: Sendable {
    let services: AdminServices
    /// Who makes every call, where that is known already: somebody at the command line. nil asks for a token.
    var identity: AdminIdentity?

    /// Every route with the roles that may call it.
    var adminRoutes: [AdminRoute] {
        TenantsResource(admin: services).routes + KeysResource(admin: services).routes
            + QuotasResource(admin: services).routes + TokensResource(admin: services).routes
            + AuditResource(admin: services).routes + NodesResource(admin: services).routes
            + SessionsResource(admin: services).routes + TranscriptsResource(admin: services).routes
            + PlansResource(admin: services).routes + PlanVersionsResource(admin: services).routes
            + PlanAssignmentsResource(admin: services).routes + PeriodsResource(admin: services).routes
            + InvoicesResource(admin: services).routes + BillingReportResource(admin: services).routes
            + CreditsResource(admin: services).routes
            + UsageSourcesResource(admin: services).routes + UsageResource(admin: services).routes
    }

    /// The same for the router.
    var routes: [Route] {
        adminRoutes.map { route in
            Route(route.method, route.path) { match in try await answer(match, route) }
        }
    }

    private func answer(_ match: Route.Match, _ route: AdminRoute) async throws -> HTTPResponse {
        let now = Date.now
        let caller = if let identity { identity } else { AdminIdentity.token(try token(match, now: now)) }
        let call = AdminCall(match: match, route: route, caller: caller, now: now)
        guard route.roles.contains(call.caller.role) else {
            try await services.transactions.denied(call)
            throw HansardError(.forbidden, "the role '\(call.caller.role.rawValue)' may not do this")
        }
        // Before anything else that can be wrong: whoever forgot it learns that first, and a repeated call has its answer
        // whatever has become meanwhile of what it was about.
        if let key = try IdempotencyKey(call), let kept = try await services.transactions.kept(key) { return kept }
        if let type = match.request.mediaType, type != "application/json", !match.request.body.isEmpty {
            let error = HansardError(
                .invalid, "the body must be application/json, not '\(type.prefix(64))'", field: "content-type")
            return Problem(error, status: 415, title: "Unsupported media type", code: "unsupported_media_type")
                .response(call.id)
        }
        do {
            return try await route.answer(call)
        } catch let error as HansardError where error.code == .forbidden || call.isOutOfReach {
            // The route is for the role, and the tenants are not those of the token.
            try await services.transactions.denied(call)
            throw error
        }
    }

    private func token(_ match: Route.Match, now: Date) throws(HansardError) -> AdminToken {
        let credential: Authenticator.Credential
        guard let header = match.request.headers["authorization"] else {
            throw HansardError.unauthenticated(
                .missing, "no credentials: send 'Authorization: Bearer <admin token>'")
        }
        credential = try Authenticator.Credential(authorization: header, subprotocols: nil)
        let snapshot = try services.access.trusted()
        // The checksum refuses junk before any hashing.
        guard SecretFormat.kind(of: credential.secret) == .adminToken else {
            throw HansardError.unauthenticated(.malformed, "the admin token is malformed; tokens begin with hsa_")
        }
        guard let token = snapshot.adminTokens[Authenticator.digest(of: credential.secret)] else {
            throw HansardError.unauthenticated(.unknown, "the admin token is unknown or revoked")
        }
        if let expiry = token.expiresAt, expiry <= now {
            throw HansardError.unauthenticated(.expired, "the admin token has expired")
        }
        return token
    }
}

extension HTTPRequest {
    /// What the body is said to be, without parameters; nil if nothing is said.
    fileprivate var mediaType: String? {
        headers["content-type"]?.split(separator: ";").first.map { $0.trimming(" ").lowercased() }
    }
}
