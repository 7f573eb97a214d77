/// What a price is for.
public enum BillingUnit: String, Sendable, CaseIterable, Codable {
    case minute, hour

    /// Its length.
    public var milliseconds: Int64 { self == .minute ? 60_000 : 3_600_000 }
}

/// Which time of a session is billed.
public enum BilledTime: String, Sendable, CaseIterable, Codable {
    /// Audio that was admitted: `audio_ms`.
    case audio
    /// From the handshake to the end: `connected_ms`.
    case connected
}

/// How tiers are read.
public enum TierMode: String, Sendable, CaseIterable, Codable {
    /// Each part of the time at the price of the tier in which it lies.
    case graduated
    /// All of it at the price of the tier in which its end lies.
    case volume
}

/// A price up to an amount of time. Where it begins is where the one before ends, so that there are neither gaps nor overlaps.
public struct Tier: Sendable, Hashable, Codable {
    /// The last unit at this price, included; nil is no end, which the last tier alone has.
    public var upTo: Int64?
    /// For each unit.
    public var unitPrice: Price

    /// See the members.
    public init(upTo: Int64? = nil, unitPrice: Price) {
        self.upTo = upTo
        self.unitPrice = unitPrice
    }
}

/// What the time of some engine and language costs.
public struct Charge: Sendable, Hashable, Codable {
    /// The engine whose time it is for; nil is any.
    public var engine: String?
    /// The language that the client asked for; nil is any.
    public var language: String?
    /// What prices and tiers count.
    public var unit: BillingUnit
    /// How `tiers` are read.
    public var mode: TierMode
    /// Minutes of a period that cost nothing; tiers begin after them.
    public var includedMinutes: Int64
    /// At least one, in the order of their ends.
    public var tiers: [Tier]

    /// See the members.
    public init(
        engine: String? = nil, language: String? = nil, unit: BillingUnit = .minute, mode: TierMode = .graduated,
        includedMinutes: Int64 = 0, tiers: [Tier]
    ) {
        self.engine = engine
        self.language = language
        self.unit = unit
        self.mode = mode
        self.includedMinutes = includedMinutes
        self.tiers = tiers
    }

    func covers(engine: String, language: String) -> Bool {
        self.engine.map { $0 == engine } ?? true && self.language.map { $0 == language } ?? true
    }

    /// Whether it takes all that the other would.
    func covers(_ other: Charge) -> Bool {
        (engine == nil || engine == other.engine) && (language == nil || language == other.language)
    }
}

/// One version of a plan: how usage becomes money. It is not changed once it was assigned to a tenant.
public struct PlanVersion: Sendable, Hashable, Codable {
    /// Charges at most.
    public static let chargeLimit = 100
    /// Tiers of a charge, at most.
    public static let tierLimit = 20
    /// Units that a tier may end at, and minutes that may be included.
    public static let unitRange: ClosedRange<Int64> = 1...1_000_000_000
    /// An increment or a minimum, in milliseconds: up to an hour.
    public static let sessionRange: ClosedRange<Int64> = 1...3_600_000

    /// Of all prices.
    public var currency: Currency
    /// Which time of sessions is billed.
    public var time: BilledTime
    /// A session's time is rounded up to a multiple of so many milliseconds.
    public var increment: Int64
    /// A session that has any time is billed so many milliseconds at least; 0 is no minimum.
    public var minimum: Int64
    /// What a period costs at least.
    public var commitment: Price
    /// The first that covers a session's engine and language is the one that it is billed by.
    public var charges: [Charge]

    /// See the members.
    public init(
        currency: Currency, time: BilledTime = .audio, increment: Int64 = 1, minimum: Int64 = 0,
        commitment: Price = .zero, charges: [Charge]
    ) {
        self.currency = currency
        self.time = time
        self.increment = increment
        self.minimum = minimum
        self.commitment = commitment
        self.charges = charges
    }

    /// Finds out whether every time has one price.
    ///
    /// - Throws: `HansardError` with code `.invalid` and the pointer of the first field that is wrong.
    public func check() throws(HansardError) {
        guard Self.sessionRange ~= increment else {
            throw wrong("/increment_ms", "must be from 1 to \(Self.sessionRange.upperBound)")
        }
        guard minimum == 0 || Self.sessionRange ~= minimum else {
            throw wrong("/minimum_ms", "must be from 0 to \(Self.sessionRange.upperBound)")
        }
        guard 1...Self.chargeLimit ~= charges.count else {
            throw wrong("/charges", "must be 1 to \(Self.chargeLimit) charges")
        }
        for (index, charge) in charges.enumerated() {
            if let earlier = charges[..<index].firstIndex(where: { $0.covers(charge) }) {
                throw wrong("/charges/\(index)", "is never used: charge \(earlier) takes everything that it is for")
            }
            try check(charge, "/charges/\(index)")
        }
    }

    private func check(_ charge: Charge, _ pointer: String) throws(HansardError) {
        guard charge.includedMinutes == 0 || Self.unitRange ~= charge.includedMinutes else {
            throw wrong("\(pointer)/included_minutes", "must be from 0 to \(Self.unitRange.upperBound)")
        }
        guard 1...Self.tierLimit ~= charge.tiers.count else {
            throw wrong("\(pointer)/tiers", "must be 1 to \(Self.tierLimit) tiers")
        }
        var end: Int64 = 0
        for (index, tier) in charge.tiers.enumerated() {
            let isLast = index == charge.tiers.count - 1
            guard let upTo = tier.upTo else {
                if isLast { return }
                throw wrong("\(pointer)/tiers/\(index)/up_to", "must be a number: only the last tier has no end")
            }
            guard !isLast else {
                throw wrong(
                    "\(pointer)/tiers/\(index)/up_to", "must be null in the last tier: what is beyond it has no price")
            }
            guard upTo > end, upTo <= Self.unitRange.upperBound else {
                throw wrong(
                    "\(pointer)/tiers/\(index)/up_to",
                    "must be above the end of the tier before, \(end), and at most \(Self.unitRange.upperBound)")
            }
            end = upTo
        }
    }

    private func wrong(_ pointer: String, _ what: String) -> HansardError {
        HansardError(.invalid, "\(pointer) \(what)", field: pointer)
    }
}
