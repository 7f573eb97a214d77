/// Why Amazon Transcribe ended a stream, in its words.
public struct TranscribeException: Error, Sendable, Equatable, CustomStringConvertible {
    /// Longer texts than any known one are cut.
    static let maximumMessageBytes = 1_024

    /// `BadRequestException`; empty if the service gave none.
    public var name: String
    /// What it says of it; empty if it says nothing.
    public var message: String

    /// An exception.
    public init(name: String, message: String) {
        self.name = name
        self.message = message
    }

    /// From a payload of whatever kind: `Message` of an object, else the text that it is.
    init(name: String, payload: UnsafeRawBufferPointer) {
        let text = String(decoding: payload.prefix(Self.maximumMessageBytes), as: UTF8.self)
        self.init(name: name, message: (try? Self.message(in: payload)) ?? text)
    }

    private static func message(in payload: UnsafeRawBufferPointer) throws(JSONReader.Failure) -> String {
        var json = JSONReader(payload)
        guard try json.enterObject() else { throw JSONReader.Failure(problem: "not an object", offset: 0) }
        var message: String?
        while let key = try json.nextKey() {
            if "Message" ~= key || "message" ~= key {
                message = try json.string() ?? message
            } else {
                try json.skip()
            }
        }
        try json.finish()
        return String(decoding: (message ?? "").utf8.prefix(maximumMessageBytes), as: UTF8.self)
    }

    /// For logs.
    public var description: String {
        let name = name.isEmpty ? "an exception without name" : name
        return message.isEmpty ? name : "\(name): \(message)"
    }

    /// What to do about it.
    public var failure: TranscribeFailure { TranscribeFailure(name: name, message: message) }
}

/// Kinds of failures of a stream by what helps against them.
///
/// Sources: https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_StartStreamTranscription.html and
/// https://docs.aws.amazon.com/transcribe/latest/APIReference/CommonErrors.html. What the service says of an idle stream and
/// of old signatures is not documented but reported:
/// https://github.com/awslabs/amazon-transcribe-streaming-sdk/issues/118 and /17.
public enum TranscribeFailure: Sendable, Equatable, CaseIterable {
    /// No audio came for 15 seconds: open another stream when there is audio again.
    case idle
    /// A signature was too old when it was read: open another stream, and send no faster than real time. If it happens at
    /// the handshake, this machine's clock is wrong.
    case expired
    /// The request itself is wrong, and will be again: tell the client.
    case badRequest
    /// Too many streams, or new ones too fast, or a stream beyond four hours: wait longer each time, then open another one.
    case limit
    /// The service's own fault, or one that nobody knows: open another stream.
    case service
    /// The credentials are wrong, or not allowed to do this: nothing but new ones helps.
    case refused
    /// Another stream has the same session id: open another one with a new id.
    case conflict

    /// Whether another stream with the same settings may do better.
    public var isTransient: Bool { self != .badRequest && self != .refused }

    /// The kind of an exception.
    ///
    /// - Parameters:
    ///   - name: as the service gives it; a namespace (`a.b#`) or an address after `:` do not matter.
    ///   - message: tells apart what has the same name.
    public init(name: String, message: String) {
        let bare = name.split(separator: ":").first?.split(separator: "#").last.map(String.init) ?? ""
        switch bare {
        case "BadRequestException", "BadRequest": self = Self.ofBadRequest(message)
        case "SerializationException", "ValidationException", "ValidationError", "MalformedQueryString",
            "InvalidParameterValue", "InvalidParameterCombination", "InvalidQueryParameter", "MissingParameter",
            "InvalidAction", "MissingAction", "UnknownOperationException", "MalformedHttpRequestException":
            self = .badRequest
        case "LimitExceededException", "ThrottlingException", "Throttling", "TooManyRequestsException",
            "RequestLimitExceeded", "ServiceQuotaExceededException", "SlowDown":
            self = .limit
        case "ConflictException": self = .conflict
        case "AccessDeniedException", "AccessDenied", "ForbiddenException", "IncompleteSignature",
            "IncompleteSignatureException", "InvalidClientTokenId", "InvalidSignatureException",
            "MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired",
            "SignatureDoesNotMatch", "SubscriptionRequiredException", "UnauthorizedException",
            "UnrecognizedClientException", "UnrecognizedClient", "ExpiredTokenException", "ExpiredToken":
            // AWS gives one name to a wrong signature and to one of the wrong time.
            self = Self.isOfSignatureAge(message) ? .expired : .refused
        case "RequestExpired", "RequestExpiredException", "RequestTimeTooSkewed": self = .expired
        // InternalFailureException, ServiceUnavailableException and what nobody has heard of.
        default: self = .service
        }
    }

    /// The kind of an answer to the handshake that is not 101.
    ///
    /// - Parameters:
    ///   - status: 100 ... 599.
    ///   - errorType: the header `x-amzn-ErrorType`, if there is one.
    ///   - message: of the body, if it is known.
    public init(status: Int, errorType: String? = nil, message: String = "") {
        if let errorType, !errorType.isEmpty {
            let named = TranscribeFailure(name: errorType, message: message)
            // A name that is not known says less than the status.
            if named != .service || status >= 500 {
                self = named
                return
            }
        }
        switch status {
        case 401, 403: self = Self.isOfSignatureAge(message) ? .expired : .refused
        case 408, 425: self = .service
        case 409: self = .conflict
        case 429: self = .limit
        case 400..<500: self = Self.ofBadRequest(message)
        default: self = .service
        }
    }

    private static func ofBadRequest(_ message: String) -> TranscribeFailure {
        let message = message.lowercased()
        if message.contains("no new audio was received") { return .idle }
        return isOfSignatureAge(message) ? .expired : .badRequest
    }

    /// `Signature expired: ... is now earlier than ...`, `Signature not yet current: ...`.
    private static func isOfSignatureAge(_ message: String) -> Bool {
        let message = message.lowercased()
        return message.contains("signature expired") || message.contains("signature not yet current")
    }
}
