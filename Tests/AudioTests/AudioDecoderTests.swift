import Audio
import Testing

@Suite struct AudioDecoderTests {
    private let allCodes = (0...255).map { UInt8($0) }
    private let ramp: [Int16] = [0, 1, -1, 2, -2, 127, -128, 255, -256, 12_345, -12_345, 32_767, -32_768, 7]

    // MARK: Raw audio

    @Test func mulawAndAlawAreTheTablesOfG711() throws {
        var mulaw = AudioDecoder(format: try AudioFormat(encoding: .mulaw, sampleRate: 8_000))
        #expect(try mulaw.decodeAll(allCodes) == G711Vectors.mulaw)
        var alaw = AudioDecoder(format: try AudioFormat(encoding: .alaw, sampleRate: 8_000))
        #expect(try alaw.decodeAll(allCodes) == G711Vectors.alaw)
        #expect(alaw.frames == 256)
        // Values printed in G.711's own tables, scaled to 16 bits: the ends and the smallest steps.
        #expect(G711Vectors.mulaw[0x80] == 32_124 && G711Vectors.mulaw[0xFF] == 0)
        #expect(G711Vectors.alaw[0xD5] == 8 && G711Vectors.alaw[0xAA] == 32_256)
    }

    @Test(arguments: [1, 2, 3, 5, 1_000]) func linear16SurvivesAnyCut(piece: Int) throws {
        var decoder = AudioDecoder(format: try AudioFormat(encoding: .linear16, sampleRate: 16_000))
        #expect(try decoder.decodeAll(little16(ramp) + [0x55], piece: piece) == ramp)
        #expect(decoder.frames == Int64(ramp.count))
        #expect(decoder.carriedBytes == 1)
        try decoder.finish()
    }

    @Test func linear16FromAnOddAddress() throws {
        var decoder = AudioDecoder(format: try AudioFormat(encoding: .linear16, sampleRate: 16_000))
        var samples: [Int16] = []
        let bytes = [0x99] + little16(ramp)
        try bytes.withUnsafeBytes { raw in
            _ = try decoder.decode(UnsafeRawBufferPointer(rebasing: raw.dropFirst()), appendingTo: &samples)
        }
        #expect(samples == ramp)
    }

    @Test func linear32IsFloat() throws {
        let floats: [Float] = [0, 0.5, -0.5, 1, -1, 1.5, -7, .nan, .infinity, -.infinity, 1 / 32_768, 0.4 / 32_768]
        let expected: [Int16] = [
            0, 16_384, -16_384, 32_767, -32_768, 32_767, -32_768, 0, 32_767, -32_768, 1, 0,
        ]
        var decoder = AudioDecoder(format: try AudioFormat(encoding: .linear32, sampleRate: 48_000))
        #expect(try decoder.decodeAll(floats.flatMap { little($0.bitPattern) }, piece: 3) == expected)
    }

    @Test func framesOfTwoChannelsStayTogether() throws {
        var decoder = AudioDecoder(format: try AudioFormat(encoding: .linear16, sampleRate: 44_100, channels: 2))
        let samples = try decoder.decodeAll(Array(little16(ramp).dropLast()), piece: 3)
        #expect(samples == Array(ramp.dropLast(2)))
        #expect(decoder.frames == 6)
        #expect(decoder.carriedBytes == 3)
    }

    @Test func aCallOnWholeFramesKeepsTheArraysStorage() throws {
        var decoder = AudioDecoder(format: try AudioFormat(encoding: .linear16, sampleRate: 16_000))
        var samples: [Int16] = []
        samples.reserveCapacity(ramp.count)
        let storage = samples.withUnsafeBufferPointer { $0.baseAddress }
        for _ in 0..<100 {
            samples.removeAll(keepingCapacity: true)
            _ = try little16(ramp).withUnsafeBytes { try decoder.decode($0, appendingTo: &samples) }
        }
        #expect(samples.withUnsafeBufferPointer { $0.baseAddress } == storage)
        #expect(samples == ramp)
    }

