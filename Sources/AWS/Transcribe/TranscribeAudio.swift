/// Audio on its way to Amazon Transcribe, each chunk in an event-stream message of the type `AudioEvent`.
///
/// The headers are always the same, so that a message costs one copy of the audio and its checksum. Any thread may use it.
public enum TranscribeAudio {
    /// Bytes of a message beside its audio.
    public static let overheadBytes = prefix.count + 4

    /// Lengths and checksum (still 0), and the headers in the service's own order.
    private static let prefix: [UInt8] = {
        var bytes: [UInt8] = Array(repeating: 0, count: EventStreamMessage.preludeBytes)
        for (name, value) in [
            (":content-type", "application/octet-stream"), (":event-type", "AudioEvent"), (":message-type", "event"),
        ] {
            bytes.append(UInt8(name.utf8.count))
            bytes += name.utf8
            _ = EventStreamValue.string(value).append(to: &bytes)
        }
        return bytes
    }()

    /// Appends one message. Allocates nothing if the buffer has room for `overheadBytes` and the audio.
    ///
    /// - Parameters:
    ///   - audio: at most `EventStreamMessage.maximumPayloadBytes`; the service takes up to a second of audio. None at all
    ///     is the end of the stream: see `appendEnd`.
    ///   - buffer: keeps what it holds.
    public static func append(_ audio: UnsafeRawBufferPointer, to buffer: inout [UInt8]) {
        precondition(
            audio.count <= EventStreamMessage.maximumPayloadBytes, "a chunk of audio has at most 16 MiB")
        let start = buffer.count
        buffer.append(contentsOf: prefix)
        buffer.append(contentsOf: audio)
        EventStreamMessage.seal(
            &buffer, from: start, headersCount: prefix.count - EventStreamMessage.preludeBytes)
    }

    /// Appends the message without audio that ends a stream; results of what was sent still come.
    public static func appendEnd(to buffer: inout [UInt8]) {
        append(UnsafeRawBufferPointer(start: nil, count: 0), to: &buffer)
    }
}
