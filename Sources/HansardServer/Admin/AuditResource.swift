import Crypto
import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/audit`: who did what, and whether the log is whole.
struct AuditResource: Sendable {
    static let path = "/v1/admin/audit"
    static let filters: Set<String> = [
        "tenant_id", "action", "actor_id", "target_id", "outcome", "occurred_from", "occurred_before",
    ]

    let admin: AdminServices

    var routes: [AdminRoute] {
        [
            AdminRoute("GET", Self.path, .watchers, list),
            AdminRoute("GET", Self.path + "/verify", .watchers, verify),
        ]
    }

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(call, list: "audit", filters: Self.filters, secrets: admin.secrets)
        let (tenant, from, before) = (
            try call.tenantParameter(), try call.time("occurred_from"), try call.time("occurred_before")
        )
        let outcome = try call.query("outcome").map { text throws(HansardError) in
            try JSONField(value: .string(text), pointer: "outcome").name(AuditEntry.Outcome.self)
        }
        let (action, actor, target) = (
            try call.text("action"), try call.text("actor_id"), try call.text("target_id")
        )
        let reach = call.caller.tenants?.map(\.rawValue)
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT * FROM audit_log
                WHERE (\(reach)::uuid[] IS NULL OR tenant_id = ANY(\(reach)::uuid[]))
                    AND (\(tenant?.rawValue)::uuid IS NULL OR tenant_id = \(tenant?.rawValue))
                    AND (\(action)::text IS NULL OR action = \(action))
                    AND (\(actor)::text IS NULL OR actor_id = \(actor))
                    AND (\(target)::text IS NULL OR target_id = \(target))
                    AND (\(outcome?.rawValue)::text IS NULL OR outcome = \(outcome?.rawValue))
                    AND (\(from)::timestamptz IS NULL OR occurred_at >= \(from))
                    AND (\(before)::timestamptz IS NULL OR occurred_at < \(before))
                    AND (\(page.after?.time)::timestamptz IS NULL
                        OR (occurred_at, event_id) < (\(page.after?.time), \(page.after?.id)::uuid))
                ORDER BY occurred_at DESC, event_id DESC LIMIT \(page.rows)
                """)
        }
        let entries = try rows.map { try AuditRow(row: $0) }
        return page.response(entries, call, secret: admin.secrets[0]) { entry in
            Cursor(time: entry.occurredAt, id: entry.id.uuidString.lowercased())
        } write: {
            $0.write(into: &$1)
        }
    }

    /// Heads that are named in an answer; they are all counted.
    static let namedDifferences = 100

    /// Walks one chain, the tenant's or the installation's, and compares it with the heads that were kept of it.
    private func verify(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: ["tenant_id"])
        let tenant = try call.tenantParameter()
        if tenant == nil, call.caller.tenants != nil {
            throw HansardError(.invalid, "a token that is limited to tenants names one of them", field: "tenant_id")
        }
        // Before the chain is read: it has grown beyond whatever was kept of it by then.
        let heads = try await admin.auditHeads.heads(of: tenant)
        let (entries, wrong, differing) = try await admin.read { connection in
            let row = try await connection.query("SELECT * FROM verify_audit(\(tenant?.rawValue))").only()
            return (
                try row.value("entries", as: Int.self), try row.value("first_wrong", as: Int?.self),
                try await connection.auditDifferences(from: heads)
            )
        }
        return .json { text in
            text.field("tenant_id", orNull: tenant?.description)
            text.field("entries", entries)
            text.field("is_intact", wrong == nil && differing.isEmpty)
            text.field("first_wrong", orNull: wrong)
            text.field("heads_compared", heads.count)
            text.field("heads_differing", differing.count)
            text.array("differing_heads") { text in
                for difference in differing.prefix(Self.namedDifferences) {
                    text.object { text in
                        text.field("place", difference.head.place)
                        text.field("kept_hash", difference.head.hash.hexadecimal)
                        text.field("hash", orNull: difference.present?.hexadecimal)
                    }
                }
            }
        }
    }
}

/// An entry as it is shown.
private struct AuditRow: Sendable {
    let id: UUID
    let occurredAt: Date
    private let row:
        (
            tenant: UUID?, place: Int, actorType: String, actor: String, action: String, outcome: String,
            targetType: String, target: String, address: String?, userAgent: String?, request: UUID?, changes: String,
            hash: [UInt8]
        )

    init(row: Row) throws {
        id = try row.value("event_id")
        occurredAt = try row.value("occurred_at")
        self.row = (
            try row.value("tenant_id"), try row.value("place"), try row.value("actor_type"), try row.value("actor_id"),
            try row.value("action"), try row.value("outcome"), try row.value("target_type"),
            try row.value("target_id"), try row.value("address"), try row.value("user_agent"),
            try row.value("request_id"), try row.value("changes"), try row.value("hash")
        )
    }

    func write(into text: inout JSONText) {
        text.field("id", id.uuidString.lowercased())
        text.field("tenant_id", orNull: row.tenant?.uuidString.lowercased())
        text.field("place", row.place)
        text.field("occurred_at", Timestamp.format(occurredAt))
        text.object("actor") { text in
            text.field("type", row.actorType)
            text.field("id", row.actor)
        }
        text.field("action", row.action)
        text.field("outcome", row.outcome)
        text.object("target") { text in
            text.field("type", row.targetType)
            text.field("id", row.target)
        }
        text.field("address", orNull: row.address)
        text.field("user_agent", orNull: row.userAgent)
        text.field("request_id", orNull: row.request?.uuidString.lowercased())
        text.field("changes", json: Array(row.changes.utf8))
        text.field("hash", row.hash.hexadecimal)
    }
}
