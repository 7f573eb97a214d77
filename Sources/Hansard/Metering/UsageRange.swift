public import FoundationEssentials

/// How much time a bucket of a usage report spans, in UTC.
public enum BucketWidth: String, Sendable, CaseIterable {
    /// A minute: records are made each ten seconds of audio.
    case minute = "1m"
    /// An hour, the finest step of the rollups.
    case hour = "1h"
    /// A day.
    case day = "1d"
    /// A month of the Gregorian calendar, which is what is billed.
    case month = "1mo"

    /// Buckets of a page, if nothing is said.
    public var defaultBuckets: Int {
        switch self {
        case .minute: 60
        case .hour: 24
        case .day: 7
        case .month: 12
        }
    }

    /// Buckets of a page at most.
    public var maximumBuckets: Int {
        switch self {
        case .minute: 1_440
        case .hour: 168
        case .day: 31
        case .month: 60
        }
    }

    /// Days from a range's start to its end at most.
    public var maximumDays: Int {
        switch self {
        case .minute: 31
        case .hour: 366
        case .day: 3_660
        case .month: 36_600
        }
    }

    /// Seconds of the step that starts and ends are whole numbers of: what is kept says no more.
    public var grain: Int { self == .minute ? 60 : 3_600 }

    /// What the step is called.
    public var grainName: String { self == .minute ? "minute" : "hour" }

    /// Where the bucket ends in which a moment lies.
    public func boundary(after moment: Date) -> Date {
        switch self {
        case .minute: moment.multiple(of: 60) + 60
        case .hour: moment.multiple(of: 3_600) + 3_600
        case .day: moment.multiple(of: 86_400) + 86_400
        case .month: QuotaPeriod(moment).end
        }
    }
}

/// From when to when a usage report tells, and in what steps.
public struct UsageRange: Sendable, Equatable {
    /// It begins there.
    public let start: Date
    /// It ends before that.
    public let end: Date
    /// The steps. The first and the last bucket end where the range does, and may be shorter than the others.
    public let width: BucketWidth

    /// - Parameter end: nil is the end of the minute or hour that `now` is in.
    /// - Throws: `.invalid` if an end is no whole minute or hour, if there is nothing between them, or too much.
    public init(from start: Date, to end: Date?, by width: BucketWidth, now: Date) throws(HansardError) {
        try Self.requireWhole(start, width, "start_time")
        if let end { try Self.requireWhole(end, width, "end_time") }
        let last = end ?? now.multiple(of: width.grain, roundedUp: true)
        guard start < last else {
            throw HansardError(
                .invalid,
                end == nil
                    ? "start_time must be before now, since there is no end_time"
                    : "end_time must be after start_time: the range ends before it",
                field: end == nil ? "start_time" : "end_time")
        }
        guard last.timeIntervalSince(start) <= Double(width.maximumDays) * 86_400 else {
            throw HansardError(
                .invalid,
                "end_time must be at most \(width.maximumDays) days after start_time for bucket_width=\(width.rawValue)",
                field: "end_time")
        }
        (self.start, self.end, self.width) = (start, last, width)
    }

    private static func requireWhole(_ moment: Date, _ width: BucketWidth, _ field: String) throws(HansardError) {
        let whole = moment.multiple(of: width.grain)
        guard whole == moment else {
            throw HansardError(
                .invalid,
                "\(field) must be a whole \(width.grainName) for bucket_width=\(width.rawValue), such as "
                    + whole.ISO8601Format(), field: field)
        }
    }

    /// The boundaries of at most so many buckets from a moment on: one more than there are buckets, since each but the first
    /// and the last is the end of one and the start of the next.
    public func boundaries(from first: Date, atMost count: Int) -> [Date] {
        var boundaries = [first]
        while boundaries.count <= count, let last = boundaries.last, last < end {
            boundaries.append(min(width.boundary(after: last), end))
        }
        return boundaries
    }
}

/// Which rollups a stretch of whole hours is read from.
public struct RollupStretch: Sendable, Equatable {
    /// Whole UTC days; empty if there are none, or if days are too coarse.
    public let days: Range<Date>
    /// The hours that are left: one stretch before the days, and one after them.
    public let hours: [Range<Date>]

    /// The parts of a stretch that is cut into buckets of that width.
    public init(_ stretch: Range<Date>, by width: BucketWidth) {
        let first = stretch.lowerBound.multiple(of: 86_400, roundedUp: true)
        let end = stretch.upperBound.multiple(of: 86_400)
        guard width == .day || width == .month, first < end else {
            (days, hours) = (stretch.lowerBound..<stretch.lowerBound, [stretch])
            return
        }
        days = first..<end
        hours = [stretch.lowerBound..<first, end..<stretch.upperBound].filter { !$0.isEmpty }
    }
}

extension Date {
    /// The last multiple of so many seconds since 1970 that is not after it, or the first that is not before it.
    func multiple(of seconds: Int, roundedUp: Bool = false) -> Date {
        let count = (timeIntervalSince1970 / Double(seconds)).rounded(roundedUp ? .up : .down)
        return Date(timeIntervalSince1970: count * Double(seconds))
    }
}
