import DequeModule
import Hansard

/// Keeps what a session says behind the finals that are not in the spool yet: nothing overtakes a final, and a final
/// waits for the disk alone.
struct Outbox<Item> {
    /// Items that may wait; beyond, what can be left out should be.
    static var limit: Int { 1_000 }

    private var waiting: Deque<(afterKeep: Int, item: Item)> = []
    private var keepsGiven = 0
    private var keepsDurable = 0

    /// Whether there is no room for what can be left out.
    var isFull: Bool { waiting.count >= Self.limit }

    /// A final goes to the spool.
    ///
    /// - Returns: its number, for `durable`.
    mutating func keeping() -> Int {
        keepsGiven += 1
        return keepsGiven
    }

    /// - Returns: the item if it need not wait.
    mutating func put(_ item: Item) -> Item? {
        if waiting.isEmpty, keepsGiven == keepsDurable { return item }
        waiting.append((keepsGiven, item))
        return nil
    }

    /// The spool has the final of that number, and all before it.
    mutating func durable(_ number: Int) { keepsDurable = max(keepsDurable, number) }

    /// The next item that need not wait any more.
    mutating func next() -> Item? {
        guard let first = waiting.first, first.afterKeep <= keepsDurable else { return nil }
        return waiting.removeFirst().item
    }
}
