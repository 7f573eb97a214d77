import Foundation
import Hansard

/// What a client reads of the server's messages.
struct ServerMessage: Decodable {
    struct Channel: Decodable {
        struct Alternative: Decodable {
            struct Word: Decodable {
                var word: String
                var start: Double
                var end: Double
                var confidence: Double?
            }

            var transcript: String
            var confidence: Double?
            var words: [Word]?
        }

        var alternatives: [Alternative]
    }

    /// `Results`, `Metadata`, and whatever else there may be.
    var type: String
    var isFinal: Bool?
    var isSpeechFinal: Bool?
    var start: Double?
    var duration: Double?
    /// This channel, and how many there are. In other messages than results the key may hold something else.
    var channelIndex: [Int]?
    var alternatives: [Channel.Alternative]

    enum CodingKeys: String, CodingKey {
        case type, isFinal = "is_final", isSpeechFinal = "speech_final", start, duration, channelIndex = "channel_index"
        case channel
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        type = try values.decode(String.self, forKey: .type)
        guard type == "Results" else {
            alternatives = []
            return
        }
        isFinal = try values.decodeIfPresent(Bool.self, forKey: .isFinal)
        isSpeechFinal = try values.decodeIfPresent(Bool.self, forKey: .isSpeechFinal)
        start = try values.decodeIfPresent(Double.self, forKey: .start)
        duration = try values.decodeIfPresent(Double.self, forKey: .duration)
        channelIndex = try values.decodeIfPresent([Int].self, forKey: .channelIndex)
        alternatives = try values.decode(Channel.self, forKey: .channel).alternatives
    }

    /// Reads a message; nil if it is none.
    init?(_ bytes: [UInt8]) {
        guard let message = try? JSONDecoder().decode(ServerMessage.self, from: Data(bytes)) else { return nil }
        self = message
    }

    /// The text of a result; nil of any other message.
    var transcript: String? { type == "Results" ? alternatives.first?.transcript : nil }

    /// The result as the domain keeps it, to be written as subtitles.
    func finalResult(sequence: Int) -> FinalResult? {
        guard isFinal == true, let best = alternatives.first, !best.transcript.isEmpty, let start, let duration else {
            return nil
        }
        let words = (best.words ?? []).map {
            Word(text: $0.word, start: .seconds($0.start), end: .seconds($0.end), confidence: $0.confidence)
        }
        return FinalResult(
            sequence: sequence,
            channel: channelIndex?.first ?? 0,
            start: .seconds(start),
            end: .seconds(start + duration),
            transcript: best.transcript,
            words: words,
            confidence: best.confidence,
            isSpeechFinal: isSpeechFinal ?? false,
            engine: ""
        )
    }
}
