import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/plans`: what tenants may be billed by. Plans are the installation's, and never deleted: bills name them.
struct PlansResource: Sendable {
    static let path = "/v1/admin/plans"
    static let nameLength = 1...200

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{plan_id}"
        return [
            AdminRoute("POST", Self.path, .billers, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("PATCH", one, .billers, idempotency: .optional, patch),
        ]
    }

    // MARK: Reading

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let page = try PageRequest(call, list: "plans", secrets: admin.secrets)
        let rows = try await admin.read { connection in
            try await connection.query(
                """
                SELECT * FROM plans
                WHERE \(page.after?.time)::timestamptz IS NULL
                    OR (created_at, plan_id) < (\(page.after?.time), \(page.after?.id)::uuid)
                ORDER BY created_at DESC, plan_id DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(Plan.init(row:)), call, secret: admin.secrets[0]) { plan in
            Cursor(time: plan.createdAt, id: plan.id.description)
        } write: {
            $0.write(into: &$1)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let id = try call.plan
        return try await admin.read { try await $0.plan(id) }.answer.response
    }

    // MARK: Changing

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "change plans")
        try call.requireQuery(only: [])
        var body = try call.body()
        let name = try body.required("name", Self.name)
        try body.end()
        let made = Plan(id: PlanID(UUID()), name: name, createdAt: call.now, updatedAt: call.now)
        return try await admin.transactions.run(call, "plan.create") { connection in
            try await connection.writePlan(
                """
                INSERT INTO plans (plan_id, name, created_at, updated_at)
                VALUES (\(made.id.rawValue), \(made.name), \(made.createdAt), \(made.updatedAt))
                """)
            var answer = made.answer
            answer.status = 201
            answer.headers.append(("Location", "\(Self.path)/\(made.id)"))
            answer.after = answer.body
            return answer
        }
    }

    private func patch(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "change plans")
        let (id, expected) = (try call.plan, try call.expectedRevision())
        try call.requireQuery(only: [])
        return try await admin.transactions.run(call, "plan.update") { connection in
            var body = try call.body()
            let before = try await connection.lockedPlan(id)
            try await connection.requireRevision(before.revision, expected)
            var plan = before
            if let name = try body.optional("name", Self.name) { plan.name = name }
            if let isArchived = try body.optional("archived", { try $0.bool() }) {
                plan.archivedAt = isArchived ? before.archivedAt ?? call.now : nil
            }
            try body.end()
            plan.revision += 1
            plan.updatedAt = call.now
            try await connection.writePlan(
                """
                UPDATE plans SET name = \(plan.name), archived_at = \(plan.archivedAt), revision = \(plan.revision),
                    updated_at = \(plan.updatedAt)
                WHERE plan_id = \(plan.id.rawValue)
                """)
            var answer = plan.answer
            (answer.before, answer.after) = (before.answer.body, answer.body)
            return answer
        }
    }

    private static func name(_ field: JSONField) throws(HansardError) -> String { try field.text(nameLength) }
}

extension AdminCall {
    /// The plan in the path.
    var plan: PlanID {
        get throws(HansardError) {
            guard let id = PlanID(try segment("plan_id")) else { throw Self.nothingHere }
            return id
        }
    }
}

extension Plan {
    var target: AuditEntry.Target { .init("plan", id.description) }

    /// The resource as it is now; the audit log gets the same, since the plan is there as long as the log.
    fileprivate var answer: AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0) }
        return AdminAnswer(headers: [("ETag", EntityTag.text(revision))], body: text.bytes, target: target)
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("id", id.description)
        text.field("name", name)
        text.field("archived", archivedAt != nil)
        text.field("archived_at", orNull: archivedAt.map(Timestamp.format))
        text.field("created_at", Timestamp.format(createdAt))
        text.field("updated_at", Timestamp.format(updatedAt))
    }
}

extension Connection {
    /// A plan.
    func plan(_ id: PlanID) throws -> Plan {
        let rows = try query("SELECT * FROM plans WHERE plan_id = \(id.rawValue)")
        guard let plan = try rows.first.map(Plan.init(row:)) else { throw AdminCall.nothingHere }
        return plan
    }

    /// A plan that nobody else changes until the transaction ends.
    fileprivate func lockedPlan(_ id: PlanID) throws -> Plan {
        let rows = try query("SELECT * FROM plans WHERE plan_id = \(id.rawValue) FOR UPDATE")
        guard let plan = try rows.first.map(Plan.init(row:)) else { throw AdminCall.nothingHere }
        return plan
    }

    /// Runs a statement that gives a plan its name.
    fileprivate func writePlan(_ statement: Query) throws {
        do throws(PostgresError) {
            try execute(statement)
        } catch {
            guard error.constraint == "plans_name_key" else { throw error }
            throw HansardError(.conflict, "another plan has this name", field: "/name")
        }
    }
}
