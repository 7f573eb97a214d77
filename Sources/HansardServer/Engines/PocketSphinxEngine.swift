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
        private let audio: EngineAudio
        private let recognizers: [RecognizerStream]
        private let gathering: ChannelGathering

        init(
            audio: EngineAudio, decoders: [DecoderReservation], deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(LocalSpeechError) {
            self.audio = audio
            let gathering = ChannelGathering(channels: audio.resultChannels, deliver: deliver)
            var recognizers: [RecognizerStream] = []
            for channel in 0..<audio.resultChannels {
                let recognizer = try decoders[channel].start(sampleRate: audio.sampleRate) {
                    gathering.take(EngineEvent($0), channel: channel)
                }
                recognizers.append(recognizer)
            }
            self.recognizers = recognizers
            self.gathering = gathering
        }

        func send(_ samples: [Int16]) -> SendOutcome {
            let parts =
                audio.isMultichannel
                ? samples.apart(channels: audio.channels) : [samples.mixed(channels: audio.channels)]
            return gathering.send { SendOutcome(recognizers[$0].send(parts[$0])) }
        }

        func flush(channel: Int) { recognizers[channel].flush() }
        func finish() { recognizers.forEach { $0.finish() } }
        func cancel() { recognizers.forEach { $0.cancel() } }
    }
}

extension EngineEvent {
    fileprivate init(_ event: RecognizerEvent) {
        switch event {
        case .progress(let through): self = .progress(channel: 0, through: AudioTime(through))
        case .partial(let result): self = .partial(EngineResult(result))
        case .final(let result): self = .final(EngineResult(result))
        case .flushed: self = .flushed(channel: 0)
        case .capacity: self = .capacity
        case .ended: self = .ended
        case .failed(let error): self = .failed(error.message)
        }
    }
}

extension SendOutcome {
    fileprivate init(_ outcome: RecognizerSend) {
        switch outcome {
        case .sent: self = .sent
        case .backpressure: self = .backpressure
        case .dropped: self = .dropped
        }
    }
}

extension AudioTime {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self.init(microseconds: seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }
}

extension EngineResult {
    fileprivate init(_ result: RecognizerResult) {
        self.init(
            through: AudioTime(result.through), transcript: result.text,
            words: result.words.map {
                Word(text: $0.text, start: AudioTime($0.start), end: AudioTime($0.end), confidence: $0.confidence)
            },
            confidence: result.confidence)
    }
}
