/// Turns the bytes of a stream, in pieces of any size, into interleaved 16-bit samples at the source's rate.
///
/// The owner feeds it and keeps the sample array; in the common case (`linear16`, pieces of whole frames) a call is one
/// copy into that array and allocates nothing once the array has grown to its working size.
public struct AudioDecoder: Sendable {
    /// How many bytes may come before a WAV file's samples (tags, pictures). They are skipped, never kept.
    public static let headerBytesMax = 1 << 20

    /// Where the decoder is in its input.
    private enum Phase {
        /// Reading the container's header. Ends in `samples`, or in `failed`.
        case header(WAVHeader)
        /// Reading samples; `bytesLeft` is what the data chunk still holds, nil if it ends with the stream.
        /// Ends in `ended` with the chunk.
        case samples(SampleDecoder, bytesLeft: Int64?)
        /// After the data chunk: what follows (tags) is ignored. Final.
        case ended
        /// The input cannot be read, and every later call says so again. Final.
        case failed(AudioError)
    }

    private var phase: Phase
    private var bytesReceived: Int64 = 0

    /// The input's format; nil until the container's header has been read.
    public private(set) var format: AudioFormat?
    /// Frames decoded so far.
    public private(set) var frames: Int64 = 0
    /// Bytes of a frame of which the rest has not come yet, or of the header while that is being read.
    public private(set) var carriedBytes = 0

    /// A decoder for raw samples, without any container.
    public init(format: AudioFormat) {
        self.format = format
        phase = .samples(SampleDecoder(format: format), bytesLeft: nil)
    }

    /// A decoder that learns the format from the stream's own header: WAV with PCM of 8, 16, 24 or 32 bits,
    /// 32-bit IEEE float, mu-law or A-law.
    public init() {
        phase = .header(WAVHeader())
    }

    /// Decodes the next piece, which may begin and end anywhere.
    ///
    /// - Parameters:
    ///   - bytes: read during the call only.
    ///   - samples: gets the interleaved samples of every frame completed by this piece.
    /// - Returns: the number of frames appended.
    /// - Throws: `AudioError` if the header cannot be read; then again at every later call.
    public mutating func decode(
        _ bytes: UnsafeRawBufferPointer,
        appendingTo samples: inout [Int16]
    ) throws(AudioError) -> Int {
        bytesReceived += Int64(bytes.count)
        var rest = bytes[...]
        if case .header = phase { try readHeader(&rest) }
        switch phase {
        case .samples(var decoder, let bytesLeft):
            let length = min(Int64(rest.count), bytesLeft ?? .max)
            let mine = UnsafeRawBufferPointer(rebasing: rest.prefix(Int(length)))
            // `phase` gives its buffer up for the call, so that the carried bytes are changed in place.
            phase = .ended
            let appended = decoder.decode(mine, appendingTo: &samples)
            frames += Int64(appended)
            carriedBytes = decoder.carriedBytes
            if let bytesLeft {
                if bytesLeft > length { phase = .samples(decoder, bytesLeft: bytesLeft - length) }
            } else {
                phase = .samples(decoder, bytesLeft: nil)
            }
            return appended
        case .failed(let error):
            throw error
        case .header, .ended:
            return 0
        }
    }

    /// Says that the stream has ended. A last frame that is incomplete is dropped (`carriedBytes` tells); a stream of
    /// no bytes at all is well.
    ///
    /// - Throws: `AudioError` with `.truncatedHeader` if the header is incomplete.
    public mutating func finish() throws(AudioError) {
        switch phase {
        case .header(let header) where bytesReceived > 0:
            let error = AudioError(
                .truncatedHeader,
                """
                the audio ended after \(bytesReceived) bytes, inside \(header.position); \
                a WAV file has a "fmt " chunk and a "data" chunk; give encoding= and sample_rate= for raw audio
                """
            )
            phase = .failed(error)
            throw error
        case .failed(let error):
            throw error
        default:
            phase = .ended
        }
    }

    private mutating func readHeader(_ rest: inout Slice<UnsafeRawBufferPointer>) throws(AudioError) {
        guard case .header(var header) = phase else { preconditionFailure("called in phase .header only") }
        do {
            guard let data = try header.read(&rest) else {
                carriedBytes = header.bufferedBytes
                phase = .header(header)
                return
            }
            format = data.format
            carriedBytes = 0
            phase = .samples(SampleDecoder(format: data.format), bytesLeft: data.byteCount)
        } catch {
            carriedBytes = 0
            phase = .failed(error)
            throw error
        }
    }
}
