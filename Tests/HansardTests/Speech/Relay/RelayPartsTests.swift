import Testing

@testable import Hansard

/// What the relay is made of, where a whole history would hide a mistake.
@Suite struct RelayPartsTests {
    private func word(_ text: String, _ start: Int, _ end: Int) -> Word {
        Word(text: text, start: .milliseconds(start), end: .milliseconds(end))
    }

    private func result(_ words: [Word], through: Int) -> EngineResult {
        EngineResult(
            through: .milliseconds(through), transcript: words.map(\.text).joined(separator: " "), words: words)
    }

    /// A partial may reach beyond its last word: what is understood there later is not taken for repeated.
    @Test func aPartialThatCountsAsFinalEndsWithItsLastWord() {
        var channel = RelayedChannel(channel: 0)
        _ = channel.take(result([word("one", 100, 600)], through: 1_400), isFinal: false)
        #expect(channel.promote() == .final(result([word("one", 100, 600)], through: 600)))
        let both = result([word("one", 100, 600), word("two", 800, 1_300)], through: 1_400)
        #expect(channel.take(both, isFinal: true) == .final(result([word("two", 800, 1_300)], through: 1_400)))
    }

    @Test func aSilentChannelIsNotLoudBecauseAnotherIs() {
        var buffer = RelayBuffer(channels: 2, shortestMessage: 0)
        buffer.append(Array(repeating: [0, 5_000], count: 100).flatMap { $0 })
        buffer.append(Array(repeating: [-5_000, 0], count: 100).flatMap { $0 })
        #expect(buffer.firstLoud(from: 0, before: 200, channel: 0) == 100)
        #expect(buffer.firstLoud(from: 0, before: 200, channel: 1) == 0)
        #expect(buffer.firstLoud(from: 100, before: 200, channel: 1) == 200)
        #expect(buffer.firstLoud(from: 0, before: 50, channel: 0) == 50)
    }

    /// What may wait while nobody takes it: by time, or by bytes where many channels at a high rate make much of them.
    @Test(arguments: [
        (1, 8_000, 1, 60_000), (1, 48_000, 1, 60_000), (2, 48_000, 1, 60_000), (3, 48_000, 1, 58_255),
        (20, 48_000, 1, 8_739), (20, 16_000, 1, 26_215), (1, 48_000, 20, 8_739),
    ])
    func theClientIsHeldBackByTimeOrByBytes(channels: Int, sampleRate: Int, streams: Int, milliseconds: Int) {
        let now = ContinuousClock.now
        let policy = RelayPolicy(flush: .message, keepAlive: .message).shared(among: streams)
        var relay = RelayedStream(
            audio: EngineAudio(sampleRate: sampleRate, channels: channels, isMultichannel: channels > 1),
            policy: policy, now: now, random: { 0 })
        _ = relay.begin(now: now)
        let millisecond = [Int16](repeating: 0, count: sampleRate / 1_000 * channels)
        var taken = 1
        while relay.audioCame(millisecond, now: now).outcome == .sent, taken < 70_000 { taken += 1 }
        #expect(taken == milliseconds)
        #expect(taken * millisecond.count * 2 <= (16 << 20) / streams + millisecond.count * 2)
    }

    /// Who was held back for bytes may go on when half of them have gone.
    @Test func roomIsToldWhenHalfOfAFewBytesHasGone() {
        var now = ContinuousClock.now
        var policy = RelayPolicy(flush: .message, keepAlive: .message)
        policy.queueBytes = 4_000
        var relay = RelayedStream(
            audio: EngineAudio(sampleRate: 1_000, channels: 1, isMultichannel: false), policy: policy, now: now,
            random: { 0 })
        _ = relay.begin(now: now)
        #expect(relay.audioCame([Int16](repeating: 0, count: 1_999), now: now).outcome == .sent)
        #expect(relay.audioCame([0], now: now).outcome == .backpressure)
        var sent = 0
        func send(_ actions: [RelayedStream.Action]) -> Bool {
            for case .send(let samples) in actions { sent += samples.count }
            return actions.contains(.deliver(.capacity))
        }
        var hasRoom = send(relay.opened(now: now))
        while !hasRoom, sent < 2_000 {
            now += .milliseconds(50)
            hasRoom = send(relay.ticked(now: now))
        }
        #expect(hasRoom)
        #expect((1_000...1_400).contains(sent), "\(sent)")
    }

