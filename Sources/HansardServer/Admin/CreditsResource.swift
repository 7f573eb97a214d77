import FoundationEssentials
import Hansard
import Postgres
import Web

/// `/v1/admin/tenants/{tenant_id}/credits`: what an operator adds to a tenant's bill for a month that is open, or takes off it. It
/// is made and taken back, never changed; from when its month is being closed it stays.
struct CreditsResource: Sendable {
    static let path = TenantsResource.path + "/{tenant_id}/credits"

    let admin: AdminServices

    var routes: [AdminRoute] {
        let one = Self.path + "/{credit_id}"
        return [
            AdminRoute("POST", Self.path, .billers, idempotency: .required, create),
            AdminRoute("GET", Self.path, .readers, list),
            AdminRoute("GET", one, .readers, get),
            AdminRoute("DELETE", one, .billers, idempotency: .optional, delete),
        ]
    }

    private func list(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        let page = try PageRequest(call, list: "credits \(tenant)", secrets: admin.secrets)
        let rows = try await admin.read { connection in
            try await connection.requireKnown(tenant)
            return try await connection.query(
                """
                SELECT credit_id, tenant_id, period, currency, amount::text AS amount, reason, actor, created_at FROM credits
                WHERE tenant_id = \(tenant.rawValue) AND (\(page.after?.time)::timestamptz IS NULL
                    OR (created_at, credit_id) < (\(page.after?.time), \(page.after?.id)::uuid))
                ORDER BY created_at DESC, credit_id DESC LIMIT \(page.rows)
                """)
        }
        return page.response(try rows.map(Credit.init(row:)), call, secret: admin.secrets[0]) { credit in
            Cursor(time: credit.createdAt, id: credit.id.description)
        } write: {
            $0.write(into: &$1)
        }
    }

    private func get(_ call: AdminCall) async throws -> HTTPResponse {
        try call.requireQuery(only: [])
        let (tenant, id) = (try call.tenant, try call.credit)
        return try await admin.read { try await $0.credit(id, of: tenant) }.answer.response
    }

    private func create(_ call: AdminCall) async throws -> HTTPResponse {
        let tenant = try call.tenant
        try call.requireQuery(only: [])
        var body = try call.body()
        let amount = try body.required("amount") { $0 }
        let period = try body.required("period") { try $0.billedMonth() }
        let reason = try body.required("reason") { try $0.reason() }
        try body.end()
        try amount.requireDecimal()
        return try await admin.transactions.run(call, "credit.create") { connection in
            // What a tenant was billed outlives it, and so does what is owed to it.
            try await connection.requireKnown(tenant)
            let currency = try await connection.currency(of: tenant)
            let made = Credit(
                id: CreditID(UUID()), tenant: tenant, period: period, amount: try amount.credit(in: currency),
                reason: reason,
                actor: call.caller.actor.id, createdAt: call.now)
            try await connection.changeMonths(
                """
                INSERT INTO credits (credit_id, tenant_id, period, currency, amount, reason, actor, created_at)
                VALUES (\(made.id.rawValue), \(tenant.rawValue), \(period.description), \(currency.code),
                    \(made.amount.description)::numeric, \(reason), \(made.actor), \(made.createdAt))
                """, field: "/period")
            var answer = made.answer
            answer.status = 201
            answer.headers = [("Location", "\(TenantsResource.path)/\(tenant)/credits/\(made.id)")]
            answer.after = answer.body
            return answer
        }
    }

    private func delete(_ call: AdminCall) async throws -> HTTPResponse {
        let (tenant, id) = (try call.tenant, try call.credit)
        try call.requireQuery(only: [])
        try call.body().end()
        return try await admin.transactions.run(call, "credit.delete") { connection in
            let before = try await connection.credit(id, of: tenant)
            try await connection.changeMonths("DELETE FROM credits WHERE credit_id = \(id.rawValue)")
            return AdminAnswer(
                status: 204, body: [], target: before.target, tenant: tenant, before: before.answer.body)
        }
    }
}

extension AdminCall {
    fileprivate var credit: CreditID {
        get throws(HansardError) {
            guard let id = CreditID(try segment("credit_id")) else { throw Self.nothingHere }
            return id
        }
    }
}

extension JSONField {
    /// A UTC month that may be billed.
    func billedMonth() throws(HansardError) -> QuotaPeriod {
        let period = try period()
        guard BillingPeriod.months.contains(period) else {
            throw wrong("a month from \(BillingPeriod.months.lowerBound) to \(BillingPeriod.months.upperBound)")
        }
        return period
    }

    /// Throws unless it is a decimal with a sign or without one, of whichever currency.
    fileprivate func requireDecimal() throws(HansardError) {
        switch value {
        case .string(let text):
            guard let amount = Amount(text), amount != .zero, amount.isAtMost(Price.most) else {
                throw wrong("a decimal such as '-12.50', not zero, and not beyond \(Price.most)")
            }
        case .integer, .number:
            throw wrong("a string such as '-12.50', not a number: those may be rounded on their way here")
        default: throw wrong("a string such as '-12.50', not \(value.kind)")
        }
    }

    /// The amount, in the places that the currency has.
    fileprivate func credit(in currency: Currency) throws(HansardError) -> Money {
        guard case .string(let text) = value, let money = Money(text, currency) else {
            throw impossible("amount has more places than \(currency), which has \(currency.places)")
        }
        return money
    }
}

extension Amount {
    /// Whether neither it nor its opposite is above a sum of money.
    fileprivate func isAtMost(_ most: Price) -> Bool { self <= Amount(most) && Amount.zero - self <= Amount(most) }
}

extension Credit {
    fileprivate var target: AuditEntry.Target { .init("credit", id.description) }

    fileprivate var answer: AdminAnswer {
        var text = JSONText()
        text.object { write(into: &$0) }
        return AdminAnswer(body: text.bytes, target: target, tenant: tenant)
    }

    fileprivate func write(into text: inout JSONText) {
        text.field("id", id.description)
        text.field("tenant_id", tenant.description)
        text.field("period", period.description)
        text.field("amount", amount.description)
        text.field("currency", amount.currency.code)
        text.field("reason", reason)
        text.field("actor", actor)
        text.field("created_at", Timestamp.format(createdAt))
    }
}

extension Connection {
    fileprivate func credit(_ id: CreditID, of tenant: TenantID) throws -> Credit {
        let rows = try query(
            """
            SELECT credit_id, tenant_id, period, currency, amount::text AS amount, reason, actor, created_at FROM credits
            WHERE credit_id = \(id.rawValue) AND tenant_id = \(tenant.rawValue)
            """)
        guard let credit = try rows.first.map(Credit.init(row:)) else { throw AdminCall.nothingHere }
        return credit
    }

    /// The currency of all plans that the tenant was ever assigned.
    fileprivate func currency(of tenant: TenantID) throws -> Currency {
        let rows = try query(
            """
            SELECT v.document ->> 'currency' AS currency
            FROM plan_assignments AS a JOIN plan_versions AS v USING (plan_id, version)
            WHERE a.tenant_id = \(tenant.rawValue) LIMIT 1
            """)
        guard let code: String = try rows.first?.value("currency"), let currency = Currency(code) else {
            throw HansardError(
                .conflict, "the tenant has no plan, which would say in which currency it is billed: assign one first")
        }
        return currency
    }
}
