/// A currency of ISO 4217, with the places of its smallest amount.
public struct Currency: Sendable, Hashable, Codable, CustomStringConvertible {
    /// Three capital letters.
    public let code: String
    /// Places after the point of its smallest amount, 0 ... 4: a cent is 2.
    public let places: Int

    /// Those of the list whose smallest amount is not a hundredth.
    private static let unusual = [
        "BHD": 3, "BIF": 0, "CLF": 4, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0,
        "KRW": 0, "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "UYI": 0, "UYW": 4, "VND": 0,
        "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    ]

    /// ISO 4217 List One (SIX Financial Information, "Current currency and funds code list"), without metals, bonds and codes
    /// for tests.
    private static let codes = Set(
        """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
        CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL
        HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA
        MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
        RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
        USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
        """.split(whereSeparator: \.isWhitespace).map(String.init))

    /// All of them, by code.
    public static var all: [Currency] { codes.sorted().compactMap(Currency.init) }

    /// - Returns: nil if there is no such currency.
    public init?(_ code: String) {
        guard Self.codes.contains(code) else { return nil }
        self.code = code
        places = Self.unusual[code] ?? 2
    }

    /// See `init(_:)`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let code = try container.decode(String.self)
        guard let currency = Currency(code) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no currency of ISO 4217")
        }
        self = currency
    }

    /// Writes the code.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(code)
    }

    /// The code.
    public var description: String { code }
}

/// A price or another sum of money that people write: a decimal of at most 12 places, 0 or more.
public struct Price: Sendable, Hashable, Comparable, Codable, CustomStringConvertible {
    /// Places after the point, at most.
    public static let places = 12
    /// The most that can be written; an amount of it for any time is still exact.
    public static let most = Price(trillionths: 1_000_000_000 * unit)!

    static let unit: Int128 = 1_000_000_000_000
    /// Zero.
    public static let zero = Price(trillionths: 0)!
    static let one = Price(trillionths: unit)!

    /// Trillionths of the currency's unit.
    let trillionths: Int128

    init?(trillionths: Int128) {
        // `most` is not there yet when it is made itself.
        guard 0...1_000_000_000 * Self.unit ~= trillionths else { return nil }
        self.trillionths = trillionths
    }

    /// Reads digits, and if there is a point, 1 to 12 digits after it: `0.0043`.
    ///
    /// - Returns: nil if it is none, or more than `most`.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count == 2 ? parts[1] : "0"
        guard !parts[0].isEmpty, !fraction.isEmpty, parts[0].utf8.count <= 10, fraction.utf8.count <= Self.places,
            (parts[0] + fraction).utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
            let whole = Int128(parts[0]),
            let rest = Int128(fraction + String(repeating: "0", count: Self.places - fraction.utf8.count))
        else { return nil }
        self.init(trillionths: whole * Self.unit + rest)
    }

    /// See `init(_:)`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let price = Price(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no price")
        }
        self = price
    }

    /// Writes the text.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    /// Without needless zeros: `0.0043`, `12`.
    public var description: String { Decimal.text(trillionths, places: Self.places, least: 0) }

    /// By amount.
    public static func < (one: Price, other: Price) -> Bool { one.trillionths < other.trillionths }
}

/// An amount of money, exactly: what some time costs at some prices, and sums and differences of that. It may be below zero.
public struct Amount: Sendable, Hashable, Comparable {
    /// Milliseconds in an hour: prices by the hour and by the minute are whole multiples of a price by the millisecond in
    /// parts of this.
    private static let parts: Int128 = 3_600_000
    /// How many of the highest amount that can be read can be added up.
    private static let summands: Int128 = 1_000
    /// Zero.
    public static let zero = Amount(units: 0)

    /// In parts of a trillionth of the currency's unit.
    private var units: Int128

    private init(units: Int128) { self.units = units }

    /// What so many milliseconds, 0 or more, cost.
    public init(_ milliseconds: Int64, at price: Price, per unit: BillingUnit) {
        units = Int128(milliseconds) * price.trillionths * (Self.parts / Int128(unit.milliseconds))
    }

    /// A sum of money.
    public init(_ price: Price) { units = price.trillionths * Self.parts }

    /// Reads what `description` writes; nil if it is none, or more than can be added up.
    public init?(_ text: String) {
        guard let trillionths = Decimal.value(text, places: Price.places) else { return nil }
        let (units, isTooMuch) = trillionths.multipliedReportingOverflow(by: Self.parts * Self.summands)
        guard !isTooMuch else { return nil }
        self.init(units: units / Self.summands)
    }

    /// As `description` writes it: sums and differences of such amounts are exactly those of their texts.
    public var written: Amount { Amount(units: Self.quotient(units, Self.parts) * Self.parts) }

    /// Rounded to the currency's smallest amount, half of one away from zero, in such amounts.
    public func rounded(to currency: Currency) -> Money {
        var part = Self.parts
        for _ in currency.places..<Price.places { part *= 10 }
        return Money(minor: Self.quotient(units, part), currency: currency)
    }

    /// The currency's smallest amounts that are whole in it, towards less.
    fileprivate func floor(in currency: Currency) -> Money {
        var part = Self.parts
        for _ in currency.places..<Price.places { part *= 10 }
        let (whole, rest) = units.quotientAndRemainder(dividingBy: part)
        return Money(minor: rest < 0 ? whole - 1 : whole, currency: currency)
    }

