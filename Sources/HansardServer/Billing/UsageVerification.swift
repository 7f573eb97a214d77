import FoundationEssentials
public import Hansard
public import Postgres

/// Proves of a month that what sessions say they used is what the ledger has, what was summed up from it, and what was billed.
///
/// It believes no table: each is compared with the one that it was made from, column by column as far as both have it. What
/// is nowhere twice is not proved: which of several engines had which part of a session, and records that are missing between
/// others, since of a minute in which the ledger was away the last one alone is kept.
public struct UsageVerification: Sendable {
    /// Something that is not as it should be, or that is yet to be billed or compared.
    public struct Finding: Sendable, Equatable {
        /// What is compared.
        public enum Check: String, Sendable, CaseIterable {
            /// Sessions' rows and the ledger's totals and labels.
            case sessions
            /// Records, their order, and totals.
            case records
            /// Records and their marks at the end of each hour.
            case marks
            /// Marks and sums by hour.
            case hours
            /// Marks and the events that were made of them.
            case events
            /// Sums by hour and by day.
            case days
            /// Invoices, their hashes, lines and numbers, and what their months come to.
            case invoices
            /// Credits and their lines.
            case credits
            /// Plans' versions, their assignments, and the invoices that were made by them.
            case plans
            /// Usage that came after its month was closed: no fault, the next invoice has it.
            case late
            /// Records that were taken out after their time: no fault, and those that are there are compared.
            case gone
            /// Sessions that were at work a moment ago: no fault, their rows and records are on their way.
            case recent
            /// That there is nothing at all of the month: no fault, and what a mistaken month looks like.
            case nothing
        }

        /// What is compared.
        public var check: Check
        /// Where, and what each side says.
        public var text: String
        /// Whether it is a fault.
        public var isFault: Bool {
            switch check {
            case .late, .gone, .recent, .nothing: false
            case .sessions, .records, .marks, .hours, .events, .days, .invoices, .credits, .plans: true
            }
        }

        init(_ check: Check, _ text: String) {
            self.check = check
            self.text = text
        }
    }

    /// Findings of one check that are told.
    public static let limit = 100
    /// A session's row and its records come by two ways: rows are compared of sessions that used nothing in so many seconds
    /// before the moment up to which all nodes' records are there. While the ledger is away a record may be a minute after the
    /// one before it; that, and as much again.
    static let settling: TimeInterval = 120
    /// How far a record's time, when its delivery began, may be from that of an invoice that has it, or has it not.
    static let delivery: TimeInterval = 60

    private let pool: ConnectionPool
    private let period: QuotaPeriod

    /// - Parameter url: of a login that nodes or the tables' owner have.
    public init(_ url: DatabaseURL, period: QuotaPeriod) {
        var options = ConnectionPool.Options()
        options.connections = 1
        // It reads all of a month.
        options.connection.statementTimeout = nil
        options.connection.applicationName = "hansard usage verify"
        pool = ConnectionPool(url, options: options)
        self.period = period
    }

    /// Compares everything, as it is at one moment.
    ///
    /// - Throws: `HansardError` if it cannot be read.
    public func findings() async throws -> [Finding] {
        let period = period
        do {
            let findings = try await pool.asOperator(isolation: .repeatableReadOnly) { connection in
                let settled = try await connection.settledThrough()
                let droppedAt = try await connection.recordsDroppedAt(period)
                var findings = try await connection.sessionFindings(period, settled: settled)
                findings += try await connection.recordFindings(period, droppedAt: droppedAt)
                findings += try await connection.sumFindings(period)
                findings += try await connection.eventFindings(period)
                findings += try await connection.invoiceFindings(period)
                findings += try await connection.planFindings(period)
                for tenant in try await connection.ratedTenants(period) {
                    findings += try await connection.ratingFindings(period, tenant, areRecordsGone: droppedAt != nil)
                }
                if findings.isEmpty, try await connection.hasNothing(of: period) {
                    findings = [Finding(.nothing, "there is neither usage nor an invoice of \(period)")]
                }
                return findings
            }
            await pool.close()
            return Self.limited(findings)
        } catch {
            await pool.close()
            throw error
        }
    }

    /// The first ones of each check.
    private static func limited(_ findings: [Finding]) -> [Finding] {
        var counts: [Finding.Check: Int] = [:]
        return findings.filter { finding in
            counts[finding.check, default: 0] += 1
            return counts[finding.check, default: 0] <= limit
        }
    }
}

extension Connection {
    /// Whether a month has no sessions, no usage and no invoices.
    fileprivate func hasNothing(of period: QuotaPeriod) throws -> Bool {
        let (start, end) = (period.start, period.end)
        return try query(
            """
            SELECT NOT EXISTS (SELECT FROM usage_segments WHERE period = \(period.firstDay)::date)
                AND NOT EXISTS (SELECT FROM usage_rows WHERE started_at >= \(start) AND started_at < \(end))
                AND NOT EXISTS (SELECT FROM invoices WHERE period = \(period.description)) AS has_nothing
            """
        ).only().value("has_nothing")
    }
}
