import Crypto
public import FoundationEssentials

/// Signs the messages of a stream, each with the signature of the one before it, so that none can be changed, left out or
/// moved. One for each stream, confined to whoever sends on it.
///
/// Each message becomes the payload of an outer one with its time and its signature. Streams over WebSocket are also
/// accepted without; then messages are sent as they are.
/// Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream
public struct ChunkSigner: Sendable, CustomStringConvertible, CustomReflectable {
    /// Bytes that a signature adds to a message.
    public static let overheadBytes = EventStreamMessage.overheadBytes + headersBytes
    /// `:date` with its value, and `:chunk-signature` with its value.
    private static let headersBytes = dateBytes + 52
    private static let dateBytes = 15

    private let credentials: AWSCredentials
    private let region: String
    private let service: String
    /// Of the day below; it is derived again when the day changes.
    private var key: [UInt8] = []
    private var day = ""
    private var priorSignature: [UInt8]

    /// A chain of signatures that begins with a handshake's.
    ///
    /// - Parameters:
    ///   - signer: what signed the handshake.
    ///   - target: the handshake's address.
    public init(signer: SigV4, target: TranscribeStreamingTarget) {
        self.init(
            credentials: signer.credentials, region: signer.region, service: signer.service, seed: target.signature)
    }

    init(credentials: AWSCredentials, region: String, service: String, seed: [UInt8]) {
        self.credentials = credentials
        self.region = region
        self.service = service
        priorSignature = seed
    }

    /// Without secrets.
    public var description: String { "ChunkSigner(\(service), \(region))" }
    /// Without secrets.
    public var customMirror: Mirror { Mirror(self, children: ["service": service, "region": region]) }

    /// Appends audio as a signed message.
    ///
    /// - Parameters:
    ///   - audio: as for `TranscribeAudio.append`, but with room for its headers: at most 16 MiB less 104 bytes.
    ///   - date: now, by AWS's clock; the service takes signatures for five minutes.
    ///   - buffer: keeps what it holds.
    public mutating func append(_ audio: UnsafeRawBufferPointer, at date: Date, to buffer: inout [UInt8]) {
        precondition(
            audio.count <= EventStreamMessage.maximumPayloadBytes - TranscribeAudio.overheadBytes,
            "a signed chunk of audio has at most 16 MiB with its headers")
        append(at: date, to: &buffer) { TranscribeAudio.append(audio, to: &$0) }
    }

    /// Appends the signed message without any content that ends a stream. Nothing may follow it.
    ///
    /// Without signatures the end is an `AudioEvent` without audio; with them it is a signature of no message at all.
    public mutating func appendEnd(at date: Date, to buffer: inout [UInt8]) {
        append(at: date, to: &buffer) { _ in }
    }

    /// Writes the outer headers, then the inner message behind them where it stays, then the signature before it.
    private mutating func append(at date: Date, to buffer: inout [UInt8], inner: (inout [UInt8]) -> Void) {
        let start = buffer.count
        let headers = start + EventStreamMessage.preludeBytes
        let payload = headers + Self.headersBytes
        let milliseconds = (date.timeIntervalSince1970 * 1_000).rounded()
        buffer.append(contentsOf: repeatElement(0, count: EventStreamMessage.preludeBytes))
        Self.appendName(":date", to: &buffer)
        _ = EventStreamValue.timestamp(milliseconds: Int64(milliseconds)).append(to: &buffer)
        Self.appendName(":chunk-signature", to: &buffer)
        _ = EventStreamValue.bytes(Array(repeating: 0, count: HMACSHA256.byteCount)).append(to: &buffer)
        inner(&buffer)
        // Seconds of the same milliseconds, so that both times of a message agree.
        let time = SigningTime(Date(timeIntervalSince1970: (milliseconds / 1_000).rounded(.down)))
        let (dateHash, payloadHash) = buffer.withUnsafeBytes { bytes in
            (
                Self.hash(UnsafeRawBufferPointer(rebasing: bytes[headers..<(headers + Self.dateBytes)])),
                Self.hash(UnsafeRawBufferPointer(rebasing: bytes[payload...]))
            )
        }
        priorSignature = signature(at: time, dateHash: dateHash, payloadHash: payloadHash)
        buffer.replaceSubrange((payload - HMACSHA256.byteCount)..<payload, with: priorSignature)
        EventStreamMessage.seal(&buffer, from: start, headersCount: Self.headersBytes)
    }

    private mutating func signature(at time: SigningTime, dateHash: [UInt8], payloadHash: [UInt8]) -> [UInt8] {
        if day != time.day {
            day = time.day
            key = SigningKeys.derive(
                secret: credentials.secretAccessKey, day: day, region: region, service: service)
        }
        let text = """
            AWS4-HMAC-SHA256-PAYLOAD
            \(time.timestamp)
            \(day)/\(region)/\(service)/aws4_request
            \(priorSignature.hexadecimal)
            \(dateHash.hexadecimal)
            \(payloadHash.hexadecimal)
            """
        return HMACSHA256.authenticate(Array(text.utf8), key: key)
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        let message = SHA256()
        message.update(bytes)
        return message.finalize()
    }

    private static func appendName(_ name: String, to buffer: inout [UInt8]) {
        buffer.append(UInt8(name.utf8.count))
        buffer += name.utf8
    }
}
