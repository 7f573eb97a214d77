public import FoundationEssentials

/// A UTC month of the Gregorian calendar, over which minutes are counted.
public struct QuotaPeriod: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    /// Months since January of year 0.
    private let months: Int

    private init(months: Int) { self.months = months }

    /// The month in which the date falls. Dates outside the years 0 to 9999 count as the nearest month within.
    public init(_ date: Date) {
        let days = (date.timeIntervalSince1970 / 86_400).rounded(.down)
        // Enough for any year of four digits, and exact in `Int`.
        self.init(daysSince1970: Int(min(max(days, -719_528), 2_932_896)))
    }

    /// Source: http://howardhinnant.github.io/date_algorithms.html, `civil_from_days`; years begin in March there. Days
    /// here never come before the year 0.
    private init(daysSince1970: Int) {
        let days = daysSince1970 + 719_468 + 146_097
        let (era, day) = days.quotientAndRemainder(dividingBy: 146_097)
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        // From March as 0, which makes January and February belong to the next year by themselves.
        self.init(months: 12 * ((era - 1) * 400 + year) + (5 * dayOfYear + 2) / 153 + 2)
    }

    /// Reads the form that `description` writes.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 7, bytes[4] == UInt8(ascii: "-"),
            (bytes[..<4] + bytes[5...]).allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let year = Int(text.prefix(4)), let month = Int(text.suffix(2)), 1...12 ~= month
        else { return nil }
        self.init(months: 12 * year + month - 1)
    }

    /// `2026-11`.
    public var description: String {
        let (year, month) = months.quotientAndRemainder(dividingBy: 12)
        let (yearText, monthText) = ("\(year)", "\(month + 1)")
        return String(repeating: "0", count: max(0, 4 - yearText.count)) + yearText + (month < 9 ? "-0" : "-")
            + monthText
    }

    /// The first moment of the month.
    public var start: Date {
        // `days_from_civil` of the same source, for the first day of a month.
        let (year, month) = (months - 2 + 4_800).quotientAndRemainder(dividingBy: 12)
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468 - 146_097
        return Date(timeIntervalSince1970: Double(days) * 86_400)
    }

    /// The first moment of the month after: it belongs to that one.
    public var end: Date { next.start }

    /// The month after.
    public var next: QuotaPeriod { QuotaPeriod(months: months + 1) }

    /// Decodes the text.
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let period = QuotaPeriod(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "'\(text)' is no month"))
        }
        self = period
    }

    /// Encodes the text.
    public func encode(to encoder: any Encoder) throws { try encodeBare(description, to: encoder) }

    /// By time.
    public static func < (one: QuotaPeriod, other: QuotaPeriod) -> Bool { one.months < other.months }
}
