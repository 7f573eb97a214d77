/// Reads a WAV file's header from pieces of any size: RIFF chunks up to the start of the data chunk's bytes
/// (Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0"; `WAVEFORMATEXTENSIBLE` on
/// learn.microsoft.com). Never holds more than 40 bytes.
struct WAVHeader: Sendable {
    /// What the header led to.
    struct DataChunk {
        let format: AudioFormat
        /// The length of the samples in bytes; nil means until the stream ends.
        let byteCount: Int64?
    }

    /// What is being collected in `buffer`, and how many bytes it takes.
    private enum Part {
        /// "RIFF", size, "WAVE": 12 bytes.
        case riff
        /// A chunk's name and size: 8 bytes.
        case chunkHeader
        /// The format chunk's beginning; `length` is the whole chunk's.
        case format(length: Int64)
        /// Bytes of no interest.
        case skip(Int64)
    }

    /// Programs that cannot seek write one of these as the size of data they have not produced yet: 0, 0xFFFFFFFF
    /// (ffmpeg), 0x7FFFF000 and the like (SoX).
    private static let unboundedSizeMin: UInt32 = 0x7FFF_F000
    private static let riffLength = 12
    private static let chunkHeaderLength = 8
    private static let formatLengthMin: Int64 = 16
    private static let formatLengthUsed: Int64 = 40

    private var part = Part.riff
    private var buffer: [UInt8] = []
    private var offset: Int64 = 0
    private var format: AudioFormat?

    /// Bytes held of a part that is not complete.
    var bufferedBytes: Int { buffer.count }

    /// Where reading stands, for messages.
    var position: String {
        switch part {
        case .riff: "the WAV header's first 12 bytes"
        case .chunkHeader: "a WAV chunk's name and size at byte \(offset - Int64(buffer.count))"
        case .format: "the WAV \"fmt \" chunk at byte \(offset - Int64(buffer.count))"
        case .skip(let left): "a WAV chunk, \(left) bytes before its end"
        }
    }

    /// Takes bytes from `rest` until they are used up or the data chunk begins.
    ///
    /// - Returns: the data chunk when reached; `rest` then begins with its first byte.
    mutating func read(_ rest: inout Slice<UnsafeRawBufferPointer>) throws(AudioError) -> DataChunk? {
        while true {
            switch part {
            case .riff:
                guard collect(Self.riffLength, from: &rest) else { return nil }
                try checkContainer()
                next(.chunkHeader)
            case .chunkHeader:
                guard collect(Self.chunkHeaderLength, from: &rest) else { return nil }
                if let data = try chunkBegins() { return data }
            case .format(let length):
                let used = min(length, Self.formatLengthUsed)
                guard collect(Int(used), from: &rest) else { return nil }
                format = try readFormat(length: length)
                next(.skip(length - used + length % 2))
            case .skip(let count):
                let taken = min(count, Int64(rest.count))
                rest = rest.dropFirst(Int(taken))
                offset += taken
                guard taken == count else {
                    part = .skip(count - taken)
                    return nil
                }
                next(.chunkHeader)
            }
        }
    }

    private mutating func next(_ part: Part) {
        buffer.removeAll(keepingCapacity: true)
        self.part = part
    }

    /// Fills `buffer` to `length` bytes; false if there were not enough.
    private mutating func collect(_ length: Int, from rest: inout Slice<UnsafeRawBufferPointer>) -> Bool {
        let taken = min(length - buffer.count, rest.count)
        buffer.append(contentsOf: rest.prefix(taken))
        rest = rest.dropFirst(taken)
        offset += Int64(taken)
        return buffer.count == length
    }

    private func checkContainer() throws(AudioError) {
        if text(0) == "RIFF" && text(8) == "WAVE" { return }
        if let name = containerName(buffer) {
            throw AudioError(
                .unsupportedContainer,
                "\(name) is not supported; supported: WAV, or raw audio with encoding= and sample_rate="
            )
        }
        let found = buffer.prefix(8).map { hexadecimal($0) }.joined(separator: " ")
        throw AudioError(
            .unsupportedContainer,
            """
            not a WAV file: the first bytes are \(found); \
            give encoding= and sample_rate= for raw audio, or send WAV
            """
        )
    }

    /// Decides what to do with the chunk whose name and size are in `buffer`.
    private mutating func chunkBegins() throws(AudioError) -> DataChunk? {
        let name = text(0)
        let size = number32(4)
        let start = offset - Int64(Self.chunkHeaderLength)
        if name == "data" {
            guard let format else {
                throw AudioError(
                    .malformedHeader,
                    "the WAV \"data\" chunk at byte \(start) comes before the \"fmt \" chunk"
                )
            }
            let isUnbounded = size == 0 || size >= Self.unboundedSizeMin
            return DataChunk(format: format, byteCount: isUnbounded ? nil : Int64(size))
        }
        let length = Int64(size)
        guard offset + length <= Int64(AudioDecoder.headerBytesMax) else {
            throw AudioError(
                .headerTooLong,
                """
                the WAV chunk \"\(name)\" at byte \(start) has \(length) bytes; \
                the \"data\" chunk must begin within \(AudioDecoder.headerBytesMax) bytes
                """
            )
        }
        if name == "fmt " {
            guard length >= Self.formatLengthMin else {
                throw AudioError(
                    .malformedHeader,
                    "the WAV \"fmt \" chunk at byte \(start) has \(length) bytes; at least 16 needed"
                )
            }
            next(.format(length: length))
        } else {
            next(.skip(length + length % 2))
        }
        return nil
    }

