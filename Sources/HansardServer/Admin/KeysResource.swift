import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants/{tenant_id}/keys`: a tenant's API keys. The secret is shown once, when the key is made.
struct KeysResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/keys"
    static let tagLimit = 32
    static let tagLength = 1...256
    static let rangeLimit = 100
    /// How long an old key may go on beside the one that replaces it, in seconds: up to 30 days.
    static let overlapSeconds = 0...2_592_000
    static let defaultOverlapSeconds = 86_400

    let admin: AdminServices

    /// What a new key is for, which its secret shows.
    enum Mode: String, CaseIterable { case live, test }

    var routes: [AdminRoute] {
        let one = Self.path + "/{key_id}"
        return [
            AdminRoute("POST", Self.path, .operators, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("PATCH", one, .operators, idempotency: .optional, patch),
            AdminRoute("POST", one + "/rotate", .operators, idempotency: .required, rotate),
            AdminRoute("POST", one + "/disable", .operators, idempotency: .optional) {
                try await set("key.disable", $0) { key, _ in key.isEnabled = false }
            },
            AdminRoute("POST", one + "/enable", .operators, idempotency: .optional) {
                try await set("key.enable", $0) { key, _ in
                    guard key.revokedAt == nil else {
                        throw HansardError(.conflict, "a revoked key is not enabled again: make another")
                    }
                    key.isEnabled = true
                }
            },
            AdminRoute("POST", one + "/revoke", .operators, idempotency: .optional) {
                try await set("key.revoke", $0) { key, now in
                    key.isEnabled = false
                    key.revokedAt = key.revokedAt ?? now
                }
            },
        ]
    }

    // MARK: Reading

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let id = try call.tenant
        let page = try PageRequest(call, list: "keys \(id)", secrets: admin.secrets)
        let rows = try await admin.read { connection in
            _ = try await connection.tenant(id)
            return try await connection.query(
                """
                SELECT * FROM api_keys WHERE tenant_id = \(id.rawValue)
                    AND (\(page.after?.time)::timestamptz IS NULL
                        OR (created_at, key_id) < (\(page.after?.time), \(page.after?.id)))
                ORDER BY created_at DESC, key_id DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(APIKey.init(row:)), call, secret: admin.secrets[0]) { key in
            Cursor(time: key.createdAt, id: key.id.rawValue)
        } write: {
            $0.write(into: &$1, now: call.now)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let (tenant, id) = (try call.tenant, try call.key)
        return try await admin.read { try await $0.key(id, of: tenant) }.answer(now: call.now).response
    }

    // MARK: Changing

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        try call.requireQuery(only: [])
        var body = try call.body()
        let name = try body.required("name", Self.name)
        let mode = try body.optional("mode") { try $0.name(Mode.self) } ?? .live
        let (secret, fresh) = admin.newKey(of: tenant, name: name, isTest: mode == .test, at: call.now)
        var key = fresh
        try Self.change(&key, &body, now: call.now)
        try body.end()
        let made = key
        return try await admin.transactions.run(call, "key.create") { connection in
            try await connection.lockedTenant(tenant)
            try await connection.execute(
                PostgresTenantStore.insertion(of: made, digest: Authenticator.digest(of: secret)))
            return made.answerWithSecret(secret, now: call.now)
        }
    }

    /// The new key has everything of the old one, its expiry too; the old one ends when the overlap does.
    private func rotate(_ call: AdminCall) async throws -> HTTPResponse {
        let (tenant, id, expected) = (try call.tenant, try call.key, try call.expectedRevision())
        try call.requireQuery(only: [])
        var body = try call.body()
        let overlap = try body.optional("overlap_seconds") { try $0.integer(Self.overlapSeconds) }
        try body.end()
        let end = call.now.addingTimeInterval(Double(overlap ?? Self.defaultOverlapSeconds))
        return try await admin.transactions.run(call, "key.rotate") { connection in
            let before = try await connection.lockedKey(id, of: tenant, expected: expected)
            guard before.revokedAt == nil, before.isEnabled, before.expiresAt.map({ $0 > call.now }) ?? true else {
                throw HansardError(
                    .conflict, "a key that is \(before.status(now: call.now)) is not rotated: make another")
            }
            var old = before
            old.expiresAt = min(before.expiresAt ?? end, end)
            _ = try await connection.store(old, after: before, at: call.now)
            let (secret, fresh) = admin.newKey(of: tenant, name: before.name, isTest: before.isTest, at: call.now)
            let key = before.successor(fresh)
            try await connection.execute(
                PostgresTenantStore.insertion(of: key, digest: Authenticator.digest(of: secret)))
            var answer = key.answerWithSecret(secret, now: call.now)
            answer.before = before.audited(now: call.now)
            return answer
        }
    }

    private func patch(_ call: AdminCall) async throws -> HTTPResponse {
        try await set("key.update", call, reads: false) { key, now in
            var body = try call.body()
            let end = key.expiresAt
            if let name = try body.optional("name", Self.name) { key.name = name }
            try Self.change(&key, &body, now: now)
            try body.end()
            // What a rotation or an expiry has ended stays so.
            if let end, end <= now, key.expiresAt != end {
                throw HansardError(.conflict, "a key that has expired is not revived: make another")
            }
        }
    }

    private func set(
        _ action: String, _ call: AdminCall, reads: Bool = true,
        _ change: @escaping @Sendable (inout APIKey, Date) throws -> Void
    ) async throws -> HTTPResponse {
        let (tenant, id, expected) = (try call.tenant, try call.key, try call.expectedRevision())
        try call.requireQuery(only: [])
        if reads { try call.body().end() }
        return try await admin.transactions.run(call, action) { connection in
            let before = try await connection.lockedKey(id, of: tenant, expected: expected)
            var key = before
            try change(&key, call.now)
            return try await connection.store(key, after: before, at: call.now)
        }
    }

    // MARK: Fields

    private static func name(_ field: JSONField) throws(HansardError) -> String { try field.text(1...200) }

    private static func change(_ key: inout APIKey, _ body: inout ObjectReader, now: Date) throws {
        if let scopes = try body.optional(
            "scopes",
            { field in try field.list(Scope.allCases.count) { try $0.name(Scope.self) }
            })
        {
            key.scopes = Set(scopes)
        }
        try body.nullable("expires_at", { try $0.time(after: now) }) { key.expiresAt = $0 }
        if let tags = try body.optional(
            "tags",
            { field in try field.list(Self.tagLimit) { try $0.text(Self.tagLength) }
            })
        {
            key.tags = tags
        }
        if let ranges = try body.optional(
            "allowed_cidrs",
            { field in
                try field.list(Self.rangeLimit) { element in
                    let text = try element.text(1...64)
                    guard AddressRange(text) != nil else {
                        throw element.wrong("a range of addresses such as '10.0.0.0/8' or '2001:db8::/32'")
                    }
                    return text
                }
            })
        {
            key.allowedCIDRs = ranges
        }
        if let limits = try body.optional("limits", { field in try field.object() }) {
            var limits = limits
            try QuotasResource.change(&key.quotas, &limits)
            try limits.end()
        }
    }
}

extension AdminCall {
    /// The key in the path.
    fileprivate var key: KeyID { get throws(HansardError) { KeyID(try segment("key_id")) } }
}

extension APIKey {
    var target: AuditEntry.Target { .init("key", id.rawValue) }

    /// Whether it is for trials, which its secret shows.
    fileprivate var isTest: Bool { displayPrefix.hasPrefix(SecretFormat.Kind.testKey.rawValue) }

    /// In a word, at a moment.
    func status(now: Date) -> String {
        if revokedAt != nil { return "revoked" }
        if let expiresAt, expiresAt <= now { return "expired" }
        return isEnabled ? "active" : "disabled"
    }

    /// A key of the same kind that takes this one's place.
    fileprivate func successor(_ fresh: APIKey) -> APIKey {
        var key = self
        key.id = fresh.id
        (key.displayPrefix, key.displaySuffix) = (fresh.displayPrefix, fresh.displaySuffix)
        (key.createdAt, key.updatedAt, key.lastUsedAt, key.revision) = (fresh.createdAt, fresh.createdAt, nil, 1)
        return key
    }

    func answer(now: Date) -> AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0, now: now) }
        return AdminAnswer(
            headers: [("ETag", EntityTag.text(revision))], body: text.bytes, target: target, tenant: tenant)
    }

    fileprivate func answerWithSecret(_ secret: String, now: Date) -> AdminAnswer {
        var answer = AdminAnswer(
            made: target, of: tenant,
            headers: [
                ("ETag", EntityTag.text(revision)), ("Location", "\(TenantsResource.path)/\(tenant)/keys/\(id)"),
            ], secret: ("key", secret)
        ) { write(into: &$0, now: now) }
        answer.after = audited(now: now)
        return answer
    }

    /// What the audit log gets: it outlives the key, whose name and tags are to be forgotten with its tenant.
    fileprivate func audited(now: Date) -> [UInt8] {
        var text = JSONText()
        text.object { writePowers(into: &$0, now: now) }
        return text.bytes
    }

    func write(into text: inout JSONText, now: Date) {
        text.field("id", id.rawValue)
        text.field("tenant_id", tenant.description)
        text.field("name", name)
        text.field("tags", tags)
        writePowers(into: &text, now: now)
        text.field("last_used_at", orNull: lastUsedAt.map(Timestamp.format))
        text.field("created_at", Timestamp.format(createdAt))
        text.field("updated_at", Timestamp.format(updatedAt))
    }

    private func writePowers(into text: inout JSONText, now: Date) {
        text.field("status", status(now: now))
        text.field("prefix", displayPrefix)
        text.field("suffix", displaySuffix)
        text.field("scopes", scopes.map(\.rawValue).sorted())
        text.field("allowed_cidrs", allowedCIDRs)
        text.object("limits") { quotas.writeLimits(into: &$0) }
        text.field("family", family)
        text.field("expires_at", orNull: expiresAt.map(Timestamp.format))
        text.field("revoked_at", orNull: revokedAt.map(Timestamp.format))
    }
}

extension Connection {
    /// A key of the tenant.
    fileprivate func key(_ id: KeyID, of tenant: TenantID) throws -> APIKey {
        let rows = try query(
            """
            SELECT k.* FROM api_keys k JOIN tenants t USING (tenant_id)
            WHERE k.key_id = \(id.rawValue) AND k.tenant_id = \(tenant.rawValue) AND t.status <> 'deleted'
            """)
        guard let key = try rows.first.map(APIKey.init(row:)) else { throw AdminCall.nothingHere }
        return key
    }

    /// A key of the tenant that nobody else changes until the transaction ends.
    ///
    /// - Parameter expected: the revision that the caller believes in; `.stale` is thrown if it is another.
    fileprivate func lockedKey(_ id: KeyID, of tenant: TenantID, expected: Int64?) throws -> APIKey {
        try lockedTenant(tenant)
        let key = try key(id, of: tenant)
        try requireRevision(key.revision, expected)
        return key
    }

    fileprivate func store(_ changed: APIKey, after before: APIKey, at now: Date) throws -> AdminAnswer {
        var key = changed
        key.revision += 1
        key.updatedAt = now
        if key.quotas != before.quotas { key.quotas.version = before.quotas.version + 1 }
        try execute(
            """
            UPDATE api_keys SET name = \(key.name), scopes = \(key.scopes.map(\.rawValue).sorted()),
                is_enabled = \(key.isEnabled), expires_at = \(key.expiresAt), tags = \(key.tags),
                allowed_cidrs = \(key.allowedCIDRs), max_concurrent_sessions = \(key.quotas.maxConcurrentSessions),
                max_new_sessions_per_minute = \(key.quotas.maxNewSessionsPerMinute),
                max_minutes_per_month = \(key.quotas.maxMinutesPerMonth),
                max_seconds_per_session = \(key.quotas.maxSecondsPerSession), limit_version = \(key.quotas.version),
                revoked_at = \(key.revokedAt), revision = \(key.revision), updated_at = \(now)
            WHERE key_id = \(key.id.rawValue)
            """)
        var answer = key.answer(now: now)
        (answer.before, answer.after) = (before.audited(now: now), key.audited(now: now))
        return answer
    }
}
