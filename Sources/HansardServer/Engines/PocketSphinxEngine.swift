import EventLoops
import Audio
import Hansard
import LocalSpeech

/// The built-in engine: PocketSphinx decoders on threads of their own, loaded before the first session. English, at
/// modest accuracy; the embedded default and a fallback.
final class PocketSphinxEngine: SpeechEngine {
    /// Sessions that one core carries in real time, with room for noise, which costs more than clean speech: 4 of the
    /// 5 to 9 that were measured.
    static let slotsPerCore = 4

    let description = EngineDescription(
        name: "pocketsphinx", modelName: "pocketsphinx-en-us", modelVersion: "5prealpha", architecture: "pocketsphinx",
        languages: ["en"], maxMultichannel: 4)
    private let pool: DecoderPool

    /// Loads the decoders; half a second each.
    ///
    /// - Throws: `.unavailable` if the model is missing or damaged.
    static func load(
        folder: String, slots: Int, onLoaded: @escaping @Sendable (Int) -> Void
    ) async throws(HansardError) -> PocketSphinxEngine {
        let model = SpeechModel(
            acousticModel: "\(folder)/en-us", languageModel: "\(folder)/en-us.lm.bin",
            dictionary: "\(folder)/cmudict-en-us.dict")
        do {
            return PocketSphinxEngine(pool: try await DecoderPool(model: model, slots: slots, onLoaded: onLoaded))
        } catch {
            throw HansardError(.unavailable, error.message)
        }
    }

    private init(pool: DecoderPool) { self.pool = pool }

    var load: (capacity: Int?, inUse: Int) { (pool.capacity, pool.capacity - pool.available) }

    /// Ends the decoders' threads.
    func shutdown() async { await pool.shutdown() }

    func reserve(channels: Int) throws(HansardError) -> any EngineReservation {
        var decoders: [DecoderReservation] = []
        for _ in 0..<channels {
            guard let decoder = pool.reserve() else {
                decoders.forEach { $0.release() }
                throw HansardError(
                    .unavailable, "all \(pool.capacity) slots of the engine are in use", retryAfter: .seconds(5))
            }
            decoders.append(decoder)
        }
        return Reservation(decoders: decoders)
    }

    private final class Reservation: EngineReservation {
        private let decoders: [DecoderReservation]

        init(decoders: [DecoderReservation]) { self.decoders = decoders }

        func open(
            _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(HansardError) -> any EngineStream {
            let audio = request.audio
            guard audio.resultChannels <= decoders.count else {
                throw HansardError(
                    .invalid,
                    "\(audio.channels) channels, \(decoders.count) were announced: give channels=\(audio.channels)")
            }
            do {
                return try Stream(audio: audio, decoders: decoders, deliver: deliver)
            } catch {
                throw HansardError(.unavailable, error.message)
            }
        }

        func release() { decoders.forEach { $0.release() } }
    }

    /// One decoder for each channel that has results of its own.
    private final class Stream: EngineStream {
        /// What the decoders' threads agree on: the stream has room when all have, and is over when all are.
        private struct State {
            var withoutRoom: Set<Int> = []
            var running: Set<Int>
        }

        private let audio: EngineAudio
        private let recognizers: [RecognizerStream]
        private let gathering: Gathering

        private final class Gathering: Sendable {
            let state: Locked<State>
            let deliver: @Sendable (EngineEvent) -> Void

            init(channels: Int, deliver: @escaping @Sendable (EngineEvent) -> Void) {
                state = Locked(State(running: Set(0..<channels)))
                self.deliver = deliver
            }

            func take(_ event: RecognizerEvent, channel: Int) {
                switch event {
                case .progress(let through): deliver(.progress(channel: channel, through: AudioTime(through)))
                case .partial(let result): deliver(.partial(EngineResult(result, channel: channel)))
                case .final(let result): deliver(.final(EngineResult(result, channel: channel)))
                case .flushed: deliver(.flushed(channel: channel))
                case .capacity:
                    let hasRoom = state.withLock { state in
                        state.withoutRoom.remove(channel)
                        return state.withoutRoom.isEmpty
                    }
                    if hasRoom { deliver(.capacity) }
                case .ended:
                    let isLast = state.withLock { state in
                        state.running.remove(channel) != nil && state.running.isEmpty
                    }
                    if isLast { deliver(.ended) }
                case .failed(let error): deliver(.failed(error.message))
                }
            }
        }

        init(
            audio: EngineAudio, decoders: [DecoderReservation], deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(LocalSpeechError) {
            self.audio = audio
            let gathering = Gathering(channels: audio.resultChannels, deliver: deliver)
            var recognizers: [RecognizerStream] = []
            for channel in 0..<audio.resultChannels {
                recognizers.append(
                    try decoders[channel].start(sampleRate: audio.sampleRate) { gathering.take($0, channel: channel) })
            }
            self.recognizers = recognizers
            self.gathering = gathering
        }

        func send(_ samples: [Int16]) -> SendOutcome {
            if audio.channels == 1 { return note(recognizers[0].send(samples), channel: 0) }
            if !audio.isMultichannel {
                var mixed: [Int16] = []
                mixed.appendDownmix(of: samples, channels: audio.channels)
                return note(recognizers[0].send(mixed), channel: 0)
            }
            var outcome = SendOutcome.sent
            for (channel, recognizer) in recognizers.enumerated() {
                var own: [Int16] = []
                own.appendChannel(channel, of: samples, channels: audio.channels)
                switch note(recognizer.send(own), channel: channel) {
                case .dropped: outcome = .dropped
                case .backpressure: if outcome == .sent { outcome = .backpressure }
                case .sent: break
                }
            }
            return outcome
        }

        private func note(_ outcome: RecognizerSend, channel: Int) -> SendOutcome {
            switch outcome {
            case .sent: return .sent
            case .dropped: return .dropped
            case .backpressure:
                gathering.state.withLock { _ = $0.withoutRoom.insert(channel) }
                return .backpressure
            }
        }

        func flush(channel: Int) { recognizers[channel].flush() }
        func finish() { recognizers.forEach { $0.finish() } }
        func cancel() { recognizers.forEach { $0.cancel() } }
    }
}

extension AudioTime {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self.init(microseconds: seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }
}

extension EngineResult {
    fileprivate init(_ result: RecognizerResult, channel: Int) {
        self.init(
            channel: channel, through: AudioTime(result.through), transcript: result.text,
            words: result.words.map {
                Word(text: $0.text, start: AudioTime($0.start), end: AudioTime($0.end), confidence: $0.confidence)
            },
            confidence: result.confidence)
    }
}