    @Test func shortMessagesAreSentTogetherInOrder() {
        var buffer = RelayBuffer(channels: 1, shortestMessage: 50)
        for start in [0, 20, 40] { buffer.append((start..<start + 20).map { Int16($0) }) }
        #expect(buffer.next(atMost: 1_000)?.samples == ArraySlice((0..<60).map { Int16($0) }))
        #expect(buffer.next(atMost: 1_000) == nil)
        // A remainder that was sent already grows, and only what is new of it follows.
        buffer.append((60..<70).map { Int16($0) })
        #expect(buffer.next(atMost: 1_000)?.samples == ArraySlice((60..<70).map { Int16($0) }))
        buffer.append((700..<720).map { Int16($0) })
        let rest = buffer.next(atMost: 1_000)
        #expect(rest?.samples == ArraySlice((700..<720).map { Int16($0) }))
        #expect(rest?.isLoud == true)
    }

    /// Whatever the messages are like, what is sent is what came, from wherever it is sent again.
    @Test(arguments: 0..<50) func whatIsSentIsWhatCame(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var buffer = RelayBuffer(channels: 2, shortestMessage: Int64.random(in: 0...60, using: &random))
        var came: [Int16] = []
        for _ in 0..<200 {
            let samples = (0..<2 * Int.random(in: 0...80, using: &random)).map {
                Int16(truncatingIfNeeded: came.count + $0)
            }
            buffer.append(samples)
            came += samples
            switch Int.random(in: 0..<8, using: &random) {
            case 0: buffer.seek(to: Int64.random(in: 0...Int64(came.count / 2), using: &random))
            case 1: buffer.drop(before: Int64.random(in: 0...Int64(came.count / 2), using: &random))
            default: break
            }
            let start = Int(buffer.position) * 2
            let limit = Int.random(in: 1...120, using: &random)
            let sent = buffer.next(atMost: Int64(limit))?.samples ?? []
            #expect(sent == came[start..<min(start + 2 * limit, came.count)])
            #expect(Int(buffer.position) * 2 == start + sent.count && Int(buffer.end) * 2 == came.count)
        }
    }

    /// All was sent and the end is asked for; then the stream breaks. What may be speech behind the last final is heard again,
    /// also if the service has said something since it was sent.
    @Test(arguments: [[], [200]]) func whatNoFinalReachesIsHeardAgain(_ finals: [Int]) {
        let now = ContinuousClock.now
        var relay = RelayedStream(
            audio: EngineAudio(sampleRate: 1_000, channels: 1, isMultichannel: false), policy: .simulated, now: now,
            random: { 0 })
        _ = relay.begin(now: now)
        _ = relay.opened(now: now)
        _ = relay.audioCame([Int16](repeating: 5_000, count: 400), now: now)
        #expect(relay.finishAsked(now: now).contains(.endStream))
        let results = finals.map { UpstreamResult(result([word("a", 0, $0)], through: $0), isFinal: true) }
        _ = relay.said(results, now: now)
        #expect(!relay.upstreamEnded(.failed("lost"), now: now).contains(.deliver(.ended)))
        #expect(relay.ticked(now: now + .seconds(1)).contains(.open))
        let again = relay.opened(now: now + .seconds(1))
        let count = again.reduce(0) { if case .send(let samples) = $1 { $0 + samples.count } else { $0 } }
        #expect(count == 400 - (finals.last ?? 0))
        #expect(again.contains(.endStream))
        #expect(relay.upstreamEnded(.clean, now: now + .seconds(2)).last == .deliver(.ended))
    }
}
