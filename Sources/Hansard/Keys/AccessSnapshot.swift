public import FoundationEssentials
import HashTreeCollections

/// A place in a store's history of changes.
///
/// Numbers alone do not tell one history from another: a database that was restored, or a standby that lacked the last
/// changes, goes on counting from where it was.
public struct AccessPosition: Sendable, Equatable {
    /// How many changes there have been.
    public var sequence: Int64
    /// What the last of them is called: no two changes have the same.
    public var change: UUID

    /// A position as a store has it.
    public init(sequence: Int64, change: UUID) {
        self.sequence = sequence
        self.change = change
    }
}

/// Everything that admission needs to know about tenants and keys, at one moment: handshakes are decided from it, in
/// memory, without a database call.
///
/// Whoever reads holds a value of its own while the node applies changes. What there may be millions of is in trees that
/// share what is the same: a hash table would be copied whole for the change of one key, while everybody waits.
public struct AccessSnapshot: Sendable, Equatable {
    /// The last change that it knows of.
    public var position: AccessPosition
    /// Every admin token that has not been revoked, by the digest of its secret.
    public var adminTokens: [SecretDigest: AdminToken]
    private var tenantsByID: TreeDictionary<TenantID, Tenant>
    private var keysByDigest: TreeDictionary<SecretDigest, APIKey>
    /// For tokens that refer to their parent key.
    private var digests: TreeDictionary<KeyID, SecretDigest>

    /// A snapshot as a store read it.
    public init(
        position: AccessPosition, tenants: [Tenant], keys: [(SecretDigest, APIKey)],
        adminTokens: [(SecretDigest, AdminToken)] = []
    ) {
        self.position = position
        tenantsByID = TreeDictionary(uniqueKeysWithValues: tenants.map { ($0.id, $0) })
        keysByDigest = TreeDictionary(uniqueKeysWithValues: keys)
        digests = TreeDictionary(uniqueKeysWithValues: keys.map { ($0.1.id, $0.0) })
        self.adminTokens = Dictionary(uniqueKeysWithValues: adminTokens)
    }

    /// Every tenant, in no order.
    public var tenants: some Collection<Tenant> & Sendable { tenantsByID.values }

    /// Every key, in no order.
    public var keys: some Collection<APIKey> & Sendable { keysByDigest.values }

    /// The tenant of that id.
    public func tenant(_ id: TenantID) -> Tenant? { tenantsByID[id] }

    /// The key whose secret has that digest.
    public func key(_ digest: SecretDigest) -> APIKey? { keysByDigest[digest] }

    /// The key of that public name.
    public func key(named id: KeyID) -> APIKey? { digests[id].flatMap { keysByDigest[$0] } }

    /// The limits of a tenant or key; nil if there is no such.
    public func quotas(of owner: QuotaOwner) -> QuotaLimits? {
        switch owner {
        case .tenant(let tenant): self.tenant(tenant)?.quotas
        case .key(let key): self.key(named: key)?.quotas
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
    /// The last of them.
    public var position: AccessPosition
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
    public init(position: AccessPosition) { self.position = position }
}

extension AccessSnapshot {
    /// Takes in a key, in place of an earlier state of it.
    public mutating func insert(_ key: APIKey, digest: SecretDigest) {
        keysByDigest[digest] = key
        digests[key.id] = digest
    }

    /// Brings the snapshot up to the changes' position.
    public mutating func apply(_ changes: AccessChanges) {
        position = changes.position
        for tenant in changes.removedTenants { tenantsByID[tenant] = nil }
        for tenant in changes.tenants { tenantsByID[tenant.id] = tenant }
        for key in changes.removedKeys {
            if let digest = digests.removeValue(forKey: key) { keysByDigest[digest] = nil }
        }
        for (digest, key) in changes.keys { insert(key, digest: digest) }
        if let tokens = changes.adminTokens { adminTokens = Dictionary(uniqueKeysWithValues: tokens) }
    }
}
