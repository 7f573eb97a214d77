public import FoundationEssentials

/// What a tenant is billed for a month.
public struct Invoice: Sendable, Hashable {
    /// How far it is.
    public enum State: String, Sendable, CaseIterable, Codable {
        /// What it would be if the month were closed now.
        case preview
        /// It is final.
        case closed
    }

    /// How far it is.
    public var state: State
    /// Counted up over all tenants, without gaps; nil of a preview.
    public var number: Int64?
    /// Who is billed.
    public var tenant: TenantID
    /// Which month.
    public var period: QuotaPeriod
    /// Of all its lines.
    public var currency: Currency
    /// The plan of the month; nil if the tenant has none, and it is all about earlier months and credits.
    public var plan: PlanID?
    /// The plan's version.
    public var version: Int?
    /// The month's own usage first, then adjustments of earlier ones, the earliest first, then credits.
    public var lines: [InvoiceLine]
    /// Up to when all nodes' usage was there.
    public var dataAsOf: Date
    /// When it was made.
    public var createdAt: Date

    /// See the members.
    public init(
        state: State, number: Int64? = nil, tenant: TenantID, period: QuotaPeriod, currency: Currency,
        plan: PlanID? = nil, version: Int? = nil, lines: [InvoiceLine], dataAsOf: Date, createdAt: Date
    ) {
        self.state = state
        self.number = number
        self.tenant = tenant
        self.period = period
        self.currency = currency
        self.plan = plan
        self.version = version
        self.lines = lines
        self.dataAsOf = dataAsOf
        self.createdAt = createdAt
    }

    /// The sum of its lines.
    public var total: Money { lines.reduce(into: Money(currency: currency)) { $0 += $1.amount } }

    /// Its canonical form: JSON as RFC 8785 has it, so that the same invoice is the same bytes, and one hash.
    public func document() throws -> String { try canonical(self) }

    /// Reads a canonical form.
    public init(document: String) throws { self = try JSONDecoder().decode(Invoice.self, from: Data(document.utf8)) }
}

extension InvoiceLine {
    /// Its canonical form, as it is in the invoice's.
    public func document() throws -> String { try canonical(self) }

    /// Reads a canonical form.
    public init(document: String) throws {
        self = try JSONDecoder().decode(InvoiceLine.self, from: Data(document.utf8))
    }
}

/// Names in the order of their characters, no space, and no number that is not whole.
private func canonical(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// A moment in RFC 3339, in UTC with milliseconds: what is below them is cut off.
private enum Moment {
    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    static func text(_ date: Date) -> String {
        let milliseconds = (date.timeIntervalSince1970 * 1_000 + 0.001).rounded(.down)
        // The style cuts too, and whole milliseconds are seldom whole in binary.
        return style.format(Date(timeIntervalSince1970: (milliseconds + 0.5) / 1_000))
    }

    static func date(_ text: String) throws -> Date {
        let date = try style.parse(text)
        return Date(timeIntervalSince1970: (date.timeIntervalSince1970 * 1_000).rounded() / 1_000)
    }
}

extension Invoice: Codable {
    private enum CodingKeys: String, CodingKey {
        case state, number, tenant = "tenant_id", period, currency, plan = "plan_id", version, lines, total
        case start = "start_time"
        case end = "end_time"
        case dataAsOf = "data_as_of"
        case createdAt = "created_at"
    }

    /// Writes all fields, those without a value as null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(state, forKey: .state)
        try container.encode(number, forKey: .number)
        try container.encode(tenant, forKey: .tenant)
        try container.encode(period, forKey: .period)
        try container.encode(Moment.text(period.start), forKey: .start)
        try container.encode(Moment.text(period.end), forKey: .end)
        try container.encode(currency, forKey: .currency)
        try container.encode(plan?.description, forKey: .plan)
        try container.encode(version, forKey: .version)
        try container.encode(lines, forKey: .lines)
        try container.encode(total.description, forKey: .total)
        try container.encode(Moment.text(dataAsOf), forKey: .dataAsOf)
        try container.encode(Moment.text(createdAt), forKey: .createdAt)
    }

    /// Reads what `encode` writes.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            state: try values.decode(State.self, forKey: .state),
            number: try values.decodeIfPresent(Int64.self, forKey: .number),
            tenant: try values.decode(TenantID.self, forKey: .tenant),
            period: try values.decode(QuotaPeriod.self, forKey: .period),
            currency: try values.decode(Currency.self, forKey: .currency),
            plan: try values.decodeIfPresent(String.self, forKey: .plan).flatMap(PlanID.init),
            version: try values.decodeIfPresent(Int.self, forKey: .version),
            lines: try values.decode([InvoiceLine].self, forKey: .lines),
            dataAsOf: try Moment.date(values.decode(String.self, forKey: .dataAsOf)),
            createdAt: try Moment.date(values.decode(String.self, forKey: .createdAt)))
    }
}

