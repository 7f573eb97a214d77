import Foundation
import Hansard
import Web

/// Any server that speaks the listen protocol: another Hansard, with engines of its own, or Deepgram.
struct DeepgramService: UpstreamService {
    /// How long the answer to a `Finalize` may take.
    static let flushWait = Duration.seconds(5)

    let description: EngineDescription
    var channelsPerStream: Int { description.maxMultichannel }
    private let base: WebSocketURL
    private let key: Secret
    private let speed: Double
    private let authorities: String?

    /// - Parameters:
    ///   - base: scheme, host and port, and the path before `/v1/listen`.
    ///   - key: an API key of that server's.
    ///   - speed: seconds of audio in a second.
    ///   - authorities: a PEM file of authorities that are believed besides the system's.
    init(base: WebSocketURL, key: Secret, speed: Double, authorities: String?) {
        self.base = base
        self.key = key
        self.speed = speed
        self.authorities = authorities
        description = EngineDescription(
            name: "deepgram", modelName: "deepgram", modelVersion: "v1", architecture: "deepgram", languages: [],
            maxMultichannel: 20,
            features: [
                .punctuation, .diarization, .multichannelDiarization, .redaction, .numberRedaction,
                .languageIdentification, .listenParameters,
            ])
    }

    func policy(for request: EngineRequest) -> RelayPolicy {
        var policy = RelayPolicy(flush: .message, keepAlive: .message)
        policy.speed = speed
        policy.flushWait = Self.flushWait
        policy.quietFlushWait = Self.flushWait
        return policy.serving(request)
    }

    func call(for request: EngineRequest) async throws(HansardError) -> UpstreamCall {
        var url = base
        let path = base.target.prefix { $0 != "?" }
        url.target = (path.hasSuffix("/") ? path.dropLast() : path) + "/v1/listen?" + Self.query(for: request)
        return UpstreamCall(
            request: WebSocketClientRequest(
                url: url, headers: [("Authorization", "Token \(key.revealed)")],
                trust: WebSocketTrust(authoritiesFile: authorities), connectTimeout: UpstreamCall.connectTimeout,
                limits: .upstream),
            dialect: ListenDialect(isMultichannel: request.audio.isMultichannel))
    }

    /// What the client asked for, in the protocol's own words; what this server does itself (endpoints, onsets, gaps) is
    /// done here.
    static func query(for request: EngineRequest) -> String {
        let options = request.options
        let channels = request.audio.isMultichannel ? request.audio.channels : 1
        var items = [
            ("encoding", "linear16"), ("sample_rate", String(request.audio.sampleRate)), ("channels", String(channels)),
            ("interim_results", "true"), ("model", options.model), ("language", request.language),
            ("endpointing", options.endpointing.map { String($0.milliseconds) } ?? "false"),
        ]
        if request.audio.isMultichannel { items.append(("multichannel", "true")) }
        if options.wantsPunctuation { items.append(("punctuate", "true")) }
        if options.wantsDiarization { items.append(("diarize", "true")) }
        items += options.redactions.map(\.rawValue).sorted().map { ("redact", $0) }
        items += options.engineParameters.map { ($0.name, $0.value) }
        return items.map { "\(encode($0))=\(encode($1))" }.joined(separator: "&")
    }

    /// RFC 3986 section 2.3: nothing else goes as it is.
    private static let unreserved = CharacterSet(
        charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")

    private static func encode(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? ""
    }

    func end(after error: WebSocketConnectError) -> UpstreamEnd {
        guard case .refused(let status) = error.kind else { return .failed(error.description) }
        let text = [error.description, error.dgError].compactMap { $0 }.joined(separator: ": ")
        return switch status {
        case 429: .limited(text)
        case 400..<500: .refused(text)
        default: .failed(text)
        }
    }

    func end(after closure: WebSocketClosure) -> UpstreamEnd {
        switch (closure.cause, closure.code) {
        case (.peer, 1000): .clean
        // A limit, a revoked key, bad audio: not a matter of this stream.
        case (.peer, 1008): .refused(closure.reason)
        case (.peer, let code): .failed("closed with \(code ?? 1005) \(closure.reason)")
        default: .failed("the connection was lost: \(closure.reason.isEmpty ? "\(closure.cause)" : closure.reason)")
        }
    }
}

/// What is spoken with a server of the listen protocol.
struct ListenDialect: UpstreamDialect {
    let isMultichannel: Bool

    mutating func append(audio: UnsafeRawBufferPointer, to buffer: inout [UInt8]) { buffer += audio }

    mutating func message(_ control: UpstreamControl) -> UpstreamMessage {
        switch control {
        case .keepAlive: .text(#"{"type": "KeepAlive"}"#)
        case .endStream: .text(#"{"type": "CloseStream"}"#)
        case .askForFinals(let channel):
            .text(isMultichannel ? #"{"type": "Finalize", "channel": \#(channel)}"# : #"{"type": "Finalize"}"#)
        }
    }

    func read(binary message: UnsafeRawBufferPointer) -> UpstreamSaying {
        .end(.failed("a binary message, where all are text"))
    }

    func read(text message: UnsafeRawBufferPointer) -> UpstreamSaying {
        guard let message = try? JSONDecoder().decode(Message.self, from: Data(message)) else {
            return .end(.failed("a message that is not of the listen protocol"))
        }
        guard case .results(let results) = message, let alternative = results.channel?.alternatives.first else {
            return .nothing
        }
        let isFinal = results.is_final ?? false
        let words = alternative.words.map { word in
            Word(
                text: word.word, start: .seconds(word.start), end: .seconds(word.end),
                confidence: isFinal ? word.confidence : nil, punctuated: word.punctuated_word, speaker: word.speaker,
                language: word.language)
        }
        let isWritten = words.contains { $0.punctuated != nil }
        return .results([
            UpstreamResult(
                EngineResult(
                    channel: results.channel_index?.first ?? 0,
                    through: .seconds((results.start ?? 0) + (results.duration ?? 0)),
                    transcript: isWritten ? words.map(\.text).joined(separator: " ") : alternative.transcript,
                    words: words, confidence: isFinal ? alternative.confidence : nil,
                    punctuatedTranscript: isWritten ? alternative.transcript : nil),
                isFinal: isFinal, answersFlush: results.from_finalize ?? false)
        ])
    }

    /// The protocol's `Results`.
    private struct Results: Decodable {
        struct Channel: Decodable { var alternatives: [Alternative] }
        struct Alternative: Decodable {
            var transcript: String
            var confidence: Double?
            var words: [HeardWord]
        }
        struct HeardWord: Decodable {
            var word: String
            var start: Double
            var end: Double
            var confidence: Double?
            var punctuated_word: String?
            var speaker: Int?
            var language: String?
        }

        var channel_index: [Int]?
        var start: Double?
        var duration: Double?
        var is_final: Bool?
        var from_finalize: Bool?
        var channel: Channel?
    }

    /// The protocol's messages have fields of the same name and of other types.
    private enum Message: Decodable {
        case results(Results)
        case other

        private enum Key: String, CodingKey { case type }

        init(from decoder: any Decoder) throws {
            let type = try decoder.container(keyedBy: Key.self).decode(String.self, forKey: .type)
            self = type == "Results" ? .results(try Results(from: decoder)) : .other
        }
    }
}
