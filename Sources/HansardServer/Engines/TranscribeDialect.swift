import AWS
import FoundationEssentials
import Hansard

/// What is spoken with Amazon Transcribe: event-stream messages, each a binary WebSocket message.
struct TranscribeDialect: UpstreamDialect {
    /// Signs each message; nil sends them as they are.
    var signer: ChunkSigner?
    /// AWS's time.
    var date: @Sendable () -> Date

    mutating func append(audio: UnsafeRawBufferPointer, to buffer: inout [UInt8]) {
        if signer == nil {
            TranscribeAudio.append(audio, to: &buffer)
        } else {
            signer?.append(audio, at: date(), to: &buffer)
        }
    }

    mutating func message(_ control: UpstreamControl) -> UpstreamMessage {
        var buffer: [UInt8] = []
        switch control {
        case .endStream:
            if signer == nil {
                TranscribeAudio.appendEnd(to: &buffer)
            } else {
                signer?.appendEnd(at: date(), to: &buffer)
            }
        // The service knows neither: the relay's policy sends silence in their place.
        case .askForFinals, .keepAlive: break
        }
        return .binary(buffer)
    }

    func read(binary message: UnsafeRawBufferPointer) -> UpstreamSaying {
        do throws(EventStreamError) {
            switch try TranscribeEvent(decoding: message) {
            case .transcript(let results): return .results(results.map(UpstreamResult.init))
            case .exception(let exception): return .end(UpstreamEnd(exception))
            case .unknown: return .nothing
            }
        } catch {
            return .end(.failed("a message that is none: \(error)"))
        }
    }

    func read(text message: UnsafeRawBufferPointer) -> UpstreamSaying {
        .end(.failed("a text message, where all are binary"))
    }
}

extension UpstreamEnd {
    /// What an exception means for the session.
    init(_ exception: TranscribeException) { self.init(exception.failure, "\(exception)") }

    init(_ failure: TranscribeFailure, _ text: String) {
        switch failure {
        case .idle, .expired, .service, .conflict: self = .failed(text)
        case .limit: self = .limited(text)
        case .badRequest, .refused: self = .refused(text)
        }
    }
}

extension UpstreamResult {
    /// A result as the service gave it: its text is written text, from which the bare words are taken.
    init(_ result: TranscribeResult) {
        // A channel that cannot be read is none that was asked for.
        let channel = result.channelID.map { Int($0.drop { !$0.isNumber }) ?? -1 } ?? 0
        guard let alternative = result.alternatives.first else {
            self.init(
                EngineResult(channel: channel, through: .seconds(result.endTime), transcript: "", words: []),
                isFinal: !result.isPartial)
            return
        }
        let words = Self.words(of: alternative, in: result)
        let confidences = result.isPartial ? [] : words.compactMap(\.confidence)
        self.init(
            EngineResult(
                channel: channel, through: .seconds(result.endTime),
                transcript: words.map(\.text).joined(separator: " "), words: words,
                confidence: confidences.isEmpty ? nil : confidences.reduce(0, +) / Double(confidences.count),
                punctuatedTranscript: alternative.transcript),
            isFinal: !result.isPartial)
    }

    private static func words(of alternative: TranscribeAlternative, in result: TranscribeResult) -> [Word] {
        var words: [Word] = []
        for item in alternative.items {
            guard item.kind == .pronunciation else {
                if let last = words.indices.last { words[last].punctuated = words[last].written + item.content }
                continue
            }
            let start = item.startTime.map(AudioTime.seconds) ?? words.last?.end ?? .seconds(result.startTime)
            words.append(
                Word(
                    text: item.content.lowercased(), start: start,
                    end: max(start, item.endTime.map(AudioTime.seconds) ?? start), confidence: item.confidence,
                    punctuated: item.content, speaker: item.speaker.flatMap { Int($0.drop { !$0.isNumber }) },
                    language: result.languageCode))
        }
        return words
    }
}
