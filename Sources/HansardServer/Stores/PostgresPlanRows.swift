import FoundationEssentials
import Hansard
import Postgres

/// A version of a plan as it is kept (`Migrations/0015_plans.sql`).
struct PlanVersionRecord: Sendable {
    var plan: PlanID
    /// Counted up from 1 for each plan.
    var number: Int
    var prices: PlanVersion
    /// When it was first assigned; nil is never. From then on nothing of it changes.
    var usedAt: Date?
    var revision: Int64 = 1
    var createdAt: Date
    var updatedAt: Date
}

extension Plan {
    init(row: Row) throws {
        self.init(
            id: PlanID(try row.value("plan_id")), name: try row.value("name"), archivedAt: try row.value("archived_at"),
            revision: try row.value("revision"), createdAt: try row.value("created_at"),
            updatedAt: try row.value("updated_at"))
    }
}

extension PlanVersionRecord {
    init(row: Row) throws {
        let document: String = try row.value("document")
        do {
            var reader = try ObjectReader(Array(document.utf8))
            prices = try PlanVersion(&reader)
        } catch let error as HansardError {
            throw HansardError(.internal, "a plan's version cannot be read: \(error.message)")
        }
        plan = PlanID(try row.value("plan_id"))
        number = try row.value("version")
        usedAt = try row.value("used_at")
        revision = try row.value("revision")
        createdAt = try row.value("created_at")
        updatedAt = try row.value("updated_at")
    }
}

extension PlanAssignment {
    init(row: Row) throws {
        self.init(
            tenant: TenantID(try row.value("tenant_id")), from: try row.period("from_period"),
            to: try row.value("to_period", as: String?.self) == nil ? nil : row.period("to_period"),
            plan: PlanID(try row.value("plan_id")), version: try row.value("version"),
            revision: try row.value("revision"), createdAt: try row.value("created_at"),
            updatedAt: try row.value("updated_at"))
    }
}

extension Row {
    /// The UTC month of a column that holds one as text.
    func period(_ column: String) throws -> QuotaPeriod {
        let text: String = try value(column)
        guard let period = QuotaPeriod(text) else {
            throw HansardError(.internal, "the column '\(column)' holds '\(text)', which is no month")
        }
        return period
    }
}
