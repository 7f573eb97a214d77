import HTTPClient
import Testing

@testable import AWS

@Suite struct RetryPolicyTests {
    /// Each kind, safety, attempt and level of the bucket, against the rule written out.
    @Test func everyCombinationIsDecidedByTheRule() {
        for service in ["dynamodb", "s3"] {
            let all = service == "dynamodb" ? 4 : 3
            for failure in [RetryPolicy.Failure.transient, .throttling, .permanent] {
                let cost = failure == .throttling ? 5 : 14
                for isSafe in [true, false] {
                    for number in 1...5 {
                        for level in [0, 4, 5, 13, 14, 500] {
                            var policy = RetryPolicy(service: service)
                            Self.drain(&policy, to: level)
                            var attempts = RetryPolicy.Attempts()
                            attempts.number = number
                            let action = policy.attemptFailed(
                                failure, isSafe: isSafe, attempts: &attempts, random: 0.5)
                            let isRetried = failure != .permanent && isSafe && number < all && level >= cost
                            let base: Duration =
                                failure == .throttling ? .seconds(1) : .milliseconds(service == "dynamodb" ? 25 : 50)
                            let delay = base * (1 << (number - 1)) * 0.5
                            #expect(action == (isRetried ? .retry(after: delay) : .giveUp))
                            #expect(policy.tokens == (isRetried ? level - cost : level))
                            #expect(attempts.number == (isRetried ? number + 1 : number))
                        }
                    }
                }
            }
        }
    }

    private static func drain(_ policy: inout RetryPolicy, to level: Int) {
        // Taken in steps of 14 and 5, and what is too much is given back one by one.
        while policy.tokens > level {
            var attempts = RetryPolicy.Attempts()
            let failure: RetryPolicy.Failure = policy.tokens - level >= 14 ? .transient : .throttling
            _ = policy.attemptFailed(failure, isSafe: true, attempts: &attempts, random: 0)
        }
        while policy.tokens < level { policy.callSucceeded(RetryPolicy.Attempts()) }
    }

    @Test func delaysDoubleUpToTwentySecondsAndJitterIsFull() {
        var policy = RetryPolicy(service: "s3", maximumAttempts: 40)
        var attempts = RetryPolicy.Attempts()
        for number in 1...30 {
            let action = policy.attemptFailed(.throttling, isSafe: true, attempts: &attempts, random: 0.999)
            #expect(action == .retry(after: .seconds(min(1 << min(number - 1, 10), 20)) * 0.999))
        }
        #expect(
            policy.attemptFailed(.throttling, isSafe: true, attempts: &attempts, random: 0) == .retry(after: .zero))
    }

    @Test func theServiceMayLengthenAWaitByFiveSeconds() {
        for (asked, expected) in [(0.1, 0.5), (2, 2), (5.5, 5.5), (60, 5.5)] {
            var policy = RetryPolicy(service: "s3")
            var attempts = RetryPolicy.Attempts()
            let action = policy.attemptFailed(
                .throttling, isSafe: true, retryAfter: .seconds(asked), attempts: &attempts, random: 0.5)
            #expect(action == .retry(after: .seconds(expected)))
        }
    }

    @Test func successGivesBackWhatItsAttemptTookAndElseOne() {
        var policy = RetryPolicy(service: "s3")
        var attempts = RetryPolicy.Attempts()
        _ = policy.attemptFailed(.throttling, isSafe: true, attempts: &attempts, random: 0)
        _ = policy.attemptFailed(.transient, isSafe: true, attempts: &attempts, random: 0)
        #expect(policy.tokens == 500 - 5 - 14)
        policy.callSucceeded(attempts)
        #expect(policy.tokens == 500 - 5)
        policy.callSucceeded(RetryPolicy.Attempts())
        #expect(policy.tokens == 500 - 4)
        for _ in 0..<10 { policy.callSucceeded(attempts) }
        #expect(policy.tokens == 500)
    }

    @Test func anOutageEmptiesTheBucketAndThenOneAttemptIsAll() {
        var policy = RetryPolicy(service: "s3")
        var repetitions = 0
        for _ in 0..<1_000 {
            var attempts = RetryPolicy.Attempts()
            while case .retry = policy.attemptFailed(.transient, isSafe: true, attempts: &attempts, random: 0) {
                repetitions += 1
            }
        }
        #expect(repetitions == 500 / 14)
    }

    @Test(arguments: [
        (500, "", RetryPolicy.Failure.transient), (502, "x", .transient), (503, "ServiceUnavailable", .transient),
        (504, "", .transient), (501, "NotImplemented", .permanent), (505, "", .permanent),
        (503, "SlowDown", .throttling), (400, "ThrottlingException", .throttling),
        (400, "ProvisionedThroughputExceededException", .throttling), (400, "RequestLimitExceeded", .throttling),
        (400, "TransactionInProgressException", .throttling), (429, "", .throttling), (429, "Odd", .throttling),
        (400, "RequestTimeout", .transient), (400, "IDPCommunicationError", .transient),
        (400, "ConditionalCheckFailedException", .permanent), (400, "TransactionCanceledException", .permanent),
        (403, "AccessDeniedException", .permanent), (404, "NoSuchBucket", .permanent), (400, "", .permanent),
        (409, "OperationAborted", .permanent),
    ])
    func answersAreOfAKind(status: Int, code: String, failure: RetryPolicy.Failure) {
        #expect(RetryPolicy.failure(status: status, code: code) == failure)
    }

    @Test func transfersAreOfAKind() {
        for code in Int32(0)...100 {
            let failure = RetryPolicy.failure(CurlError(code: code, message: "", wasNotSent: false))
            let isTransient = [5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92].contains(code)
            #expect(failure == (isTransient ? .transient : .permanent), "\(code)")
        }
    }

    @Test func attemptsAreAsConfigured() {
        #expect(RetryPolicy(service: "dynamodb").maximumAttempts == 4)
        #expect(RetryPolicy(service: "s3").maximumAttempts == 3)
        #expect(RetryPolicy(service: "dynamodb", maximumAttempts: 1).maximumAttempts == 1)
        #expect(RetryPolicy(service: "s3", maximumAttempts: -1).maximumAttempts == 1)
    }
}
