import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants/{tenant_id}/quotas`: what a tenant may use, and beside each limit what it uses now.
struct QuotasResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/quotas"
    static let most = 0...1_000_000_000

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("GET", Self.path, .readers, get),
            AdminRoute("PUT", Self.path, .operators, idempotency: .optional, put),
        ]
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let id = try call.tenant
        let tenant = try await admin.read { try await $0.tenant(id) }
        let use = try await admin.use(of: tenant, at: call.now)
        var text = JSONText()
        text.object { text in
            tenant.quotas.write(into: &text)
            text.object("use") { use.write(into: &$0) }
        }
        return HTTPResponse(
            status: 200, headers: HTTPHeaders(json: [("ETag", EntityTag.text(tenant.revision))]), body: text.bytes)
    }

    /// All limits at once: what is not in the body is no limit.
    private func put(_ call: AdminCall) async throws -> HTTPResponse {
        let (id, expected) = (try call.tenant, try call.expectedRevision())
        try call.requireQuery(only: [])
        // An empty object takes all limits away; nothing at all is more likely a mistake.
        guard !call.match.request.body.isEmpty else {
            throw HansardError(.invalid, "the body is missing: send all limits as a JSON object", field: "")
        }
        var body = try call.body()
        var quotas = QuotaLimits()
        try Self.change(&quotas, &body)
        if let policy = try body.optional("policy", { try $0.name(QuotaPolicy.self) }) {
            quotas.policy = policy
        }
        try body.end()
        let wanted = quotas
        return try await admin.transactions.run(call, "quotas.set") { connection in
            let before = try await connection.lockedTenant(id, expected: expected)
            var quotas = wanted
            quotas.version = before.quotas.version + 1
            try await connection.execute(
                """
                UPDATE tenants SET max_concurrent_sessions = \(quotas.maxConcurrentSessions),
                    max_new_sessions_per_minute = \(quotas.maxNewSessionsPerMinute),
                    max_minutes_per_month = \(quotas.maxMinutesPerMonth),
                    max_seconds_per_session = \(quotas.maxSecondsPerSession), quota_policy = \(quotas.policy.rawValue),
                    limit_version = \(quotas.version), revision = revision + 1, updated_at = \(call.now)
                WHERE tenant_id = \(id.rawValue)
                """)
            return AdminAnswer(
                headers: [("ETag", EntityTag.text(before.revision + 1))], body: quotas.document,
                target: .init("quotas", id.description), tenant: id, before: before.quotas.document,
                after: quotas.document)
        }
    }

    /// The limits that tenants and keys both have.
    static func change(_ quotas: inout QuotaLimits, _ body: inout ObjectReader) throws {
        func limit(_ field: JSONField) throws(HansardError) -> Int { try field.integer(Self.most) }
        try body.nullable("max_concurrent_sessions", limit) { quotas.maxConcurrentSessions = $0 }
        try body.nullable("max_new_sessions_per_minute", limit) { quotas.maxNewSessionsPerMinute = $0 }
        try body.nullable("max_minutes_per_month", limit) { quotas.maxMinutesPerMonth = $0 }
        try body.nullable("max_seconds_per_session", limit) { quotas.maxSecondsPerSession = $0 }
    }
}

/// What a tenant uses of its limits at a moment. nil is what is not counted, because it is not limited.
struct LiveUse: Sendable {
    var sessions: Int
    /// Sessions begun in this UTC minute.
    var newSessions: Int?
    /// Audio given out to nodes for this month, in milliseconds: what was used, and what nodes hold for the next seconds.
    var monthMilliseconds: Int64?
    /// What of that is beyond the month's limit: under the policy `soft`, or since the limit was lowered.
    var overageMilliseconds: Int64?

    func write(into text: inout JSONText) {
        text.field("concurrent_sessions", sessions)
        text.field("new_sessions_this_minute", orNull: newSessions)
        text.field("minutes_this_month", orNull: monthMilliseconds.map { Int($0 / 60_000) })
        text.field("overage_minutes_this_month", orNull: overageMilliseconds.map { Int($0 / 60_000) })
    }
}

extension QuotaLimits {
    var document: [UInt8] {
        var text = JSONText()
        text.object { write(into: &$0) }
        return text.bytes
    }

    func write(into text: inout JSONText) {
        writeLimits(into: &text)
        text.field("policy", policy.rawValue)
    }

    func writeLimits(into text: inout JSONText) {
        text.field("max_concurrent_sessions", orNull: maxConcurrentSessions)
        text.field("max_new_sessions_per_minute", orNull: maxNewSessionsPerMinute)
        text.field("max_minutes_per_month", orNull: maxMinutesPerMonth)
        text.field("max_seconds_per_session", orNull: maxSecondsPerSession)
    }
}
