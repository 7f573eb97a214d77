import FoundationEssentials
import Hansard
import Postgres
import Web

/// Where it is written who did what: whatever is done is refused if that cannot be written.
protocol AuditLog: Sendable {
    /// Appends an entry to its chain.
    func append(_ entry: AuditEntry) async throws
    /// Tells every node to do something, and appends the entry, in one transaction.
    func append(_ entry: AuditEntry, commanding command: NodeCommand, of tenant: TenantID?) async throws
}

extension AuditLog {
    /// Does what cannot be one step with its entry, since it is done elsewhere: a transcript's deletion.
    ///
    /// The entry is in the log already. After it, what was erased could stand nowhere, if the log were away by then, or the
    /// node died between, and nobody could explain where it went; so the log may rather say too much. It says so itself, by a
    /// second entry of the same call, if the other store is away: then the thing may still be there. If that entry cannot be
    /// written either, the caller is told of the failure all the same, and whoever finds the thing knows that the first
    /// one did not come true.
    func noting(_ entry: AuditEntry, _ work: () async throws -> Void) async throws {
        do {
            try await work()
        } catch {
            var failure = entry
            (failure.id, failure.occurredAt, failure.outcome) = (UUID(), .now, .failed)
            try? await append(failure)
            throw error
        }
    }
}

/// The audit log in Postgres (`Migrations/0007_admin.sql`).
struct PostgresAuditLog: AuditLog {
    let pool: ConnectionPool

    func append(_ entry: AuditEntry) async throws {
        try await pool.asOperator { try await $0.append(entry) }
    }

    func append(_ entry: AuditEntry, commanding command: NodeCommand, of tenant: TenantID?) async throws {
        try await pool.asOperator { connection in
            try await connection.give(command, of: tenant, id: entry.id, at: entry.occurredAt)
            try await connection.append(entry)
        }
    }
}

extension ConnectionPool {
    /// Runs `body` in a transaction that sees and changes what belongs to any tenant.
    ///
    /// - Throws: what `body` throws; of Postgres, in the domain's terms.
    @discardableResult func asOperator<Value: Sendable>(
        isolation: Connection.Isolation = .readCommitted, _ body: @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        try await HansardError.mapping {
            try await transaction(isolation: isolation, as: "hansard_operator", body)
        }
    }
}

extension Connection {
    /// Appends to the audit log.
    func append(_ entry: AuditEntry) throws(PostgresError) {
        try query(
            """
            SELECT append_audit(ROW(\(entry.id), \(entry.tenant?.rawValue), 1, \(entry.occurredAt), \(entry.actor.type),
                \(entry.actor.id), \(entry.action), \(entry.outcome.rawValue), \(entry.target.type), \(entry.target.id),
                \(entry.address), \(entry.userAgent?.storable), \(entry.request?.rawValue), \(entry.changes)::jsonb,
                ''::bytea)::audit_log)
            """)
    }

    /// Puts a command into the feed that every node follows.
    func give(_ command: NodeCommand, of tenant: TenantID?, id: UUID, at now: Date) throws(PostgresError) {
        let (name, target) =
            switch command {
            case .terminate(let session): ("terminate", session.description)
            case .drain(let node): ("drain", node)
            case .undrain(let node): ("undrain", node)
            }
        try execute(
            """
            INSERT INTO node_commands (command_id, tenant_id, command, target, given_at)
            VALUES (\(id), \(tenant?.rawValue), \(name), \(target), \(now))
            """)
    }
}

extension AuditEntry {
    /// What a caller did with a request.
    init(
        _ action: String, by actor: Actor, tenant: TenantID?, target: Target, _ match: Route.Match, at now: Date,
        outcome: Outcome = .done, changes: String = "{}"
    ) {
        self.init(
            id: UUID(), tenant: tenant, occurredAt: now, actor: actor, action: action, outcome: outcome, target: target,
            address: match.request.peer.address.description, userAgent: match.request.headers["user-agent"],
            request: match.id, changes: changes)
    }
}
