/// Token buckets, one for each of many subjects: each has room for `quota` requests, and the room comes back evenly within
/// `window`. Who never comes faster than that is never refused; at most twice the quota fits into any one window.
struct RequestBuckets<Subject: Hashable & Sendable>: Sendable {
    /// What a request has come to.
    struct Standing: Equatable, Sendable {
        var isAllowed: Bool
        /// Requests that would be allowed at this moment.
        var remaining: Int
        /// Until there is room for `quota` requests again.
        var reset: Duration
        /// Until there is room for one.
        var retryAfter: Duration
    }

    let quota: Int
    /// In which the room of one request comes back, in nanoseconds.
    private let interval: Int64
    private let capacity: Int
    /// When each bucket is as good as new, in nanoseconds. This one number is a bucket's whole state, and one that is past
    /// is as good as none.
    private var fullAt: [Subject: Int64] = [:]

    /// - Parameters:
    ///   - quota: requests, at least 1 and at most a thousand million.
    ///   - capacity: how many subjects are remembered, at least 4; beyond it those that have most room are forgotten.
    init(quota: Int, window: Duration, capacity: Int) {
        self.quota = max(1, quota)
        interval = max(1, Self.nanoseconds(window) / Int64(self.quota))
        self.capacity = max(4, capacity)
    }

    /// How many subjects are remembered.
    var count: Int { fullAt.count }

    /// A request came.
    ///
    /// - Parameter now: counted from any fixed moment; it does not go back.
    mutating func requestCame(from subject: Subject, at now: Duration) -> Standing {
        let now = Self.nanoseconds(now)
        let known = fullAt[subject]
        if known == nil, fullAt.count >= capacity { forget(at: now) }
        let room = interval * Int64(quota)
        let used = max(0, (known ?? now) - now)
        let after = used + interval
        guard after <= room else {
            return Standing(
                isAllowed: false, remaining: 0, reset: .nanoseconds(used), retryAfter: .nanoseconds(after - room))
        }
        fullAt[subject] = now + after
        return Standing(
            isAllowed: true, remaining: Int((room - after) / interval), reset: .nanoseconds(after), retryAfter: .zero)
    }

    /// Full buckets go, and if too few are full, the quarter that has most room.
    private mutating func forget(at now: Int64) {
        fullAt = fullAt.filter { $0.value > now }
        guard fullAt.count >= capacity else { return }
        let times = fullAt.values.sorted()
        let limit = times[times.count / 4]
        fullAt = fullAt.filter { $0.value > limit }
    }

    private static func nanoseconds(_ duration: Duration) -> Int64 {
        duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000
    }
}
