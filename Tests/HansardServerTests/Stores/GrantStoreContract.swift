import Foundation
import Hansard
import Testing

@testable import HansardServer

/// Quotas of minutes: what every `GrantStore` must do.
@Suite(.timeLimit(.minutes(10))) struct GrantStoreContract {
    private let owner = QuotaOwner.tenant(TenantID(UUID()))
    // A time to come: what is long over may be removed.
    private let period = QuotaPeriod(Date(timeIntervalSinceNow: 86_400))
    private let node = NodeEpoch.new("rack-1#a")

    private func limit(_ milliseconds: Int64?, _ policy: QuotaPolicy = .hard, _ version: Int64 = 1) -> MinuteLimit {
        MinuteLimit(milliseconds: milliseconds, policy: policy, version: version)
    }

    private func request(
        _ sequence: Int64, _ milliseconds: Int64, _ limit: MinuteLimit, by holder: NodeEpoch? = nil,
        owner: QuotaOwner? = nil, period: QuotaPeriod? = nil
    ) -> GrantRequest {
        GrantRequest(
            owner: owner ?? self.owner, period: period ?? self.period, holder: holder ?? node, sequence: sequence,
            milliseconds: milliseconds, limit: limit)
    }

    private func held(
        _ milliseconds: Int64, _ sequence: Int64, of granted: Int64, _ limit: MinuteLimit, by holder: NodeEpoch? = nil
    ) -> GrantAnswer {
        .held(grant(milliseconds, sequence, by: holder), QuotaUse(granted: granted, limit: limit))
    }

    private func grant(_ milliseconds: Int64, _ sequence: Int64, by holder: NodeEpoch? = nil) -> Grant {
        Grant(
            owner: owner, period: period, holder: holder ?? node, milliseconds: milliseconds, sequence: sequence)
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aGrantGrowsUntilNothingIsLeft(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (store, ten) = (subject.store, limit(10_000))
            #expect(try await store.use(of: owner, in: period) == nil)
            #expect(try await store.grow(request(1, 4_000, ten)) == held(4_000, 1, of: 4_000, ten))
            #expect(try await store.grow(request(2, 4_000, ten)) == held(8_000, 2, of: 8_000, ten))
            #expect(try await subject.peer.use(of: owner, in: period) == QuotaUse(granted: 8_000, limit: ten))
            #expect(try await store.grow(request(3, 4_000, ten)) == held(10_000, 3, of: 10_000, ten), "what there is")
            let nothing = GrantAnswer.exhausted(QuotaUse(granted: 10_000, limit: ten))
            #expect(try await store.grow(request(4, 4_000, ten)) == nothing)
            #expect(try await store.grow(request(4, 1, ten)) == nothing)
            let other = NodeEpoch.new()
            #expect(try await subject.peer.grow(request(1, 1, ten, by: other)) == nothing)
            #expect(try await store.grants(heldBy: node) == [grant(10_000, 3)])
            #expect(try await store.grants(heldBy: other).isEmpty)
            #expect(try await store.leases(heldBy: node).isEmpty)
            // Other months and owners have their own.
            let next = try await store.grow(request(1, 5, ten, period: period.next))
            let key = try await store.grow(request(1, 6, ten, owner: .key(KeyID("key_\(UUID())"))))
            for (answer, granted) in [(next, Int64(5)), (key, 6)] {
                guard case .held(let grant, let use) = answer else { throw CocoaError(.featureUnsupported) }
                #expect(grant.milliseconds == granted && use.granted == granted)
            }
            #expect(try await store.grants(heldBy: node).count == 3)
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRequestHappensOnceHoweverOftenItArrives(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let ten = limit(10_000)
            for sequence in Int64(1)...3 {
                let answers = try await withThrowingTaskGroup(of: GrantAnswer.self) { group in
                    for number in 0..<6 {
                        let store = number.isMultiple(of: 2) ? subject.store : subject.peer
                        group.addTask { try await store.grow(request(sequence, 1_000, ten)) }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                let expected = held(sequence * 1_000, sequence, of: sequence * 1_000, ten)
                #expect(answers == Array(repeating: expected, count: 6))
            }
            // Under way for long, they change nothing, and say what there is.
            #expect(try await subject.store.grow(request(1, 9_000, ten)) == held(3_000, 3, of: 3_000, ten))
            #expect(try await subject.store.giveBack(request(2, 500, ten)) == held(3_000, 3, of: 3_000, ten))
            // One of a later number than there can be: so is what the holder believes.
            #expect(try await subject.store.grow(request(7, 500, ten)) == held(3_000, 3, of: 3_000, ten))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func whatIsGivenBackCanBeGrantedAgain(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (store, ten, other) = (subject.store, limit(10_000), NodeEpoch.new("b"))
            _ = try await store.grow(request(1, 10_000, ten))
            #expect(try await store.giveBack(request(2, 3_000, ten)) == held(7_000, 2, of: 7_000, ten))
            #expect(try await store.giveBack(request(2, 3_000, ten)) == held(7_000, 2, of: 7_000, ten))
            let answer = try await subject.peer.grow(request(1, 10_000, ten, by: other))
            #expect(answer == held(3_000, 1, of: 10_000, ten, by: other))
            #expect(try await store.giveBack(request(3, 7_000, ten)) == held(0, 3, of: 3_000, ten))
            #expect(try await store.grow(request(4, 100, ten)) == held(100, 4, of: 3_100, ten))
            // Of nothing, to use the number up: a growth of that number that comes later is not done.
            #expect(try await store.giveBack(request(5, 0, ten)) == held(100, 5, of: 3_100, ten))
            #expect(try await store.grow(request(5, 100, ten)) == held(100, 5, of: 3_100, ten))
            let fresh = NodeEpoch.new("c")
            #expect(try await store.giveBack(request(1, 0, ten, by: fresh)) == held(0, 1, of: 3_100, ten, by: fresh))
            #expect(try await store.grow(request(1, 9, ten, by: fresh)) == held(0, 1, of: 3_100, ten, by: fresh))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func twentyNodesAtOnceGetTheLimitToTheMillisecond(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let all = limit(10_007)
            let sum = try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 0..<20 {
                    let store = number.isMultiple(of: 2) ? subject.store : subject.peer
                    group.addTask { try await growUntilExhausted(.new("n\(number)"), by: 331, all, store) }
                }
                return try await group.reduce(0, +)
            }
            #expect(sum == 10_007)
            #expect(try await subject.store.use(of: owner, in: period) == QuotaUse(granted: 10_007, limit: all))
        }
    }

    /// - Returns: what it was granted.
    private func growUntilExhausted(
        _ holder: NodeEpoch, by milliseconds: Int64, _ limit: MinuteLimit, _ store: any GrantStore
    ) async throws -> Int64 {
        var granted: Int64 = 0
        var sequence: Int64 = 1
        for _ in 0..<1_000 {
            do {
                switch try await store.grow(request(sequence, milliseconds, limit, by: holder)) {
                case .held(let grant, _): (granted, sequence) = (grant.milliseconds, grant.sequence + 1)
                case .exhausted: return granted
                case .retired: Issue.record("nobody retires it")
                }
            } catch let error as HansardError where error.isContention {}
        }
        Issue.record("the quota does not end")
        return granted
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func theLimitOfHighestVersionCounts(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let store = subject.store
            let (low, high, older) = (limit(1_000, .hard, 5), limit(3_000, .hard, 6), limit(9_000, .hard, 4))
            #expect(try await store.grow(request(1, 800, low)) == held(800, 1, of: 800, low))
            #expect(try await store.grow(request(2, 800, older)) == held(1_000, 2, of: 1_000, low))
            #expect(try await store.grow(request(3, 800, older)) == .exhausted(QuotaUse(granted: 1_000, limit: low)))
            #expect(try await store.grow(request(3, 800, high)) == held(1_800, 3, of: 1_800, high))
            // Stated apart, in both orders; nothing is taken back.
            let lower = limit(1_500, .hard, 8)
            try await subject.peer.setMinutes(lower, owner: owner, period: period)
            try await subject.peer.setMinutes(limit(7_000, .hard, 7), owner: owner, period: period)
            #expect(try await store.use(of: owner, in: period) == QuotaUse(granted: 1_800, limit: lower))
            #expect(try await store.grow(request(4, 800, high)) == .exhausted(QuotaUse(granted: 1_800, limit: lower)))
            // A refused growth has stated its limit as well.
            let zero = limit(0, .hard, 9)
            #expect(try await store.grow(request(4, 800, zero)) == .exhausted(QuotaUse(granted: 1_800, limit: zero)))
            #expect(try await subject.peer.use(of: owner, in: period)?.limit == zero)
            let none = limit(nil, .hard, 10)
            #expect(try await store.grow(request(4, 800, none)) == held(2_600, 4, of: 2_600, none))
            // For a month in which nothing has been granted.
            try await store.setMinutes(zero, owner: owner, period: period.next)
            #expect(try await store.use(of: owner, in: period.next) == QuotaUse(granted: 0, limit: zero))
            let refused = try await store.grow(request(1, 1, high, period: period.next))
            #expect(refused == .exhausted(QuotaUse(granted: 0, limit: zero)))
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aSoftLimitCountsAndRefusesNothing(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (store, soft, hard) = (subject.store, limit(1_000, .soft), limit(1_000, .hard, 2))
            #expect(try await store.grow(request(1, 800, soft)) == held(800, 1, of: 800, soft))
            #expect(try await store.grow(request(2, 800, soft)) == held(1_600, 2, of: 1_600, soft))
            #expect(try await store.grow(request(3, 800, hard)) == .exhausted(QuotaUse(granted: 1_600, limit: hard)))
            #expect(try await store.grow(request(3, 800, soft)) == .exhausted(QuotaUse(granted: 1_600, limit: hard)))
            let first = try await store.grow(request(1, 5_000, limit(0, .soft), period: period.next))
            guard case .held = first else { throw CocoaError(.featureUnsupported) }
        }
    }

    @Test(arguments: ConnectionStoreConformer.allCases)
    func aRetiredGrantGivesBackWhatItDidNotUse(_ conformer: ConnectionStoreConformer) async throws {
        try await conformer.run { subject async throws in
            let (store, ten) = (subject.store, limit(10_000))
            let overspent = NodeEpoch.new("b")
            _ = try await store.grow(request(1, 6_000, ten))
            _ = try await store.grow(request(1, 1_000, ten, by: overspent))
            let grant = try #require(try await subject.peer.grants(heldBy: node).first)
            async let one = subject.store.retire(grant, used: 2_500)
            async let other = subject.peer.retire(grant, used: 2_500)
            #expect(try await [one, other].count { $0 } == 1)
            #expect(try await store.use(of: owner, in: period)?.granted == 3_500)
            #expect(try await store.grants(heldBy: node).isEmpty)
            // What is used beyond is added.
            #expect(try await store.retire(self.grant(1_000, 1, by: overspent), used: 1_700))
            #expect(try await store.use(of: owner, in: period)?.granted == 4_200)
            // What it asked for and what arrives later.
            for sequence in Int64(1)...3 {
                #expect(try await store.grow(request(sequence, 1_000, ten)) == .retired)
                #expect(try await store.giveBack(request(sequence, 1_000, ten)) == .retired)
            }
            #expect(try await store.use(of: owner, in: period)?.granted == 4_200)
            // One that is not known.
            #expect(try await store.retire(self.grant(5, 1, by: .new("c")), used: 0) == false)
            #expect(try await store.grow(request(2, 5, ten, by: .new("d"))) == .retired, "its first is gone")
            #expect(try await store.retire(self.grant(5, 1), used: 0) == false)
            #expect(try await store.use(of: owner, in: period)?.granted == 4_200)
            #expect(
                try await store.retire(
                    Grant(
                        owner: owner, period: period.next, holder: node, milliseconds: 1, sequence: 1), used: 0)
                    == false)
            #expect(try await store.use(of: owner, in: period.next) == nil)
        }
    }

    /// The same random calls at both stores, which have to answer the same.
    @Test(arguments: [UInt64(1), 2, 3])
    func bothStoresAnswerTheSame(seed: UInt64) async throws {
        try await ConnectionStoreConformer.postgres.run { one async throws in
            try await ConnectionStoreConformer.dynamodb.run { other async throws in
                var random = SeededGenerator(seed: seed)
                let holders = (0..<3).map { NodeEpoch.new("n\($0)") }
                var sequences: [NodeEpoch: Int64] = [:]
                var version: Int64 = 1
                for step in 0..<400 {
                    let holder = holders[Int.random(in: 0..<3, using: &random)]
                    if Int.random(in: 0..<20, using: &random) == 0 { version += 1 }
                    let stated = version - Int64.random(in: 0...1, using: &random)
                    let milliseconds = Int64.random(in: 1...900, using: &random)
                    let limit = limit(
                        stated % 5 == 0 ? nil : (stated * 7_919) % 6_000, stated % 4 == 3 ? .soft : .hard, stated)
                    let sequence = max(1, sequences[holder, default: 0] + Int64.random(in: -1...2, using: &random))
                    let request = request(sequence, milliseconds, limit, by: holder)
                    switch Int.random(in: 0..<12, using: &random) {
                    case 0..<6:
                        let answer = try await one.store.grow(request)
                        #expect(try await other.store.grow(request) == answer, "step \(step)")
                        if case .held(let grant, _) = answer { sequences[holder] = grant.sequence }
                    case 6..<10:
                        let answer = try await one.store.giveBack(request)
                        #expect(try await other.store.giveBack(request) == answer, "step \(step)")
                        if case .held(let grant, _) = answer { sequences[holder] = grant.sequence }
                    case 10 where step > 300:
                        let isRetired = try await one.store.retire(grant(1, 1, by: holder), used: milliseconds)
                        #expect(try await other.store.retire(grant(1, 1, by: holder), used: milliseconds) == isRetired)
                    default:
                        let use = try await one.store.use(of: owner, in: period)
                        #expect(try await other.store.use(of: owner, in: period) == use, "step \(step)")
                        let grants = try await one.store.grants(heldBy: holder)
                        #expect(try await other.store.grants(heldBy: holder) == grants, "step \(step)")
                    }
                }
            }
        }
    }
}