extension InvoiceLine: Codable {
    private enum CodingKeys: String, CodingKey {
        case kind, subject, charge, plan = "plan_id", version, engine, language, unit, mode, sessions, tiers
        case amount, currency, reason, credit = "credit_id"
        case period = "for_period"
        case raw = "raw_ms"
        case billed = "billed_ms"
        case included = "included_ms"
        case precise = "amount_precise"
        case sessionsURL = "sessions_url"
    }

    private enum SubjectName: String, Codable { case charge, unpriced, commitment, credit }

    /// Writes all fields, those without a value as null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        let (name, charge, credit): (SubjectName, Int?, CreditID?) =
            switch subject {
            case .charge(let index): (.charge, index, nil)
            case .unpriced: (.unpriced, nil, nil)
            case .commitment: (.commitment, nil, nil)
            case .credit(let id): (.credit, nil, id)
            }
        try container.encode(kind, forKey: .kind)
        try container.encode(name, forKey: .subject)
        try container.encode(charge, forKey: .charge)
        try container.encode(credit?.description, forKey: .credit)
        try container.encode(period, forKey: .period)
        try container.encode(plan?.description, forKey: .plan)
        try container.encode(version, forKey: .version)
        try container.encode(engine, forKey: .engine)
        try container.encode(language, forKey: .language)
        try container.encode(unit, forKey: .unit)
        try container.encode(mode, forKey: .mode)
        try container.encode(sessions, forKey: .sessions)
        try container.encode(raw, forKey: .raw)
        try container.encode(billed, forKey: .billed)
        try container.encode(included, forKey: .included)
        try container.encode(tiers, forKey: .tiers)
        try container.encode(precise.description, forKey: .precise)
        try container.encode(amount.description, forKey: .amount)
        try container.encode(amount.currency, forKey: .currency)
        try container.encode(reason, forKey: .reason)
        try container.encode(sessionsURL, forKey: .sessionsURL)
    }

    /// Reads what `encode` writes.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        kind = try values.decode(Kind.self, forKey: .kind)
        switch try values.decode(SubjectName.self, forKey: .subject) {
        case .charge: subject = .charge(try values.decode(Int.self, forKey: .charge))
        case .unpriced: subject = .unpriced
        case .commitment: subject = .commitment
        case .credit:
            subject = .credit(try values.read(.credit) { CreditID($0) })
        }
        period = try values.decode(QuotaPeriod.self, forKey: .period)
        plan = try values.decodeIfPresent(String.self, forKey: .plan).flatMap(PlanID.init)
        version = try values.decodeIfPresent(Int.self, forKey: .version)
        engine = try values.decodeIfPresent(String.self, forKey: .engine)
        language = try values.decodeIfPresent(String.self, forKey: .language)
        unit = try values.decodeIfPresent(BillingUnit.self, forKey: .unit)
        mode = try values.decodeIfPresent(TierMode.self, forKey: .mode)
        sessions = try values.decode(Int64.self, forKey: .sessions)
        raw = try values.decode(Int64.self, forKey: .raw)
        billed = try values.decode(Int64.self, forKey: .billed)
        included = try values.decode(Int64.self, forKey: .included)
        tiers = try values.decode([TierPart].self, forKey: .tiers)
        precise = try values.read(.precise) { Amount($0) }
        let currency = try values.decode(Currency.self, forKey: .currency)
        amount = try values.read(.amount) { Money($0, currency) }
        reason = try values.decodeIfPresent(String.self, forKey: .reason)
        sessionsURL = try values.decodeIfPresent(String.self, forKey: .sessionsURL)
    }
}

extension InvoiceLine.TierPart: Codable {
    private enum CodingKeys: String, CodingKey {
        case tier
        case upTo = "up_to"
        case unitPrice = "unit_price"
        case milliseconds = "billed_ms"
        case precise = "amount_precise"
    }

    /// Writes all fields, those without a value as null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(tier, forKey: .tier)
        try container.encode(upTo, forKey: .upTo)
        try container.encode(unitPrice, forKey: .unitPrice)
        try container.encode(milliseconds, forKey: .milliseconds)
        try container.encode(precise.description, forKey: .precise)
    }

    /// Reads what `encode` writes.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            tier: try values.decode(Int.self, forKey: .tier),
            upTo: try values.decodeIfPresent(Int64.self, forKey: .upTo),
            unitPrice: try values.decode(Price.self, forKey: .unitPrice),
            milliseconds: try values.decode(Int64.self, forKey: .milliseconds),
            precise: try values.read(.precise) { Amount($0) })
    }
}

extension KeyedDecodingContainer {
    /// What a text stands for.
    fileprivate func read<Value>(_ key: Key, _ value: (String) -> Value?) throws -> Value {
        guard let value = value(try decode(String.self, forKey: key)) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "it cannot be read")
        }
        return value
    }
}
