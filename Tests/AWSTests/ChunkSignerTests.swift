import Crypto
import Foundation
import Testing

@testable import AWS

@Suite struct ChunkSignerTests {
    private struct Chain: Decodable {
        struct Chunk: Decodable {
            var milliseconds: Int64
            /// Empty is the end.
            var audio: String
            var frame: String
        }
        var secret: String
        var region: String
        var seed: String
        var chunks: [Chunk]
    }

    private static let credentials = AWSCredentials(accessKeyID: "AKID", secretAccessKey: "topsecret")
    private static let date = Date(timeIntervalSince1970: 1_440_938_160.125)

    private func signer() -> ChunkSigner {
        ChunkSigner(
            credentials: Self.credentials, region: "eu-west-1", service: "transcribe",
            seed: Array(repeating: 7, count: 32))
    }

    @Test(
        .enabled(if: TranscribeReference.isNeeded, "needs .venvs/tests, which `make venv` makes"),
        .timeLimit(.minutes(10)))
    func fiveHundredRandomChainsAreSignedAlike() throws {
        let chains = try TranscribeReference.lines(of: Chain.self, ["chunks", "44", "500"])
        #expect(chains.count == 500)
        for chain in chains {
            var signer = ChunkSigner(
                credentials: AWSCredentials(accessKeyID: "AKID", secretAccessKey: chain.secret),
                region: chain.region, service: "transcribe", seed: [UInt8](hexadecimal: chain.seed))
            for chunk in chain.chunks {
                let date = Date(timeIntervalSince1970: Double(chunk.milliseconds) / 1_000)
                var buffer: [UInt8] = []
                if chunk.audio.isEmpty {
                    signer.appendEnd(at: date, to: &buffer)
                } else {
                    [UInt8](hexadecimal: chunk.audio).withUnsafeBytes { signer.append($0, at: date, to: &buffer) }
                }
                guard buffer.hexadecimal == chunk.frame else {
                    Issue.record("differs at \(chunk.milliseconds): \(chain.region), \(chain.seed)")
                    return
                }
            }
        }
    }

    @Test func aSignedMessageHoldsTheWholeInnerOne() throws {
        var signer = signer()
        var buffer: [UInt8] = [1]
        [UInt8](arrayLiteral: 1, 2, 3, 4).withUnsafeBytes { signer.append($0, at: Self.date, to: &buffer) }
        #expect(buffer.count == 1 + ChunkSigner.overheadBytes + TranscribeAudio.overheadBytes + 4)
        let outer = try EventStreamMessage(decoding: Array(buffer[1...]))
        #expect(outer.headers.map(\.name) == [":date", ":chunk-signature"])
        #expect(outer[":date"] == .timestamp(milliseconds: 1_440_938_160_125))
        let inner = try EventStreamMessage(decoding: outer.payload)
        #expect(inner == EventStreamMessage(headers: EventStreamTests.audioHeaders, payload: [1, 2, 3, 4]))

        var end: [UInt8] = []
        signer.appendEnd(at: Self.date, to: &end)
        #expect(end.count == ChunkSigner.overheadBytes)
        #expect(try EventStreamMessage(decoding: end).payload == [])
    }

    /// Computed step by step as the documentation has it, without the signer.
    @Test func theSignatureIsThatOfTheDocumentation() throws {
        var signer = signer()
        var buffer: [UInt8] = []
        signer.appendEnd(at: Self.date, to: &buffer)
        let date: [UInt8] = [5] + Array(":date".utf8) + [8] + [UInt8](hexadecimal: "0000014f7e9b6ffd")
        let text = """
            AWS4-HMAC-SHA256-PAYLOAD\n20150830T123600Z\n20150830/eu-west-1/transcribe/aws4_request\n\
            \(String(repeating: "07", count: 32))\n\(SHA256.hash(date).hexadecimal)\n\(SHA256.hash([]).hexadecimal)
            """
        let key = SigningKeys.derive(
            secret: "topsecret", day: "20150830", region: "eu-west-1", service: "transcribe")
        let expected = HMACSHA256.authenticate(Array(text.utf8), key: key)
        #expect(try EventStreamMessage(decoding: buffer)[":chunk-signature"] == .bytes(expected))
    }

    @Test func eachSignatureDependsOnTheOneBefore() throws {
        var signer = signer()
        var first: [UInt8] = []
        var second: [UInt8] = []
        signer.appendEnd(at: Self.date, to: &first)
        let copy = signer
        signer.appendEnd(at: Self.date, to: &second)
        #expect(first != second)
        // A value: the copy goes on from where it was made.
        var again: [UInt8] = []
        var other = copy
        other.appendEnd(at: Self.date, to: &again)
        #expect(again == second)
    }

    @Test func theChainBeginsWithTheHandshake() throws {
        let signer = SigV4(
            credentials: Self.credentials, region: "eu-west-1", service: "transcribe", date: Self.date)
        let target = try TranscribeStreamingRequest(sampleRate: 16_000, language: .code("en-US")).target(
            origin: "http://h", signer: signer)
        #expect(target.signature.count == 32)
        var chunks = ChunkSigner(signer: signer, target: target)
        var same = ChunkSigner(
            credentials: Self.credentials, region: "eu-west-1", service: "transcribe", seed: target.signature)
        var buffers: [[UInt8]] = [[], []]
        chunks.appendEnd(at: Self.date, to: &buffers[0])
        same.appendEnd(at: Self.date, to: &buffers[1])
        #expect(buffers[0] == buffers[1])
    }

    @Test func secretsAreNotShown() {
        var signer = signer()
        var buffer: [UInt8] = []
        signer.appendEnd(at: Self.date, to: &buffer)
        var dumped = "\(signer) \(String(reflecting: signer))"
        dump([signer], to: &dumped)
        #expect(!dumped.contains("topsecret") && !dumped.contains("AKID") && !dumped.contains("key"))
    }
}
