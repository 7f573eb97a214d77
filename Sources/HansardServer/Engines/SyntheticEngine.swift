import EventLoops
import Hansard
import Synchronization

/// An engine that does not listen: it answers every second of audio with a word that says which second it was, for
/// load tests of everything around an engine. Its results name it in `model_info`.
final class SyntheticEngine: SpeechEngine {
    /// A partial comes with each second of audio, a final with each so many of them.
    static let secondsPerFinal: Int64 = 5

    let description = EngineDescription(
        name: "synthetic", modelName: "synthetic", modelVersion: "1", architecture: "synthetic", languages: [],
        maxMultichannel: 20)
    private let inUse = Atomic<Int>(0)

    /// An engine without a limit.
    init() {}

    var load: (capacity: Int?, inUse: Int) { (nil, inUse.load(ordering: .relaxed)) }

    func reserve(channels: Int) throws(HansardError) -> any EngineReservation {
        inUse.add(1, ordering: .relaxed)
        return Reservation(engine: self)
    }

    private final class Reservation: EngineReservation {
        private let engine: SyntheticEngine
        private let isHeld = Atomic<Bool>(true)

        init(engine: SyntheticEngine) { self.engine = engine }

        func open(
            _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(HansardError) -> any EngineStream {
            Stream(audio: request.audio, reservation: self, deliver: deliver)
        }

        func release() {
            if isHeld.exchange(false, ordering: .relaxed) { engine.inUse.subtract(1, ordering: .relaxed) }
        }
    }

    /// Answers in the caller's own call: nothing is queued and no thread is woken.
    private final class Stream: EngineStream {
        private struct State {
            var frames: Int64 = 0
            /// Words that are not final yet, by channel.
            var words: [[Word]]
            var answeredSeconds: Int64 = 0
            var isOver = false
        }

        private let audio: EngineAudio
        private let reservation: Reservation
        private let deliver: @Sendable (EngineEvent) -> Void
        private let state: Locked<State>

        init(audio: EngineAudio, reservation: Reservation, deliver: @escaping @Sendable (EngineEvent) -> Void) {
            self.audio = audio
            self.reservation = reservation
            self.deliver = deliver
            state = Locked(State(words: Array(repeating: [], count: audio.resultChannels)))
        }

        func send(_ samples: [Int16]) -> SendOutcome {
            let events: [EngineEvent]? = state.withLock { state in
                if state.isOver { return nil }
                state.frames += Int64(samples.count / audio.channels)
                let seconds = state.frames / Int64(audio.sampleRate)
                return seconds > state.answeredSeconds ? answer(&state, through: seconds) : []
            }
            guard let events else { return .dropped }
            events.forEach(deliver)
            return .sent
        }

        func flush(channel: Int) {
            let events: [EngineEvent] = state.withLock { state in
                state.isOver ? [] : rest(&state, channels: channel...channel) + [.flushed(channel: channel)]
            }
            events.forEach(deliver)
        }

        func finish() {
            let events: [EngineEvent] = state.withLock { state in
                if state.isOver { return [] }
                state.isOver = true
                return rest(&state, channels: 0...(audio.resultChannels - 1)) + [.ended]
            }
            reservation.release()
            events.forEach(deliver)
        }

        func cancel() {
            state.withLock { $0.isOver = true }
            reservation.release()
        }

        private func answer(_ state: inout State, through seconds: Int64) -> [EngineEvent] {
            var events: [EngineEvent] = []
            while state.answeredSeconds < seconds {
                let start = AudioTime(microseconds: state.answeredSeconds * 1_000_000)
                state.answeredSeconds += 1
                let end = AudioTime(microseconds: state.answeredSeconds * 1_000_000)
                let word = Word(text: "second\(state.answeredSeconds)", start: start, end: end)
                for channel in state.words.indices {
                    state.words[channel].append(word)
                    if state.answeredSeconds % SyntheticEngine.secondsPerFinal == 0 {
                        events += rest(&state, channels: channel...channel, through: end)
                    } else {
                        events.append(.partial(result(state.words[channel], channel: channel, through: end)))
                    }
                    events.append(.progress(channel: channel, through: end))
                }
            }
            return events
        }

        /// The words that are not final yet, as finals.
        private func rest(
            _ state: inout State, channels: ClosedRange<Int>, through: AudioTime? = nil
        ) -> [EngineEvent] {
            channels.filter { !state.words[$0].isEmpty }.map { channel in
                let words = state.words[channel].map {
                    Word(text: $0.text, start: $0.start, end: $0.end, confidence: 1)
                }
                state.words[channel] = []
                let end = through ?? AudioTime(frames: state.frames, sampleRate: audio.sampleRate)
                var final = result(words, channel: channel, through: end)
                final.confidence = 1
                return .final(final)
            }
        }

        private func result(_ words: [Word], channel: Int, through: AudioTime) -> EngineResult {
            EngineResult(
                channel: channel, through: through, transcript: words.map(\.text).joined(separator: " "), words: words)
        }
    }
}
