import Testing

@testable import LocalSpeech

/// The queue's decisions.
@Suite struct StreamQueueTests {
    /// `#expect` cannot call mutating functions.
    private final class QueueBox {
        private var queue = StreamQueue(sampleRate: 10)

        var isHeard: Bool { queue.isHeard }
        var isOver: Bool { queue.isOver }
        func samplesSent(_ samples: [Int16]) -> (answer: RecognizerSend, wakes: Bool) { queue.samplesSent(samples) }
        func flushAsked() -> Bool { queue.flushAsked() }
        func finishAsked() -> Bool { queue.finishAsked() }
        func stopAsked(_ error: LocalSpeechError?) -> Bool { queue.stopAsked(error) }
        func samplesDecoded(_ count: Int) -> Bool { queue.samplesDecoded(count) }
        func next() -> StreamQueue.Next { queue.next() }
    }

    private func isWait(_ next: StreamQueue.Next) -> Bool { if case .wait = next { true } else { false } }

    @Test func wakesOnceUntilItHasWaited() {
        let queue = QueueBox()
        #expect(queue.samplesSent([1]) == (.sent, true))
        #expect(queue.samplesSent([2]) == (.sent, false))
        guard case .run(.audio([1])) = queue.next(), case .run(.audio([2])) = queue.next() else {
            Issue.record("not in order")
            return
        }
        #expect(isWait(queue.next()))
        #expect(queue.flushAsked())
    }

    @Test func backpressureLastsUntilHalfTheMark() {
        let queue = QueueBox()
        #expect(queue.samplesSent([Int16](repeating: 0, count: 50)).answer == .sent)
        #expect(queue.samplesSent([0]).answer == .backpressure)
        #expect(!queue.samplesDecoded(25))
        #expect(queue.samplesSent([]).answer == .backpressure)
        #expect(queue.samplesDecoded(1))
        #expect(!queue.samplesDecoded(1), "once")
        #expect(queue.samplesSent([0]).answer == .sent)
    }

    @Test func theLimitEndsTheStream() {
        let queue = QueueBox()
        #expect(queue.samplesSent([Int16](repeating: 0, count: 600)).answer == .backpressure)
        #expect(queue.samplesSent([0]).answer == .dropped)
        guard case .fail(let error) = queue.next() else {
            Issue.record("not failed")
            return
        }
        #expect(error.code == .overrun)
        #expect(queue.isOver && isWait(queue.next()))
    }

    @Test func nothingAfterFinishAndNoEventAfterCancel() {
        let queue = QueueBox()
        #expect(queue.finishAsked())
        #expect(queue.samplesSent([0]) == (.dropped, false))
        #expect(!queue.flushAsked() && !queue.finishAsked())
        #expect(queue.isHeard)
        #expect(!queue.stopAsked(nil), "awake already")
        #expect(!queue.isHeard)
        guard case .stop = queue.next() else {
            Issue.record("not stopped")
            return
        }
        #expect(queue.isOver)
        #expect(!queue.stopAsked(nil))
    }
}
