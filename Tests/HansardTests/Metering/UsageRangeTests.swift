import Foundation
import Hansard
import Testing

/// Buckets of usage reports: where they begin and end, and which ranges are refused.
@Suite struct UsageRangeTests {
    private func date(_ text: String) throws -> Date { try Date.ISO8601FormatStyle().parse(text) }

    private func range(
        _ start: String, _ end: String?, _ width: BucketWidth, now: String = "2026-11-22T10:20:30Z"
    ) throws -> UsageRange {
        try UsageRange(from: date(start), to: end.map(date), by: width, now: date(now))
    }

    private func boundaries(_ range: UsageRange, atMost count: Int = 100) -> [String] {
        range.boundaries(from: range.start, atMost: count).map { $0.ISO8601Format() }
    }

    @Test func bucketsEndWhereTheClockSaysAndTheRangeEnds() throws {
        #expect(
            try boundaries(range("2026-01-30T22:00:00Z", "2026-02-02T03:00:00Z", .day)) == [
                "2026-01-30T22:00:00Z", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z",
                "2026-02-02T03:00:00Z",
            ])
        #expect(
            try boundaries(range("2027-12-15T00:00:00Z", "2028-03-01T00:00:00Z", .month)) == [
                "2027-12-15T00:00:00Z", "2028-01-01T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z",
            ])
        #expect(
            try boundaries(range("2026-02-28T23:59:00Z", "2026-03-01T00:01:00Z", .minute)) == [
                "2026-02-28T23:59:00Z", "2026-03-01T00:00:00Z", "2026-03-01T00:01:00Z",
            ])
        #expect(
            try boundaries(range("2026-02-28T23:00:00Z", "2026-03-01T01:00:00Z", .hour)) == [
                "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z",
            ])
        // Within one.
        #expect(
            try boundaries(range("2026-02-03T04:00:00Z", "2026-02-03T05:00:00Z", .month)) == [
                "2026-02-03T04:00:00Z", "2026-02-03T05:00:00Z",
            ])
    }

    @Test func pagesJoin() throws {
        for width in BucketWidth.allCases {
            let end = try date("2026-01-20T09:00:00Z")
            let start = width == .minute ? end - 86_400 : try date("2025-11-03T05:00:00Z")
            let range = try UsageRange(from: start, to: end, by: width, now: end)
            let whole = range.boundaries(from: range.start, atMost: 1_000_000)
            #expect(whole.first == range.start && whole.last == range.end)
            #expect(zip(whole, whole.dropFirst()).allSatisfy(<))
            for size in [1, 2, 7, 1_000] {
                var walked = [range.start]
                while let last = walked.last, last < range.end {
                    let page = range.boundaries(from: last, atMost: size)
                    #expect((2...size + 1).contains(page.count))
                    walked += page.dropFirst()
                }
                #expect(walked == whole, "\(width) by \(size)")
            }
        }
    }

    @Test func withoutAnEndItIsThatOfTheHourOrMinute() throws {
        #expect(try range("2026-11-22T00:00:00Z", nil, .day).end == date("2026-11-22T11:00:00Z"))
        #expect(try range("2026-11-22T10:00:00Z", nil, .minute).end == date("2026-11-22T10:21:00Z"))
        #expect(
            try range("2026-11-22T09:00:00Z", nil, .hour, now: "2026-11-22T10:00:00Z").end
                == date("2026-11-22T10:00:00Z"))
    }

    @Test(
        arguments: [
            ("2026-11-22T10:00:30Z", nil, "1m", "start_time", "2026-11-22T10:00:00Z"),
            ("2026-11-22T10:01:00Z", nil, "1h", "start_time", "2026-11-22T10:00:00Z"),
            ("2026-11-21T00:00:01Z", nil, "1d", "start_time", "2026-11-21T00:00:00Z"),
            ("2026-11-21T00:00:00Z", "2026-11-22T00:30:00Z", "1mo", "end_time", "2026-11-22T00:00:00Z"),
            ("2026-11-22T11:00:00Z", nil, "1h", "start_time", "before now"),
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z", "1m", "end_time", "after start_time"),
            ("2026-11-22T10:00:00Z", "2026-11-22T09:00:00Z", "1d", "end_time", "after start_time"),
            ("2026-01-01T00:00:00Z", "2026-02-01T00:01:00Z", "1m", "end_time", "31 days"),
            ("2025-01-01T00:00:00Z", "2026-01-02T01:00:00Z", "1h", "end_time", "366 days"),
            ("2000-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1d", "end_time", "3660 days"),
            ("1900-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1mo", "end_time", "36600 days"),
        ] as [(String, String?, String, String, String)])
    func aBadRangeSaysWhatWouldBeRight(
        _ start: String, _ end: String?, _ width: String, _ field: String, _ hint: String
    )
        throws
    {
        let width = try #require(BucketWidth(rawValue: width))
        let error = #expect(throws: HansardError.self) { try range(start, end, width) }
        #expect(error?.code == .invalid && error?.field == field)
        #expect(error?.message.contains(hint) == true, "\(error?.message ?? "")")
    }

    @Test func theWidestRangesAreAllowed() throws {
        #expect(throws: Never.self) { try range("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", .minute) }
        #expect(throws: Never.self) { try range("2025-01-01T00:00:00Z", "2026-01-02T00:00:00Z", .hour) }
    }

    @Test func wholeDaysAreReadByTheDayAndTheRestByTheHour() throws {
        let (start, end) = (try date("2026-01-30T22:00:00Z"), try date("2026-02-02T03:00:00Z"))
        let (first, last) = (try date("2026-01-31T00:00:00Z"), try date("2026-02-02T00:00:00Z"))
        for width in [BucketWidth.day, .month] {
            let parts = RollupStretch(start..<end, by: width)
            #expect(parts.days == first..<last)
            #expect(parts.hours == [start..<first, last..<end])
            let whole = RollupStretch(first..<last, by: width)
            #expect(whole.days == first..<last && whole.hours.isEmpty)
            let short = RollupStretch(start..<first + 3_600, by: width)
            #expect(short.days.isEmpty && short.hours == [start..<first + 3_600])
        }
        let hours = RollupStretch(start..<end, by: .hour)
        #expect(hours.days.isEmpty && hours.hours == [start..<end])
    }
}
