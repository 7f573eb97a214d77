/// What the header of a WAV file says about its pace: the bytes of a second, and where the audio begins.
///
/// Only what pacing needs is read; whether the audio can be decoded is the server's to say.
struct WAVPace: Equatable {
    /// Where the audio begins, in bytes from the start of the file.
    var audioOffset: Int
    /// Bytes of audio per second.
    var bytesPerSecond: Int
    /// Bytes of one frame: a sample of each channel.
    var bytesPerFrame: Int

    /// What became of a header.
    enum Reading: Equatable {
        /// The header is whole.
        case complete(WAVPace)
        /// It is a WAV so far.
        case needsMore
        /// It is not a WAV, and why.
        case malformed(String)
    }

    /// The longest header that is read, in bytes: what precedes the audio may hold pictures.
    static let maximumHeaderBytes = 1 << 20

    /// Reads the beginning of a file (RIFF WAVE: Microsoft Multimedia Programming Interface 1.0).
    static func read(_ bytes: [UInt8]) -> Reading {
        let needed = bytes.count < maximumHeaderBytes ? Reading.needsMore : .malformed("its header is too long")
        let isRIFF = zip(bytes, "RIFF".utf8).allSatisfy { $0 == $1 }
        let isWAVE = zip(bytes.dropFirst(8), "WAVE".utf8).allSatisfy { $0 == $1 }
        guard isRIFF, isWAVE else { return .malformed("it does not begin like a WAV file") }
        guard bytes.count >= 12 else { return needed }
        var offset = 12
        var format: (bytesPerSecond: Int, bytesPerFrame: Int)?
        while offset + 8 <= bytes.count {
            let size = Int(integer(bytes, at: offset + 4, count: 4))
            let body = offset + 8
            if bytes[offset..<offset + 4].elementsEqual("data".utf8) {
                guard let format else { return .malformed("its audio comes before its format") }
                let (second, frame) = format
                return .complete(WAVPace(audioOffset: body, bytesPerSecond: second, bytesPerFrame: frame))
            }
            if bytes[offset..<offset + 4].elementsEqual("fmt ".utf8) {
                guard size >= 16 else { return .malformed("its format is too short") }
                guard body + 16 <= bytes.count else { return needed }
                let second = Int(integer(bytes, at: body + 8, count: 4))
                let frame = Int(integer(bytes, at: body + 12, count: 2))
                guard second > 0, frame > 0 else { return .malformed("its format has no bytes per second") }
                format = (second, frame)
            }
            // Chunks are padded to an even length.
            offset = body + size + size % 2
        }
        return needed
    }

    private static func integer(_ bytes: [UInt8], at offset: Int, count: Int) -> UInt32 {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}
