import EventLoops
import Hansard
import Testing

@testable import HansardServer

@Suite struct ChannelGatheringTests {
    private let delivered = Locked<[EngineEvent]>([])

    private func gathering(_ channels: Int) -> ChannelGathering {
        let delivered = delivered
        return ChannelGathering(channels: channels) { event in delivered.withLock { $0.append(event) } }
    }

    @Test func eachEventIsOfItsOwnChannel() {
        let gathering = gathering(3)
        let result = EngineResult(through: .milliseconds(5), transcript: "a", words: [])
        var own = result
        own.channel = 2
        gathering.take(.partial(result), channel: 2)
        gathering.take(.final(result), channel: 2)
        gathering.take(.progress(channel: 0, through: .milliseconds(7)), channel: 1)
        gathering.take(.flushed(channel: 0), channel: 1)
        #expect(
            delivered.withLock { $0 } == [
                .partial(own), .final(own), .progress(channel: 1, through: .milliseconds(7)), .flushed(channel: 1),
            ])
    }

    @Test func thereIsRoomWhenAllHaveRoom() {
        let gathering = gathering(2)
        func send(_ outcomes: [SendOutcome]) -> SendOutcome { gathering.send { outcomes[$0] } }
        #expect(send([.sent, .sent]) == .sent)
        #expect(send([.backpressure, .sent]) == .backpressure)
        #expect(send([.backpressure, .backpressure]) == .backpressure)
        #expect(send([.dropped, .backpressure]) == .dropped)
        gathering.take(.capacity, channel: 1)
        #expect(delivered.withLock { $0 }.isEmpty)
        gathering.take(.capacity, channel: 0)
        #expect(delivered.withLock { $0 } == [.capacity])
    }

    /// A stream has room again before the send as a whole has returned: in its own send, or in another's.
    @Test(arguments: [0, 1]) func roomThatIsToldEarlyIsNotForgotten(whileSendingTo late: Int) {
        let gathering = gathering(2)
        let outcome = gathering.send { channel in
            if channel == late { gathering.take(.capacity, channel: 0) }
            #expect(delivered.withLock { $0 }.isEmpty, "who answers with more audio would overtake this")
            return channel == 0 ? .backpressure : .sent
        }
        #expect(outcome == .sent, "nobody will tell once more that there is room")
        #expect(delivered.withLock { $0 } == [.capacity])
        // Nor does it stand in the way later.
        #expect(gathering.send { $0 == 1 ? .backpressure : .sent } == .backpressure)
        delivered.withLock { $0 = [] }
        gathering.take(.capacity, channel: 1)
        #expect(delivered.withLock { $0 } == [.capacity])
    }

    /// One of two gets room early: the other still holds the client back.
    @Test func roomOfOneIsNotRoomOfAll() {
        let gathering = gathering(2)
        let outcome = gathering.send { channel in
            if channel == 1 { gathering.take(.capacity, channel: 0) }
            return .backpressure
        }
        #expect(outcome == .backpressure)
        #expect(delivered.withLock { $0 }.isEmpty)
        delivered.withLock { $0 = [] }
        gathering.take(.capacity, channel: 1)
        #expect(delivered.withLock { $0 } == [.capacity])
    }

    @Test func itIsOverWhenAllAreOver() {
        let gathering = gathering(2)
        gathering.take(.ended, channel: 1)
        gathering.take(.ended, channel: 1)
        #expect(delivered.withLock { $0 }.isEmpty)
        gathering.take(.ended, channel: 0)
        #expect(delivered.withLock { $0 } == [.ended])
    }

    @Test func whatAllWereSentIsBilled() {
        let gathering = gathering(2)
        gathering.take(.metered(.milliseconds(15_000)), channel: 0)
        gathering.take(.metered(.milliseconds(20_000)), channel: 1)
        gathering.take(.metered(.milliseconds(16_000)), channel: 0)
        #expect(delivered.withLock { $0.last } == .metered(.milliseconds(36_000)))
    }
}

@Suite struct UpstreamRecordTests {
    @Test func troubleIsToldOnceAndNotByTurns() {
        let record = UpstreamRecord()
        let now = ContinuousClock.now
        #expect(record.note(.failed("lost"), now: now) == .fails("lost"))
        #expect(record.note(.limited("many"), now: now) == nil)
        #expect(record.counts.isFailing)
        #expect(record.note(nil, now: now) == .works)
        #expect(record.note(nil, now: now) == nil)
        #expect(record.note(.refused("no"), now: now + .seconds(59)) == nil)
        #expect(record.counts.isFailing)
        #expect(record.note(nil, now: now + .seconds(59)) == nil)
        #expect(record.note(.failed("lost"), now: now + .seconds(60)) == .fails("lost"))
        let counts = record.counts
        #expect((counts.worked, counts.failed, counts.limited, counts.refused) == (3, 2, 1, 1))
    }
}
