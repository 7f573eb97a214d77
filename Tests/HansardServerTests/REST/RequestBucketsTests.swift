import Hansard
import Testing

@testable import HansardServer

/// How many requests fit, when, and how much is remembered for it.
@Suite struct RequestBucketsTests {
    private func buckets(_ quota: Int, capacity: Int = 100) -> RequestBuckets<Int> {
        RequestBuckets(quota: quota, window: .seconds(60), capacity: capacity)
    }

    @Test(arguments: [1, 2, 7, 60, 1_000, 999_983])
    func theQuotaFitsAtOnceAndNothingMore(_ quota: Int) {
        var buckets = buckets(quota)
        for number in 1...quota {
            let standing = buckets.requestCame(from: 1, at: .seconds(5))
            guard standing.isAllowed, standing.remaining == quota - number else {
                Issue.record("\(number): \(standing)")
                return
            }
        }
        #expect(!buckets.requestCame(from: 1, at: .seconds(5)).isAllowed)
        #expect(buckets.requestCame(from: 2, at: .seconds(5)).isAllowed, "another's room is another's")
    }

    @Test func roomComesBackEvenly() {
        var buckets = buckets(6)
        for _ in 1...6 { _ = buckets.requestCame(from: 1, at: .zero) }
        let refused = buckets.requestCame(from: 1, at: .seconds(3))
        #expect(
            refused == .init(isAllowed: false, remaining: 0, reset: .seconds(57), retryAfter: .seconds(7)))
        #expect(!buckets.requestCame(from: 1, at: .milliseconds(9_999)).isAllowed)
        #expect(buckets.requestCame(from: 1, at: .seconds(10)).isAllowed, "when it was told to come again")
        #expect(!buckets.requestCame(from: 1, at: .seconds(10)).isAllowed)
        #expect(buckets.requestCame(from: 1, at: .seconds(70)).remaining == 5, "all of it after a minute")
    }

    @Test func whoKeepsToTheRateIsNeverRefused() {
        var buckets = buckets(60)
        for second in 0..<10_000 {
            guard buckets.requestCame(from: 1, at: .seconds(second)).isAllowed else {
                Issue.record("refused in second \(second)")
                return
            }
        }
    }

    /// Whatever comes: never more than twice the quota in any minute, and the standing that is told is true.
    @Test func noWindowHoldsMoreThanTwiceTheQuota() {
        var random = SeededGenerator(seed: 7)
        for quota in [1, 3, 10] {
            var buckets = buckets(quota)
            var now = Duration.zero
            var allowed: [Duration] = []
            for _ in 0..<5_000 {
                now += .milliseconds(Int.random(in: 0...(40_000 / quota), using: &random))
                var copy = buckets
                let standing = buckets.requestCame(from: 1, at: now)
                if standing.isAllowed { allowed.append(now) }
                let inWindow = allowed.count { $0 > now - .seconds(60) }
                guard inWindow <= 2 * quota else {
                    Issue.record("\(inWindow) of \(quota) in a minute")
                    return
                }
                let later = copy.requestCame(from: 1, at: now + standing.retryAfter)
                #expect(later.isAllowed)
            }
            #expect(allowed.count > quota)
        }
    }

    @Test func asManyAsFitAreRemembered() {
        var buckets = buckets(2, capacity: 8)
        for subject in 0..<10_000 { _ = buckets.requestCame(from: subject, at: .zero) }
        #expect(buckets.count <= 8)
        for subject in 0..<10_000 { _ = buckets.requestCame(from: subject, at: .seconds(subject)) }
        #expect(buckets.count <= 8)
    }

    /// A crowd of addresses that come once must not buy room for the one that comes too often.
    @Test func thoseWithMostRoomAreForgottenFirst() {
        var buckets = buckets(5, capacity: 8)
        for _ in 1...5 { _ = buckets.requestCame(from: -1, at: .zero) }
        for subject in 0..<1_000 { _ = buckets.requestCame(from: subject, at: .milliseconds(subject)) }
        #expect(!buckets.requestCame(from: -1, at: .seconds(1)).isAllowed)
    }
}
