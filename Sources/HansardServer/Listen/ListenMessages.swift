import FoundationEssentials
import Hansard

/// Writes a session's messages as the listen protocol has them: every field that Deepgram's published schemas require is
/// always there, because SDK 4.8.1 and 5.3.0 end the session over a missing one.
struct ListenMessages {
    let session: SessionID
    let startedAt: Date
    /// Who speaks in a result that does not say.
    let engine: EngineDescription
    let options: SessionOptions

    /// Writes one message into an empty `text`.
    ///
    /// - Parameter sha256: the digest, in hexadecimal, of the audio bytes; read for `Metadata` alone.
    func write(_ message: SessionMessage, sha256: () -> String, into text: inout JSONText) {
        text.object { text in
            switch message {
            case .result(let result): write(result, into: &text)
            case .speechStarted(let channel, let channels, let time):
                text.field("type", "SpeechStarted")
                text.field("channel", channel, channels)
                text.field("timestamp", time)
            case .utteranceEnd(let channel, let channels, let end):
                text.field("type", "UtteranceEnd")
                text.field("channel", channel, channels)
                text.field("last_word_end", end)
            case .quotaWarning(let percent, let remaining):
                text.field("type", "HansardQuotaWarning")
                text.field("percent", percent)
                text.field("remaining_ms", Int(remaining))
            case .quotaExhausted: text.field("type", "HansardQuotaExhausted")
            case .metadata(let duration, let channels):
                text.field("type", "Metadata")
                text.field("transaction_key", "deprecated")
                text.field("request_id", session.description)
                text.field("sha256", sha256())
                text.field("created", Timestamp.format(startedAt))
                // As the ledger has it: whole milliseconds.
                text.field("duration", AudioTime(microseconds: duration.milliseconds * 1_000))
                text.field("channels", channels)
            }
        }
    }

    private func write(_ result: SessionResult, into text: inout JSONText) {
        text.field("type", "Results")
        text.field("channel_index", result.channel, result.channels)
        text.field("duration", result.end - result.start)
        text.field("start", result.start)
        text.field("is_final", result.isFinal)
        text.field("speech_final", result.isSpeechFinal)
        text.field("from_finalize", result.isFromFinalize)
        text.object("channel") { text in
            text.array("alternatives") { text in
                text.object { text in
                    text.field("transcript", result.transcript)
                    text.field("confidence", confidence: result.confidence ?? 0)
                    text.array("words") { text in
                        for word in result.words { write(word, into: &text) }
                    }
                    writeLanguages(of: result.words, into: &text)
                }
            }
        }
        text.object("metadata") { text in
            text.field("request_id", session.description)
            let engine = result.spokenBy ?? engine
            text.object("model_info") { text in
                text.field("name", engine.modelName)
                text.field("version", engine.modelVersion)
                text.field("arch", engine.architecture)
            }
            text.field("model_uuid", engine.modelUUID)
            if !options.extra.isEmpty {
                text.object("extra") { text in
                    for (key, value) in options.extra.sorted(by: { $0.key < $1.key }) {
                        text.field(dynamic: key, value)
                    }
                }
            }
        }
    }

    /// The languages of a result in the order in which they were first heard, if the engine says.
    private func writeLanguages(of words: [Word], into text: inout JSONText) {
        var languages: [String] = []
        for case let language? in words.lazy.map(\.language) where !languages.contains(language) {
            languages.append(language)
        }
        if !languages.isEmpty { text.field("languages", languages) }
    }

    private func write(_ word: Word, into text: inout JSONText) {
        text.object { text in
            text.field("word", word.text)
            text.field("start", word.start)
            text.field("end", word.end)
            text.field("confidence", confidence: word.confidence ?? 0)
            if options.wantsPunctuation { text.field("punctuated_word", word.written) }
            if options.wantsDiarization, let speaker = word.speaker { text.field("speaker", speaker) }
            if let language = word.language { text.field("language", language) }
        }
    }
}

extension EngineDescription {
    /// A name-based UUID (RFC 9562 section 5.8, version 8) of the model: the same on every node and at every start.
    var modelUUID: String {
        let text = Array("\(name)/\(modelName)/\(modelVersion)".utf8)
        var halves: [UInt64] = [0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4]
        for byte in text {
            for index in halves.indices { halves[index] = (halves[index] ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        }
        halves[0] = halves[0] & ~0xF000 | 0x8000
        halves[1] = halves[1] & ~(0b11 << 62) | 0b10 << 62
        func hex(_ value: UInt64, _ range: Range<Int>) -> String {
            let digits = String(value, radix: 16)
            let padded = Array(String(repeating: "0", count: 16 - digits.count) + digits)
            return String(padded[range])
        }
        return [
            hex(halves[0], 0..<8), hex(halves[0], 8..<12), hex(halves[0], 12..<16), hex(halves[1], 0..<4),
            hex(halves[1], 4..<16),
        ].joined(separator: "-")
    }
}

/// Times of day as the API writes them: RFC 3339 in UTC with milliseconds, `2024-08-29T22:37:55.202Z`.
enum Timestamp {
    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    static func format(_ date: Date) -> String {
        // Whole milliseconds are seldom whole in binary, and the style cuts off what is below them: the middle of the
        // millisecond is safe. What is within a microsecond of the next one is taken for it.
        let milliseconds = (date.timeIntervalSince1970 * 1_000 + 0.001).rounded(.down)
        return style.format(Date(timeIntervalSince1970: (milliseconds + 0.5) / 1_000))
    }

    /// - Throws: what Foundation says of a text that is not such a time.
    static func parse(_ text: String) throws -> Date { try style.parse(text) }
}

extension ClientMessage {
    /// Text messages longer than this are not of the protocol.
    static let maximumTextBytes = 64 << 10

    /// Reads a client's text message. Whatever is not JSON of a known type is `.unknown`.
    init(json: UnsafeRawBufferPointer) {
        struct Wire: Decodable {
            var type: String
            var channel: Int?
        }
        guard json.count <= Self.maximumTextBytes, let wire = try? JSONDecoder().decode(Wire.self, from: Data(json))
        else {
            self = .unknown
            return
        }
        switch wire.type {
        case "KeepAlive": self = .keepAlive
        case "Finalize": self = .finalize(channel: wire.channel)
        case "CloseStream": self = .closeStream
        default: self = .unknown
        }
    }
}
