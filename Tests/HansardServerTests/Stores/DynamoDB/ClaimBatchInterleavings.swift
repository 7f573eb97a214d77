import AWS
import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Batches of several nodes at one counter, turn by turn in any order, with conflicts, lost answers and attempts that
/// arrive late.
@Suite struct ClaimBatchInterleavings {
    /// A batch under way, and the room that there ever was while it was.
    private struct Runner {
        var run: BatchRun
        let claims: [ClaimBatch.Claim]
        /// The least room for new leases, and the limits that it was for, since the batch began.
        var leastRoom = Int64.max
        var limits: Set<Int64> = []
        var minuteLimits: Set<Int> = []
        var mostHeld: Int64 = 0
    }

    private struct World {
        var random: SeededGenerator
        var table = CounterTable()
        var runners: [Runner] = []
        /// Attempts whose sender has given up waiting for them.
        var late: [[DynamoDBWrite]] = []
        /// The claims in such attempts, unless they had worked.
        var lateClaims: Set<AttributeValue> = []
        var claims: [ClaimBatch.Claim] = []
        var held: [Lease] = []
        var version: Int64 = 0
        var known: [DynamoDBCounter?] = [nil, nil]
        var decided = 0

        mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &random) == 0 }
    }

    @Test(arguments: 1...40)
    func everyOutcomeIsRightAndNoClaimGoesBeyondTheLimit(seed: UInt64) throws {
        var world = World(random: SeededGenerator(seed: seed))
        for _ in 0..<600 {
            switch Int.random(in: 0..<10, using: &world.random) {
            case 0 where world.runners.count < 4: begin(&world)
            case 1:
                if let lease = world.held.randomElement(using: &world.random) {
                    world.table.release(lease)
                    world.held.removeAll { $0 == lease }
                }
            case 2:
                if !world.late.isEmpty {
                    let index = Int.random(in: 0..<world.late.count, using: &world.random)
                    transact(world.late.remove(at: index), &world)
                }
            case 3 where world.chance(4):
                world.version += 1
                world.table.setLimit(Self.limit(world.version))
            default: try step(&world)
            }
            observe(&world)
            #expect(world.table.held == Int64(world.table.leases.count))
        }
        #expect(world.decided > 20)
    }

    /// A version is of one limit.
    private static func limit(_ version: Int64) -> AdmissionLimit {
        AdmissionLimit(
            sessions: Int(version * 5 + 2) % 7, newPerMinute: version % 3 == 0 ? nil : 1 + Int(version % 4),
            version: version)
    }

    private func begin(_ world: inout World) {
        var claims: [ClaimBatch.Claim] = []
        for _ in 0..<Int.random(in: 1...5, using: &world.random) {
            // Some repeat an earlier claim, some claim the same session as another.
            let underWay = Set(world.runners.flatMap(\.claims).map(\.lease.nonce))
            if world.chance(4), let again = world.claims.randomElement(using: &world.random),
                !underWay.contains(again.lease.nonce)
            {
                claims.append(again)
            } else {
                let limit = Self.limit(max(0, world.version + Int64.random(in: -1...0, using: &world.random)))
                let number = Int.random(in: 0..<200, using: &world.random)
                let claimer = UInt8.random(in: 1...250, using: &world.random)
                var claim = ClaimBatch.Claim.number(
                    number, claimer: claimer, limit: limit.sessions, version: limit.version)
                claim.limits.tenant = limit
                // Every session in a minute with few others.
                claim.lease.claimedAt = moment(60 * (number / 5))
                claims.append(claim)
            }
        }
        var sessions: Set<SessionID> = []
        claims.removeAll { !sessions.insert($0.lease.session).inserted }
        world.claims += claims
        let known = world.known[world.runners.count % 2]
        world.runners.append(Runner(run: BatchRun(claims, known: known), claims: claims))
    }

    private func step(_ world: inout World) throws {
        guard !world.runners.isEmpty else { return }
        let index = Int.random(in: 0..<world.runners.count, using: &world.random)
        var runner = world.runners[index]
        var table = world.table
        let fate = Int.random(in: 0..<12, using: &world.random)
        let busy = world.random.next()
        var sent: [DynamoDBWrite]?
        let isUnderWay = try runner.run.step(&table) { table, writes in
            switch fate {
            case 0: return writes.map { _ in .busy }
            // Another is at some of the items, and nothing is said of the rest.
            case 1: return writes.indices.map { busy >> $0 & 1 == 1 || $0 == writes.count - 1 ? .busy : .none }
            // The answer is lost, and the attempt repeated.
            case 2:
                let first = table.transact(writes)
                return first ?? table.transact(writes)
            case 3:
                sent = writes
                return table.transact(writes)
            default: return table.transact(writes)
            }
        }
        check(world.table, table)
        world.table = table
        if let sent {
            world.late.append(sent)
            for case .put(let item) in sent.map(\.change) where !table.placed.contains(item["nonce"] ?? "") {
                world.lateClaims.insert(item["nonce"] ?? "")
            }
        }
        world.runners[index] = runner
        observe(&world)
        if !isUnderWay { finish(world.runners.remove(at: index), &world) }
    }

    private func transact(_ writes: [DynamoDBWrite], _ world: inout World) {
        var table = world.table
        _ = table.transact(writes)
        check(world.table, table)
        world.table = table
    }

    /// Whatever was put, there was room for it.
    private func check(_ before: CounterTable, _ after: CounterTable) {
        guard after.held > before.held else { return }
        #expect(after.held <= after.limit ?? .max, "\(after.held) of \(after.limit ?? -1)")
        for (minute, begun) in after.begun where begun > before.begun[minute] ?? 0 {
            #expect(begun <= after.limitOfMinutes ?? .max)
        }
        #expect(
            after.limitOfMinutes == nil
                || after.placed.count - before.placed.count
                    == after.begun.values.reduce(0, +) - before.begun.values.reduce(0, +)
        )
    }

    private func observe(_ world: inout World) {
        for index in world.runners.indices {
            let limit = world.table.limit ?? .max
            world.runners[index].leastRoom = min(world.runners[index].leastRoom, limit - world.table.held)
            world.runners[index].limits.insert(limit)
            if let limit = world.table.limitOfMinutes { world.runners[index].minuteLimits.insert(Int(limit)) }
            world.runners[index].mostHeld = max(world.runners[index].mostHeld, world.table.held)
        }
    }

    private func finish(_ runner: Runner, _ world: inout World) {
        world.known[world.decided % 2] = runner.run.batch.counter
        let newest = runner.claims.map(\.limits.tenant).max { $0.version < $1.version }
        for (claim, outcome) in zip(runner.claims, runner.run.batch.outcomes) {
            world.decided += 1
            let nonce = DynamoDBItems.text(claim.lease.nonce)
            let present = world.table.lease(claim.lease.session)
            let isPlaced = world.table.placed.contains(nonce)
            switch outcome {
            case .claimed:
                #expect(isPlaced)
                if present?["nonce"] == nonce, !world.held.contains(claim.lease) { world.held.append(claim.lease) }
            case .superseded: #expect(present != nil && present?["nonce"] != nonce)
            case .limitReached(let reached):
                let limit = reached.limit
                if reached.kind == .newSessionsPerMinute {
                    #expect(present?["nonce"] != nonce || world.lateClaims.contains(nonce))
                    #expect(runner.minuteLimits.contains(limit) || newest?.newPerMinute == limit)
                    let others = runner.claims.count {
                        ClaimMinute(of: $0.lease) == ClaimMinute(of: claim.lease)
                    }
                    let begun = world.table.begun(claim.lease) ?? 0
                    #expect(begun + Int64(others) > limit, "\(begun) and \(others) of \(limit)")
                    continue
                }
                // One that arrives after its refusal is found by the audit.
                #expect(
                    present?["nonce"] != nonce || world.lateClaims.contains(nonce), "a slot that is held is not refused"
                )
                #expect(runner.limits.contains(Int64(limit)) || newest?.sessions == limit)
                let room = min(runner.leastRoom, Int64(limit) - runner.mostHeld)
                #expect(room < Int64(runner.claims.count), "\(room) for \(runner.claims.count)")
            case nil: Issue.record("an undecided claim")
            }
        }
    }
}
