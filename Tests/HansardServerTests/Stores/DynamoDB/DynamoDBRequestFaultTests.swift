import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Every fault of every request of every change: what is thrown, what repeating does, and what there is in the end.
@Suite(.timeLimit(.minutes(10))) struct DynamoDBRequestFaultTests {
    private typealias Fate = FaultyTransport.Fate

    /// Faults that the SDKs' standard mode repeats.
    private static let passing: [Fate] = [
        .notSent, .answerLost, .late, .answers(500, "InternalServerError"), .answers(503, "ServiceUnavailable"),
        .answers(400, "ProvisionedThroughputExceededException"), .answers(400, "ThrottlingException"),
    ]
    /// Faults that it does not repeat.
    private static let lasting: [Fate] = [
        .answers(400, "ExpiredTokenException"), .answers(403, "SignatureDoesNotMatch"),
        .answers(400, "AccessDeniedException"), .answers(400, "ResourceNotFoundException"),
    ]

    /// How many requests the operation makes, and which of them.
    private func requests(_ operation: StoreOperation, _ fixture: FaultFixture) async throws -> [String] {
        let one = StoreOperation.Case()
        try await operation.prepare(one, fixture)
        fixture.faults.script([])
        #expect(try await operation.run(one, on: fixture.store) == operation.outcome)
        #expect(try await fixture.facts(one) == operation.facts(one))
        let requests = fixture.faults.operations
        #expect(try await operation.run(one, on: fixture.store) == operation.outcomeAgain)
        #expect(try await fixture.facts(one) == operation.facts(one), "done twice")
        return requests
    }

    @Test(arguments: StoreOperation.allCases)
    func aFaultIsToldAndTheCallMayBeRepeated(_ operation: StoreOperation) async throws {
        let fixture = try await FaultFixture.make(attempts: 1)
        let count = try await requests(operation, fixture).count
        for faulty in 0..<count {
            for fate in Self.passing + Self.lasting {
                let comment: Comment = "request \(faulty), \(fate)"
                let one = StoreOperation.Case()
                try await operation.prepare(one, fixture)
                fixture.faults.script(Array(repeating: .works, count: faulty) + [fate])
                let error = await #expect(throws: HansardError.self, comment) {
                    try await operation.run(one, on: fixture.store)
                }
                #expect(error?.code == .unavailable, comment)
                #expect(fixture.faults.sent.count == faulty + 1, comment)
                let isDone = fate == .answerLost && faulty == count - 1
                let outcome = try await operation.run(one, on: fixture.store)
                #expect(outcome == (isDone ? operation.outcomeAgain : operation.outcome), comment)
                #expect(try await fixture.facts(one) == operation.facts(one), comment)
                try await fixture.faults.deliverLate()
                #expect(try await fixture.facts(one) == operation.facts(one), comment)
            }
        }
    }

    @Test(arguments: StoreOperation.allCases)
    func aFaultThatPassesIsNotNoticed(_ operation: StoreOperation) async throws {
        let fixture = try await FaultFixture.make(attempts: 3)
        let count = try await requests(operation, fixture).count
        for faulty in 0..<count {
            for fate in Self.passing {
                let comment: Comment = "request \(faulty), \(fate)"
                let one = StoreOperation.Case()
                try await operation.prepare(one, fixture)
                fixture.faults.script(Array(repeating: .works, count: faulty) + [fate, fate])
                let outcome = try await operation.run(one, on: fixture.store)
                let isDone = fate == .answerLost && faulty == count - 1
                #expect(outcome == (isDone ? operation.outcomeAgain : operation.outcome), comment)
                try await fixture.faults.deliverLate()
                #expect(try await fixture.facts(one) == operation.facts(one), comment)
            }
        }
    }

    /// No emulator makes these.
    @Test(arguments: StoreOperation.allCases)
    func transactionsInTheWayAreWaitedFor(_ operation: StoreOperation) async throws {
        let fixture = try await FaultFixture.make(attempts: 1)
        let requests = try await requests(operation, fixture)
        for (faulty, request) in requests.enumerated() where !["GetItem", "Query"].contains(request) {
            for fates in Self.conflicts(of: request) {
                let comment: Comment = "request \(faulty), \(fates)"
                let one = StoreOperation.Case()
                try await operation.prepare(one, fixture)
                fixture.faults.script(Array(repeating: .works, count: faulty) + fates)
                #expect(try await operation.run(one, on: fixture.store) == operation.outcome, comment)
                #expect(try await fixture.facts(one) == operation.facts(one), comment)
                #expect(fixture.faults.sent.count == requests.count + fates.count, comment)
            }
        }
    }

    @Test(arguments: StoreOperation.allCases)
    func transactionsInTheWayForTooLongAreToldAndChangeNothing(_ operation: StoreOperation) async throws {
        let fixture = try await FaultFixture.make(attempts: 1)
        let requests = try await requests(operation, fixture)
        let faulty = try #require(requests.lastIndex { !["GetItem", "Query"].contains($0) })
        for fate in Self.conflicts(of: requests[faulty]).compactMap(\.first) {
            let one = StoreOperation.Case()
            try await operation.prepare(one, fixture)
            fixture.faults.set { $1 < faulty ? .works : fate }
            let error = await #expect(throws: HansardError.self) { try await operation.run(one, on: fixture.store) }
            #expect(error?.code == .unavailable && error?.retryAfter != nil, "\(fate)")
            // 5, 10, 20, 40, 80 and then 160 ms in two seconds.
            #expect((10...25).contains(fixture.faults.sent.count - faulty), "\(fixture.faults.sent.count)")
            fixture.faults.script([])
            #expect(try await operation.run(one, on: fixture.store) == operation.outcome, "\(fate)")
            #expect(try await fixture.facts(one) == operation.facts(one), "\(fate)")
        }
    }

    private static func conflicts(of request: String) -> [[Fate]] {
        guard request == "TransactWriteItems" else {
            return [Array(repeating: .answers(400, "TransactionConflictException"), count: 3)]
        }
        return [
            [.answers(400, "TransactionInProgressException"), .answers(400, "TransactionInProgressException")],
            [.answers(400, "TransactionConflictException")],
            [.cancels("TransactionConflict"), .cancels("ThrottlingError"), .cancels("ProvisionedThroughputExceeded")],
        ]
    }
}
