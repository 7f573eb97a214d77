/// Token buckets by client address: how many connections one address may make.
struct AddressLimiter {
    enum Verdict: Equatable {
        case allowed
        /// Answer 429 with this many seconds.
        case refused(retryAfter: Int)
        /// So many were refused already that not even an answer is given.
        case dropped
    }

    private struct Bucket {
        var tokens: Double
        var updated: Duration
        var refusals = 0
    }

    private let rate: Double
    private let burst: Double
    private let capacity: Int
    private var buckets: [IPAddress: Bucket] = [:]

    /// - Parameters:
    ///   - rate: tokens per second, more than 0.
    ///   - burst: the size of a bucket, at least 1.
    ///   - capacity: how many addresses are remembered; beyond it, those that have not come for longest are forgotten.
    init(rate: Double, burst: Int, capacity: Int = 65_536) {
        self.rate = max(rate, 0.001)
        self.burst = Double(max(1, burst))
        self.capacity = capacity
    }

    /// A connection from `address` came at `now`, which is counted from any fixed moment.
    mutating func connectionCame(from address: IPAddress, at now: Duration) -> Verdict {
        let key = address.subscriber
        if buckets[key] == nil && buckets.count >= capacity { forget(at: now) }
        var bucket = buckets[key] ?? Bucket(tokens: burst, updated: now)
        let seconds = max(0, (now - bucket.updated) / .seconds(1))
        bucket.tokens = min(burst, bucket.tokens + seconds * rate)
        bucket.updated = now
        defer { buckets[key] = bucket }
        if bucket.tokens >= 1 {
            bucket.tokens -= 1
            bucket.refusals = 0
            return .allowed
        }
        bucket.refusals += 1
        if Double(bucket.refusals) > burst { return .dropped }
        return .refused(retryAfter: max(1, Int(((1 - bucket.tokens) / rate).rounded(.up))))
    }

    /// How many addresses are remembered.
    var count: Int { buckets.count }

    /// A full bucket is as good as none; if too few are full, the oldest quarter goes.
    private mutating func forget(at now: Duration) {
        buckets = buckets.filter { $0.value.tokens + (now - $0.value.updated) / .seconds(1) * rate < burst }
        guard buckets.count >= capacity else { return }
        let times = buckets.values.map(\.updated).sorted()
        let limit = times[times.count / 4]
        buckets = buckets.filter { $0.value.updated > limit }
    }
}
