import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants`: the operator's customers.
struct TenantsResource: Sendable {
    static let path = "/v1/admin/tenants"
    static let labelLimit = 50
    static let labelLength = 500
    static let listLimit = 100
    static let retentionDays = 1...36_500

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{tenant_id}"
        return [
            AdminRoute("POST", Self.path, .operators, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("PATCH", one, .operators, idempotency: .optional, patch),
            AdminRoute("DELETE", one, .operators, idempotency: .optional, delete),
            AdminRoute("POST", one + "/suspend", .operators, idempotency: .optional) { try await set(.suspended, $0) },
            AdminRoute("POST", one + "/resume", .operators, idempotency: .optional) { try await set(.active, $0) },
        ]
    }

    // MARK: Reading

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(call, list: "tenants", filters: ["name", "status"], secrets: admin.secrets)
        let name = try call.text("name")
        let status = try call.query("status").map { text throws(HansardError) in
            try JSONField(value: .string(text), pointer: "status").name(Tenant.Status.self)
        }
        let reach = call.caller.tenants?.map(\.rawValue)
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT * FROM tenants
                WHERE status <> 'deleted' AND (\(reach)::uuid[] IS NULL OR tenant_id = ANY(\(reach)::uuid[]))
                    AND (\(name)::text IS NULL OR name = \(name)) AND (\(status?.rawValue)::text IS NULL
                        OR status = \(status?.rawValue))
                    AND (\(page.after?.time)::timestamptz IS NULL
                        OR (created_at, tenant_id) < (\(page.after?.time), \(page.after?.id)::uuid))
                ORDER BY created_at DESC, tenant_id DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(Tenant.init(row:)), call, secret: admin.secrets[0]) { tenant in
            Cursor(time: tenant.createdAt, id: tenant.id.description)
        } write: {
            $0.write(into: &$1)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let id = try call.tenant
        let tenant = try await admin.read { try await $0.tenant(id) }
        return tenant.answer.response
    }

    // MARK: Changing

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "make others")
        try call.requireQuery(only: [])
        var body = try call.body()
        var tenant = Tenant(id: TenantID(UUID()), name: "", createdAt: call.now)
        tenant.name = try body.required("name", Self.name)
        try change(&tenant, &body)
        try body.end()
        let made = tenant
        return try await admin.transactions.run(call, "tenant.create") { connection in
            try await connection.execute(PostgresTenantStore.insertion(of: made))
            var answer = made.answer
            answer.status = 201
            answer.headers.append(("Location", "\(Self.path)/\(made.id)"))
            answer.after = made.audited
            return answer
        }
    }

    private func patch(_ call: AdminCall) async throws -> HTTPResponse {
        let (id, expected) = (try call.tenant, try call.expectedRevision())
        try call.requireQuery(only: [])
        return try await admin.transactions.run(call, "tenant.update") { connection in
            var body = try call.body()
            let before = try await connection.lockedTenant(id, expected: expected)
            var tenant = before
            if let name = try body.optional("name", Self.name) { tenant.name = name }
            if let status = try body.optional("status", { try $0.name(Tenant.Status.self) }) { tenant.status = status }
            try change(&tenant, &body)
            try body.end()
            return try await connection.store(tenant, after: before, at: call.now)
        }
    }

    private func set(_ status: Tenant.Status, _ call: AdminCall) async throws -> HTTPResponse {
        let (id, expected) = (try call.tenant, try call.expectedRevision())
        try call.requireQuery(only: [])
        try call.body().end()
        let action = status == .suspended ? "tenant.suspend" : "tenant.resume"
        return try await admin.transactions.run(call, action) { connection in
            let before = try await connection.lockedTenant(id, expected: expected)
            var tenant = before
            tenant.status = status
            return try await connection.store(tenant, after: before, at: call.now)
        }
    }

    /// Keys, name and labels go at once, so that nothing is admitted any more; transcripts are erased by whichever node gets
    /// to it.
    private func delete(_ call: AdminCall) async throws -> HTTPResponse {
        let (id, expected) = (try call.tenant, try call.expectedRevision())
        try call.requireQuery(only: [])
        try call.body().end()
        return try await admin.transactions.run(call, "tenant.delete") { connection in
            let before = try await connection.lockedTenant(id, expected: expected)
            try await connection.execute("DELETE FROM api_keys WHERE tenant_id = \(id.rawValue)")
            // What it used is billed still, and nothing after that.
            try await connection.execute(
                "SELECT end_assignments(\(id.rawValue), \(QuotaPeriod(call.now).description))")
            // Names are in the answers that are kept for repeated calls. They must be found still, or the tenant is made anew.
            try await connection.forgetAnswers(about: id)
            try await connection.execute(
                """
                UPDATE tenants SET status = 'deleted', name = '', metadata = '{}', revision = revision + 1,
                    updated_at = \(call.now)
                WHERE tenant_id = \(id.rawValue)
                """)
            try await connection.execute(
                "UPDATE transcript_expiry SET due_at = '-infinity' WHERE tenant_id = \(id.rawValue)")
            return AdminAnswer(status: 204, body: [], target: before.target, tenant: id, before: before.audited)
        }
    }

    // MARK: Fields

    private static func name(_ field: JSONField) throws(HansardError) -> String { try field.text(1...200) }

    private func change(_ tenant: inout Tenant, _ body: inout ObjectReader) throws {
        try body.nullable("default_engine", admin.engine) { tenant.defaultEngine = $0 }
        try body.nullable("fallback_engine", admin.engine) { tenant.fallbackEngine = $0 }
        try body.nullable(
            "allowed_engines",
            { field in try field.list(Self.listLimit, admin.engine)
            }
        ) { tenant.allowedEngines = $0 }
        try body.nullable(
            "allowed_languages",
            { field in try field.list(Self.listLimit) { try $0.text(2...35) }
            }
        ) { tenant.allowedLanguages = $0 }
        try body.nullable("on_lease_lost", { try $0.name() }) { tenant.onLeaseLost = $0 }
        try body.nullable("quota_unavailable", { try $0.name() }) {
            tenant.quotaUnavailable = $0
        }
        try body.nullable("admit_unclaimed", { try $0.name() }) {
            tenant.admitUnclaimed = $0
        }
        try body.nullable("retention_days", { try $0.integer(Self.retentionDays) }) { tenant.retentionDays = $0 }
        if let labels = try body.optional("metadata", { try $0.labels(Self.labelLimit, length: Self.labelLength) }) {
            tenant.metadata = labels
        }
        if let engine = tenant.defaultEngine, let allowed = tenant.allowedEngines, !allowed.contains(engine) {
            throw HansardError(
                .contradictory, "default_engine '\(engine)' is not among allowed_engines", field: "/default_engine")
        }
    }
}

extension Tenant {
    var target: AuditEntry.Target { .init("tenant", id.description) }

    /// The resource as it is now.
    var answer: AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0) }
        return AdminAnswer(
            headers: [("ETag", EntityTag.text(revision))], body: text.bytes, target: target, tenant: id)
    }

    /// What the audit log gets: it outlives the tenant, whose name and labels are to be forgotten then.
    var audited: [UInt8] {
        var text = JSONText()
        text.object { writePolicies(into: &$0) }
        return text.bytes
    }

    func write(into text: inout JSONText) {
        text.field("id", id.description)
        text.field("name", name)
        writePolicies(into: &text)
        text.object("metadata") { text in
            for (name, value) in metadata.sorted(by: { $0.key < $1.key }) { text.field(dynamic: name, value) }
        }
        text.field("created_at", Timestamp.format(createdAt))
        text.field("updated_at", Timestamp.format(updatedAt))
    }

    private func writePolicies(into text: inout JSONText) {
        text.field("status", status.rawValue)
        text.field("default_engine", orNull: defaultEngine)
        text.field("fallback_engine", orNull: fallbackEngine)
        text.field("allowed_engines", orNull: allowedEngines)
        text.field("allowed_languages", orNull: allowedLanguages)
        text.field("on_lease_lost", orNull: onLeaseLost?.rawValue)
        text.field("quota_unavailable", orNull: quotaUnavailable?.rawValue)
        text.field("admit_unclaimed", orNull: admitUnclaimed?.rawValue)
        text.field("retention_days", orNull: retentionDays)
    }
}

extension Connection {
    /// A tenant that has not been deleted.
    func tenant(_ id: TenantID) throws -> Tenant {
        let rows = try query("SELECT * FROM tenants WHERE tenant_id = \(id.rawValue) AND status <> 'deleted'")
        guard let tenant = try rows.first.map(Tenant.init(row:)) else { throw AdminCall.nothingHere }
        return tenant
    }

    /// A tenant that has not been deleted, which nobody else changes until the transaction ends: whoever changes it or what
    /// belongs to it comes here first, so that two changes at once are one after the other.
    ///
    /// - Parameter expected: the revision that the caller believes in; `.stale` is thrown if it is another.
    @discardableResult func lockedTenant(_ id: TenantID, expected: Int64? = nil) throws -> Tenant {
        try query("SELECT FROM tenants WHERE tenant_id = \(id.rawValue) FOR NO KEY UPDATE")
        let tenant = try tenant(id)
        try requireRevision(tenant.revision, expected)
        return tenant
    }

    /// Leaves of the answers that are kept for repeated calls no more than whose they were: those that are the tenant, or what
    /// belongs to it, and not those in which it is one of many, such as a month's or a token's.
    fileprivate func forgetAnswers(about id: TenantID) throws {
        try execute(
            """
            UPDATE kept_answers SET body = jsonb_build_object('id', \(id.rawValue), 'status', 'deleted')::text
            WHERE CASE WHEN position(\(id.description) IN body) > 0
                THEN \(id.description) IN (body::jsonb ->> 'id', body::jsonb ->> 'tenant_id') ELSE false END
            """)
    }

    /// Stores a changed tenant.
    fileprivate func store(_ changed: Tenant, after before: Tenant, at now: Date) throws -> AdminAnswer {
        var tenant = changed
        tenant.revision += 1
        tenant.updatedAt = now
        let metadata = String(decoding: try JSONEncoder().encode(tenant.metadata), as: UTF8.self)
        try execute(
            """
            UPDATE tenants SET name = \(tenant.name), status = \(tenant.status.rawValue),
                default_engine = \(tenant.defaultEngine), fallback_engine = \(tenant.fallbackEngine),
                allowed_engines = \(tenant.allowedEngines), allowed_languages = \(tenant.allowedLanguages),
                on_lease_lost = \(tenant.onLeaseLost?.rawValue), quota_unavailable = \(tenant.quotaUnavailable?.rawValue),
                admit_unclaimed = \(tenant.admitUnclaimed?.rawValue), retention_days = \(tenant.retentionDays),
                metadata = \(metadata)::jsonb, revision = \(tenant.revision), updated_at = \(now)
            WHERE tenant_id = \(tenant.id.rawValue)
            """)
        var answer = tenant.answer
        (answer.before, answer.after) = (before.audited, tenant.audited)
        return answer
    }

    /// Throws `.stale` if the caller's `If-Match` is not the present revision.
    func requireRevision(_ present: Int64, _ expected: Int64?) throws(HansardError) {
        guard let expected, expected != present else { return }
        throw HansardError(
            .stale,
            "it was changed by somebody else: get it again and look (If-Match was \(EntityTag.text(expected)), "
                + "it is \(EntityTag.text(present)))", field: "if-match")
    }
}
