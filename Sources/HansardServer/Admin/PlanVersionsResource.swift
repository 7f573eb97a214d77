import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/plans/{plan_id}/versions`: what a plan charges. A version is changed and deleted until it is assigned to a tenant,
/// and from then on never: what was billed by it can be explained.
struct PlanVersionsResource: Sendable {
    static let path = PlansResource.path + "/{plan_id}/versions"
    /// Numbers that versions have.
    static let numbers = 1...Int(Int32.max)

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{version}"
        return [
            AdminRoute("POST", Self.path, .billers, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("PUT", one, .billers, idempotency: .optional, put),
            AdminRoute("DELETE", one, .billers, idempotency: .optional, delete),
        ]
    }

    // MARK: Reading

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let plan = try call.plan
        let page = try PageRequest(call, list: "plan versions \(plan)", secrets: admin.secrets)
        let last = page.after.flatMap { Int($0.id) }
        let rows = try await admin.read { connection in
            _ = try await connection.plan(plan)
            return try await connection.query(
                """
                SELECT * FROM plan_versions
                WHERE plan_id = \(plan.rawValue) AND (\(last)::bigint IS NULL OR version < \(last))
                ORDER BY version DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(PlanVersionRecord.init(row:)), call, secret: admin.secrets[0]) { version in
            Cursor(time: version.createdAt, id: "\(version.number)")
        } write: {
            $0.write(into: &$1)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let (plan, number) = (try call.plan, try call.version)
        return try await admin.read { connection in
            try await connection.version(
                "SELECT * FROM plan_versions WHERE plan_id = \(plan.rawValue) AND version = \(number)")
        }.answer.response
    }

    // MARK: Changing

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "change plans")
        let plan = try call.plan
        try call.requireQuery(only: [])
        var body = try call.body()
        let prices = try PlanVersion(&body)
        return try await admin.transactions.run(call, "plan_version.create") { connection in
            // The plan's row is locked until the end, so that numbers are in the order in which versions come to be.
            let rows = try await connection.query(
                """
                UPDATE plans SET last_version = last_version + 1 WHERE plan_id = \(plan.rawValue)
                RETURNING last_version
                """)
            guard let number = try rows.first?.value("last_version", as: Int.self) else { throw AdminCall.nothingHere }
            let made = PlanVersionRecord(
                plan: plan, number: number, prices: prices, createdAt: call.now, updatedAt: call.now)
            try await connection.execute(
                """
                INSERT INTO plan_versions (plan_id, version, document, created_at, updated_at)
                VALUES (\(plan.rawValue), \(number), \(made.stored)::jsonb, \(made.createdAt), \(made.updatedAt))
                """)
            var answer = made.answer
            answer.status = 201
            answer.headers.append(("Location", "\(PlansResource.path)/\(plan)/versions/\(number)"))
            answer.after = answer.body
            return answer
        }
    }

    /// All of it at once, as when it was made.
    private func put(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "change plans")
        let (plan, number, expected) = (try call.plan, try call.version, try call.expectedRevision())
        try call.requireQuery(only: [])
        var body = try call.body()
        let prices = try PlanVersion(&body)
        return try await admin.transactions.run(call, "plan_version.set") { connection in
            let before = try await connection.unusedVersion(number, of: plan, expected: expected)
            var version = before
            version.prices = prices
            version.revision += 1
            version.updatedAt = call.now
            try await connection.execute(
                """
                UPDATE plan_versions SET document = \(version.stored)::jsonb, revision = \(version.revision),
                    updated_at = \(version.updatedAt)
                WHERE plan_id = \(plan.rawValue) AND version = \(number)
                """)
            var answer = version.answer
            (answer.before, answer.after) = (before.answer.body, answer.body)
            return answer
        }
    }

    private func delete(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireAllTenants(to: "change plans")
        let (plan, number, expected) = (try call.plan, try call.version, try call.expectedRevision())
        try call.requireQuery(only: [])
        try call.body().end()
        return try await admin.transactions.run(call, "plan_version.delete") { connection in
            let before = try await connection.unusedVersion(number, of: plan, expected: expected)
            try await connection.execute(
                "DELETE FROM plan_versions WHERE plan_id = \(plan.rawValue) AND version = \(number)")
            return AdminAnswer(status: 204, body: [], target: before.target, before: before.answer.body)
        }
    }
}

extension AdminCall {
    /// The number of a plan's version in the path.
    fileprivate var version: Int {
        get throws(HansardError) {
            guard let number = Int(plain: try segment("version")), PlanVersionsResource.numbers ~= number else {
                throw Self.nothingHere
            }
            return number
        }
    }
}

extension PlanVersionRecord {
    fileprivate var target: AuditEntry.Target { .init("plan_version", "\(plan)/\(number)") }
    fileprivate var stored: String { String(decoding: prices.document, as: UTF8.self) }

    /// The resource as it is now; the audit log gets the same: these are prices, and nothing of a tenant.
    fileprivate var answer: AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0) }
        return AdminAnswer(headers: [("ETag", EntityTag.text(revision))], body: text.bytes, target: target)
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("plan_id", plan.description)
        text.field("version", number)
        prices.write(into: &text)
        text.field("used_at", orNull: usedAt.map(Timestamp.format))
        text.field("created_at", Timestamp.format(createdAt))
        text.field("updated_at", Timestamp.format(updatedAt))
    }
}

extension Connection {
    fileprivate func version(_ statement: Query) throws -> PlanVersionRecord {
        guard let version = try query(statement).first.map(PlanVersionRecord.init(row:)) else {
            throw AdminCall.nothingHere
        }
        return version
    }

    /// A version that nobody else changes or assigns until the transaction ends.
    ///
    /// - Throws: `.stale` if `expected` is not its revision, `.conflict` if it was assigned to a tenant.
    fileprivate func unusedVersion(
        _ number: Int, of plan: PlanID, expected: Int64?
    ) throws -> PlanVersionRecord {
        let version = try version(
            "SELECT * FROM plan_versions WHERE plan_id = \(plan.rawValue) AND version = \(number) FOR UPDATE")
        try requireRevision(version.revision, expected)
        guard version.usedAt == nil else {
            throw HansardError(
                .conflict,
                "version \(number) was assigned to a tenant, and is neither changed nor deleted from then on: make a new version, "
                    + "and assign that")
        }
        return version
    }
}
