import FoundationEssentials
import Hansard
import Postgres

/// Closes a month: each tenant's invoice is a transaction, so that whoever begins again, after a node has died or beside another
/// who closes it too, goes on where it was and makes no invoice twice.
struct PeriodClosing: Sendable {
    /// Tenants that a refusal names.
    static let named = 10
    /// Between two looks whether somebody else has made the invoice that is being made.
    static let pause: Duration = .milliseconds(50)
    /// How long it waits, in seconds, for those who are at what months are billed by. What they do takes a moment, but for one: an
    /// invoice of a tenant with much usage, which whoever closes a month is making.
    static let lockTimeoutSeconds = 2

    let pool: ConnectionPool
    let period: QuotaPeriod

    /// Whether the month may be closed, and that it is being closed from now on.
    func begin(_ override: String?, grace: Duration, at now: Date, on connection: Connection) async throws
        -> BillingPeriod
    {
        // From here on nobody changes what it is billed by; who was at it is waited for.
        try await connection.holdBilling(toClose: period)
        var known = try await connection.billingPeriod(period)
        let behind = try await connection.usageSources(behind: period.end)
        try ClosingRequest(
            known, earlierMonth: await connection.earlierMonth(than: period),
            laterMonth: await connection.laterMonth(than: period), behind: behind, grace: grace, override: override
        ).check(at: now, format: Timestamp.format)
        guard known.state == .open else { return known }
        // What is recorded from here on is kept apart, as late usage.
        try await connection.changeMonths("SELECT await_ingest(\(period.description))")
        (known.state, known.closingAt) = (.closing, now)
        if !behind.isEmpty { (known.override, known.missingSources) = (override, behind.map(\.epoch)) }
        let missing = known.missingSources.map(\.description)
        try await connection.execute(
            """
            INSERT INTO billing_periods (period, state, closing_at, override, missing_sources)
            VALUES (\(period.description), 'closing', \(now), \(known.override), \(missing))
            ON CONFLICT (period) DO UPDATE
            SET state = excluded.state, closing_at = excluded.closing_at, override = excluded.override,
                missing_sources = excluded.missing_sources
            """)
        return known
    }

    /// Makes all invoices that are not there yet.
    ///
    /// - Throws: `.conflict` that names the tenants whose invoices cannot be made, once the others' are; `CancellationError`.
    func makeInvoices() async throws {
        let tenants = try await pool.asOperator(isolation: .repeatableReadOnly) { connection in
            try await connection.query(
                """
                SELECT tenant_id FROM (
                    SELECT tenant_id FROM plan_assignments WHERE from_period <= \(period.description)
                    UNION SELECT tenant_id FROM credits WHERE period = \(period.description)
                ) AS t
                WHERE NOT EXISTS (
                    SELECT FROM invoices AS i WHERE i.tenant_id = t.tenant_id AND i.period = \(period.description))
                ORDER BY tenant_id
                """
            ).map { TenantID(try $0.value("tenant_id")) }
        }
        var faults: [InvoiceFault] = []
        for tenant in tenants {
            try Task.checkCancellation()
            do {
                try await makeInvoice(of: tenant)
            } catch let fault as InvoiceFault {
                faults.append(fault)
            }
        }
        guard !faults.isEmpty else { return }
        let reasons = faults.prefix(Self.named).map { "tenant \($0.tenant): \($0.reason)" }
        let more = faults.count > Self.named ? ["and \(faults.count - Self.named) more"] : []
        throw HansardError(
            .conflict,
            "\(faults.count) invoices of \(period) could not be made, all others are: "
                + (reasons + more).joined(separator: "; ") + ". \(period) stays closing; call again once this is mended"
        )
    }

