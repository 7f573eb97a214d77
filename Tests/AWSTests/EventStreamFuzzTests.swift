import Foundation
import Testing

@testable import AWS

/// Frames as a broken or hostile peer may send them: each is read or refused, never more.
@Suite struct EventStreamFuzzTests {
    /// `HANSARD_FUZZ_ROUNDS` asks for more, and `HANSARD_FUZZ_SEED` for others.
    private static let rounds = number("HANSARD_FUZZ_ROUNDS") ?? 50_000
    private static let seed = number("HANSARD_FUZZ_SEED") ?? 1

    private static func number(_ variable: String) -> Int? {
        ProcessInfo.processInfo.environment[variable].flatMap { Int($0) }
    }

    private struct Tally {
        var read = 0
        var refused = 0
    }

    /// Frames that the service may send, and any others.
    private static func frames(_ random: inout SeededGenerator) throws -> [[UInt8]] {
        func frame(_ headers: [(String, String)], _ payload: String) throws -> [UInt8] {
            try EventStreamMessage(
                headers: headers.map { .init($0.0, .string($0.1)) }, payload: Array(payload.utf8)
            ).encoded()
        }
        let transcript =
            #"{"Transcript":{"Results":[{"ResultId":"r","StartTime":1.65,"EndTime":4.1,"IsPartial":true}]}}"#
        let result = [(":message-type", "event"), (":event-type", "TranscriptEvent"), (":content-type", "a/b")]
        let failure = [(":message-type", "exception"), (":exception-type", "BadRequestException")]
        var frames = [
            try frame(result, transcript), try frame(failure, #"{"Message":"no \u00e4"}"#),
            try EventStreamTests.everyType.encoded(), [UInt8](hexadecimal: EventStreamTests.emptyAudio),
        ]
        for _ in 0..<60 { frames.append(try EventStreamMessage.random(&random).encoded()) }
        return frames
    }

    /// One frame, made from a valid one.
    private static func fuzzed(_ frame: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: return frame
        case 1: return Array(frame.prefix(Int.random(in: 0...frame.count, using: &random)))
        case 2: return random.mutated(frame)
        case 3:
            return (0..<Int.random(in: 0...80, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        case 4:
            // A wrong length of the headers under right checksums.
            var bytes = Array(frame.dropLast(4))
            EventStreamMessage.seal(
                &bytes, from: 0, headersCount: Int.random(in: 0...(frame.count + 8), using: &random))
            return bytes
        default:
            // Wrong headers or payload under right lengths and checksums: nothing but the reading itself can find it.
            let count = Int(frame.withUnsafeBytes { $0.bigEndian(at: 4) as UInt32 })
            let headers = frame[12..<(12 + count)]
            let payload = frame[(12 + count)..<(frame.count - 4)]
            return Bool.random(using: &random)
                ? EventStreamTests.sealed(headers: random.mutated(Array(headers)), payload: Array(payload))
                : EventStreamTests.sealed(headers: Array(headers), payload: random.mutated(Array(payload)))
        }
    }

    /// Reads a frame out of memory that ends where the frame does, and checks what was read.
    private static func read(_ frame: [UInt8], into tally: inout Tally) throws {
        // On the heap by itself, a byte too far is seen by AddressSanitizer.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: frame.count, alignment: 1)
        defer { memory.deallocate() }
        memory.copyBytes(from: frame)
        let bytes = UnsafeRawBufferPointer(memory)
        _ = try? TranscribeEvent(decoding: bytes)
        guard let message = try? EventStreamMessage(decoding: bytes) else {
            tally.refused += 1
            return
        }
        tally.read += 1
        let written = try message.encoded()
        if written != frame { Issue.record("another frame was written than was read: \(frame)") }
    }

    @Test func eachFrameIsReadOrRefused() throws {
        var random = SeededGenerator(seed: UInt64(Self.seed))
        var frames = try Self.frames(&random)
        var tally = Tally()
        for round in 0..<Self.rounds {
            if round % 10_000 == 9_999 { frames = try Self.frames(&random) }
            let frame = Self.fuzzed(frames[Int.random(in: 0..<frames.count, using: &random)], &random)
            try Self.read(frame, into: &tally)
        }
        #expect(tally.read + tally.refused == Self.rounds)
        // Frames that nobody touched are an eighth, and those with another payload about a fifth.
        #expect(tally.read > Self.rounds / 5 && tally.refused > Self.rounds / 5, "\(tally)")
    }
}