    private func readFormat(length: Int64) throws(AudioError) -> AudioFormat {
        let start = offset - Int64(buffer.count)
        let tag = number16(0) == 0xFFFE ? try extensibleTag(length: length, start: start) : number16(0)
        let bits = number16(14)
        guard let encoding = encodingOfWAV(tag: tag, bits: bits) else {
            throw AudioError(
                .unsupportedFormat,
                """
                WAV format tag 0x\(String(tag, radix: 16)) with \(bits) bits per sample (at byte \(start)) is not \
                supported; supported: PCM (1) with 8, 16, 24 or 32 bits, IEEE float (3) with 32 bits, A-law (6) and \
                mu-law (7) with 8 bits
                """
            )
        }
        let format: AudioFormat
        do {
            format = try AudioFormat(
                encoding: encoding,
                sampleRate: Int(number32(4)),
                channels: Int(number16(2))
            )
        } catch {
            throw AudioError(error.code, "in the WAV \"fmt \" chunk at byte \(start): \(error.message)")
        }
        guard Int(number16(12)) == format.bytesPerFrame else {
            throw AudioError(
                .malformedHeader,
                """
                the WAV \"fmt \" chunk at byte \(start) says \(number16(12)) bytes per frame; \
                \(format.channels) channels of \(bits) bits are \(format.bytesPerFrame)
                """
            )
        }
        return format
    }

    /// The format tag inside WAVE_FORMAT_EXTENSIBLE's GUID.
    private func extensibleTag(length: Int64, start: Int64) throws(AudioError) -> UInt16 {
        guard length >= Self.formatLengthUsed else {
            throw AudioError(
                .malformedHeader,
                "the extensible WAV \"fmt \" chunk at byte \(start) has \(length) bytes; at least 40 needed"
            )
        }
        let family: [UInt8] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]
        guard buffer[26..<40].elementsEqual(family) else {
            let found = buffer[24..<40].map { hexadecimal($0) }.joined()
            throw AudioError(
                .unsupportedFormat,
                """
                the WAV sub-format \(found) at byte \(start + 24) is not supported; \
                supported: PCM, IEEE float, A-law, mu-law
                """
            )
        }
        return number16(24)
    }

    private func text(_ at: Int) -> String {
        String(decoding: buffer[at..<at + 4].map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }

    private func number16(_ at: Int) -> UInt16 { UInt16(buffer[at]) | UInt16(buffer[at + 1]) << 8 }

    private func number32(_ at: Int) -> UInt32 { UInt32(number16(at)) | UInt32(number16(at + 2)) << 16 }
}

/// The format tags of mmreg.h that are read.
private func encodingOfWAV(tag: UInt16, bits: UInt16) -> AudioEncoding? {
    switch (tag, bits) {
    case (1, 8): .wavUnsigned8
    case (1, 16): .linear16
    case (1, 24): .wavSigned24
    case (1, 32): .wavSigned32
    case (3, 32): .linear32
    case (6, 8): .alaw
    case (7, 8): .mulaw
    default: nil
    }
}

/// The name of a container or codec that is known but not read, by its first 12 bytes.
private func containerName(_ head: [UInt8]) -> String? {
    let magics: [(offset: Int, bytes: [UInt8], name: String)] = [
        (0, Array("OggS".utf8), "Ogg (Opus, Vorbis, Speex)"),
        (0, Array("fLaC".utf8), "FLAC"),
        (0, [0x1A, 0x45, 0xDF, 0xA3], "WebM or Matroska"),
        (0, Array("ID3".utf8), "MP3"),
        (4, Array("ftyp".utf8), "MP4 or M4A"),
        (0, Array("FORM".utf8), "AIFF"),
        (0, Array("#!AMR".utf8), "AMR"),
        (0, Array(".snd".utf8), "Sun audio (.au)"),
        (0, Array("caff".utf8), "Core Audio Format"),
        (0, Array("RIFX".utf8), "big-endian WAV (RIFX)"),
        (0, Array("RF64".utf8), "64-bit WAV (RF64)"),
        (0, Array("RIFF".utf8), "RIFF of another kind than WAVE"),
    ]
    if let match = magics.first(where: { head.dropFirst($0.offset).starts(with: $0.bytes) }) { return match.name }
    // MPEG audio: eleven sync bits, then version, layer.
    if head[0] == 0xFF && head[1] & 0xF6 == 0xF0 { return "AAC (ADTS)" }
    if head[0] == 0xFF && head[1] & 0xE0 == 0xE0 && head[1] & 0x06 != 0 && head[1] & 0x18 != 0x08 { return "MP3" }
    return nil
}

private func hexadecimal(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
}
