public import FoundationEssentials

/// A name for what may be charged. The prices are in its versions, so that new ones leave alone what was billed by the old.
public struct Plan: Sendable, Equatable {
    /// Under which assignments and bills know it.
    public var id: PlanID
    /// What operators call it; no two have the same.
    public var name: String
    /// Since when no tenant gets it any more; nil is that tenants may. Those that have it keep it.
    public var archivedAt: Date?
    /// Grows with every change of it.
    public var revision: Int64
    /// When it was created.
    public var createdAt: Date
    /// When it was last changed.
    public var updatedAt: Date

    /// See the members.
    public init(
        id: PlanID, name: String, archivedAt: Date? = nil, revision: Int64 = 1, createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.name = name
        self.archivedAt = archivedAt
        self.revision = revision
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// By which version of a plan a tenant is billed, and in which months. In each month it is one at most.
public struct PlanAssignment: Sendable, Equatable {
    /// Who is billed.
    public var tenant: TenantID
    /// The first month.
    public var from: QuotaPeriod
    /// The last month, included; nil is no end.
    public var to: QuotaPeriod?
    /// By which plan.
    public var plan: PlanID
    /// By which of its versions.
    public var version: Int
    /// Grows with every change of it.
    public var revision: Int64
    /// When it was made.
    public var createdAt: Date
    /// When its end was last changed.
    public var updatedAt: Date

    /// See the members.
    public init(
        tenant: TenantID, from: QuotaPeriod, to: QuotaPeriod? = nil, plan: PlanID, version: Int, revision: Int64 = 1,
        createdAt: Date, updatedAt: Date
    ) {
        self.tenant = tenant
        self.from = from
        self.to = to
        self.plan = plan
        self.version = version
        self.revision = revision
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// Finds out whether it holds in any month.
    ///
    /// - Throws: `HansardError` with code `.contradictory` if it ends before it begins.
    public func check() throws(HansardError) {
        guard let to, to < from else { return }
        throw HansardError(
            .contradictory, "to_period \(to) is before from_period \(from): the last month is included",
            field: "/to_period")
    }
}
