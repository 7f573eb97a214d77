import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// New sessions in a minute and limits of keys in a batch of claims.
@Suite struct ClaimBatchQuotaTests {
    private typealias Claim = ClaimBatch.Claim
    private let tenant = QuotaOwner.tenant(CounterTable.tenant)
    private let key = QuotaOwner.key(CounterTable.key)

    private func claims(
        _ numbers: Range<Int>, _ limits: ClaimLimits, second: Int = 0
    ) -> [ClaimBatch.Claim] {
        numbers.map { number in
            var claim = Claim.number(number, limit: nil)
            claim.limits = limits
            claim.lease.claimedAt = moment(second)
            return claim
        }
    }

    private func limits(
        _ sessions: Int?, perMinute: Int? = nil, version: Int64 = 1, key: AdmissionLimit? = nil
    ) -> ClaimLimits {
        ClaimLimits(tenant: AdmissionLimit(sessions: sessions, newPerMinute: perMinute, version: version), key: key)
    }

    private func begun(_ limit: Int, _ owner: QuotaOwner? = nil) -> ClaimOutcome {
        .limitReached(LimitReached(owner: owner ?? tenant, kind: .newSessionsPerMinute, limit: limit))
    }

    @Test func aBatchCountsItsMinuteOnceForAll() throws {
        var table = CounterTable()
        var run = BatchRun(claims(0..<20, limits(nil, perMinute: 50)))
        #expect(try run.run(&table).allSatisfy { $0 == .claimed })
        #expect(run.turns == ["read", "transact 20"])
        let lease = claims(0..<1, limits(nil))[0].lease
        #expect(table.begun(lease) == 20 && table.held == 20 && table.limitOfMinutes == 50)
        var second = BatchRun(claims(20..<21, limits(nil, perMinute: 50)), known: run.batch.counter)
        #expect(try second.run(&table) == [.claimed] && second.turns == ["transact 1"] && table.begun(lease) == 21)
    }

    @Test(arguments: 0...5)
    func theFirstGetWhatTheMinuteHasLeft(left: Int) throws {
        var table = CounterTable()
        table.setLimit(AdmissionLimit(sessions: nil, newPerMinute: 9, version: 1))
        var before = BatchRun(claims(0..<(9 - left), limits(nil, perMinute: 9)))
        _ = try before.run(&table)
        var run = BatchRun(claims(20..<25, limits(nil, perMinute: 9)), known: before.batch.counter)
        let expected = (0..<5).map { $0 < left ? ClaimOutcome.claimed : begun(9) }
        #expect(try run.run(&table) == expected)
        #expect(table.held == 9 && table.leases.count == 9)
        #expect(run.turns.count <= 2, "\(run.turns)")
    }

    /// A first item has nothing to compare with.
    @Test func aMinutesFirstClaimsStayWithinItsLimit() throws {
        for (limit, claimed) in [(2, 2), (0, 0)] {
            var table = CounterTable()
            var run = BatchRun(claims(0..<4, limits(nil, perMinute: limit)))
            let expected = (0..<4).map { $0 < claimed ? ClaimOutcome.claimed : begun(limit) }
            #expect(try run.run(&table) == expected)
            #expect(table.limitOfMinutes == Int64(limit), "a refused claim states its limit too")
        }
    }

