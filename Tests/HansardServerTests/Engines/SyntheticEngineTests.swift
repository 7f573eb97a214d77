import EventLoops
import Hansard
import Testing

@testable import HansardServer

/// The engine that does not listen: what it says follows from how much it was given, and from nothing else.
@Suite struct SyntheticEngineTests {
    final class Events: Sendable {
        private let all = Locked<[EngineEvent]>([])
        var list: [EngineEvent] { all.withLock { $0 } }
        func take() -> [EngineEvent] {
            all.withLock { events in
                defer { events = [] }
                return events
            }
        }
        func add(_ event: EngineEvent) { all.withLock { $0.append(event) } }
    }

    private func open(
        _ engine: SyntheticEngine, rate: Int = 8_000, channels: Int = 1, multichannel: Bool = false
    ) throws -> (any EngineStream, Events) {
        let events = Events()
        let audio = EngineAudio(sampleRate: rate, channels: channels, isMultichannel: multichannel)
        let stream = try engine.reserve(channels: channels).open(
            EngineRequest(audio: audio, language: "en", options: SessionOptions())
        ) { events.add($0) }
        return (stream, events)
    }

    private func word(_ second: Int, confidence: Double? = nil) -> Word {
        Word(
            text: "second\(second)", start: .milliseconds((second - 1) * 1_000), end: .milliseconds(second * 1_000),
            confidence: confidence)
    }

    private func partial(_ seconds: ClosedRange<Int>, channel: Int = 0) -> EngineEvent {
        .partial(
            EngineResult(
                channel: channel, through: .milliseconds(seconds.upperBound * 1_000),
                transcript: seconds.map { "second\($0)" }.joined(separator: " "), words: seconds.map { word($0) }))
    }

    private func final(_ seconds: ClosedRange<Int>, channel: Int = 0, through: Int) -> EngineEvent {
        .final(
            EngineResult(
                channel: channel, through: .milliseconds(through),
                transcript: seconds.map { "second\($0)" }.joined(separator: " "),
                words: seconds.map { word($0, confidence: 1) }, confidence: 1))
    }

    private func progress(_ second: Int, channel: Int = 0) -> EngineEvent {
        .progress(channel: channel, through: .milliseconds(second * 1_000))
    }

    @Test func everySecondHasItsWordAndEveryFifthAFinal() throws {
        let (stream, events) = try open(SyntheticEngine())
        #expect(stream.send([Int16](repeating: 0, count: 7_999)) == .sent)
        #expect(events.take().isEmpty)
        #expect(stream.send([0]) == .sent)
        #expect(events.take() == [partial(1...1), progress(1)])
        // Several seconds at once are answered one by one.
        #expect(stream.send([Int16](repeating: 0, count: 32_000)) == .sent)
        #expect(
            events.take() == [
                partial(1...2), progress(2), partial(1...3), progress(3), partial(1...4), progress(4),
                final(1...5, through: 5_000), progress(5),
            ])
        _ = stream.send([Int16](repeating: 0, count: 12_000))
        #expect(events.take() == [partial(6...6), progress(6)])
        stream.finish()
        #expect(events.take() == [final(6...6, through: 6_500), .ended])
        #expect(stream.send([0]) == .dropped)
        stream.flush(channel: 0)
        stream.finish()
        #expect(events.take().isEmpty, "nothing follows the end")
    }

    @Test func answersDoNotDependOnHowTheAudioIsCut() throws {
        var answers: [[EngineEvent]] = []
        for pieces in [[56_000], [1, 55_999], [Int](repeating: 100, count: 560)] {
            let (stream, events) = try open(SyntheticEngine())
            for piece in pieces { _ = stream.send([Int16](repeating: 0, count: piece)) }
            stream.finish()
            answers.append(events.take())
        }
        #expect(answers[0] == answers[1])
        #expect(answers[0] == answers[2])
    }

    @Test func aFlushIsAnsweredOnceAndAfterItsFinals() throws {
        let (stream, events) = try open(SyntheticEngine(), channels: 2, multichannel: true)
        stream.flush(channel: 1)
        #expect(events.take() == [.flushed(channel: 1)])
        _ = stream.send([Int16](repeating: 0, count: 2 * 16_000))
        _ = events.take()
        stream.flush(channel: 1)
        #expect(events.take() == [final(1...2, channel: 1, through: 2_000), .flushed(channel: 1)])
        stream.flush(channel: 1)
        #expect(events.take() == [.flushed(channel: 1)], "there was nothing left on that channel")
        stream.finish()
        #expect(events.take() == [final(1...2, channel: 0, through: 2_000), .ended], "and the other was not touched")
    }

    @Test func channelsAreToldApartOrMixed() throws {
        let (apart, apartEvents) = try open(SyntheticEngine(), channels: 2, multichannel: true)
        _ = apart.send([Int16](repeating: 0, count: 2 * 8_000))
        #expect(
            apartEvents.take() == [
                partial(1...1), progress(1), partial(1...1, channel: 1), progress(1, channel: 1),
            ])
        let (mixed, mixedEvents) = try open(SyntheticEngine(), channels: 2)
        _ = mixed.send([Int16](repeating: 0, count: 2 * 8_000))
        #expect(mixedEvents.take() == [partial(1...1), progress(1)])
    }

    @Test func itsLoadIsTheStreamsThatAreOpen() throws {
        let engine = SyntheticEngine()
        #expect(engine.load.capacity == nil)
        let unused = try engine.reserve(channels: 1)
        let (finished, _) = try open(engine)
        let (cancelled, events) = try open(engine)
        #expect(engine.load.inUse == 3)
        unused.release()
        unused.release()
        #expect(engine.load.inUse == 2)
        finished.finish()
        finished.cancel()
        #expect(engine.load.inUse == 1)
        cancelled.cancel()
        #expect(engine.load.inUse == 0)
        _ = cancelled.send([Int16](repeating: 0, count: 8_000))
        #expect(events.list.isEmpty)
    }

    @Test func itSaysWhatItIs() {
        let description = SyntheticEngine().description
        #expect([description.name, description.modelName, description.architecture].allSatisfy { $0 == "synthetic" })
        #expect(description.understands("cy-GB"))
    }
}
