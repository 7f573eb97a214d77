import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// What is done about each thing that DynamoDB may say to claims.
@Suite struct ClaimBatchTests {
    private typealias Claim = ClaimBatch.Claim

    /// A table whose counter says this.
    private func counted(_ held: Int64, limit: Int64, version: Int64 = 1) -> CounterTable {
        var table = CounterTable()
        var item = CounterTable.counterKey
        item["n"] = .number(held)
        item["lim"] = .number(limit)
        item["version"] = .number(version)
        item["changes"] = 0
        table.place(item)
        return table
    }

    private func writes(_ turn: ClaimBatch.Turn) throws -> [DynamoDBWrite] {
        guard case .transact(let writes) = turn else { throw CocoaError(.coderInvalidValue) }
        return writes
    }

    // MARK: Turns

    @Test func oneClaimNeedsOneTransaction() throws {
        var table = counted(3, limit: 4)
        var run = BatchRun([.number(1, limit: 4)])
        #expect(try run.run(&table) == [.claimed])
        #expect(run.turns == ["transact 1"])
        #expect(table.held == 4 && table.lease(Sample.session(1))?["used_ms"] == 0)
    }

    @Test func theFirstClaimOfATenantMakesItsCounter() throws {
        var table = CounterTable()
        var run = BatchRun([.number(1, limit: 4, version: 7)])
        #expect(try run.run(&table) == [.claimed])
        #expect(run.turns == ["transact 1", "transact 1"])
        #expect(table.counter?["version"] == 7 && table.limit == 4 && table.held == 1 && table.counter?["changes"] == 1)
    }

    @Test func manyClaimsReadTheCounterOnceAndThenKnowIt() throws {
        var table = counted(0, limit: 100)
        var first = BatchRun((0..<25).map { .number($0, limit: 100) })
        #expect(try first.run(&table).allSatisfy { $0 == .claimed })
        #expect(first.turns == ["read", "transact 25"])
        var second = BatchRun((25..<50).map { .number($0, limit: 100) }, known: first.batch.counter)
        #expect(try second.run(&table).allSatisfy { $0 == .claimed })
        #expect(second.turns == ["transact 25"])
        #expect(table.held == 50 && table.leases.count == 50)
    }

    @Test func manyFirstClaimsMakeTheCounterTogether() throws {
        var table = CounterTable()
        var run = BatchRun((0..<3).map { .number($0, limit: nil) })
        #expect(try run.run(&table) == [.claimed, .claimed, .claimed])
        #expect(run.turns == ["read", "transact 3"])
        #expect(table.limit == DynamoDBItems.noLimit && table.held == 3)
    }

    /// The first claim on this node while a peer's made the counter.
    @Test func aCounterThatWasJustMadeIsUsed() throws {
        var table = CounterTable()
        var run = BatchRun([.number(1, limit: 4)])
        #expect(try run.step(&table))
        table.setLimit(AdmissionLimit(sessions: 4, version: 1))
        #expect(try run.run(&table) == [.claimed])
        #expect(run.turns == ["transact 1", "transact 1", "transact 1"])
    }

    @Test func aNewerLimitIsRaisedInTheSameTransaction() throws {
        var table = counted(1, limit: 1)
        var run = BatchRun([.number(1, limit: 3, version: 2), .number(2, limit: 1, version: 1)])
        #expect(try run.run(&table) == [.claimed, .claimed])
        #expect(run.turns == ["read", "transact 2"])
        #expect(table.limit == 3 && table.counter?["version"] == 2 && table.held == 3)
        #expect(run.batch.counter?.limit == 3 && run.batch.counter?.version == 2)
    }

    @Test func aLimitThatWasSeenOnceAndHasChangedIsReadAgain() throws {
        var table = counted(0, limit: 100, version: 2)
        let known = DynamoDBCounter(["n": 60, "lim": 50, "version": 1, "changes": 9])
        var run = BatchRun((0..<2).map { .number($0, limit: 50) }, known: known)
        #expect(try run.run(&table) == [.claimed, .claimed])
        #expect(run.turns == ["transact 2", "transact 2"])
        #expect(run.batch.counter?.limit == 100)
    }

    @Test func anOlderLimitThanTheStoresIsNotUsed() throws {
        var table = counted(2, limit: 2, version: 9)
        var run = BatchRun([.number(1, limit: 100, version: 8)])
        #expect(try run.run(&table) == [.full(2)])
        #expect(run.turns == ["transact 1"] && table.counter?["version"] == 9)
    }

