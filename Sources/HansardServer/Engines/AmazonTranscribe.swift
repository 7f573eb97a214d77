import AWS
import EventLoops
import Foundation
import Hansard
import Logging
import Web

/// Amazon Transcribe's streaming service: one WebSocket a session (or a part of a long one), opened with a signed address.
///
/// Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-websocket.html
struct AmazonTranscribe: UpstreamService {
    /// The service's own limit is four hours.
    static let streamLimits = Duration.seconds(60) ... .seconds(14_400 - 60)
    /// What is billed for a stream at least.
    /// Source: https://aws.amazon.com/transcribe/pricing/
    static let minimumBilled = AudioTime.milliseconds(15_000)
    /// Silence after which the service believes that an utterance has ended.
    static let endOfUtterance = AudioTime.milliseconds(1_000)
    /// Silence that keeps a stream awake: as little as makes a message, since it is billed.
    static let breath = AudioTime.milliseconds(100)

    /// What settings decide.
    struct Options: Sendable {
        /// Audio after which a new stream takes over.
        var streamLimit = Duration.seconds(14_100)
        /// Seconds of audio in a second.
        var speed = 1.0
        /// Whether each message is signed, not the handshake alone.
        var signsChunks = false
        /// The languages of `language=multi`, one dialect of each.
        var languages: [String] = ["en-US", "es-US"]
        /// A PEM file of authorities that are believed besides the system's.
        var authorities: String?
    }

    let description = EngineDescription(
        name: "amazon-transcribe", modelName: "amazon-transcribe", modelVersion: "streaming",
        architecture: "amazon-transcribe", languages: TranscribeLanguages.tags, maxMultichannel: 20,
        features: [.punctuation, .diarization, .redaction, .languageIdentification])
    let channelsPerStream = 2
    private let service: AWSService
    private let credentials: CredentialsProvider
    private let origin: String
    private let options: Options
    private let date: @Sendable () -> Date
    private let lastSigner = Locked<SigV4?>(nil)

    init(
        service: AWSService, credentials: CredentialsProvider, origin: String, options: Options,
        date: @escaping @Sendable () -> Date
    ) {
        self.service = service
        self.credentials = credentials
        self.origin = origin
        self.options = options
        self.date = date
    }

    func policy(for request: EngineRequest) -> RelayPolicy {
        var policy = RelayPolicy(flush: .silence(Self.endOfUtterance), keepAlive: .silence(Self.breath))
        policy.minimumBilled = Self.minimumBilled
        policy.streamLimit = .milliseconds(Int(options.streamLimit.milliseconds))
        policy.speed = options.speed
        return policy.serving(request)
    }

    func call(for request: EngineRequest) async throws(HansardError) -> UpstreamCall {
        let stream = Self.streamRequest(for: request, languages: options.languages)
        let (target, signer) = try await target(for: stream)
        guard let url = WebSocketURL(target.url) else {
            throw HansardError(.invalid, "the endpoint of Amazon Transcribe is no address: '\(target)'")
        }
        return UpstreamCall(
            request: WebSocketClientRequest(
                url: url, trust: WebSocketTrust(authoritiesFile: options.authorities),
                connectTimeout: UpstreamCall.connectTimeout, limits: .upstream),
            dialect: TranscribeDialect(
                signer: options.signsChunks ? ChunkSigner(signer: signer, target: target) : nil, date: date))
    }

    private func target(
        for stream: TranscribeStreamingRequest
    ) async throws(HansardError) -> (TranscribeStreamingTarget, SigV4) {
        do {
            let signer = try await service.currentSigner()
            lastSigner.withLock { $0 = signer }
            return (try stream.target(origin: origin, signer: signer), signer)
        } catch let error as TranscribeRequestError {
            throw HansardError(.invalid, "\(error)")
        } catch {
            throw HansardError(.unavailable, describe(error))
        }
    }

