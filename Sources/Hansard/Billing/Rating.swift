/// Time that a session had at one engine before a period, in milliseconds, by either measure: plans bill by one or the other.
public struct EarlierTime: Sendable, Hashable {
    /// The engine that listened.
    public var engine: String
    /// Audio that was admitted; 0 or more.
    public var audio: Int64
    /// How long the session was connected; 0 or more.
    public var connected: Int64

    /// See the members.
    public init(engine: String, audio: Int64, connected: Int64) {
        self.engine = engine
        self.audio = audio
        self.connected = connected
    }

    /// What a plan that bills a time goes by.
    public func milliseconds(_ time: BilledTime) -> Int64 { time == .audio ? audio : connected }
}

/// Time of a session at one engine within one period.
public struct BillableTime: Sendable, Hashable {
    /// Whose time it is; nil is a session of which nothing else is added.
    public var session: SessionID?
    /// The engine that listened.
    public var engine: String
    /// The language that the client asked for.
    public var language: String
    /// Whether the session began with it, and is counted here.
    public var isBeginning: Bool
    /// What the session had in earlier periods. Of a session's parts within a period the first one's is what counts.
    public var earlier: [EarlierTime]
    /// Milliseconds that it had then; 0 or more.
    public var milliseconds: Int64

    /// See the members.
    public init(
        session: SessionID? = nil, engine: String, language: String, isBeginning: Bool = true,
        earlier: [EarlierTime] = [], milliseconds: Int64
    ) {
        self.session = session
        self.engine = engine
        self.language = language
        self.isBeginning = isBeginning
        self.earlier = earlier
        self.milliseconds = milliseconds
    }
}

/// One line of a bill.
public struct RatedLine: Sendable, Hashable {
    /// What it is for.
    public enum Subject: Sendable, Hashable {
        /// The charge with this place in the plan.
        case charge(Int)
        /// Time that no charge covers: it costs nothing, and is shown.
        case unpriced
        /// What the other lines lack of the commitment.
        case commitment
    }

    /// What a tier's part of it costs.
    public struct TierPart: Sendable, Hashable {
        /// The tier's place in its charge.
        public var tier: Int
        /// The time at its price.
        public var milliseconds: Int64
        /// What that costs.
        public var amount: Amount
    }

    /// What it is for.
    public var subject: Subject
    /// Sessions that began in it.
    public var sessions: Int
    /// Milliseconds as they were metered.
    public var raw: Int64
    /// After increments and minimums of sessions.
    public var billed: Int64
    /// What of `billed` was included.
    public var included: Int64
    /// How the rest is priced.
    public var tiers: [TierPart]
    /// Exactly.
    public var precise: Amount
    /// Rounded once.
    public var amount: Money
}

/// Turns usage into money: the one place that does.
///
/// Sessions are added in any order, the parts of one after each other, as `SessionRating` wants them; `lines` says what they come to.
public struct Rating: Sendable {
    private struct Sum {
        var sessions = 0
        var raw: Int64 = 0
        var billed: Int64 = 0
    }

    private let plan: PlanVersion
    private var sessions: SessionRating
    private var sums: [RatedLine.Subject: Sum] = [:]

    /// - Parameters:
    ///   - plan: one that `PlanVersion.check` finds good.
    ///   - earlier: what the period before was billed by; nil if nothing was.
    public init(_ plan: PlanVersion, after earlier: PlanVersion?) {
        self.plan = plan
        sessions = SessionRating(plan, after: earlier)
    }

    /// A rating after a period that had the same plan.
    public init(_ plan: PlanVersion) { self.init(plan, after: plan) }

    /// Adds a time.
    public mutating func add(_ time: BillableTime) {
        let rated = sessions.rate(time)
        sums[rated.subject, default: Sum()].sessions += rated.sessions
        sums[rated.subject, default: Sum()].raw += rated.raw
        sums[rated.subject, default: Sum()].billed += rated.billed
    }

    /// One line for each charge, whether or not there was time for it, then what has no price, then what the commitment asks
    /// for beyond.
    public var lines: [RatedLine] {
        var lines = plan.charges.indices.map { line(.charge($0), sums[.charge($0)] ?? Sum(), plan.charges[$0]) }
        if let sum = sums[.unpriced] { lines.append(line(.unpriced, sum, nil)) }
        let lacking = Amount(plan.commitment) - Self.total(lines, plan.currency).amount
        if lacking > .zero {
            lines.append(
                RatedLine(
                    subject: .commitment, sessions: 0, raw: 0, billed: 0, included: 0, tiers: [], precise: lacking,
                    amount: lacking.rounded(to: plan.currency)))
        }
        return lines
    }

    /// The sum of the lines as they were rounded, so that a reader who adds them gets it.
    public static func total(_ lines: [RatedLine], _ currency: Currency) -> Money {
        lines.reduce(into: Money(currency: currency)) { $0 += $1.amount }
    }

    private func line(_ subject: RatedLine.Subject, _ sum: Sum, _ charge: Charge?) -> RatedLine {
        let included = min(sum.billed, (charge?.includedMinutes ?? 0) * BillingUnit.minute.milliseconds)
        let tiers = charge.map { Self.parts(of: sum.billed - included, $0) } ?? []
        let precise = tiers.reduce(into: Amount.zero) { $0 += $1.amount }
        return RatedLine(
            subject: subject, sessions: sum.sessions, raw: sum.raw, billed: sum.billed, included: included,
            tiers: tiers, precise: precise, amount: precise.rounded(to: plan.currency))
    }

    private static func parts(of milliseconds: Int64, _ charge: Charge) -> [RatedLine.TierPart] {
        func part(_ tier: Int, _ milliseconds: Int64) -> RatedLine.TierPart {
            let amount = Amount(milliseconds, at: charge.tiers[tier].unitPrice, per: charge.unit)
            return RatedLine.TierPart(tier: tier, milliseconds: milliseconds, amount: amount)
        }
        guard milliseconds > 0 else { return [] }
        let ends = charge.tiers.map { $0.upTo.map { $0 * charge.unit.milliseconds } ?? .max }
        switch charge.mode {
        case .volume:
            // The last has no end.
            let tier = ends.firstIndex { milliseconds <= $0 } ?? ends.count - 1
            return [part(tier, milliseconds)]
        case .graduated:
            var (parts, start): ([RatedLine.TierPart], Int64) = ([], 0)
            for (tier, end) in ends.enumerated() where start < milliseconds {
                parts.append(part(tier, min(milliseconds, end) - start))
                start = min(milliseconds, end)
            }
            return parts
        }
    }
}