    /// With 12 places at most, rounded half away from zero, since a third has no end: `0.0043`, `-1.333333333333`.
    public var description: String {
        Decimal.text(Self.quotient(units, Self.parts), places: Price.places, least: 0)
    }

    /// Whole quotient, half away from zero.
    private static func quotient(_ dividend: Int128, _ divisor: Int128) -> Int128 {
        let (whole, rest) = dividend.quotientAndRemainder(dividingBy: divisor)
        return 2 * rest.magnitude >= divisor.magnitude ? whole + dividend.signum() : whole
    }

    /// The sum.
    public static func + (one: Amount, other: Amount) -> Amount { Amount(units: one.units + other.units) }
    /// The difference.
    public static func - (one: Amount, other: Amount) -> Amount { Amount(units: one.units - other.units) }
    /// Adds.
    public static func += (one: inout Amount, other: Amount) { one = one + other }
    /// By amount.
    public static func < (one: Amount, other: Amount) -> Bool { one.units < other.units }
}

extension Amount: CustomStringConvertible {}

/// Money that changes hands: a whole number of the currency's smallest amounts.
public struct Money: Sendable, Hashable, CustomStringConvertible {
    /// In the currency's smallest amount.
    public var minor: Int128
    /// Of which currency.
    public var currency: Currency

    /// So many of the currency's smallest amounts.
    public init(minor: Int128 = 0, currency: Currency) {
        self.minor = minor
        self.currency = currency
    }

    /// Reads what `description` writes; places may be left out, and there are no more than the currency has.
    public init?(_ text: String, _ currency: Currency) {
        guard let minor = Decimal.value(text, places: currency.places) else { return nil }
        self.init(minor: minor, currency: currency)
    }

    /// With all the places of the currency, and without its name: `12.30`.
    public var description: String { Decimal.text(minor, places: currency.places, least: currency.places) }

    /// The same as an exact amount.
    public var amount: Amount {
        var trillionths = minor.magnitude
        for _ in currency.places..<Price.places { trillionths *= 10 }
        let price = Amount.whole(trillionths: Int128(trillionths))
        return minor < 0 ? Amount.zero - price : price
    }

    /// Shares of it for what has these exact amounts, whose sum is what was rounded to it: each is rounded down, and what is left
    /// goes, one smallest amount each, to those that lost most, of equals to the first. They add up to it.
    public func shares(for amounts: [Amount]) -> [Money] {
        guard !amounts.isEmpty else { return [] }
        var shares = amounts.map { $0.floor(in: currency) }
        let lost = zip(amounts, shares).map { $0 - $1.amount }
        let order = amounts.indices.sorted { (lost[$1], $0) < (lost[$0], $1) }
        let left = minor - shares.reduce(0) { $0 + $1.minor }
        let (each, rest) = left.quotientAndRemainder(dividingBy: Int128(amounts.count))
        for index in shares.indices { shares[index].minor += each }
        let receivers = rest < 0 ? Array(order.reversed()) : order
        for index in receivers.prefix(Int(rest.magnitude)) { shares[index].minor += rest.signum() }
        return shares
    }

    /// The difference of what is of the same currency.
    public static func - (one: Money, other: Money) -> Money {
        precondition(one.currency == other.currency, "differences are of one currency")
        return Money(minor: one.minor - other.minor, currency: one.currency)
    }

    /// Adds what is of the same currency.
    public static func += (one: inout Money, other: Money) {
        precondition(one.currency == other.currency, "sums are of one currency")
        one.minor += other.minor
    }
}

extension BillingUnit {
    /// How many of it so much time is, with at most 12 places, rounded half away from zero: `0.000016666667` minutes.
    public func quantity(of milliseconds: Int64) -> String {
        Amount(milliseconds, at: .one, per: self).description
    }
}

extension Amount {
    fileprivate static func whole(trillionths: Int128) -> Amount { Amount(units: trillionths * parts) }
}

private enum Decimal {
    /// Digits before the point, at most: sums of amounts of a century still fit.
    static let digits = 22

    /// Reads a sign, digits, and if there is a point at most so many digits after it.
    static func value(_ text: String, places: Int) -> Int128? {
        let magnitude = text.hasPrefix("-") ? text.dropFirst() : text[...]
        let parts = magnitude.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, 1...digits ~= whole.utf8.count else { return nil }
        let fraction = parts.count == 2 ? parts[1] : ""
        guard parts.count == 1 || !fraction.isEmpty, fraction.utf8.count <= places,
            (whole + fraction).utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
            let value = Int128(whole + fraction + String(repeating: "0", count: places - fraction.utf8.count))
        else { return nil }
        return text.hasPrefix("-") ? -value : value
    }

    /// - Parameter least: places that are written although they are zero.
    static func text(_ value: Int128, places: Int, least: Int) -> String {
        let digits = String(value.magnitude)
        let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
        var fraction = padded.suffix(places)
        while fraction.count > least, fraction.last == "0" { fraction.removeLast() }
        let sign = value < 0 ? "-" : ""
        return sign + padded.dropLast(places) + (fraction.isEmpty ? "" : "." + fraction)
    }
}
