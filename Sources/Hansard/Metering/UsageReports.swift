public import FoundationEssentials

/// What the ledger tells of usage.
///
/// Conformers may be called from any task. Whatever they are asked, they read one tenant's rows alone and all of one moment;
/// they throw `HansardError` with code `.unavailable` if the store is away.
public protocol UsageReports: Sendable {
    /// Usage by time, exact whether or not it has been rolled up yet.
    ///
    /// - Throws: `UsageReport.tooManyResults`, or `UsageReport.recordsAreGone` by the minute.
    func report(_ query: UsageQuery) async throws -> UsageReport
    /// What each session used that began in a stretch of time, by its id, newest first.
    ///
    /// - Parameters:
    ///   - filter: of a session with several parts, those count that fit.
    ///   - before: the last one of the page before; nil begins at the newest.
    ///   - limit: at least 1.
    /// - Returns: them, and up to when all that was used is here.
    func sessions(
        of tenant: TenantID, startedIn stretch: Range<Date>, _ filter: UsageGroup, before: SessionID?, limit: Int
    ) async throws -> (sessions: [SessionUsage], asOf: Date)
    /// The hour of the tenant's first use; nil if there is none.
    func firstHour(of tenant: TenantID) async throws -> Date?
}
