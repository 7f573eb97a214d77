/// A limit of minutes of audio in a month, and what happens at its end.
public struct MinuteLimit: Sendable, Equatable {
    /// Milliseconds of audio; nil is no limit.
    public var milliseconds: Int64?
    /// Under `.soft` more is granted than the limit, and counted.
    public var policy: QuotaPolicy
    /// Stores ignore a limit whose version is not above the one they hold.
    public var version: Int64

    /// A limit and its version.
    public init(milliseconds: Int64?, policy: QuotaPolicy = .hard, version: Int64) {
        self.milliseconds = milliseconds
        self.policy = policy
        self.version = version
    }

    /// What may be granted in all; nil is as much as anybody asks for.
    public var ceiling: Int64? { policy == .hard ? milliseconds : nil }
}

extension QuotaLimits {
    /// A tenant's limit of minutes.
    public var minutes: MinuteLimit {
        MinuteLimit(milliseconds: maxMinutesPerMonth.map(Self.milliseconds), policy: policy, version: version)
    }

    /// A key's limit of minutes under its tenant's limits, whose policy it follows. The sum of both versions grows
    /// whenever either changes, so that a change of the tenant's policy reaches the key's quota as well.
    public func minutes(under tenant: QuotaLimits) -> MinuteLimit {
        MinuteLimit(
            milliseconds: maxMinutesPerMonth.map(Self.milliseconds), policy: tenant.policy,
            version: version + tenant.version)
    }

    private static func milliseconds(_ minutes: Int) -> Int64 {
        let (product, overflow) = Int64(minutes).multipliedReportingOverflow(by: 60_000)
        return overflow ? .max : product
    }
}

/// What has been granted of a quota of minutes in a period.
public struct QuotaUse: Sendable, Equatable {
    /// Milliseconds that all nodes hold or have used. It may be above the limit: under `.soft`, and when the limit was
    /// lowered, until holders have given back what they did not use.
    public var granted: Int64
    /// The limit that counts: the one of highest version ever given to the store.
    public var limit: MinuteLimit

    /// A quota as a store describes it.
    public init(granted: Int64, limit: MinuteLimit) {
        self.granted = granted
        self.limit = limit
    }

    /// Milliseconds that may still be granted; nil is no bound.
    public var remaining: Int64? { limit.ceiling.map { max(0, $0 - granted) } }
}

/// What one epoch of a node was granted of an owner's quota in a period, less what it has given back.
public struct Grant: Sendable, Equatable {
    /// Whose quota.
    public var owner: QuotaOwner
    /// Of which month.
    public var period: QuotaPeriod
    /// Who holds it.
    public var holder: NodeEpoch
    /// In milliseconds, what is used already included.
    public var milliseconds: Int64
    /// How many requests have changed it.
    public var sequence: Int64

    /// A grant as a store describes it.
    public init(owner: QuotaOwner, period: QuotaPeriod, holder: NodeEpoch, milliseconds: Int64, sequence: Int64) {
        self.owner = owner
        self.period = period
        self.holder = holder
        self.milliseconds = milliseconds
        self.sequence = sequence
    }
}

/// One change of a grant.
public struct GrantRequest: Sendable, Equatable {
    /// Whose quota.
    public var owner: QuotaOwner
    /// Of which month.
    public var period: QuotaPeriod
    /// Who asks.
    public var holder: NodeEpoch
    /// One more than the sequence of the grant that it changes, 1 for one that is not there yet: so that it happens
    /// once, however often it arrives.
    public var sequence: Int64
    /// Milliseconds: of a growth the most that is wanted, above 0; of a return exactly so many, 0 or more. A return of
    /// nothing uses its number up, so that nothing of that number that was delayed is done any more.
    public var milliseconds: Int64
    /// The limit as the holder knows it.
    public var limit: MinuteLimit

    /// A request as a holder makes it.
    public init(
        owner: QuotaOwner, period: QuotaPeriod, holder: NodeEpoch, sequence: Int64, milliseconds: Int64,
        limit: MinuteLimit
    ) {
        self.owner = owner
        self.period = period
        self.holder = holder
        self.sequence = sequence
        self.milliseconds = milliseconds
        self.limit = limit
    }
}

/// What became of a request.
public enum GrantAnswer: Sendable, Equatable {
    /// The grant as it is now. If its sequence is the request's, the request has been done, by this attempt or an
    /// earlier one of the same number; if not, the holder goes on from here.
    case held(Grant, QuotaUse)
    /// Nothing is left to grant, and nothing has changed but, perhaps, the limit.
    case exhausted(QuotaUse)
    /// The epoch's grant is no more: it was taken for dead for good, and what it had left is given back.
    case retired
}

/// Where quotas of minutes live, and the grants of them that nodes hold: the sum of all grants never goes above a hard
/// limit, so that nodes that spend no more than they hold never do either.
///
/// Every operation is atomic and may be repeated after an unknown outcome without harm. Conformers may be called from
/// any task. Every method throws `HansardError` with code `.unavailable` if the store cannot be reached or did not
/// answer; then the outcome is unknown, and the caller repeats the same request.
public protocol GrantStore: Sendable {
    /// Grows a grant by as much as there is, up to what is wanted. The first of a period makes the quota. A limit of
    /// higher version than the store's becomes the store's, whatever the answer; one that is lower than what is granted
    /// takes nothing back.
    func grow(_ request: GrantRequest) async throws -> GrantAnswer

    /// Takes so much from a grant and gives it back to the quota. A limit of higher version counts as it does in
    /// `grow`. Never answers `.exhausted`.
    func giveBack(_ request: GrantRequest) async throws -> GrantAnswer

    /// The use of an owner's quota; nil if nothing was granted in the period, nor a limit stated.
    func use(of owner: QuotaOwner, in period: QuotaPeriod) async throws -> QuotaUse?

    /// Raises the store's idea of the quota's limit to this one, if its version is higher.
    func setMinutes(_ limit: MinuteLimit, owner: QuotaOwner, period: QuotaPeriod) async throws

    /// The grants of an epoch that have not been retired. A store may show a change only after a second.
    func grants(heldBy epoch: NodeEpoch) async throws -> [Grant]

    /// Ends the grant of an epoch that is no more: of what it was granted, what it did not use is given back; what it
    /// used beyond is added. Nothing that it asked for and that arrives later changes anything.
    ///
    /// - Parameter used: milliseconds that it used in the period, 0 or more.
    /// - Returns: false if there is no such grant, or it has been retired before.
    func retire(_ grant: Grant, used: Int64) async throws -> Bool
}
