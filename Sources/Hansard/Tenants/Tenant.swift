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

    /// What becomes of running sessions whose slot this installation's nodes can no longer vouch for.
    public enum LeaseLoss: String, Sendable, CaseIterable, Codable {
        /// They go on; the limit may be exceeded by as many.
        case keep
        /// They end.
        case close
    }

    /// What becomes of running sessions when no more of a quota of minutes can be had, because the store is away.
    public enum QuotaOutage: String, Sendable, CaseIterable, Codable {
        /// They end when what is held is spent.
        case close
        /// They go on, and what they use is charged later.
        case `continue`
    }

    /// What becomes of new sessions while the store that counts them is away.
    public enum UnclaimedAdmission: String, Sendable, CaseIterable, Codable {
        /// They are refused.
        case refuse
        /// They begin without a slot; the limit may be exceeded by as many.
        case allow
    }

    /// Its identity in every store.
    public var id: TenantID
    /// What the operator calls it.
    public var name: String
    /// Whether it may open sessions.
    public var status: Status
    /// What it may use.
    public var quotas: QuotaLimits
    /// The engine that its sessions use; nil is the server's default.
    public var defaultEngine: String?
    /// The engine that goes on when that one fails; nil is the server's own. The same as the first is none.
    public var fallbackEngine: String?
    /// Engines that its sessions may use; nil is all that the server has.
    public var allowedEngines: [String]?
    /// BCP 47 tags of languages that its sessions may ask for; nil is all that the engine knows.
    public var allowedLanguages: [String]?
    /// nil is the server's setting, here and in the next two.
    public var onLeaseLost: LeaseLoss?
    /// See `QuotaOutage`.
    public var quotaUnavailable: QuotaOutage?
    /// See `UnclaimedAdmission`.
    public var admitUnclaimed: UnclaimedAdmission?
    /// Days after which transcripts are deleted; nil is never.
    public var retentionDays: Int?
    /// The operator's own labels.
    public var metadata: [String: String]
    /// Grows with every change: the API's `ETag`.
    public var revision: Int64
    /// When it was created.
    public var createdAt: Date
    /// When it was last changed.
    public var updatedAt: Date

    /// A tenant as a store or a test describes it.
    public init(
        id: TenantID, name: String, status: Status = .active, quotas: QuotaLimits = QuotaLimits(),
        defaultEngine: String? = nil, fallbackEngine: String? = nil, createdAt: Date
    ) {
        self.id = id
        self.name = name
        self.status = status
        self.quotas = quotas
        self.defaultEngine = defaultEngine
        self.fallbackEngine = fallbackEngine
        metadata = [:]
        revision = 1
        self.createdAt = createdAt
        updatedAt = createdAt
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
    /// The key of that digest, if there is one; disabled and expired ones too.
    func key(digest: SecretDigest) async throws -> APIKey?
    /// The admin token of that digest, if there is one that has not been revoked.
    func adminToken(digest: SecretDigest) async throws -> AdminToken?
    /// The last change of any tenant, key or token, and the last command; cheap, so that nodes can poll it each second.
    func accessPosition() async throws -> AccessPosition
    /// Everything that admission needs, at one moment.
    func accessSnapshot() async throws -> AccessSnapshot
    /// What has changed since a snapshot; nil if that is too much, too long ago, or in another history than the store has now:
    /// then a new snapshot is what helps.
    func accessChanges(since position: AccessPosition) async throws -> AccessChanges?
    /// What nodes were told after one position and up to another, in order; what was cleared away is not among it.
    func accessCommands(after position: AccessPosition, through end: AccessPosition) async throws -> [NodeCommand]
}
