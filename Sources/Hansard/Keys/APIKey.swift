public import FoundationEssentials

/// What a key may be used for.
public enum Scope: String, Sendable, CaseIterable, Codable, Hashable {
    /// Open sessions on `/v1/listen`, and make short-lived tokens for it.
    case listen
    /// List and read the tenant's transcripts.
    case transcriptsRead = "transcripts:read"
    /// Delete the tenant's transcripts.
    case transcriptsDelete = "transcripts:delete"
    /// Read the tenant's usage.
    case usageRead = "usage:read"
    /// List and read the tenant's sessions.
    case sessionsRead = "sessions:read"
    /// End the tenant's sessions.
    case sessionsTerminate = "sessions:terminate"
}

/// The SHA-256 of a whole secret: all of it that is ever stored.
public struct SecretDigest: Hashable, Sendable {
    /// In place: there may be millions, and each handshake makes one.
    private let words: SIMD4<UInt64>

    /// Wraps the 32 bytes of a SHA-256.
    public init(_ bytes: [UInt8]) {
        precondition(bytes.count == 32, "a SHA-256 digest has 32 bytes")
        var words = SIMD4<UInt64>()
        for (index, byte) in bytes.enumerated() { words[index / 8] = words[index / 8] << 8 | UInt64(byte) }
        self.words = words
    }

    /// 32 bytes.
    public var bytes: [UInt8] {
        (0..<32).map { UInt8(truncatingIfNeeded: words[$0 / 8] >> UInt64(56 - $0 % 8 * 8)) }
    }

    /// A part is as evenly spread as the whole.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.x) }
}

/// A tenant's API key without its secret.
public struct APIKey: Sendable, Equatable {
    /// Its public name.
    public var id: KeyID
    /// Whose key it is.
    public var tenant: TenantID
    /// What the tenant calls it.
    public var name: String
    /// What it may be used for.
    public var scopes: Set<Scope>
    /// The prefix and first four characters of the secret, for people who look for it in a list.
    public var displayPrefix: String
    /// The last four characters of the secret.
    public var displaySuffix: String
    /// False refuses it and closes its live sessions.
    public var isEnabled: Bool
    /// From when it is refused; nil is never.
    public var expiresAt: Date?
    /// Labels that its sessions' usage gets.
    public var tags: [String]
    /// Addresses from which it is accepted, in CIDR notation; none is all.
    public var allowedCIDRs: [String]
    /// The same for all keys that one key was rotated into, so that usage can be followed.
    public var family: String
    /// Limits of its own, beside its tenant's.
    public var quotas: QuotaLimits
    /// When it was revoked for good; nil is not.
    public var revokedAt: Date?
    /// When it last opened a session, to about a minute; nil is never.
    public var lastUsedAt: Date?
    /// Grows with every change: the API's `ETag`.
    public var revision: Int64
    /// When it was created.
    public var createdAt: Date
    /// When it was last changed.
    public var updatedAt: Date

    /// A key as a store or a test describes it.
    public init(
        id: KeyID, tenant: TenantID, name: String, scopes: Set<Scope> = Set(Scope.allCases), displayPrefix: String,
        displaySuffix: String, isEnabled: Bool = true, expiresAt: Date? = nil, tags: [String] = [],
        allowedCIDRs: [String] = [], family: String? = nil, quotas: QuotaLimits = QuotaLimits(), createdAt: Date
    ) {
        self.id = id
        self.tenant = tenant
        self.name = name
        self.scopes = scopes
        self.displayPrefix = displayPrefix
        self.displaySuffix = displaySuffix
        self.isEnabled = isEnabled
        self.expiresAt = expiresAt
        self.tags = tags
        self.allowedCIDRs = allowedCIDRs
        self.family = family ?? id.rawValue
        self.quotas = quotas
        revision = 1
        self.createdAt = createdAt
        updatedAt = createdAt
    }
}

/// What an operator's token may do.
public enum AdminRole: String, Sendable, CaseIterable, Codable {
    /// Everything, other tokens included.
    case owner
    /// Tenants, keys, quotas, sessions, nodes.
    case `operator`
    /// Plans, prices, periods, invoices.
    case billing
    /// Reading only.
    case viewer
}

/// An operator's token without its secret.
public struct AdminToken: Sendable, Equatable {
    /// Its public name, `adm_` and 22 characters.
    public var id: String
    /// What its holder calls it.
    public var name: String
    /// What it may do.
    public var role: AdminRole
    /// The tenants that it may know of; nil is all.
    public var tenants: [TenantID]?
    /// The prefix and first four characters of the secret.
    public var displayPrefix = ""
    /// The last four characters of the secret.
    public var displaySuffix = ""
    /// From when it is refused; nil is never.
    public var expiresAt: Date?
    /// When it was created.
    public var createdAt: Date

    /// A token as a store or a test describes it.
    public init(id: String, name: String, role: AdminRole, expiresAt: Date? = nil, createdAt: Date) {
        self.id = id
        self.name = name
        self.role = role
        self.expiresAt = expiresAt
        self.createdAt = createdAt
    }
}