    @Test func minutesOfABatchAreApart() throws {
        var table = CounterTable()
        let two = limits(nil, perMinute: 2)
        var run = BatchRun(claims(0..<3, two) + claims(3..<5, two, second: 60) + claims(5..<6, two))
        #expect(try run.run(&table) == [.claimed, .claimed, begun(2), .claimed, .claimed, begun(2)])
        #expect(
            table.begun == [
                "R#\(ClaimMinute(of: claims(0..<1, two)[0].lease))": 2,
                "R#\(ClaimMinute(of: claims(0..<1, two, second: 60)[0].lease))": 2,
            ])
    }

    @Test func aRepeatedClaimCountsOnceAndIsNotRefused() throws {
        var table = CounterTable()
        let one = limits(nil, perMinute: 1)
        for _ in 0..<3 {
            var run = BatchRun(claims(0..<1, one))
            #expect(try run.run(&table) == [.claimed])
        }
        var both = BatchRun(claims(0..<2, one))
        #expect(try both.run(&table) == [.claimed, begun(1)])
        #expect(table.held == 1 && table.begun.values.reduce(0, +) == 1)
    }

    /// A limit of another version than the minute was tried by.
    @Test func theMinuteIsTriedByTheLimitThatCounts() throws {
        var table = CounterTable()
        table.setLimit(AdmissionLimit(sessions: nil, newPerMinute: 1, version: 7))
        for stale in [limits(nil, perMinute: 5, version: 6), limits(nil, version: 6)] {
            var copy = table
            var run = BatchRun(claims(0..<3, stale))
            #expect(try run.run(&copy) == [.claimed, begun(1), begun(1)])
            var single = BatchRun(claims(5..<6, stale))
            #expect(try single.run(&copy) == [begun(1)])
        }
        table.setLimit(AdmissionLimit(sessions: nil, version: 8))
        let known = DynamoDBCounter(["n": 0, "lim": .number(DynamoDBItems.noLimit), "lim_minute": 1, "version": 7])
        var run = BatchRun(claims(0..<3, limits(nil, perMinute: 1, version: 7)), known: known)
        #expect(try run.run(&table) == [.claimed, .claimed, .claimed] && table.begun.isEmpty)
    }

    @Test func aConflictAtTheMinuteIsNoRefusal() throws {
        var batch = ClaimBatch(claims(0..<1, limits(nil, perMinute: 1)), known: nil)
        _ = batch.next()
        #expect(try batch.refused([.none, .condition(nil)]) == nil)
        guard case .transact(let writes) = batch.next() else { throw CocoaError(.featureUnsupported) }
        #expect(writes.count == 3)
        #expect(try batch.refused([.none, .none, .busy]) == .pause)
        #expect(batch.outcomes == [nil])
        // One that counts nothing decides nothing, and is not asked without pause.
        #expect(try batch.refused([.none, .none, .condition(["n": "five"])]) == .pause)
        #expect(try batch.refused([.none, .none, .condition(["n": 1])]) == nil && batch.outcomes == [begun(1)])
    }

    // MARK: Keys

    @Test func aKeysCounterIsJoined() throws {
        var table = CounterTable()
        let both = limits(9, key: AdmissionLimit(sessions: 3, newPerMinute: 40, version: 4))
        var run = BatchRun(claims(0..<4, both))
        let full = ClaimOutcome.limitReached(LimitReached(owner: key, kind: .concurrentSessions, limit: 3))
        #expect(try run.run(&table) == [.claimed, .claimed, .claimed, full], "\(run.turns)")
        #expect(table.held == 3 && table.keyCounter?["n"] == 3 && table.keyCounter?["version"] == 4)
        #expect(table.keyCounter?["tenant"] == .string(CounterTable.tenant.description))
        #expect(table.leases.allSatisfy { $0["counts_key"] == true })
        #expect(table.begun(claims(0..<1, both)[0].lease, key) == 3)
        // A key without limits is not counted.
        var free = BatchRun(claims(10..<12, limits(9)))
        #expect(try free.run(&table) == [.claimed, .claimed] && table.held == 5 && table.keyCounter?["n"] == 3)
    }

    @Test func theTenantsRefusalTakesNothingFromTheKey() throws {
        var table = CounterTable()
        let both = limits(1, key: AdmissionLimit(sessions: 3, version: 1))
        var run = BatchRun(claims(0..<3, both))
        #expect(try run.run(&table) == [.claimed, .full(1), .full(1)])
        #expect(table.keyCounter?["n"] == 1)
        var none = BatchRun(claims(3..<4, limits(0, version: 2, key: AdmissionLimit(sessions: 2, version: 2))))
        #expect(try none.run(&table) == [.full(0)])
        #expect(table.limit == 0 && table.keyCounter?["n"] == 1)
    }

    @Test func aKeysLimitIsStatedThoughItRefuses() throws {
        var table = CounterTable()
        var first = BatchRun(claims(0..<1, limits(nil, key: AdmissionLimit(sessions: 1, version: 1))))
        #expect(try first.run(&table) == [.claimed])
        var run = BatchRun(claims(1..<2, limits(nil, key: AdmissionLimit(sessions: 0, version: 2))))
        guard case .limitReached(let reached)?? = try run.run(&table).first else {
            throw CocoaError(.featureUnsupported)
        }
        #expect(reached == LimitReached(owner: key, kind: .concurrentSessions, limit: 0))
        #expect(table.keyCounter?["version"] == 2 && table.keyCounter?["lim"] == 0)
    }
}
