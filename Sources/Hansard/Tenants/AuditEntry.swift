public import FoundationEssentials

/// One line of the audit log: who did, or was not allowed to do, what to what.
public struct AuditEntry: Sendable, Equatable {
    /// Whoever acts.
    public enum Actor: Sendable, Equatable {
        /// An operator's token, by its public name.
        case adminToken(String)
        /// A tenant's key, by its public name.
        case apiKey(KeyID)
        /// A node of its own accord.
        case node(String)
        /// Somebody at the command line of a machine that knows the database.
        case command(String)
    }

    /// How it came out.
    public enum Outcome: String, Sendable, CaseIterable {
        /// It was done, in the same transaction as this entry. What is done in another store is done after it; see `failed`.
        case done
        /// An earlier entry of the same call did not come true, or not for certain: the other store failed.
        case failed
        /// The caller's role, or scope, does not allow it.
        case denied
    }

    /// What was acted upon.
    public struct Target: Sendable, Equatable {
        /// For instance `tenant` or `key`.
        public var type: String
        /// Its public name.
        public var id: String

        /// Names a thing.
        public init(_ type: String, _ id: String) {
            self.type = type
            self.id = id
        }
    }

    /// Its identity.
    public var id: UUID
    /// Whose chain it belongs to; nil is the installation's.
    public var tenant: TenantID?
    /// When it happened.
    public var occurredAt: Date
    /// Who did it.
    public var actor: Actor
    /// For instance `tenant.create`.
    public var action: String
    /// How it came out.
    public var outcome: Outcome
    /// What was acted upon.
    public var target: Target
    /// From where.
    public var address: String?
    /// With what, as it says itself.
    public var userAgent: String?
    /// The call's id.
    public var request: SessionID?
    /// What was changed, as JSON: an object with `before` and `after`, or empty. Holds no secret.
    public var changes: String

    /// An entry before it is appended.
    public init(
        id: UUID, tenant: TenantID?, occurredAt: Date, actor: Actor, action: String, outcome: Outcome = .done,
        target: Target, address: String? = nil, userAgent: String? = nil, request: SessionID? = nil,
        changes: String = "{}"
    ) {
        self.id = id
        self.tenant = tenant
        self.occurredAt = occurredAt
        self.actor = actor
        self.action = action
        self.outcome = outcome
        self.target = target
        self.address = address
        self.userAgent = userAgent
        self.request = request
        self.changes = changes
    }
}

extension AuditEntry.Actor {
    /// The kind, as it is stored and shown.
    public var type: String {
        switch self {
        case .adminToken: "admin_token"
        case .apiKey: "api_key"
        case .node: "node"
        case .command: "command"
        }
    }

    /// The name, as it is stored and shown.
    public var id: String {
        switch self {
        case .adminToken(let name), .node(let name), .command(let name): name
        case .apiKey(let key): key.rawValue
        }
    }
}
