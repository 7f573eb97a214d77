public import FoundationEssentials

/// A month of the whole installation, as it is billed.
public struct BillingPeriod: Sendable, Equatable {
    /// How far it is.
    public enum State: String, Sendable, CaseIterable {
        /// Its invoices can still become others. Leaves to `closing`.
        case open
        /// Its invoices are being made, tenant by tenant. Leaves to `closed` once all are there.
        case closing
        /// It stays as it is.
        case closed
    }

    /// Which month.
    public var period: QuotaPeriod
    /// How far it is.
    public var state: State
    /// When its closing began; nil while it is open.
    public var closingAt: Date?
    /// When it was closed; nil until then.
    public var closedAt: Date?
    /// Why it was closed without the usage of some nodes; nil is with all.
    public var override: String?
    /// The lives of nodes whose usage was not waited for.
    public var missingSources: [NodeEpoch]
    /// Tenants that used something and had no plan: they have no invoice.
    public var unbilled: [TenantID]

    /// See the members.
    public init(
        period: QuotaPeriod, state: State = .open, closingAt: Date? = nil, closedAt: Date? = nil,
        override: String? = nil, missingSources: [NodeEpoch] = [], unbilled: [TenantID] = []
    ) {
        self.period = period
        self.state = state
        self.closingAt = closingAt
        self.closedAt = closedAt
        self.override = override
        self.missingSources = missingSources
        self.unbilled = unbilled
    }
}

/// A life of a node that makes usage records, and up to when they are all in the ledger.
public struct UsageSource: Sendable, Equatable {
    /// Which life of which node.
    public var epoch: NodeEpoch
    /// When it began.
    public var registeredAt: Date
    /// Up to when its records are there.
    public var completeThrough: Date
    /// When it was known to be over, with all its records there; nil is not yet.
    public var finishedAt: Date?
    /// When an operator gave up what it may still have; nil is not.
    public var retiredAt: Date?
    /// Why.
    public var retiredBecause: String?

    /// See the members.
    public init(
        epoch: NodeEpoch, registeredAt: Date, completeThrough: Date, finishedAt: Date? = nil, retiredAt: Date? = nil,
        retiredBecause: String? = nil
    ) {
        self.epoch = epoch
        self.registeredAt = registeredAt
        self.completeThrough = completeThrough
        self.finishedAt = finishedAt
        self.retiredAt = retiredAt
        self.retiredBecause = retiredBecause
    }

    /// Whether records of a time before `moment` may still come.
    public func isBehind(_ moment: Date) -> Bool {
        finishedAt == nil && retiredAt == nil && completeThrough < moment
    }
}

/// What is known when somebody wants to close a month.
public struct ClosingRequest: Sendable {
    /// The month as it is.
    public var period: BillingPeriod
    /// The first month before it that is to be closed first.
    public var earlierMonth: QuotaPeriod?
    /// A month after it that is closed, or is being closed.
    public var laterMonth: QuotaPeriod?
    /// Sources whose usage of the month is not all there.
    public var behind: [UsageSource]
    /// How long after its end a month is closed at the earliest.
    public var grace: Duration
    /// Why the sources are not waited for; nil is that they are.
    public var override: String?

    /// See the members.
    public init(
        _ period: BillingPeriod, earlierMonth: QuotaPeriod?, laterMonth: QuotaPeriod?, behind: [UsageSource],
        grace: Duration, override: String?
    ) {
        self.period = period
        self.earlierMonth = earlierMonth
        self.laterMonth = laterMonth
        self.behind = behind
        self.grace = grace
        self.override = override
    }

    /// Finds out whether the month may be closed. One that is closing already only goes on.
    ///
    /// - Parameter format: writes a moment for people.
    /// - Throws: `.conflict` that says what is in the way, and what would help.
    public func check(at now: Date, format: (Date) -> String) throws(HansardError) {
        let month = period.period
        switch period.state {
        case .closed:
            let time = period.closedAt.map { " since \(format($0))" } ?? ""
            throw HansardError(
                .conflict,
                "\(month) is closed\(time): usage that came later is an adjustment in the next month that is closed"
            )
        case .closing: return
        case .open: break
        }
        let earliest = month.end + grace / .seconds(1)
        guard now >= earliest else {
            throw HansardError(
                .conflict,
                "\(month) ends at \(format(month.end)), and is closed at \(format(earliest)) at the earliest: until then "
                    + "its preview says what it comes to", retryAfter: .seconds(earliest.timeIntervalSince(now)))
        }
        if let laterMonth {
            throw HansardError(
                .conflict,
                "\(laterMonth) comes after \(month) and is closed or being closed: nothing was owed for \(month), and usage of it "
                    + "that comes later is an adjustment in the next month that is closed")
        }
        if let earlierMonth {
            throw HansardError(
                .conflict,
                "\(earlierMonth) comes before \(month), is not closed, and has usage, a commitment or a credit: close it first"
            )
        }
        guard override == nil, !behind.isEmpty else { return }
        let named = behind.prefix(Self.named).map {
            "\($0.epoch.node) (epoch \($0.epoch.epoch.uuidString.lowercased())) is complete through "
                + format($0.completeThrough)
        }
        let more = behind.count > Self.named ? ", and \(behind.count - Self.named) more" : ""
        throw HansardError(
            .conflict,
            "usage of \(month) may still come: " + named.joined(separator: ", ") + more
                + ". Start these nodes again so that they bring it; retire the sources of those that are lost; or close it "
                + "without them by an override with its reason")
    }

    /// Sources that a refusal names.
    private static let named = 10
}
