import Testing

@testable import HansardServer

/// Nothing overtakes a final, and a final waits for the spool alone.
@Suite struct OutboxTests {
    private func drain(_ outbox: inout Outbox<String>) -> [String] {
        var items: [String] = []
        while let item = outbox.next() { items.append(item) }
        return items
    }

    @Test func withoutFinalsNothingWaits() {
        var outbox = Outbox<String>()
        #expect(outbox.put("a") == "a")
        #expect(outbox.put("b") == "b")
        #expect(outbox.next() == nil)
    }

    @Test func aFinalWaitsUntilTheSpoolHasItAndHoldsWhatFollows() {
        var outbox = Outbox<String>()
        let number = outbox.keeping()
        #expect(outbox.put("final") == nil)
        #expect(outbox.put("interim") == nil)
        #expect(drain(&outbox) == [])
        outbox.durable(number)
        #expect(drain(&outbox) == ["final", "interim"])
        #expect(outbox.put("later") == "later")
    }

    @Test func eachFinalWaitsForItsOwn() {
        var outbox = Outbox<String>()
        let first = outbox.keeping()
        #expect(outbox.put("one") == nil)
        #expect(outbox.put("between") == nil)
        let second = outbox.keeping()
        #expect(outbox.put("two") == nil)
        outbox.durable(first)
        #expect(drain(&outbox) == ["one", "between"])
        #expect(outbox.put("after") == nil, "behind the second final")
        outbox.durable(second)
        #expect(drain(&outbox) == ["two", "after"])
    }

    @Test func aLaterAnswerSpeaksForTheEarlierOnes() {
        var outbox = Outbox<String>()
        let first = outbox.keeping()
        #expect(outbox.put("one") == nil)
        let second = outbox.keeping()
        #expect(outbox.put("two") == nil)
        outbox.durable(second)
        #expect(drain(&outbox) == ["one", "two"])
        outbox.durable(first)
        #expect(outbox.put("three") == "three")
    }

    @Test func whatCanBeLeftOutIsLeftOutWhenItIsFull() {
        var outbox = Outbox<Int>()
        let number = outbox.keeping()
        for item in 0..<Outbox<Int>.limit {
            #expect(!outbox.isFull)
            #expect(outbox.put(item) == nil)
        }
        #expect(outbox.isFull)
        outbox.durable(number)
        #expect(outbox.next() == 0)
        #expect(!outbox.isFull)
    }
}