    // MARK: Room

    @Test(arguments: 0...4)
    func theFirstGetTheRoomThatThereIs(room: Int) throws {
        var table = counted(10 - Int64(room), limit: 10)
        var run = BatchRun((0..<4).map { .number($0, limit: 10) })
        let expected = (0..<4).map { $0 < room ? ClaimOutcome.claimed : .full(10) }
        #expect(try run.run(&table) == expected)
        #expect(table.held == 10 && table.leases.count == room)
    }

    @Test func aRaisedLimitWithRoomForSomeAndNone() throws {
        for (limit, claimed) in [(3, 2), (1, 0), (0, 0)] {
            var table = counted(1, limit: 1)
            var run = BatchRun((0..<3).map { .number($0, limit: limit, version: 5) })
            let expected = (0..<3).map { $0 < claimed ? ClaimOutcome.claimed : .full(limit) }
            #expect(try run.run(&table) == expected)
            #expect(
                table.limit == Int64(limit) && table.counter?["version"] == 5, "a refused claim states its limit too")
            #expect(table.held == 1 + Int64(claimed))
        }
    }

    @Test func aLimitOfZeroAdmitsNobodyAndIsStated() throws {
        var table = CounterTable()
        var run = BatchRun([.number(1, limit: 0)])
        #expect(try run.run(&table) == [.full(0)])
        #expect(table.limit == 0 && table.held == 0 && table.leases.isEmpty)
        var several = BatchRun([.number(1, limit: 0), .number(2, limit: 0)], known: run.batch.counter)
        #expect(try several.run(&table) == [.full(0), .full(0)])
    }

    /// A first counter has nothing to compare with.
    @Test func theFirstClaimsOfATenantStayWithinItsLimit() throws {
        for (limit, isThere) in [(2, false), (0, false), (1, true)] {
            var table = CounterTable()
            // Left by a hand that took the counter away.
            if isThere { table.place(Claim.number(2, limit: 1).lease.item) }
            var run = BatchRun((0..<4).map { .number($0, limit: limit) })
            let refused = ClaimOutcome.full(limit)
            let expected = [
                2: [.claimed, .claimed, refused, refused], 0: Array(repeating: refused, count: 4),
                1: [.claimed, refused, .claimed, refused],
            ]
            #expect(try run.run(&table) == expected[limit], "\(run.turns)")
            #expect(table.limit == Int64(limit) && table.held == (isThere ? 1 : Int64(limit)))
        }
    }

    @Test func noLimitIsRoomForAll() throws {
        var table = counted(1_000_000, limit: 3)
        var run = BatchRun((0..<25).map { .number($0, limit: nil, version: 2) })
        #expect(try run.run(&table).allSatisfy { $0 == .claimed })
        #expect(table.limit == DynamoDBItems.noLimit)
    }

    // MARK: Leases that are there

    @Test func aLeaseOfMineIsAnEarlierAttemptThatWorkedThoughThereIsNoRoom() throws {
        var table = counted(1, limit: 1)
        table.place(Claim.number(1, limit: 1).lease.item)
        var run = BatchRun([.number(1, limit: 1)])
        #expect(try run.run(&table) == [.claimed])
        #expect(run.turns == ["transact 1", "limit 1"] && table.held == 1)
    }

    @Test func anothersLeaseAndATombstoneSupersede() throws {
        var table = counted(1, limit: 9)
        table.place(Claim.number(1, claimer: 3, limit: 9).lease.item)
        table.place(DynamoDBItems.tombstone(CounterTable.tenant, Sample.session(2), now: moment(0)))
        table.place(Claim.number(4, limit: 9).lease.item)
        var run = BatchRun((1...5).map { .number($0, limit: 9) })
        #expect(try run.run(&table) == [.superseded, .superseded, .claimed, .claimed, .claimed])
        #expect(run.turns == ["read", "transact 5", "transact 2", "limit 9"])
        #expect(table.held == 3)
    }

    /// The room of a batch is for those that have no lease yet.
    @Test func earlierAttemptsTakeNoRoomASecondTime() throws {
        var table = counted(9, limit: 10)
        table.place(Claim.number(2, limit: 10).lease.item)
        var run = BatchRun((1...3).map { .number($0, limit: 10) })
        #expect(try run.run(&table) == [.claimed, .claimed, .full(10)])
        #expect(table.held == 10)
    }

    @Test func aLimitIsStatedThoughEveryLeaseIsThere() throws {
        var table = counted(1, limit: 5)
        table.place(Claim.number(1, limit: 5).lease.item)
        var run = BatchRun([.number(1, limit: 0, version: 6)])
        #expect(try run.run(&table) == [.claimed])
        #expect(table.limit == 0 && table.counter?["version"] == 6)
    }

    // MARK: Refusals

    @Test func aConflictIsNoRefusal() throws {
        for claims in [1, 3] {
            var table = counted(0, limit: 0)
            var batch = ClaimBatch(
                (0..<claims).map { .number($0, limit: 5, version: 2) },
                known: DynamoDBCounter(["n": 0, "lim": 0, "version": 1, "changes": 0]))
            let before = try writes(batch.next())
            #expect(try batch.refused(Array(repeating: .busy, count: claims + 1)) == .pause)
            #expect(try batch.refused(Array(repeating: .none, count: claims) + [.busy]) == .pause)
            #expect(try writes(batch.next()) == before)
            #expect(batch.outcomes.allSatisfy { $0 == nil })
            #expect(table.transact(before) == nil)
            batch.transacted()
            #expect(batch.next() == .done && batch.outcomes.allSatisfy { $0 == .claimed })
        }
    }

    /// A conflict says nothing of the leases: one may be there although its claim was never answered.
    @Test func aConflictDoesNotMakeAClaimNew() throws {
        var table = counted(1, limit: 1)
        table.place(Claim.number(1, limit: 1).lease.item)
        let known = DynamoDBCounter(["n": 0, "lim": 1, "version": 1, "changes": 0])
        for conflict: [DynamoDB.Refusal] in [[.busy, .busy], [.busy, .none], [.busy, .condition(table.counter)]] {
            var copy = table
            var run = BatchRun([.number(1, limit: 0, version: 2)], known: known)
            var conflicts = [conflict]
            while try run.step(&copy, transact: { conflicts.popLast() ?? $0.transact($1) }) {}
            #expect(run.batch.outcomes == [.claimed], "\(conflict)")
            #expect(copy.held == 1 && copy.limit == 0)
        }
    }

    @Test func whatRepeatingDoesNotHelpIsThrown() {
        for reasons: [DynamoDB.Refusal] in [
            [.other("ValidationError"), .none], [.none, .other("ItemCollectionSizeLimitExceeded")],
        ] {
            var batch = ClaimBatch([.number(1, limit: 5)], known: nil)
            let error = #expect(throws: HansardError.self) { try batch.refused(reasons) }
            #expect(error?.code == .internal)
        }
    }

    // MARK: Counters that a hand has been at

    @Test func aCounterWithoutALimitTakesAnyThatIsStated() throws {
        // What a release leaves that found no counter.
        var table = CounterTable()
        table.place(CounterTable.counterKey.merging(["n": -1, "changes": 1]) { $1 })
        var run = BatchRun([.number(1, limit: 1), .number(2, limit: 1), .number(3, limit: 1)])
        #expect(try run.run(&table) == [.claimed, .claimed, .full(1)])
        #expect(table.limit == 1 && table.counter?["version"] == 1)
    }

    @Test func aCounterBeyondItsLimitRefuses() throws {
        for held in [Int64.max / 2, 12] {
            var table = counted(held, limit: 10)
            var run = BatchRun([.number(1, limit: 10), .number(2, limit: 20, version: 2)])
            let outcomes = try run.run(&table)
            #expect(
                outcomes == (held == 12 ? [.claimed, .claimed] : Array(repeating: .full(20), count: 2)))
        }
    }

    /// It decides nothing, but it pauses between its attempts, of which there are only so many.
    @Test(
        arguments: [
            ["n": "five", "lim": 3, "version": 1], ["lim": 3, "version": 1],
        ] as [DynamoDBItem])
    func aCounterThatCountsNothingIsNotAskedWithoutPause(broken: DynamoDBItem) throws {
        var table = CounterTable()
        table.place(CounterTable.counterKey.merging(broken) { $1 })
        var run = BatchRun([.number(1, limit: 3)])
        #expect(try run.run(&table, most: 6) == [nil])
        #expect(run.turns.count { $0 == "pause" } >= 5, "\(run.turns)")
        #expect(table.leases.isEmpty)
    }
}
