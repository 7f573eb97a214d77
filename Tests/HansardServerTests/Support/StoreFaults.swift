import EventLoops
import Hansard

/// What goes wrong with the calls of a store double, and which calls there were.
final class StoreFaults: Sendable {
    /// How one call goes.
    enum Fate: Sendable {
        /// As it should.
        case works
        /// Nothing happens and the caller is told so.
        case away
        /// Nothing happens, since others want the same at once.
        case contended
        /// It is done, but the answer is lost.
        case answerLost
        /// Nothing happens until the fault is taken back.
        case hangs
        /// The store is there and refuses the value for good.
        case refuses
    }

    private struct State {
        var fates: @Sendable (_ operation: String, _ number: Int) -> Fate = { _, _ in .works }
        var calls: [String] = []
    }

    private let state = Locked(State())

    /// The operations that were asked for, in order.
    var calls: [String] { state.withLock(\.calls) }

    /// How many calls there have been since they were last forgotten.
    var callCount: Int { state.withLock { $0.calls.count } }

    private var fates: @Sendable (String, Int) -> Fate { state.withLock(\.fates) }

    func forgetCalls() { state.withLock { $0.calls = [] } }

    /// Decides each call's fate from its operation and from how many calls there were before it.
    func set(_ fates: @escaping @Sendable (_ operation: String, _ number: Int) -> Fate) {
        state.withLock { $0.fates = fates }
    }

    /// These operations end like this from now on; all others work.
    func set(_ fate: Fate, for operations: Set<String>) { set { name, _ in operations.contains(name) ? fate : .works } }

    /// Everything works again.
    func clear() { set { _, _ in .works } }

    /// Runs a call of a store double.
    func call<Value>(_ operation: String, _ body: () throws -> Value) async throws -> Value {
        let number = state.withLock { state in
            state.calls.append(operation)
            return state.calls.count - 1
        }
        // Decided outside the lock, since a fate may look at the calls of this store and others.
        var fate = fates(operation, number)
        while case .hangs = fate {
            try await Task.sleep(for: .milliseconds(5))
            fate = fates(operation, number)
        }
        switch fate {
        case .works, .hangs: return try body()
        case .away: throw HansardError(.unavailable, "\(operation): the store is away")
        case .contended: throw HansardError.contention("\(operation): others are in the way")
        case .answerLost:
            _ = try body()
            throw HansardError(.unavailable, "\(operation): the answer was lost")
        case .refuses: throw HansardError(.invalid, "\(operation): a value cannot be stored")
        }
    }
}
