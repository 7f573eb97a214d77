/// Everything that admission needs to know about tenants and keys, at one moment: handshakes are decided from it, in
/// memory, without a database call.
public struct AccessSnapshot: Sendable {
    /// The store's access sequence when the snapshot was taken.
    public var sequence: Int64
    /// Every tenant by id.
    public var tenants: [TenantID: Tenant]
    /// Every key by the digest of its secret.
    public var keys: [SecretDigest: APIKey]
    /// The digest of each key by its public name, for tokens that refer to their parent key.
    public var digests: [KeyID: SecretDigest]
    /// Every admin token that has not been revoked, by the digest of its secret.
    public var adminTokens: [SecretDigest: AdminToken]

    /// A snapshot as a store read it.
    public init(
        sequence: Int64, tenants: [Tenant], keys: [(SecretDigest, APIKey)],
        adminTokens: [(SecretDigest, AdminToken)] = []
    ) {
        self.sequence = sequence
        self.tenants = Dictionary(uniqueKeysWithValues: tenants.map { ($0.id, $0) })
        self.keys = Dictionary(uniqueKeysWithValues: keys)
        digests = Dictionary(uniqueKeysWithValues: keys.map { ($0.1.id, $0.0) })
        self.adminTokens = Dictionary(uniqueKeysWithValues: adminTokens)
    }

    /// The limits of a tenant or key; nil if there is no such.
    public func quotas(of owner: QuotaOwner) -> QuotaLimits? {
        switch owner {
        case .tenant(let tenant): tenants[tenant]?.quotas
        case .key(let key): digests[key].flatMap { keys[$0]?.quotas }
        }
    }
}

/// What every node, or one of them, is told to do.
public enum NodeCommand: Sendable, Equatable {
    /// End a session, wherever it is.
    case terminate(SessionID)
    /// Admit nothing new on the nodes of that name; their sessions go on.
    case drain(String)
    /// Admit again.
    case undrain(String)
}

/// What has changed of an `AccessSnapshot`.
public struct AccessChanges: Sendable {
    /// The store's access sequence with these changes.
    public var sequence: Int64
    /// Tenants as they are now.
    public var tenants: [Tenant] = []
    /// Tenants that are gone.
    public var removedTenants: [TenantID] = []
    /// Keys as they are now.
    public var keys: [(SecretDigest, APIKey)] = []
    /// Keys that are gone.
    public var removedKeys: [KeyID] = []
    /// All admin tokens, if any of them changed.
    public var adminTokens: [(SecretDigest, AdminToken)]?
    /// What nodes are told, in order.
    public var commands: [NodeCommand] = []

    /// No changes.
    public init(sequence: Int64) { self.sequence = sequence }
}

extension AccessSnapshot {
    /// Brings the snapshot up to the changes' sequence.
    public mutating func apply(_ changes: AccessChanges) {
        sequence = max(sequence, changes.sequence)
        for tenant in changes.removedTenants { tenants[tenant] = nil }
        for tenant in changes.tenants { tenants[tenant.id] = tenant }
        for key in changes.removedKeys {
            if let digest = digests.removeValue(forKey: key) { keys[digest] = nil }
        }
        for (digest, key) in changes.keys {
            keys[digest] = key
            digests[key.id] = digest
        }
        if let tokens = changes.adminTokens { adminTokens = Dictionary(uniqueKeysWithValues: tokens) }
    }
}
