import Testing

@testable import HansardServer

@Suite struct BatchSizeTests {
    @Test(arguments: [
        (1, [1, 1]), (2, [1, 1]), (3, [1, 1]), (50, [25, 12, 6, 3, 1, 1]), (500, [250, 125, 62, 31, 15, 7, 3, 1, 1]),
    ])
    func failuresHalveItDownToOne(most: Int, sizes: [Int]) {
        var size = BatchSize(most: most)
        #expect(size.current == most)
        for expected in sizes {
            size.failed()
            #expect(size.current == expected)
        }
    }

    @Test func successesDoubleItUpToTheMost() {
        var size = BatchSize(most: 50)
        for _ in 0..<10 { size.failed() }
        for expected in [2, 4, 8, 16, 32, 50, 50] {
            size.succeeded()
            #expect(size.current == expected)
        }
    }

    /// Whatever a call manages is found again: what fits is never more than halved.
    @Test(arguments: 1...60) func whatACallManagesIsFound(limit: Int) {
        var size = BatchSize(most: 50)
        var (done, calls) = (0, 0)
        while done < 500, calls < 10_000 {
            calls += 1
            if size.current <= limit {
                done += size.current
                size.succeeded()
            } else {
                size.failed()
            }
        }
        #expect(done >= 500 && calls <= 6 + 2 * 1_000 / max(1, limit / 2 + 1))
    }
}
