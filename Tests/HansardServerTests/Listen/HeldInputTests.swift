import Hansard
import Testing

@testable import HansardServer

@Suite struct HeldInputTests {
    private func audio(_ bytes: Int) -> HeldInput.Piece {
        .audio([UInt8](repeating: 0, count: bytes), endsStream: false)
    }

    @Test func piecesComeBackInOrder() {
        var held = HeldInput(total: HeldTotal())
        #expect(held.isEmpty && held.next() == nil)
        for count in 1...3 { held.add(audio(count), bytes: count) }
        var sizes: [Int] = []
        while case .audio(let bytes, _)? = held.next() { sizes.append(bytes.count) }
        #expect(sizes == [1, 2, 3])
        #expect(held.isEmpty)
    }

    @Test func readingStopsAtTheLimitAndGoesOnBelowIt() {
        var held = HeldInput(total: HeldTotal())
        while !held.isFull { held.add(audio(1_000), bytes: 1_000) }
        #expect(!held.hasRoom)
        _ = held.next()
        #expect(!held.hasRoom, "not for a single message")
        for _ in 0..<(HeldInput.step / 1_000 + 1) { _ = held.next() }
        #expect(held.hasRoom && !held.isFull)
    }

    @Test func whenTheNodeHoldsTooMuchEachSessionHasItsShare() {
        let total = HeldTotal()
        var held = HeldInput(total: total)
        total.add(HeldTotal.limit)
        #expect(!held.isFull && held.hasRoom)
        held.add(audio(HeldInput.share), bytes: HeldInput.share)
        #expect(held.isFull && !held.hasRoom)
        total.add(-HeldTotal.limit)
        #expect(!held.isFull && held.hasRoom)
    }

    @Test func theTotalIsWhatIsHeld() {
        let total = HeldTotal()
        var (one, other) = (HeldInput(total: total), HeldInput(total: total))
        one.add(audio(10), bytes: 10)
        other.add(audio(20), bytes: 20)
        other.add(.message(.keepAlive), bytes: 30)
        #expect(total.bytes >= 60)
        _ = one.next()
        other.drop()
        #expect(total.bytes == 0)
        #expect(other.isEmpty)
    }
}

@Suite struct ReadingPauseTests {
    private let start = ContinuousClock.now

    @Test func readingStopsWhenTooMuchIsHeldAndGoesOnWhenThereIsRoom() {
        var reading = ReadingPause()
        #expect(reading.held(isFull: false, now: start) == false)
        #expect(reading.released(hasRoom: true) == false, "it never stopped")
        #expect(reading.held(isFull: true, now: start) == true)
        #expect(reading.held(isFull: true, now: start) == false, "what was read already still comes")
        #expect(reading.released(hasRoom: false) == false)
        #expect(reading.released(hasRoom: true) == true)
        #expect(reading.released(hasRoom: true) == false)
    }

    /// With a look each second: a piece at least every five.
    @Test func whileItIsStoppedAPieceIsReadNowAndThen() {
        var reading = ReadingPause()
        #expect(reading.ticked(now: start + .seconds(100)) == false, "it is not stopped")
        #expect(reading.held(isFull: true, now: start + .milliseconds(900)) == true)
        var pieces: [Int] = []
        for second in 1...20 {
            let now = start + .seconds(second)
            if reading.ticked(now: now) {
                pieces.append(second)
                #expect(reading.ticked(now: now) == false, "once")
                #expect(reading.held(isFull: true, now: now) == true, "and it stops again with the piece")
            }
        }
        #expect(pieces == [5, 9, 13, 17])
    }

    @Test func aPieceThatDoesNotComeIsWaitedFor() {
        var reading = ReadingPause()
        #expect(reading.held(isFull: true, now: start) == true)
        #expect(reading.ticked(now: start + .seconds(5)) == true)
        #expect(reading.ticked(now: start + .seconds(50)) == false, "it is being read")
        #expect(reading.released(hasRoom: true) == false, "and need not be told to")
        #expect(reading.held(isFull: false, now: start + .seconds(51)) == false)
        #expect(reading.held(isFull: true, now: start + .seconds(52)) == true)
    }
}
