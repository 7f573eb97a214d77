import FoundationEssentials

/// A time as signatures write it, in UTC.
struct SigningTime: Equatable {
    /// `20150830`.
    let day: String
    /// `20150830T123600Z`; fractions of a second are left out.
    let timestamp: String

    init(_ date: Date) {
        let seconds = Int(date.timeIntervalSince1970.rounded(.down))
        let days = seconds.floored(by: 86_400)
        let second = seconds - days * 86_400
        let civil = CivilDay(daysSince1970: days)
        day = Self.digits(civil.year, 4) + Self.digits(civil.month, 2) + Self.digits(civil.day, 2)
        let time = Self.digits(second / 3_600, 2) + Self.digits(second / 60 % 60, 2) + Self.digits(second % 60, 2)
        timestamp = "\(day)T\(time)Z"
    }

    private static func digits(_ value: Int, _ count: Int) -> String {
        let text = String(value)
        return text.utf8.count < count ? String(repeating: "0", count: count - text.utf8.count) + text : text
    }
}

/// The times that AWS writes into answers, read.
enum AnswerTime {
    /// A `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7; the obsolete forms are not sent any
    /// more). Nil if it is not that.
    static func http(_ text: String) -> Date? {
        let words = text.split(separator: " ")
        guard words.count == 6, words[5] == "GMT", let month = months.firstIndex(of: words[2]) else { return nil }
        let clock = words[4].split(separator: ":", omittingEmptySubsequences: false)
        let parts = ([words[3], words[1]] + clock).compactMap(number)
        guard clock.count == 3, parts.count == 5 else { return nil }
        return date(parts[0], month + 1, parts[1], parts[2], parts[3], parts[4])
    }

    /// `2015-08-30T12:36:00Z`, with or without fractions, which are left out. Nil if it is not that: other zones than UTC
    /// are not sent.
    static func iso8601(_ text: String) -> Date? {
        var text = text[...]
        for zone in ["Z", "+00:00"] where text.hasSuffix(zone) {
            text = text.dropLast(zone.count)
            let halves = text.split(separator: "T", omittingEmptySubsequences: false)
            guard halves.count == 2 else { return nil }
            let whole = halves[1].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
            guard whole.count == 1 || number(whole[1].prefix(9)) != nil else { return nil }
            let day = halves[0].split(separator: "-", omittingEmptySubsequences: false)
            let clock = whole[0].split(separator: ":", omittingEmptySubsequences: false)
            let parts = (day + clock).compactMap(number)
            guard day.count == 3, clock.count == 3, parts.count == 6 else { return nil }
            return date(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5])
        }
        return nil
    }

    private static let months: [Substring] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Digits alone: `Int` would take a sign too.
    private static func number(_ text: Substring) -> Int? {
        text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? Int(text) : nil
    }

    private static func date(_ year: Int, _ month: Int, _ day: Int, _ hour: Int, _ minute: Int, _ second: Int) -> Date?
    {
        // 60 is a leap second.
        guard (1970...9_999).contains(year), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second <= 60
        else { return nil }
        let days = CivilDay(year: year, month: month, day: day).daysSince1970
        guard CivilDay(daysSince1970: days).day == day else { return nil }
        return Date(timeIntervalSince1970: Double(days * 86_400 + hour * 3_600 + minute * 60 + second))
    }
}

/// A day of the Gregorian calendar. Source: http://howardhinnant.github.io/date_algorithms.html
private struct CivilDay {
    var year: Int
    /// 1 ... 12.
    var month: Int
    /// 1 ... 31.
    var day: Int

    init(year: Int, month: Int, day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    init(daysSince1970 days: Int) {
        let shifted = days + 719_468
        let era = shifted.floored(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    }

    var daysSince1970: Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear.floored(by: 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Int {
    /// Divided, and rounded towards the past.
    fileprivate func floored(by divisor: Int) -> Int { self >= 0 ? self / divisor : (self - divisor + 1) / divisor }
}
