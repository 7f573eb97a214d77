public import FoundationEssentials

/// A customer of the operator: whose keys, sessions, transcripts and usage are apart from everyone else's.
public struct Tenant: Sendable, Equatable {
    /// Whether the tenant may open sessions.
    public enum Status: String, Sendable, CaseIterable, Codable {
        /// In good standing.
        case active
        /// Refused at the handshake; live sessions are closed.
        case suspended
    }

    /// Its identity in every store.
    public var id: TenantID
    /// What the operator calls it.
    public var name: String
    /// Whether it may open sessions.
    public var status: Status
    /// How many sessions it may have at once over all nodes; nil is no limit.
    public var maxConcurrentSessions: Int?
    /// Grows with every change of a limit, so that stores never go back to an older one.
    public var limitVersion: Int64
    /// The engine that its sessions use; nil is the server's default.
    public var defaultEngine: String?
    /// The engine that goes on when that one fails; nil is the server's own. The same as the first is none.
    public var fallbackEngine: String?
    /// When it was created.
    public var createdAt: Date

    /// A tenant as a store or a test describes it.
    public init(
        id: TenantID, name: String, status: Status = .active, maxConcurrentSessions: Int? = nil,
        limitVersion: Int64 = 1, defaultEngine: String? = nil, fallbackEngine: String? = nil, createdAt: Date
    ) {
        self.id = id
        self.name = name
        self.status = status
        self.maxConcurrentSessions = maxConcurrentSessions
        self.limitVersion = limitVersion
        self.defaultEngine = defaultEngine
        self.fallbackEngine = fallbackEngine
        self.createdAt = createdAt
    }
}

/// Where tenants, their keys and the admin tokens are kept.
///
/// Conformers may be called from any task. Every method throws `HansardError` with code `.unavailable` when the store
/// cannot be reached, and `.internal` for anything unforeseen.
public protocol TenantStore: Sendable {
    /// Stores a new tenant. Throws `.conflict` if the id exists.
    func create(_ tenant: Tenant) async throws
    /// Stores a new key by its digest. Throws `.notFound` if the tenant does not exist, `.conflict` if the key does.
    func create(_ key: APIKey, digest: SecretDigest) async throws
    /// Stores a new admin token by its digest. Throws `.conflict` if it exists.
    func create(_ token: AdminToken, digest: SecretDigest) async throws
    /// The tenant of that name, if there is one; of several the oldest.
    func tenant(named name: String) async throws -> Tenant?
    /// The admin token of that digest, if there is one that has not been revoked.
    func adminToken(digest: SecretDigest) async throws -> AdminToken?
    /// A number that has grown whenever any tenant or key changed; cheap, so that nodes can poll it each second.
    func accessSequence() async throws -> Int64
    /// Everything that admission needs, at one moment.
    func accessSnapshot() async throws -> AccessSnapshot
}
