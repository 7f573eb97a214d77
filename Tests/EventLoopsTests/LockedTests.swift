import EventLoops
import Foundation
import Testing

@Suite struct LockedTests {
    @Test func contendedThreadsLoseNothing() {
        let sum = Locked(0)
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            for _ in 0..<10_000 { sum.withLock { $0 += 1 } }
        }
        #expect(sum.withLock { $0 } == 80_000)
    }

    @Test func anErrorLeavesItUnlocked() {
        struct Refused: Error {}
        let value = Locked(1)
        #expect(throws: Refused.self) { try value.withLock { _ in throw Refused() } }
        #expect(value.withLock { $0 } == 1)
    }

    @Test func theValueGoesWithIt() {
        final class Token: Sendable {}
        weak var token: Token?
        do {
            let held = Token()
            token = held
            _ = Locked(held)
        }
        #expect(token == nil)
    }
}
