import Foundation
import Testing

@testable import Hansard

/// A grant and its store, which answers at once what it is asked.
struct MinuteGrantBench {
    static let owner = QuotaOwner.key(KeyID("key_1"))
    static let period = QuotaPeriod(Date(timeIntervalSince1970: 1_795_000_000))
    static let node = NodeEpoch(node: "a", epoch: UUID())
    static let other = NodeEpoch(node: "b", epoch: UUID())

    let start = ContinuousClock.now
    var now: ContinuousClock.Instant
    var grant: MinuteGrant
    var ledger = GrantLedger()
    /// What was done, in order: `grow 10000`, `give 5000`, `warn 80`.
    var trace: [String] = []
    /// What is under way, if nothing is answered at once.
    var underWay: MinuteGrant.Action?
    var isAnswered = true

    static func limit(_ milliseconds: Int64?, _ policy: QuotaPolicy = .hard, version: Int64 = 1) -> MinuteLimit {
        MinuteLimit(milliseconds: milliseconds, policy: policy, version: version)
    }

    init(_ limit: MinuteLimit) {
        now = start
        grant = MinuteGrant(owner: Self.owner, period: Self.period, holder: Self.node, limit: limit, now: start)
    }

    mutating func run(_ actions: [MinuteGrant.Action]) {
        for action in actions {
            switch action {
            case .grow(let request): trace.append("grow \(request.milliseconds)")
            case .giveBack(let request): trace.append("give \(request.milliseconds)")
            case .warn(let percent, let remaining): trace.append("warn \(percent) of which \(remaining) left")
            }
            if case .warn = action { continue }
            underWay = action
            if isAnswered { answer() }
        }
    }

    mutating func answer() {
        guard let action = underWay, let answer = ledger.answer(action) else { return }
        underWay = nil
        run(grant.answered(answer, now: now))
    }

    mutating func join() { run(grant.sessionJoined(now: now)) }

    @discardableResult
    mutating func take(_ milliseconds: Int64) -> Int64 {
        let (taken, actions) = grant.take(milliseconds, now: now)
        run(actions)
        return taken
    }

    mutating func look(after duration: Duration = .zero) {
        now += duration
        run(grant.looked(now: now))
    }

    /// Another node is granted so much, or gives it back.
    mutating func elsewhere(_ milliseconds: Int64, sequence: Int64 = 1) {
        let request = GrantRequest(
            owner: Self.owner, period: Self.period, holder: Self.other, sequence: sequence,
            milliseconds: abs(milliseconds),
            limit: grant.limit)
        _ = ledger.change(request, isGrowth: milliseconds > 0)
    }

    mutating func expectTaken(_ taken: Int64, of wanted: Int64, at location: SourceLocation = #_sourceLocation) {
        let given = take(wanted)
        #expect(given == taken, sourceLocation: location)
    }

    /// This was done since the last call, and nothing else.
    mutating func expectDone(
        _ expected: [String], _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
    ) {
        let done = done()
        #expect(done == expected, comment, sourceLocation: location)
    }

    /// What was done since the last call.
    mutating func done() -> [String] {
        defer { trace = [] }
        return trace
    }
}
