import FoundationEssentials
import Hansard
import Postgres

/// An invoice as lists show it (`Migrations/0016_invoices.sql`).
struct InvoiceRecord: Sendable {
    var tenant: TenantID
    var period: QuotaPeriod
    var number: Int64
    var total: Money
    var plan: PlanID?
    var version: Int?
    var dataAsOf: Date
    var createdAt: Date
    /// Of `document`.
    var sha256: [UInt8]
}

extension InvoiceRecord {
    init(row: Row) throws {
        tenant = TenantID(try row.value("tenant_id"))
        period = try row.period("period")
        number = try row.value("number")
        total = try row.money("total")
        plan = try row.value("plan_id", as: UUID?.self).map(PlanID.init)
        version = try row.value("version")
        dataAsOf = try row.value("data_as_of")
        createdAt = try row.value("created_at")
        sha256 = try row.value("sha256")
    }
}

extension Row {
    /// A column with an amount as text, beside one with its `currency`.
    func money(_ column: String) throws -> Money {
        let (text, code): (String, String) = (try value(column), try value("currency"))
        guard let currency = Currency(code), let money = Money(text, currency) else {
            throw HansardError(.internal, "the column '\(column)' holds '\(text)', which is no amount of '\(code)'")
        }
        return money
    }
}

extension Credit {
    init(row: Row) throws {
        self.init(
            id: CreditID(try row.value("credit_id")), tenant: TenantID(try row.value("tenant_id")),
            period: try row.period("period"), amount: try row.money("amount"), reason: try row.value("reason"),
            actor: try row.value("actor"), createdAt: try row.value("created_at"))
    }
}

extension BillingPeriod {
    init(row: Row) throws {
        self.init(
            period: try row.period("period"), state: try row.named("state"), closingAt: try row.value("closing_at"),
            closedAt: try row.value("closed_at"), override: try row.value("override"),
            missingSources: try row.value("missing_sources", as: [String].self).compactMap { NodeEpoch($0) },
            unbilled: try row.value("unbilled", as: [UUID].self).map(TenantID.init))
    }
}

extension UsageSource {
    init(row: Row) throws {
        self.init(
            epoch: try NodeEpoch(row: row), registeredAt: try row.value("registered_at"),
            completeThrough: try row.value("complete_through"), finishedAt: try row.value("finished_at"),
            retiredAt: try row.value("retired_at"), retiredBecause: try row.value("retired_because"))
    }
}

extension QuotaPeriod {
    /// Its first day, as the ledger's tables name months.
    var firstDay: String { "\(self)-01" }
}

extension Connection {
    /// Runs a statement that changes what months are billed by. The database refuses those that are closing or closed, and a second
    /// currency, in words for people.
    ///
    /// - Parameter field: what of the body says which month.
    func changeMonths(_ statement: Query, field: String? = nil) throws {
        do throws(PostgresError) {
            try execute(statement)
        } catch {
            guard error.sqlState == "23001" else { throw error }
            throw HansardError(.conflict, error.message, field: field)
        }
    }
}
