import FoundationEssentials

extension Timestamp {
    /// Years, in UTC. Before 1583 `format` writes the Julian calendar, and after them four digits do not do.
    static let years = 1900...9999
    /// What `read` reads, for whoever sent something else.
    static let expected =
        "a time such as '2026-11-22T10:00:00Z' (RFC 3339), in the years \(years.lowerBound) to \(years.upperBound)"
    /// Their first moment and their last millisecond, in seconds since 1970.
    private static let bounds = -2_208_988_800.0...253_402_300_799.999
    /// No fraction is longer than what fits in here; digits beyond the ninth say nothing.
    private static let maximumLength = 64

    /// A moment as another program wrote it (RFC 3339 section 5.6): with or without a fraction, in UTC or with an offset,
    /// leap seconds as the second after; nil if it is no such text, or not of `years` in UTC.
    static func read(_ text: String) -> Date? {
        guard text.utf8.count <= maximumLength else { return nil }
        var scanner = Scanner(rest: Array(text.utf8)[...])
        guard let year = scanner.number(4, years), scanner.take("-"), let month = scanner.number(2, 1...12),
            scanner.take("-"), let day = scanner.number(2, 1...days(of: month, in: year)), scanner.take("Tt"),
            let hour = scanner.number(2, 0...23), scanner.take(":"), let minute = scanner.number(2, 0...59),
            scanner.take(":"), let second = scanner.number(2, 0...60), let fraction = scanner.fraction(),
            let offset = scanner.offset(), scanner.rest.isEmpty
        else { return nil }
        let seconds = daysSince1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset
        guard bounds.contains(Double(seconds)) else { return nil }
        // Digits behind the last millisecond say nothing.
        return Date(timeIntervalSince1970: min(Double(seconds) + fraction, bounds.upperBound))
    }

    private static func days(of month: Int, in year: Int) -> Int {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
    }

    /// In the Gregorian calendar, for years before it too: years begin in March, so that a leap day is the last of its
    /// year (https://howardhinnant.github.io/date_algorithms.html#days_from_civil).
    private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let year = (month <= 2 ? year - 1 : year) + 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return year * 365 + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468 - 146_097
    }

    /// Reads the fixed fields one after the other.
    private struct Scanner {
        var rest: ArraySlice<UInt8>

        mutating func number(_ length: Int, _ range: ClosedRange<Int>) -> Int? {
            guard rest.count >= length else { return nil }
            var value = 0
            for byte in rest.prefix(length) {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int(byte - 0x30)
            }
            rest.removeFirst(length)
            return range.contains(value) ? value : nil
        }

        /// One of these characters.
        mutating func take(_ characters: String) -> Bool {
            guard let first = rest.first, characters.utf8.contains(first) else { return false }
            rest.removeFirst()
            return true
        }

        /// 0 if there is none.
        mutating func fraction() -> Double? {
            guard take(".") else { return 0 }
            let digits = rest.prefix { $0 >= 0x30 && $0 <= 0x39 }
            guard !digits.isEmpty else { return nil }
            rest.removeFirst(digits.count)
            return Double("0." + String(decoding: digits.prefix(9), as: UTF8.self))
        }

        /// Seconds to the east of UTC.
        mutating func offset() -> Int? {
            if take("Zz") { return 0 }
            let isWest = rest.first == UInt8(ascii: "-")
            guard take("+-"), let hours = number(2, 0...23), take(":"), let minutes = number(2, 0...59) else {
                return nil
            }
            return (isWest ? -1 : 1) * (hours * 3_600 + minutes * 60)
        }
    }
}
