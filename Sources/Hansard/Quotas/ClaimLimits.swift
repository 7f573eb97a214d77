/// How many sessions a tenant or key may have, as the owner of limits (Postgres) last stated it.
public struct AdmissionLimit: Sendable, Equatable {
    /// Sessions at once; nil is no limit.
    public var sessions: Int?
    /// Sessions that may begin within one UTC minute; nil is no limit.
    public var newPerMinute: Int?
    /// Stores ignore a limit whose version is not above the one they hold.
    public var version: Int64

    /// A limit and its version.
    public init(sessions: Int?, newPerMinute: Int? = nil, version: Int64) {
        self.sessions = sessions
        self.newPerMinute = newPerMinute
        self.version = version
    }
}

/// What a claim is decided by.
public struct ClaimLimits: Sendable, Equatable {
    /// The tenant's limits.
    public var tenant: AdmissionLimit
    /// Those of the session's key; nil if it has none, and then nothing is counted for it.
    public var key: AdmissionLimit?

    /// Limits as the claimer knows them.
    public init(tenant: AdmissionLimit, key: AdmissionLimit? = nil) {
        self.tenant = tenant
        self.key = key
    }
}

extension QuotaLimits {
    /// The limits that claims are decided by.
    public var admission: AdmissionLimit {
        AdmissionLimit(sessions: maxConcurrentSessions, newPerMinute: maxNewSessionsPerMinute, version: version)
    }

    /// Whether claims must be counted.
    public var limitsAdmission: Bool { maxConcurrentSessions != nil || maxNewSessionsPerMinute != nil }
}

extension ClaimLimits {
    /// The limits of a tenant and of one of its keys.
    public init(tenant: QuotaLimits, key: QuotaLimits) {
        self.init(tenant: tenant.admission, key: key.limitsAdmission ? key.admission : nil)
    }
}
