import Foundation
import Testing

@testable import HansardCommand

/// The bytes of a WAV file's beginning.
func wavHeader(
    rate: Int = 16_000,
    channels: Int = 1,
    bitsPerSample: Int = 16,
    before: [(id: String, size: Int)] = []
) -> [UInt8] {
    func little(_ number: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }
    let frame = channels * bitsPerSample / 8
    var bytes = Array("RIFF".utf8) + little(0, 4) + "WAVE".utf8
    bytes += Array("fmt ".utf8) + little(16, 4) + little(1, 2) + little(channels, 2) + little(rate, 4)
    bytes += little(rate * frame, 4) + little(frame, 2) + little(bitsPerSample, 2)
    for (id, size) in before {
        bytes += Array(id.utf8) + little(size, 4) + [UInt8](repeating: 0, count: size + size % 2)
    }
    return bytes + "data".utf8 + little(1 << 30, 4)
}

struct WAVPaceTests {
    @Test func aPlainHeaderIsRead() {
        let pace = WAVPace(audioOffset: 44, bytesPerSecond: 32_000, bytesPerFrame: 2)
        #expect(WAVPace.read(wavHeader()) == .complete(pace))
        #expect(WAVPace.read(wavHeader() + [1, 2, 3]) == .complete(pace))
    }

    @Test func otherChunksAreSkippedWithTheirPadding() {
        let header = wavHeader(rate: 44_100, channels: 2, before: [("LIST", 26), ("odd ", 3)])
        let pace = WAVPace(audioOffset: 44 + 34 + 12, bytesPerSecond: 176_400, bytesPerFrame: 4)
        #expect(WAVPace.read(header) == .complete(pace))
        #expect(header.count == pace.audioOffset)
    }

    @Test func everyBeginningOfAHeaderNeedsMore() {
        let header = wavHeader(before: [("LIST", 5)])
        for count in 0..<header.count { #expect(WAVPace.read(Array(header[..<count])) == .needsMore) }
    }

    @Test func whatIsNoWAVIsToldFromTheFirstByte() {
        #expect(WAVPace.read(Array("ID3".utf8)) == .malformed("it does not begin like a WAV file"))
        #expect(WAVPace.read(Array("RIFF\0\0\0\0AVI ".utf8)) == .malformed("it does not begin like a WAV file"))
        var noFormat = wavHeader()
        noFormat.removeSubrange(12..<36)
        #expect(WAVPace.read(noFormat) == .malformed("its audio comes before its format"))
        #expect(WAVPace.read(wavHeader(rate: 0)) == .malformed("its format has no bytes per second"))
        var short = wavHeader()
        short[16] = 4
        #expect(WAVPace.read(short) == .malformed("its format is too short"))
    }

    @Test func endlessHeadersAreGivenUp() {
        let header = wavHeader(before: [("junk", 2 << 20)])
        #expect(WAVPace.read(Array(header[..<WAVPace.maximumHeaderBytes])) == .malformed("its header is too long"))
    }

    @Test func theAudioOfTheTestsIsRead() throws {
        let folder = URL(filePath: #filePath).appending(path: "../../../../shared/audio").standardized
        let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        for file in files where file.pathExtension == "wav" {
            let bytes = Array(try Data(contentsOf: file).prefix(4_096))
            guard case .complete(let pace) = WAVPace.read(bytes) else {
                Issue.record("\(file.path) is not read")
                continue
            }
            #expect(pace.bytesPerSecond == 32_000)
        }
    }
}

struct AudioPacingTests {
    let pace = WAVPace(audioOffset: 44, bytesPerSecond: 32_000, bytesPerFrame: 2)

    @Test func piecesAreATenthOfASecondByTheClock() {
        var pacing = AudioPacing(pace: pace)
        #expect(pacing.nextPieceBytes == 44 + 3_200)
        #expect(pacing.nextPieceDue == .zero)
        pacing.sent(3_244)
        for number in 1...50 {
            #expect(pacing.nextPieceBytes == 3_200)
            #expect(pacing.nextPieceDue == .milliseconds(100 * number))
            pacing.sent(3_200)
        }
        #expect(pacing.sentAudio == .milliseconds(5_100))
    }

    @Test func oddRatesDoNotDrift() {
        // 11,025 Hz, stereo, 24 bits: a tenth of a second is 1,102.5 frames.
        let odd = WAVPace(audioOffset: 100, bytesPerSecond: 66_150, bytesPerFrame: 6)
        var pacing = AudioPacing(pace: odd)
        var total = 0
        for _ in 0..<1_000 {
            total += pacing.nextPieceBytes
            #expect((total - 100) % 6 == 0)
            pacing.sent(pacing.nextPieceBytes)
        }
        #expect(pacing.sentBytes == total)
        #expect(total - 100 == 66_150 * 100)
        #expect(pacing.nextPieceDue == .seconds(100))
    }

    @Test func partsOfAPieceAreDueTogether() {
        var pacing = AudioPacing(pace: pace)
        pacing.sent(44)
        #expect(pacing.nextPieceDue == .zero)
        #expect(pacing.nextPieceBytes == 3_200)
        pacing.sent(3_199)
        #expect(pacing.nextPieceBytes == 1)
        pacing.sent(1 + 6_400)
        #expect(pacing.nextPieceDue == .milliseconds(300))
    }

    @Test func slowFormatsAdvanceByFrames() {
        var pacing = AudioPacing(pace: WAVPace(audioOffset: 44, bytesPerSecond: 5, bytesPerFrame: 1))
        pacing.sent(pacing.nextPieceBytes)
        #expect(pacing.nextPieceBytes == 1)
        #expect(pacing.nextPieceDue == .milliseconds(100))
    }

    @Test func fastHasNoSchedule() {
        var pacing = AudioPacing(pace: nil)
        for _ in 0..<10 {
            #expect(pacing.nextPieceBytes == AudioPacing.fastPieceBytes)
            #expect(pacing.nextPieceDue == .zero)
            pacing.sent(AudioPacing.fastPieceBytes)
        }
    }
}
