import Hansard

/// The pauses between attempts that other transactions were in the way of.
struct ConflictRetry {
    private let surroundings: DynamoDBConnectionStore.Surroundings
    private let deadline: ContinuousClock.Instant
    private var longest = DynamoDBConnectionStore.firstPause

    init(_ surroundings: DynamoDBConnectionStore.Surroundings) {
        self.surroundings = surroundings
        deadline = surroundings.now() + DynamoDBConnectionStore.conflictDeadline
    }

    mutating func pause() async throws {
        guard surroundings.now() < deadline else {
            throw HansardError.contention("other transactions of the tenant are in the way")
        }
        try await surroundings.sleep(longest * surroundings.random())
        longest = min(longest * 2, DynamoDBConnectionStore.longestPause)
    }
}
