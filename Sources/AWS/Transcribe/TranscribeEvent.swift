/// What Amazon Transcribe sends on a stream.
public enum TranscribeEvent: Sendable, Equatable {
    /// Results, of which there may be none.
    case transcript([TranscribeResult])
    /// Why the service ends the stream; its close follows.
    case exception(TranscribeException)
    /// An event of another type, by its name, as a later version of the service may send it; `message-type` of what is
    /// not even an event.
    case unknown(String)

    /// Bytes of a transcript: a segment of some minutes has some hundred thousand.
    public static let maximumTranscriptBytes = 1 << 20

    /// Reads one binary WebSocket message, where it lies.
    ///
    /// - Throws: if it is no event-stream message, or a TranscriptEvent without valid JSON. An exception is read whatever
    ///   its payload is.
    public init(decoding message: UnsafeRawBufferPointer) throws(EventStreamError) {
        let frame = try EventStreamFrame(message)
        try self.init(
            headers: frame.headers, payload: UnsafeRawBufferPointer(rebasing: message[frame.payload]),
            at: frame.payload.lowerBound)
    }

    /// Reads one binary WebSocket message; see the other form.
    public init(decoding message: [UInt8]) throws(EventStreamError) {
        let result = message.withUnsafeBytes { message in
            Result { () throws(EventStreamError) in try TranscribeEvent(decoding: message) }
        }
        self = try result.get()
    }

    private init(
        headers: [EventStreamMessage.Header], payload: UnsafeRawBufferPointer, at offset: Int
    ) throws(EventStreamError) {
        func text(_ name: String) -> String? {
            guard case .string(let text)? = headers.first(where: { $0.name == name })?.value else { return nil }
            return text
        }
        switch text(":message-type") {
        case "event":
            let type = text(":event-type") ?? ""
            self = type == "TranscriptEvent" ? .transcript(try Self.results(payload, at: offset)) : .unknown(type)
        case "exception":
            self = .exception(TranscribeException(name: text(":exception-type") ?? "", payload: payload))
        case "error":
            // The framing's own way to fail, without payload.
            self = .exception(
                TranscribeException(name: text(":error-code") ?? "", message: text(":error-message") ?? ""))
        case let type: self = .unknown(type ?? "")
        }
    }

    private static func results(
        _ payload: UnsafeRawBufferPointer, at offset: Int
    ) throws(EventStreamError) -> [TranscribeResult] {
        guard payload.count <= maximumTranscriptBytes else {
            let problem = "a transcript of \(payload.count) bytes, of at most \(maximumTranscriptBytes)"
            throw EventStreamError(.payload(problem), at: offset)
        }
        do throws(JSONReader.Failure) {
            return try TranscribeResult.results(in: payload)
        } catch {
            throw EventStreamError(
                .payload("a transcript that is no JSON: \(error.problem)"), at: offset + error.offset)
        }
    }
}
