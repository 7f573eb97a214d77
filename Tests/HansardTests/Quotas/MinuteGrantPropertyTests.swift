import Foundation
import Hansard
import Testing

/// Several nodes at one quota, with lost answers, requests that arrive late, crashes and changes of the limit.
@Suite struct MinuteGrantPropertyTests {
    private struct Node {
        var grant: MinuteGrant
        var underWay: MinuteGrant.Action?
        /// Its sessions say nothing for a while.
        var isQuiet = false
    }

    private struct World {
        static let owner = QuotaOwner.key(KeyID("key_1"))
        static let period = QuotaPeriod(Date(timeIntervalSince1970: 1_795_000_000))

        var random: SeededGenerator
        var now = ContinuousClock.now
        var ledger = GrantLedger()
        var limit: MinuteLimit
        /// The highest limit that there ever was.
        var highest: Int64
        var nodes: [Node] = []
        var late: [MinuteGrant.Action] = []
        var dead: [(epoch: NodeEpoch, used: Int64)] = []
        var started = 0
        var returns = 0

        init(seed: UInt64) {
            random = SeededGenerator(seed: seed)
            limit = MinuteLimit(milliseconds: 200_000, version: 1)
            highest = 200_000
            for _ in 0..<4 { start() }
        }

        mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

        mutating func start() {
            started += 1
            let epoch = NodeEpoch(node: "n\(started)", epoch: UUID())
            let grant = MinuteGrant(owner: Self.owner, period: Self.period, holder: epoch, limit: limit, now: now)
            nodes.append(Node(grant: grant))
        }

        mutating func run(_ actions: [MinuteGrant.Action], _ index: Int) {
            for action in actions {
                if case .warn = action { continue }
                #expect(nodes[index].underWay == nil, "one at a time")
                nodes[index].underWay = action
                if case .giveBack = action { returns += 1 }
            }
        }

        var taken: Int64 { nodes.map(\.grant.used).reduce(0, +) + dead.map(\.used).reduce(0, +) }
    }

    @Test(arguments: 1...60)
    func nothingIsTakenBeyondTheLimitAndWhatIsUnspentComesBack(seed: UInt64) {
        var world = World(seed: seed)
        var lost = 0
        for _ in 0..<4_000 {
            let isLong = world.number(0..<40) == 0
            world.now += .milliseconds(world.number(isLong ? 10_000..<40_000 : 1..<400))
            let index = world.number(0..<world.nodes.count)
            step(&world, index, &lost)
            check(world)
        }
        #expect(world.taken > 20_000 && lost > 20 && world.returns > 0, "something happened")
        settle(&world)
        let use = world.ledger.use(World.owner, World.period)
        #expect(use?.granted == world.taken, "everything unspent is back")
        #expect(world.taken <= world.highest)
    }

    private func step(_ world: inout World, _ index: Int, _ lost: inout Int) {
        let now = world.now
        switch world.number(0..<40) {
        case 0: world.run(world.nodes[index].grant.sessionJoined(now: now), index)
        case 1 where world.nodes[index].grant.sessions > 1:
            world.run(world.nodes[index].grant.sessionLeft(now: now), index)
        case 2 where world.number(0..<8) == 0: crash(&world, index)
        case 3 where world.number(0..<6) == 0: change(&world)
        case 4:
            if !world.late.isEmpty {
                _ = world.ledger.answer(world.late.remove(at: world.number(0..<world.late.count)))
            }
        case 5 where !world.dead.isEmpty && world.number(0..<4) == 0:
            let (epoch, used) = world.dead[world.number(0..<world.dead.count)]
            for grant in world.ledger.grants(heldBy: epoch) {
                let isRetired = world.ledger.retire(grant, used: used)
                #expect(isRetired)
            }
        case 6: world.run(world.nodes[index].grant.limitChanged(world.limit, now: now), index)
        case 7..<15: world.run(world.nodes[index].grant.looked(now: now), index)
        case 15..<27: answer(&world, index, &lost)
        case 27: world.nodes[index].isQuiet.toggle()
        case 28... where world.nodes[index].isQuiet: break
        default:
            let wanted = Int64(world.number(0..<600))
            let before = world.nodes[index].grant.available
            let (taken, actions) = world.nodes[index].grant.take(wanted, now: now)
            #expect(taken >= 0 && taken <= wanted && taken <= max(0, before))
            world.run(actions, index)
        }
    }

    private func answer(_ world: inout World, _ index: Int, _ lost: inout Int) {
        guard let action = world.nodes[index].underWay else { return }
        world.nodes[index].underWay = nil
        switch world.number(0..<8) {
        case 0:
            // It never arrives, or late.
            lost += 1
            if world.number(0..<2) == 0 { world.late.append(action) }
            world.run(world.nodes[index].grant.failed(now: world.now), index)
        case 1:
            lost += 1
            _ = world.ledger.answer(action)
            world.run(world.nodes[index].grant.failed(now: world.now), index)
        default:
            guard let answer = world.ledger.answer(action) else { return }
            world.run(world.nodes[index].grant.answered(answer, now: world.now), index)
        }
    }

    private func crash(_ world: inout World, _ index: Int) {
        let node = world.nodes.remove(at: index)
        world.dead.append((node.grant.holder, node.grant.used))
        if let action = node.underWay { world.late.append(action) }
        world.start()
    }

    private func change(_ world: inout World) {
        let milliseconds = Int64(world.number(100_000..<400_000))
        world.limit = MinuteLimit(milliseconds: milliseconds, version: world.limit.version + 1)
        world.highest = max(world.highest, milliseconds)
        if world.number(0..<2) == 0 { world.ledger.state(world.limit, World.owner, World.period) }
    }

    private func check(_ world: World) {
        #expect(world.taken <= world.highest)
        let granted = world.ledger.use(World.owner, World.period)?.granted ?? 0
        #expect(granted <= world.highest)
        #expect(world.taken <= granted, "nobody spends what was not granted")
    }

    /// Everything that is late arrives, every node stops, and every dead one is retired.
    private func settle(_ world: inout World) {
        for action in world.late { _ = world.ledger.answer(action) }
        for index in world.nodes.indices { world.run(world.nodes[index].grant.stop(now: world.now), index) }
        for _ in 0..<20 {
            world.now += .seconds(5)
            for index in world.nodes.indices {
                world.run(world.nodes[index].grant.looked(now: world.now), index)
                guard let action = world.nodes[index].underWay, let answer = world.ledger.answer(action) else {
                    continue
                }
                world.nodes[index].underWay = nil
                world.run(world.nodes[index].grant.answered(answer, now: world.now), index)
            }
        }
        for node in world.nodes { #expect(node.grant.isSettled) }
        for (epoch, used) in world.dead {
            for grant in world.ledger.grants(heldBy: epoch) { _ = world.ledger.retire(grant, used: used) }
        }
    }
}