    @Test func formatsOutOfRangeAreRefusedWithTheRange() {
        #expect(throws: AudioError.self) { try AudioFormat(encoding: .linear16, sampleRate: 7_999) }
        #expect(throws: AudioError.self) { try AudioFormat(encoding: .linear16, sampleRate: 48_001) }
        #expect(throws: AudioError.self) { try AudioFormat(encoding: .linear16, sampleRate: 8_000, channels: 0) }
        let error = #expect(throws: AudioError.self) {
            try AudioFormat(encoding: .linear16, sampleRate: 8_000, channels: 21)
        }
        #expect(error?.message == "21 channels are not supported; supported: 1 to 20")
    }

    @Test func durationIsExact() throws {
        let format = try AudioFormat(encoding: .mulaw, sampleRate: 44_100)
        #expect(format.duration(ofFrames: 44_100 * 3_600 * 24) == .seconds(86_400))
        #expect(format.duration(ofFrames: 22_050) == .milliseconds(500))
    }

    // MARK: WAV

    @Test(arguments: [false, true]) func everyWAVEncoding(isExtensible: Bool) throws {
        let cases: [(tag: UInt16, bits: UInt16, data: [UInt8], expected: [Int16], encoding: AudioEncoding)] = [
            (1, 16, little16(ramp), ramp, .linear16),
            (1, 8, [0, 1, 127, 128, 129, 255], [-32_768, -32_512, -256, 0, 256, 32_512], .wavUnsigned8),
            (1, 24, [0xFF, 0x34, 0x12, 0x00, 0x00, 0x80, 0xFF, 0xFF, 0xFF], [0x1234, -32_768, -1], .wavSigned24),
            (
                1, 32, little(Int32(0x1234_FFFF)) + little(Int32.min) + little(Int32(-1)), [0x1234, -32_768, -1],
                .wavSigned32
            ),
            (3, 32, little(Float(0.25).bitPattern), [8_192], .linear32),
            (6, 8, allCodes, G711Vectors.alaw, .alaw),
            (7, 8, allCodes, G711Vectors.mulaw, .mulaw),
        ]
        for sample in cases {
            var wav = WAVBytes(tag: sample.tag, bits: sample.bits, isExtensible: isExtensible, data: sample.data)
            wav.trailer = Array("LIST".utf8) + little(UInt32(4)) + [1, 2, 3, 4]
            for piece in [1, 7, .max] {
                var decoder = AudioDecoder()
                #expect(try decoder.decodeAll(wav.bytes, piece: piece) == sample.expected)
                #expect(decoder.format == (try AudioFormat(encoding: sample.encoding, sampleRate: 16_000)))
                try decoder.finish()
            }
        }
    }

    @Test func everySplitPosition() throws {
        var wav = WAVBytes(channels: 2, sampleRate: 44_100, data: little16(ramp))
        wav.chunksBefore = [("JUNK", [1, 2, 3]), ("bext", [UInt8](repeating: 9, count: 100))]
        wav.trailer = [9, 9, 9]
        let bytes = wav.bytes
        for split in 0...bytes.count {
            var decoder = AudioDecoder()
            var samples = try decoder.decodeAll(Array(bytes[..<split]))
            samples += try decoder.decodeAll(Array(bytes[split...]))
            #expect(samples == ramp, "split at \(split)")
            #expect(decoder.frames == 7)
            #expect(decoder.format?.channels == 2)
        }
    }

    @Test(arguments: [0, 0xFFFF_FFFF, 0x7FFF_F000] as [UInt32]) func streamingSizesMeanUntilTheEnd(size: UInt32) throws
    {
        let wav = WAVBytes(dataSize: size, data: little16(ramp))
        var decoder = AudioDecoder()
        #expect(try decoder.decodeAll(wav.bytes + little16(ramp), piece: 11) == ramp + ramp)
    }

    @Test func aDataChunkThatEndsInsideAFrameKeepsItsWholeFrames() throws {
        let wav = WAVBytes(dataSize: 5, data: little16([1, 2, 3, 4]))
        var decoder = AudioDecoder()
        #expect(try decoder.decodeAll(wav.bytes, piece: 1) == [1, 2])
    }

    @Test func formatIsUnknownUntilTheHeaderIsComplete() throws {
        let wav = WAVBytes(data: little16(ramp))
        var decoder = AudioDecoder()
        _ = try decoder.decodeAll(Array(wav.header.dropLast()))
        #expect(decoder.format == nil)
        #expect(decoder.carriedBytes == 7)
        _ = try decoder.decodeAll([wav.header.last ?? 0])
        #expect(decoder.format?.sampleRate == 16_000)
        #expect(decoder.carriedBytes == 0)
    }

    // MARK: Errors

    private func failure(_ bytes: [UInt8], piece: Int = .max) throws -> AudioError? {
        var decoder = AudioDecoder()
        let error = #expect(throws: AudioError.self) {
            _ = try decoder.decodeAll(bytes, piece: piece)
            try decoder.finish()
        }
        let again = #expect(throws: AudioError.self) { _ = try decoder.decodeAll([1]) }
        #expect(again == error, "a decoder that failed says so again")
        return error
    }

    @Test(arguments: [
        ("OggS", "Ogg (Opus, Vorbis, Speex)"), ("fLaC", "FLAC"), ("ID3", "MP3"), ("RIFX", "RIFX"), ("RF64", "RF64"),
        ("#!AMR", "AMR"), ("{type:KeepAlive", "not a WAV file: the first bytes are 7b 74"), ("    ftypM4A ", "MP4"),
        ("RIFF    AVI ", "RIFF of another kind"),
    ]) func otherContainersAreNamed(head: String, expected: String) throws {
        let bytes = Array(head.utf8) + [UInt8](repeating: 0, count: 12)
        let error = try failure(bytes, piece: 5)
        #expect(error?.code == .unsupportedContainer)
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
        #expect(error?.message.contains("WAV") == true && error?.message.contains("encoding=") == true)
    }

    @Test func binaryMagicsAreNamed() throws {
        let rest = [UInt8](repeating: 0, count: 12)
        #expect(try failure([0x1A, 0x45, 0xDF, 0xA3] + rest)?.message.hasPrefix("WebM") == true)
        #expect(try failure([0xFF, 0xFB, 0x90] + rest)?.message.hasPrefix("MP3") == true)
        #expect(try failure([0xFF, 0xF1, 0x50] + rest)?.message.hasPrefix("AAC") == true)
    }

    @Test func headersCutShortSayWhere() throws {
        let bytes = WAVBytes(data: []).header
        for length in 1..<bytes.count {
            let error = try failure(Array(bytes[..<length]))
            #expect(error?.code == .truncatedHeader)
            #expect(error?.message.contains("after \(length) bytes") == true, "\(error?.message ?? "")")
        }
        var empty = AudioDecoder()
        try empty.finish()
    }

    @Test func contradictionsAreNamed() throws {
        #expect(try failure(WAVBytes(tag: 2, bits: 4).bytes)?.message.contains("format tag 0x2 with 4 bits") == true)
        #expect(try failure(WAVBytes(bits: 12).bytes)?.code == .unsupportedFormat)
        #expect(try failure(WAVBytes(sampleRate: 96_000).bytes)?.message.contains("96000 Hz") == true)
        #expect(try failure(WAVBytes(channels: 21).bytes)?.message.contains("21 channels") == true)
        #expect(try failure(WAVBytes(channels: 0).bytes)?.message.contains("0 channels") == true)
        var wrongFrame = WAVBytes(channels: 2).bytes
        wrongFrame[32] = 2
        #expect(try failure(wrongFrame)?.message.contains("says 2 bytes per frame") == true)
        var unknownSubformat = WAVBytes(isExtensible: true).bytes
        unknownSubformat[50] = 0x77
        #expect(try failure(unknownSubformat)?.message.contains("at byte 44") == true)
        let dataFirst = Array("RIFF\0\0\0\0WAVEdata\0\0\0\0".utf8)
        #expect(try failure(dataFirst)?.message.contains("before the \"fmt \" chunk") == true)
        let shortFormat = Array("RIFF\0\0\0\0WAVEfmt ".utf8) + little(UInt32(15))
        #expect(try failure(shortFormat)?.message.contains("has 15 bytes") == true)
    }

    @Test func aHeaderWithoutEndIsRefused() throws {
        var wav = WAVBytes()
        wav.chunksBefore = [("LIST", [UInt8](repeating: 1, count: AudioDecoder.headerBytesMax))]
        #expect(try failure(wav.bytes)?.code == .headerTooLong)
        // Many small chunks run into the same limit.
        let chunk = Array("JUNK".utf8) + little(UInt32(8)) + [UInt8](repeating: 0, count: 8)
        let many = Array("RIFF\0\0\0\0WAVE".utf8) + (0..<70_000).flatMap { _ in chunk }
        #expect(try failure(many, piece: 4_096)?.code == .headerTooLong)
    }

    // MARK: Fuzz

    @Test func mutatedFilesNeitherCrashNorGrow() throws {
        var random = SeededGenerator(state: 7)
        let seeds = [
            WAVBytes(channels: 2, isExtensible: true, data: little16(ramp)).bytes,
            WAVBytes(bits: 24, chunksBefore: [("LIST", [1, 2, 3])], data: allCodes).bytes,
            WAVBytes(tag: 7, sampleRate: 8_000, bits: 8, dataSize: 0, data: allCodes).bytes,
        ]
        var read = 0
        var samples: [Int16] = []
        for round in 0..<100_000 {
            var bytes = seeds[round % seeds.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                // Most of the mutations hit the header, where the decisions are.
                let position = Int.random(
                    in: 0..<min(bytes.count, Bool.random(using: &random) ? 80 : .max),
                    using: &random
                )
                bytes[position] = UInt8.random(in: .min ... .max, using: &random)
            }
            if round % 5 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            samples.removeAll(keepingCapacity: true)
            var decoder = AudioDecoder()
            let cut = Int.random(in: 0...bytes.count, using: &random)
            do {
                _ = try bytes[..<cut].withUnsafeBytes { try decoder.decode($0, appendingTo: &samples) }
                _ = try bytes[cut...].withUnsafeBytes { try decoder.decode($0, appendingTo: &samples) }
                try decoder.finish()
                read += 1
            } catch is AudioError {}
            guard samples.count <= bytes.count, decoder.carriedBytes <= 160 else {
                Issue.record("round \(round): \(samples.count) samples of \(bytes.count) bytes")
                return
            }
        }
        #expect(read > 10_000, "most mutations of the samples leave a file that can be read")
    }
}
