/// How one sample is written in the audio a client sends.
///
/// The first four are what a client can name for raw audio (`encoding=`); the others occur in WAV files alone.
public enum AudioEncoding: String, Sendable, Hashable, CaseIterable {
    /// 16-bit signed integer PCM, little-endian.
    case linear16
    /// 32-bit IEEE floating-point PCM, little-endian, full scale at 1.0. Deepgram's page on `encoding` defines it so:
    /// "32-bit, little endian, floating-point PCM WAV data" (https://developers.deepgram.com/docs/encoding).
    case linear32
    /// G.711 mu-law.
    case mulaw
    /// G.711 A-law.
    case alaw
    /// 8-bit PCM, unsigned as WAV files of that width are.
    case wavUnsigned8 = "wav-unsigned8"
    /// 24-bit signed integer PCM, little-endian.
    case wavSigned24 = "wav-signed24"
    /// 32-bit signed integer PCM, little-endian.
    case wavSigned32 = "wav-signed32"

    /// The encodings a client can name for raw audio.
    public static let raw: [AudioEncoding] = [.linear16, .linear32, .mulaw, .alaw]

    /// Bytes of one sample of one channel.
    public var bytesPerSample: Int {
        switch self {
        case .mulaw, .alaw, .wavUnsigned8: 1
        case .linear16: 2
        case .wavSigned24: 3
        case .linear32, .wavSigned32: 4
        }
    }
}

/// What one must know to read a stream of uncompressed samples.
public struct AudioFormat: Sendable, Hashable {
    /// Samples per second that are accepted, in Hz.
    public static let sampleRates = 8_000...48_000
    /// Channel counts that are accepted.
    public static let channelCounts = 1...20

    /// How one sample is written.
    public let encoding: AudioEncoding
    /// Frames per second, in Hz.
    public let sampleRate: Int
    /// Samples per frame.
    public let channels: Int

    /// - Throws: `AudioError` with `.unsupportedFormat` if a number is out of range.
    public init(encoding: AudioEncoding, sampleRate: Int, channels: Int = 1) throws(AudioError) {
        guard Self.sampleRates.contains(sampleRate) else {
            throw AudioError(
                .unsupportedFormat,
                "a sample rate of \(sampleRate) Hz is not supported; supported: 8000 to 48000 Hz"
            )
        }
        guard Self.channelCounts.contains(channels) else {
            throw AudioError(.unsupportedFormat, "\(channels) channels are not supported; supported: 1 to 20")
        }
        self.encoding = encoding
        self.sampleRate = sampleRate
        self.channels = channels
    }

    /// Bytes of one frame: one sample of every channel.
    public var bytesPerFrame: Int { encoding.bytesPerSample * channels }

    /// How long `frames` frames last.
    public func duration(ofFrames frames: Int64) -> Duration {
        let (seconds, rest) = frames.quotientAndRemainder(dividingBy: Int64(sampleRate))
        return .seconds(seconds) + .nanoseconds(rest * 1_000_000_000 / Int64(sampleRate))
    }
}

/// Why audio could not be read.
public struct AudioError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds of failure; more may come.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The code's name, for logs and counters.
        public let description: String

        /// The bytes are not a container this decoder reads.
        public static let unsupportedContainer = Code(description: "unsupportedContainer")
        /// The container is well formed but holds a rate, a width or a codec that is not read.
        public static let unsupportedFormat = Code(description: "unsupportedFormat")
        /// The container contradicts itself or its definition.
        public static let malformedHeader = Code(description: "malformedHeader")
        /// The header goes on for longer than `AudioDecoder.headerBytesMax`.
        public static let headerTooLong = Code(description: "headerTooLong")
        /// The audio ended inside the header.
        public static let truncatedHeader = Code(description: "truncatedHeader")
        /// The C resampler refused (out of memory).
        public static let resampler = Code(description: "resampler")
    }

    /// The kind of failure.
    public let code: Code
    /// One sentence for the client: what was found, where, what is supported.
    public let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The message.
    public var description: String { message }
}
