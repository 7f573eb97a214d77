import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants/{tenant_id}/plans`: by which version of which plan a tenant is billed, month by month.
struct PlanAssignmentsResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/plans"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{from_period}"
        return [
            AdminRoute("POST", Self.path, .billers, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("PATCH", one, .billers, idempotency: .optional, patch),
            AdminRoute("DELETE", one, .billers, idempotency: .optional, delete),
        ]
    }

    // MARK: Reading

    /// By their months, the latest first.
    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        let page = try PageRequest(call, list: "plan assignments \(tenant)", secrets: admin.secrets)
        let rows = try await admin.read { connection in
            _ = try await connection.tenant(tenant)
            return try await connection.query(
                """
                SELECT * FROM plan_assignments
                WHERE tenant_id = \(tenant.rawValue)
                    AND (\(page.after?.id)::text IS NULL OR from_period < \(page.after?.id))
                ORDER BY from_period DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(PlanAssignment.init(row:)), call, secret: admin.secrets[0]) { assignment in
            Cursor(time: assignment.createdAt, id: assignment.from.description)
        } write: {
            $0.write(into: &$1)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let (tenant, from) = (try call.tenant, try call.segment("from_period"))
        return try await admin.read { connection in
            _ = try await connection.tenant(tenant)
            return try await connection.assignment(from, of: tenant)
        }.answer.response
    }

    // MARK: Changing

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        try call.requireQuery(only: [])
        var body = try call.body()
        let plan = try body.required("plan_id") { try $0.plan() }
        let version = try body.required("version") { try $0.integer(PlanVersionsResource.numbers) }
        let from = try body.required("from_period") { try $0.billedMonth() }
        var to: QuotaPeriod?
        try body.nullable("to_period", { try $0.billedMonth() }) { to = $0 }
        try body.end()
        let made = PlanAssignment(
            tenant: tenant, from: from, to: to, plan: plan, version: version, createdAt: call.now, updatedAt: call.now)
        try made.check()
        return try await admin.transactions.run(call, "plan_assignment.create") { connection in
            try await connection.lockedTenant(tenant)
            try await connection.requireAssignable(version, of: plan)
            try await connection.requireRoom(for: made)
            try await connection.changeMonths(
                """
                INSERT INTO plan_assignments (tenant_id, from_period, to_period, plan_id, version, created_at, updated_at)
                VALUES (\(tenant.rawValue), \(from.description), \(made.to?.description), \(plan.rawValue), \(version),
                    \(made.createdAt), \(made.updatedAt))
                """)
            var answer = made.answer
            answer.status = 201
            answer.headers.append(("Location", "\(TenantsResource.path)/\(tenant)/plans/\(from)"))
            answer.after = answer.body
            return answer
        }
    }

    /// Only its end: another plan or another beginning is another assignment.
    private func patch(_ call: AdminCall) async throws -> HTTPResponse {
        let (tenant, expected) = (try call.tenant, try call.expectedRevision())
        let from = try call.segment("from_period")
        try call.requireQuery(only: [])
        var body = try call.body()
        let to = try body.required("to_period") { try $0.value == .null ? nil : $0.billedMonth() }
        try body.end()
        return try await admin.transactions.run(call, "plan_assignment.update") { connection in
            let before = try await connection.lockedAssignment(from, of: tenant, expected: expected)
            var assignment = before
            assignment.to = to
            assignment.revision += 1
            assignment.updatedAt = call.now
            try assignment.check()
            try await connection.requireRoom(for: assignment, besides: before)
            try await connection.changeMonths(
                """
                UPDATE plan_assignments SET to_period = \(assignment.to?.description), revision = \(assignment.revision),
                    updated_at = \(assignment.updatedAt)
                WHERE tenant_id = \(tenant.rawValue) AND from_period = \(from)
                """)
            var answer = assignment.answer
            (answer.before, answer.after) = (before.answer.body, answer.body)
            return answer
        }
    }

    private func delete(_ call: AdminCall) async throws -> HTTPResponse {
        let (tenant, expected) = (try call.tenant, try call.expectedRevision())
        let from = try call.segment("from_period")
        try call.requireQuery(only: [])
        try call.body().end()
        return try await admin.transactions.run(call, "plan_assignment.delete") { connection in
            let before = try await connection.lockedAssignment(from, of: tenant, expected: expected)
            try await connection.changeMonths(
                "DELETE FROM plan_assignments WHERE tenant_id = \(tenant.rawValue) AND from_period = \(from)")
            return AdminAnswer(
                status: 204, body: [], target: before.target, tenant: tenant, before: before.answer.body)
        }
    }
}

extension JSONField {
    /// A plan's id.
    fileprivate func plan() throws(HansardError) -> PlanID {
        guard case .string(let text) = value, let id = PlanID(text) else { throw wrong("a plan's id") }
        return id
    }
}

extension PlanAssignment {
    fileprivate var target: AuditEntry.Target { .init("plan_assignment", from.description) }

    /// The resource as it is now; the audit log gets the same: it is ids and months.
    fileprivate var answer: AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0) }
        return AdminAnswer(
            headers: [("ETag", EntityTag.text(revision))], body: text.bytes, target: target, tenant: tenant)
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("tenant_id", tenant.description)
        text.field("plan_id", plan.description)
        text.field("version", version)
        text.field("from_period", from.description)
        text.field("to_period", orNull: to?.description)
        text.field("created_at", Timestamp.format(createdAt))
        text.field("updated_at", Timestamp.format(updatedAt))
    }
}

extension Connection {
    /// The assignment that begins with a month. What is no month begins none.
    fileprivate func assignment(_ from: String, of tenant: TenantID) throws -> PlanAssignment {
        let rows = try query(
            "SELECT * FROM plan_assignments WHERE tenant_id = \(tenant.rawValue) AND from_period = \(from)")
        guard let assignment = try rows.first.map(PlanAssignment.init(row:)) else { throw AdminCall.nothingHere }
        return assignment
    }

    /// The same, and nobody else changes what the tenant has until the transaction ends.
    ///
    /// - Parameter expected: the revision that the caller believes in; `.stale` is thrown if it is another.
    fileprivate func lockedAssignment(
        _ from: String, of tenant: TenantID, expected: Int64?
    ) throws -> PlanAssignment {
        try lockedTenant(tenant)
        let assignment = try assignment(from, of: tenant)
        try requireRevision(assignment.revision, expected)
        return assignment
    }

    /// Throws unless the version is there and its plan may be assigned, and stays so until the transaction ends.
    fileprivate func requireAssignable(_ version: Int, of plan: PlanID) throws {
        let rows = try query("SELECT archived_at FROM plans WHERE plan_id = \(plan.rawValue) FOR SHARE")
        guard let row = rows.first else {
            throw HansardError(.contradictory, "there is no plan '\(plan)'", field: "/plan_id")
        }
        let versions = try query(
            "SELECT FROM plan_versions WHERE plan_id = \(plan.rawValue) AND version = \(version) FOR SHARE")
        guard !versions.isEmpty else {
            throw HansardError(.contradictory, "plan '\(plan)' has no version \(version)", field: "/version")
        }
        guard try row.value("archived_at", as: Date?.self) == nil else {
            throw HansardError(
                .conflict, "plan '\(plan)' is archived: take another, or set its archived to false", field: "/plan_id")
        }
    }

    /// Throws `.conflict` that names the assignment in the way, if there is one. The database would refuse it too, and could not
    /// say as much.
    ///
    /// - Parameter own: the assignment that is being changed, which is in nobody's way.
    fileprivate func requireRoom(for wanted: PlanAssignment, besides own: PlanAssignment? = nil) throws {
        let rows = try query(
            """
            SELECT * FROM plan_assignments
            WHERE tenant_id = \(wanted.tenant.rawValue)
                AND (\(own?.from.description)::text IS NULL OR from_period <> \(own?.from.description))
                AND (\(wanted.to?.description)::text IS NULL OR from_period <= \(wanted.to?.description))
                AND (to_period IS NULL OR to_period >= \(wanted.from.description))
            ORDER BY from_period LIMIT 1
            """)
        guard let other = try rows.first.map(PlanAssignment.init(row:)) else { return }
        let end = other.to.map { "to \($0)" } ?? "on, without an end"
        throw HansardError(
            .conflict,
            "the tenant has version \(other.version) of plan '\(other.plan)' from \(other.from) \(end): a month has one plan",
            field: own == nil ? "/from_period" : "/to_period")
    }
}
