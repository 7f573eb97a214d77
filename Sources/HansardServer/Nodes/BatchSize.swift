/// How much of some work is asked for in one call that may take too long: half as much after each failure, down to one, and
/// twice as much again after each success, up to the most.
struct BatchSize {
    /// Never more.
    let most: Int
    /// For the next call, from 1 to `most`.
    private(set) var current: Int

    /// - Parameter most: at least 1.
    init(most: Int) {
        self.most = most
        current = most
    }

    /// The last call was done.
    mutating func succeeded() { current = min(current * 2, most) }

    /// The last call failed.
    mutating func failed() { current = max(1, current / 2) }
}