    private func makeInvoice(of tenant: TenantID) async throws {
        while true {
            do {
                try await HansardError.mapping {
                    try await pool.transaction(isolation: .repeatableRead, as: "hansard_operator") { connection in
                        // Before anything is read: what is seen afterwards has all invoices that were made before. Of two who
                        // close one waits, here and not in the server, where a statement must not take long.
                        try await connection.lockInvoices()
                        guard try await connection.isMissingInvoice(of: tenant, for: period),
                            let draft = try await connection.draftInvoice(of: tenant, for: period), !draft.lines.isEmpty
                        else { return }
                        try await connection.store(draft)
                    }
                }
                return
            } catch is InvoicesLocked {
                try await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Says that all invoices are there. If somebody else has said so it is as they said.
    func finish(at now: Date, on connection: Connection) async throws -> BillingPeriod {
        let unbilled = try await connection.unbilledTenants(in: period).map(\.rawValue)
        try await connection.execute(
            """
            UPDATE billing_periods SET state = 'closed', closed_at = \(now), unbilled = \(unbilled)
            WHERE period = \(period.description) AND state = 'closing'
            """)
        return try await connection.billingPeriod(period)
    }
}

/// Somebody else makes an invoice at this moment.
private struct InvoicesLocked: Error {}

extension Connection {
    /// - Throws: `.conflict` if somebody else is at it for longer than a moment.
    fileprivate func holdBilling(toClose period: QuotaPeriod) throws {
        let state = try billingPeriod(period).state
        try query("SELECT set_config('lock_timeout', \("\(PeriodClosing.lockTimeoutSeconds)s"), true)")
        do throws(PostgresError) {
            try execute("UPDATE billing_state SET closings = closings + 1")
        } catch {
            guard error.sqlState == "55P03" else { throw error }
            let other =
                state == .closing ? "\(period) is being closed by another call" : "another month is being closed"
            throw HansardError(.conflict, "\(other): call again once that is done, or in a moment to go on if it ended")
        }
        try execute("SET LOCAL lock_timeout TO DEFAULT")
    }

    fileprivate func lockInvoices() throws {
        do throws(PostgresError) {
            try execute("LOCK TABLE billing_state IN SHARE ROW EXCLUSIVE MODE NOWAIT")
        } catch {
            throw error.sqlState == "55P03" ? InvoicesLocked() : error as any Error
        }
    }

    fileprivate func isMissingInvoice(of tenant: TenantID, for period: QuotaPeriod) throws -> Bool {
        try query(
            """
            SELECT FROM billing_periods AS p
            WHERE p.period = \(period.description) AND p.state = 'closing' AND NOT EXISTS (
                SELECT FROM invoices AS i WHERE i.tenant_id = \(tenant.rawValue) AND i.period = p.period)
            """
        ).count == 1
    }

    /// A month; one that nobody has begun to close is open.
    func billingPeriod(_ period: QuotaPeriod) throws -> BillingPeriod {
        let rows = try query("SELECT * FROM billing_periods WHERE period = \(period.description)")
        return try rows.first.map(BillingPeriod.init(row:)) ?? BillingPeriod(period: period)
    }

    /// Lives of nodes whose records of a time before `end` are not all there, the farthest behind first.
    func usageSources(behind end: Date) throws -> [UsageSource] {
        try query(
            """
            SELECT * FROM usage_sources
            WHERE finished_at IS NULL AND retired_at IS NULL AND complete_through < \(end)
            ORDER BY complete_through, node, epoch
            """
        ).map(UsageSource.init(row:))
    }

    /// The first month before this one that is to be closed before it: one in which somebody owes something or is owed, after the
    /// last that is closed, or one that is being closed.
    fileprivate func earlierMonth(than period: QuotaPeriod) throws -> QuotaPeriod? {
        try query(
            """
            SELECT m.period FROM (
                SELECT period FROM billable_months() UNION SELECT period FROM billing_periods WHERE state = 'closing'
            ) AS m
            WHERE m.period < \(period.description)
                AND m.period > coalesce((SELECT max(period) FROM billing_periods WHERE state = 'closed'), '')
            ORDER BY m.period LIMIT 1
            """
        ).first?.period("period")
    }

    /// A month after this one that is closed or being closed.
    fileprivate func laterMonth(than period: QuotaPeriod) throws -> QuotaPeriod? {
        try query(
            """
            SELECT period FROM billing_periods WHERE state <> 'open' AND period > \(period.description)
            ORDER BY period LIMIT 1
            """
        ).first?.period("period")
    }

    /// Tenants that have usage in a month and no plan. Each is found by the one before it: a month has many rows of few tenants.
    func unbilledTenants(in period: QuotaPeriod) throws -> [TenantID] {
        try query(
            """
            WITH RECURSIVE used AS (
                (SELECT s.tenant_id FROM usage_segments AS s WHERE s.period = \(period.firstDay)::date
                ORDER BY s.tenant_id LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT s.tenant_id FROM usage_segments AS s
                    WHERE s.period = \(period.firstDay)::date AND s.tenant_id > used.tenant_id
                    ORDER BY s.tenant_id LIMIT 1)
                FROM used WHERE used.tenant_id IS NOT NULL
            )
            SELECT tenant_id FROM used
            WHERE tenant_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM plan_assignments AS a
                WHERE a.tenant_id = used.tenant_id AND a.from_period <= \(period.description)
                    AND (a.to_period IS NULL OR a.to_period >= \(period.description)))
            """
        ).map { TenantID(try $0.value("tenant_id")) }
    }
}
