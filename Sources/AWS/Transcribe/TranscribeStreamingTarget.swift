import FoundationEssentials
import HTTPClient

/// Where a stream is opened: an address that may be used once, soon, by who has it.
public struct TranscribeStreamingTarget: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// The path that streams are opened at.
    public static let path = "/stream-transcription-websocket"
    /// How long the service lets an address be used at most. It bounds the handshake, not the stream.
    public static let lifetimes = Duration.seconds(1)...Duration.seconds(300)

    /// The whole address, signed: `https://host:8443/stream-transcription-websocket?...`, where `https` means `wss` and
    /// `http` means `ws`. The handshake is a GET, and its `Host` must be the address's own.
    ///
    /// Secret while it lasts: it opens a stream, and holds the session token of temporary credentials.
    public let url: String
    /// Of the handshake, 32 bytes: with it begins the chain of signatures of `ChunkSigner`.
    public let signature: [UInt8]

    /// Without the query, for logs.
    public var description: String { String(url.prefix { $0 != "?" }) }
    /// Without the query and the signature.
    public var customMirror: Mirror { Mirror(self, children: ["url": description]) }
}

extension TranscribeStreamingRequest {
    /// The query parameters, in the order of their names, which is the one that signatures use.
    ///
    /// - Throws: what `validate` throws.
    public func queryItems() throws(TranscribeRequestError) -> [(name: String, value: String)] {
        try validate()
        var items = [("media-encoding", encoding.rawValue), ("sample-rate", String(sampleRate))]
        var isIdentified = true
        switch language {
        case .code(let code):
            isIdentified = false
            items.append(("language-code", code))
        case .identifyOne(let options, let preferred), .identifyMultiple(let options, let preferred):
            items.append(("language-options", options.joined(separator: ",")))
            if let preferred { items.append(("preferred-language", preferred)) }
        }
        if case .identifyOne = language { items.append(("identify-language", "true")) }
        if case .identifyMultiple = language { items.append(("identify-multiple-languages", "true")) }
        // With identified languages there is a list, even of one.
        for (name, values) in [
            ("vocabulary-name", vocabularyNames), ("vocabulary-filter-name", vocabularyFilterNames),
        ] where !values.isEmpty {
            items.append((isIdentified ? name + "s" : name, values.joined(separator: ",")))
        }
        if let vocabularyFilterMethod { items.append(("vocabulary-filter-method", vocabularyFilterMethod.rawValue)) }
        if let languageModelName { items.append(("language-model-name", languageModelName)) }
        if let sessionID { items.append(("session-id", sessionID.uuidString.lowercased())) }
        if showsSpeakers { items.append(("show-speaker-label", "true")) }
        if channelCount > 1 {
            items.append(("enable-channel-identification", "true"))
            items.append(("number-of-channels", String(channelCount)))
        }
        if let partialResultsStability {
            items.append(("enable-partial-results-stabilization", "true"))
            items.append(("partial-results-stability", partialResultsStability.rawValue))
        }
        if let personalInformation {
            let name = personalInformation.treatment == .redact ? "redaction" : "identification"
            items.append(("content-\(name)-type", "PII"))
            if !personalInformation.types.isEmpty {
                let types = personalInformation.types.map(\.rawValue).joined(separator: ",")
                items.append(("pii-entity-types", types))
            }
        }
        return items.sorted { $0.0 < $1.0 }.map { (name: $0.0, value: $0.1) }
    }

    /// The address at which the stream is opened, signed.
    ///
    /// - Parameters:
    ///   - origin: scheme, host and port, as `AWSConfiguration.origin(of: .transcribeStreaming)` gives it.
    ///   - signer: for the service `transcribe`, as `AWSService.currentSigner` gives it.
    ///   - lifetime: within `TranscribeStreamingTarget.lifetimes`, in whole seconds.
    /// - Throws: what `validate` throws.
    public func target(
        origin: String, signer: SigV4, expiringAfter lifetime: Duration = .seconds(60)
    ) throws(TranscribeRequestError) -> TranscribeStreamingTarget {
        precondition(
            TranscribeStreamingTarget.lifetimes.contains(lifetime), "an address lives 1 s to 300 s, not \(lifetime)")
        precondition(signer.service == AWSServiceName.transcribeStreaming.signing, "a signer of another service")
        let query = try queryItems()
            .map { "\(PercentEncoding.encode($0.name))=\(PercentEncoding.encode($0.value))" }
            .joined(separator: "&")
        let signed = signer.presign(
            TransferRequest(
                method: "GET", origin: origin, path: TranscribeStreamingTarget.path, query: query),
            expiringAfter: lifetime)
        return TranscribeStreamingTarget(url: signed.url, signature: Self.signature(in: signed.query))
    }

    private static func signature(in query: String) -> [UInt8] {
        guard let name = query.firstRange(of: "X-Amz-Signature=") else { return [] }
        let digits = query[name.upperBound...].prefix(64).compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
