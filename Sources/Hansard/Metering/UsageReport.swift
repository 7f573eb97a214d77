public import FoundationEssentials

/// What usage can be told apart by, and chosen by.
public enum UsageDimension: String, Sendable, CaseIterable {
    /// The key that opened the session.
    case key = "key_id"
    /// The engine that listened.
    case engine
    /// The model that the client asked for.
    case model
    /// The language that the client asked for.
    case language
    /// One of the session's labels. A session with several counts under each, one without any apart.
    case tag
    /// The region of the node that served it.
    case region
}

/// A value of some dimensions: what a result of a report is about, or what a report is limited to.
public struct UsageGroup: Hashable, Sendable, Comparable {
    private var values: [UsageDimension: String] = [:]

    /// No dimension has a value.
    public init() {}

    /// nil is none: of a result, that it is not told apart by the dimension, or is about sessions without a tag; of what a
    /// report is limited to, that any will do.
    public subscript(dimension: UsageDimension) -> String? {
        get { values[dimension] }
        set { values[dimension] = newValue }
    }

    /// Dimension by dimension, in the order in which the type has them; what has none comes last.
    public static func < (one: UsageGroup, other: UsageGroup) -> Bool {
        for dimension in UsageDimension.allCases {
            switch (one[dimension], other[dimension]) {
            case (let mine?, let theirs?) where mine != theirs: return mine < theirs
            case (_?, nil): return true
            case (nil, _?): return false
            default: continue
            }
        }
        return false
    }
}

/// What a usage report is asked for.
public struct UsageQuery: Sendable, Equatable {
    /// Whose.
    public var tenant: TenantID
    /// The ends of its buckets: one more than there are buckets, ascending, each a whole minute or hour.
    public var boundaries: [Date]
    /// What the boundaries are whole numbers of, and what is read.
    public var width: BucketWidth
    /// What results are told apart by.
    public var dimensions: Set<UsageDimension>
    /// What it is limited to.
    public var filter: UsageGroup

    /// - Parameter boundaries: at least two.
    public init(
        tenant: TenantID, boundaries: [Date], width: BucketWidth, dimensions: Set<UsageDimension> = [],
        filter: UsageGroup = UsageGroup()
    ) {
        precondition(boundaries.count >= 2, "a report has a bucket")
        self.tenant = tenant
        self.boundaries = boundaries
        self.width = width
        self.dimensions = dimensions
        self.filter = filter
    }

    /// From the first bucket's start to the last one's end.
    public var stretch: Range<Date> { boundaries[0]..<boundaries[boundaries.count - 1] }
}

/// Usage by time.
public struct UsageReport: Sendable, Equatable {
    /// What was used in a bucket by one group.
    public struct Result: Sendable, Equatable {
        /// Which.
        public var group: UsageGroup
        /// What was used in the time of the bucket.
        public var amounts: UsageCounters
        /// Sessions that began in it.
        public var sessions: Int64

        /// A result as a store found it.
        public init(group: UsageGroup, amounts: UsageCounters, sessions: Int64) {
            self.group = group
            self.amounts = amounts
            self.sessions = sessions
        }
    }

    /// A stretch of time and what was used in it, in the order of the groups.
    public struct Bucket: Sendable, Equatable {
        /// It begins there.
        public var start: Date
        /// It ends before that.
        public var end: Date
        /// Empty if nothing was used.
        public var results: [Result]

        /// A bucket with its results in any order.
        public init(start: Date, end: Date, results: [Result]) {
            self.start = start
            self.end = end
            self.results = results.sorted { $0.group < $1.group }
        }
    }

    /// Results of one report at most: clients name tags, and there may be as many as sessions.
    public static let maximumResults = 50_000

    /// One after the other, oldest first, also the empty ones.
    public var buckets: [Bucket]
    /// What was used up to then is in it; of later there may be more.
    public var asOf: Date

    /// A report as a store made it.
    public init(buckets: [Bucket], asOf: Date) {
        self.buckets = buckets
        self.asOf = asOf
    }

    /// What an answer by the minute is of a time whose records went.
    public static var recordsAreGone: HansardError {
        HansardError(
            .contradictory, "what was used then is no longer known by the minute: ask with bucket_width=1h or longer")
    }

    /// What an answer is that would have more than `maximumResults`.
    public static var tooManyResults: HansardError {
        HansardError(
            .contradictory,
            "there are more than \(maximumResults) results: ask for a shorter time, for fewer groups, or filter")
    }
}
