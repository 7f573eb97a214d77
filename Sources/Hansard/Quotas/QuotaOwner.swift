import FoundationEssentials

/// Whose limits and counts they are.
public enum QuotaOwner: Hashable, Sendable, CustomStringConvertible {
    /// All sessions of the tenant.
    case tenant(TenantID)
    /// Those that the key opened.
    case key(KeyID)

    /// `T#<tenant>` or `K#<key>`, the form that stores use as a key.
    public var description: String {
        switch self {
        case .tenant(let tenant): "T#\(tenant)"
        case .key(let key): "K#\(key)"
        }
    }

    /// Reads the form that `description` writes.
    public init?(_ text: String) {
        let name = String(text.dropFirst(2))
        if text.hasPrefix("T#") {
            guard let tenant = UUID(uuidString: name) else { return nil }
            self = .tenant(TenantID(tenant))
        } else if text.hasPrefix("K#"), !name.isEmpty {
            self = .key(KeyID(name))
        } else {
            return nil
        }
    }
}

/// A limit that a claim has found to be reached.
public struct LimitReached: Hashable, Sendable {
    /// What is counted.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Sessions at once.
        case concurrentSessions = "concurrent_sessions"
        /// Sessions that began within one UTC minute.
        case newSessionsPerMinute = "new_sessions_per_minute"
    }

    /// Whose limit.
    public var owner: QuotaOwner
    /// Of what.
    public var kind: Kind
    /// How many are allowed.
    public var limit: Int

    /// A limit as a store found it.
    public init(owner: QuotaOwner, kind: Kind, limit: Int) {
        self.owner = owner
        self.kind = kind
        self.limit = limit
    }

    /// What clients are told: `quota: 50 concurrent sessions`.
    public var reason: String {
        switch kind {
        case .concurrentSessions: "quota: \(limit) concurrent sessions"
        case .newSessionsPerMinute: "quota: \(limit) new sessions per minute"
        }
    }
}
