public import FoundationEssentials

/// One line of an invoice: what a charge comes to in a month, what has changed of that since it was billed, or a credit.
public struct InvoiceLine: Sendable, Hashable {
    /// Why it is there.
    public enum Kind: String, Sendable, CaseIterable, Codable {
        /// The invoice's own month.
        case usage
        /// An earlier month, less what was billed for it.
        case adjustment
        /// An operator's doing.
        case credit
    }

    /// What it is for.
    public enum Subject: Sendable, Hashable, CustomStringConvertible {
        /// The charge with this place in the plan's version.
        case charge(Int)
        /// Time that no charge covers.
        case unpriced
        /// What the other lines lack of the commitment.
        case commitment
        /// A credit.
        case credit(CreditID)

        /// For people.
        public var description: String {
            switch self {
            case .charge(let index): "charge \(index)"
            case .unpriced: "time without a price"
            case .commitment: "the commitment"
            case .credit(let id): "credit \(id)"
            }
        }

        /// In addresses and tables: `charge-0`, `unpriced`, `commitment`, `credit`.
        public var name: String {
            switch self {
            case .charge(let index): "charge-\(index)"
            case .unpriced: "unpriced"
            case .commitment: "commitment"
            case .credit: "credit"
            }
        }

        /// Which usage it is; nil of what is none.
        public var usage: RatedLine.Subject? {
            switch self {
            case .charge(let index): .charge(index)
            case .unpriced: .unpriced
            case .commitment, .credit: nil
            }
        }
    }

    /// What a tier's part of it costs. In an adjustment both numbers may be below zero.
    public struct TierPart: Sendable, Hashable {
        /// The tier's place in its charge.
        public var tier: Int
        /// The last unit at its price; nil is no end.
        public var upTo: Int64?
        /// Its price for a unit.
        public var unitPrice: Price
        /// The time at its price.
        public var milliseconds: Int64
        /// What that costs, with 12 places.
        public var precise: Amount

        /// See the members.
        public init(tier: Int, upTo: Int64?, unitPrice: Price, milliseconds: Int64, precise: Amount) {
            self.tier = tier
            self.upTo = upTo
            self.unitPrice = unitPrice
            self.milliseconds = milliseconds
            self.precise = precise
        }
    }

    /// Why it is there.
    public var kind: Kind
    /// What it is for.
    public var subject: Subject
    /// The month that it is for.
    public var period: QuotaPeriod
    /// By which plan; nil of a credit.
    public var plan: PlanID?
    /// By which of its versions; nil of a credit.
    public var version: Int?
    /// The engine whose time the charge is for; nil is any.
    public var engine: String?
    /// The language that the charge is for; nil is any.
    public var language: String?
    /// What the charge's prices count; nil where there is no charge.
    public var unit: BillingUnit?
    /// How the charge's tiers are read; nil where there is no charge.
    public var mode: TierMode?
    /// Sessions that began in it.
    public var sessions: Int64 = 0
    /// Milliseconds as they were metered.
    public var raw: Int64 = 0
    /// After increments and minimums of sessions.
    public var billed: Int64 = 0
    /// What of `billed` was included.
    public var included: Int64 = 0
    /// How the rest is priced.
    public var tiers: [TierPart] = []
    /// With 12 places.
    public var precise: Amount
    /// In the currency's smallest amount.
    public var amount: Money
    /// Why an operator credited it; nil of other lines.
    public var reason: String?
    /// Where the sessions are read whose usage is in it; nil where there are none to read.
    public var sessionsURL: String?

    /// A line of a month's usage.
    public init(_ line: RatedLine, of rated: RatedPeriod) {
        kind = .usage
        (period, plan, version) = (rated.period, rated.plan, rated.version)
        switch line.subject {
        case .charge(let index):
            let charge = rated.prices.charges[index]
            subject = .charge(index)
            (engine, language, unit, mode) = (charge.engine, charge.language, charge.unit, charge.mode)
            tiers = line.tiers.map { part in
                let tier = charge.tiers[part.tier]
                return TierPart(
                    tier: part.tier, upTo: tier.upTo, unitPrice: tier.unitPrice, milliseconds: part.milliseconds,
                    precise: part.amount.written)
            }
        case .unpriced: subject = .unpriced
        case .commitment: subject = .commitment
        }
        (sessions, raw, billed, included) = (Int64(line.sessions), line.raw, line.billed, line.included)
        (precise, amount) = (line.precise.written, line.amount)
    }