    /// A handshake that is refused may mean that the credentials have ended before their time.
    func end(after error: WebSocketConnectError) -> UpstreamEnd {
        guard case .refused(let status) = error.kind else { return .failed(error.description) }
        let failure = TranscribeFailure(status: status, errorType: error.amazonErrorType)
        if failure == .refused, let signer = lastSigner.withLock({ $0 }) {
            let credentials = credentials
            Task { await credentials.refused(signer.credentials) }
        }
        return UpstreamEnd(
            failure, [error.description, error.amazonErrorType].compactMap { $0 }.joined(separator: ": "))
    }

    /// A close without an exception before it.
    func end(after closure: WebSocketClosure) -> UpstreamEnd {
        switch (closure.cause, closure.code) {
        case (.peer, 1000), (.peer, 1001), (.peer, 1005): .clean
        case (.peer, let code): .failed("closed with \(code ?? 1005) \(closure.reason)")
        default: .failed("the connection was lost: \(closure.reason.isEmpty ? "\(closure.cause)" : closure.reason)")
        }
    }

    /// The service's words for what a client asked for.
    static func streamRequest(for request: EngineRequest, languages: [String]) -> TranscribeStreamingRequest {
        let language: TranscribeStreamingRequest.Language =
            request.language.lowercased() == EngineDescription.anyLanguage
            ? .identifyMultiple(options: languages) : .code(TranscribeLanguages.code(for: request.language))
        var stream = TranscribeStreamingRequest(sampleRate: request.audio.sampleRate, language: language)
        stream.channelCount = request.audio.resultChannels
        stream.showsSpeakers = request.options.wantsDiarization && stream.channelCount == 1
        // A new one for each stream: the same one twice ends the first.
        stream.sessionID = UUID()
        stream.personalInformation = personalInformation(request.options.redactions)
        return stream
    }

    private static func personalInformation(
        _ redactions: Set<Redaction>
    ) -> TranscribeStreamingRequest.PersonalInformation? {
        guard !redactions.isEmpty else { return nil }
        if redactions.contains(.all) { return .init(.redact) }
        var types: [TranscribeStreamingRequest.PersonalInformationType] = []
        if redactions.contains(.paymentCards) { types += [.cardNumber, .cardVerification, .cardExpiry] }
        if redactions.contains(.socialSecurityNumbers) { types.append(.socialSecurityNumber) }
        return .init(.redact, types: types)
    }
}

/// The languages of Amazon Transcribe's streams.
///
/// Source: https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_StartStreamTranscription.html
enum TranscribeLanguages {
    /// Of several dialects of a language, the first is what the bare language means.
    static let codes = [
        "en-US", "en-GB", "en-AU", "en-IN", "en-IE", "en-NZ", "en-AB", "en-ZA", "en-WL", "es-US", "es-ES", "fr-FR",
        "fr-CA",
        "de-DE", "de-CH", "it-IT", "pt-BR", "pt-PT", "ja-JP", "ko-KR", "zh-CN", "zh-HK", "zh-TW", "th-TH", "ar-SA",
        "ar-AE", "ca-ES", "hi-IN", "nl-NL", "no-NO", "sv-SE", "pl-PL", "fi-FI", "af-ZA", "eu-ES", "hr-HR", "cs-CZ",
        "da-DK", "fa-IR", "gl-ES", "el-GR", "he-IL", "id-ID", "lv-LV", "ms-MY", "ro-RO", "ru-RU", "sr-RS", "sk-SK",
        "so-SO", "tl-PH", "uk-UA", "vi-VN", "zu-ZA",
    ]

    /// As an engine describes itself: a bare language stands for all its dialects.
    static let tags: [String] = {
        var tags: [String] = []
        for code in codes {
            let primary = String(code.prefix { $0 != "-" })
            if !tags.contains(primary) { tags.append(primary) }
        }
        return tags
    }()

    /// The service's code for a BCP 47 tag that `tags` understand.
    static func code(for tag: String) -> String {
        let tag = tag.lowercased()
        if let exact = codes.first(where: { $0.lowercased() == tag }) { return exact }
        let primary = tag.prefix { $0 != "-" } + "-"
        return codes.first { $0.lowercased().hasPrefix(primary) } ?? tag
    }
}
