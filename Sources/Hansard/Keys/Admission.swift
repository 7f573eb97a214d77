public import FoundationEssentials

/// Who is asking, once a credential has been recognised: decided from the snapshot, in memory.
public struct Caller: Sendable, Equatable {
    /// Whose data it may touch.
    public var tenant: Tenant
    /// The key that was presented, or that the token stands for.
    public var key: APIKey
    /// What may be done: the key's scopes, or fewer for a token.
    public var scopes: Set<Scope>
    /// Whether a short-lived token was presented, which cannot make others and so prolong itself.
    public var isToken = false
    /// From when live sessions of this credential are closed; nil is never. Tokens bound the handshake only.
    public var expiresAt: Date? { key.expiresAt }

    /// A caller as a snapshot recognised it.
    public init(tenant: Tenant, key: APIKey, scopes: Set<Scope>) {
        self.tenant = tenant
        self.key = key
        self.scopes = scopes
    }

    /// Throws `.forbidden` unless the credential may do this.
    public func require(_ scope: Scope) throws(HansardError) {
        guard scopes.contains(scope) else {
            throw HansardError(.forbidden, "this key lacks the scope '\(scope.rawValue)'")
        }
    }
}

extension AccessSnapshot {
    /// Recognises a key by its digest.
    ///
    /// Checked in this order, so that nothing is told about a key to one who does not hold it: it exists, it is enabled,
    /// it has not expired, its tenant is in good standing.
    ///
    /// - Throws: `.unauthenticated` or, for a suspended tenant, `.forbidden`.
    public func caller(digest: SecretDigest, now: Date) throws(HansardError) -> Caller {
        guard let key = key(digest) else { throw HansardError.unauthenticated(.unknown, "the API key is unknown") }
        return try caller(key: key, now: now)
    }

    private func caller(key: APIKey, now: Date) throws(HansardError) -> Caller {
        guard let tenant = tenant(key.tenant) else {
            throw HansardError.unauthenticated(.unknown, "the API key is unknown")
        }
        guard key.isEnabled else {
            throw HansardError.unauthenticated(
                key.revokedAt == nil ? .disabled : .revoked, "the API key has been disabled")
        }
        if let expiry = key.expiresAt, expiry <= now {
            throw HansardError.unauthenticated(.expired, "the API key has expired")
        }
        guard tenant.status == .active else { throw HansardError(.forbidden, "the tenant is suspended") }
        return Caller(tenant: tenant, key: key, scopes: key.scopes)
    }

    /// Recognises the parent key of a token whose authenticity has been checked.
    public func caller(token: AccessToken, now: Date) throws(HansardError) -> Caller {
        guard TimeInterval(token.expiresAt) > now.timeIntervalSince1970 else {
            throw HansardError.unauthenticated(
                .expired, "the access token has expired; get a new one from /v1/auth/grant")
        }
        guard let key = key(named: token.key) else {
            throw HansardError.unauthenticated(.unknown, "the access token's key is unknown")
        }
        var caller = try caller(key: key, now: now)
        caller.scopes.formIntersection(token.scopes)
        caller.isToken = true
        return caller
    }
}