    /// A credit's line.
    public init(_ credit: Credit) {
        (kind, subject, period) = (.credit, .credit(credit.id), credit.period)
        (precise, amount, reason) = (credit.amount.amount, credit.amount, credit.reason)
    }

    /// The same subject with nothing to it.
    var emptied: InvoiceLine {
        var line = self
        (line.sessions, line.raw, line.billed, line.included, line.tiers) = (0, 0, 0, 0, [])
        (line.precise, line.amount) = (.zero, Money(currency: amount.currency))
        return line
    }

    /// Whether it says that nothing was and nothing is to be paid.
    var isEmpty: Bool { self == emptied }

    /// Takes what was billed already off it. Amounts are differences of rounded amounts, so that all that is ever billed for a
    /// subject comes to what the whole comes to.
    mutating func subtract(_ billed: InvoiceLine) {
        sessions -= billed.sessions
        raw -= billed.raw
        self.billed -= billed.billed
        included -= billed.included
        precise = precise - billed.precise
        amount = amount - billed.amount
        for part in billed.tiers {
            if let place = tiers.firstIndex(where: { $0.tier == part.tier }) {
                tiers[place].milliseconds -= part.milliseconds
                tiers[place].precise = tiers[place].precise - part.precise
            } else {
                var part = part
                (part.milliseconds, part.precise) = (-part.milliseconds, Amount.zero - part.precise)
                tiers.append(part)
            }
        }
        tiers = tiers.filter { $0.milliseconds != 0 || $0.precise != .zero }.sorted { $0.tier < $1.tier }
    }
}

/// A month of a tenant, rated by the version of the plan that holds in it.
public struct RatedPeriod: Sendable {
    /// Which month.
    public var period: QuotaPeriod
    /// By which plan.
    public var plan: PlanID
    /// By which of its versions.
    public var version: Int
    /// The version's prices.
    public var prices: PlanVersion
    /// What the usage of the month, as far as it is known, comes to.
    public var rated: [RatedLine]

    /// See the members.
    public init(period: QuotaPeriod, plan: PlanID, version: Int, prices: PlanVersion, rated: [RatedLine]) {
        self.period = period
        self.plan = plan
        self.version = version
        self.prices = prices
        self.rated = rated
    }

    /// Whether there was any usage.
    public var isUsed: Bool { rated.contains { $0.sessions != 0 || $0.raw != 0 } }

    /// What an invoice of the month says of it.
    public var lines: [InvoiceLine] { rated.map { InvoiceLine($0, of: self) } }

    /// What a later month's invoice says of it: of each line what it comes to now, less all that was billed for it. What has not
    /// changed is left out.
    ///
    /// - Parameter billed: the lines of all invoices for this month, in its currency.
    public func adjustments(billed: [InvoiceLine]) -> [InvoiceLine] {
        var lines = lines
        for line in billed {
            let place = lines.firstIndex { $0.subject == line.subject } ?? lines.endIndex
            // What was billed, and is no line now: a commitment that late usage has reached.
            if place == lines.endIndex { lines.append(line.emptied) }
            lines[place].subtract(line)
        }
        return lines.filter { !$0.isEmpty }.map {
            var line = $0
            line.kind = .adjustment
            return line
        }
    }
}

/// What an operator adds to a tenant's bill for a month, or takes off it.
public struct Credit: Sendable, Equatable {
    /// Under which invoices know it.
    public var id: CreditID
    /// Whose bill it is.
    public var tenant: TenantID
    /// The month to whose invoice it goes.
    public var period: QuotaPeriod
    /// Below zero takes off.
    public var amount: Money
    /// Why, for whoever reads the invoice.
    public var reason: String
    /// Who did it, as the audit log has it.
    public var actor: String
    /// When it was made.
    public var createdAt: Date

    /// See the members.
    public init(
        id: CreditID, tenant: TenantID, period: QuotaPeriod, amount: Money, reason: String, actor: String,
        createdAt: Date
    ) {
        self.id = id
        self.tenant = tenant
        self.period = period
        self.amount = amount
        self.reason = reason
        self.actor = actor
        self.createdAt = createdAt
    }
}
