import EventLoops
import Foundation
import Testing

@testable import Web

@Suite struct ClientFrameTests {
    private func frame(_ opcode: ClientFrame.Opcode, _ payload: [UInt8], key: MaskKey) -> [UInt8] {
        payload.withUnsafeBytes { payload in
            [UInt8](unsafeUninitializedCapacity: payload.count + ClientFrame.largestHeader) { buffer, count in
                guard let start = buffer.baseAddress else { return }
                count = ClientFrame(opcode: opcode, payload: payload, key: key).write(to: start)
            }
        }
    }

    @Test func writesTheExampleOfTheStandard() {
        // RFC 6455 section 5.7: "A single-frame masked text message".
        let bytes = frame(.text, Array("Hello".utf8), key: MaskKey(bits: 0x37fa_213d))
        #expect(bytes == [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58])
    }

    @Test(
        arguments: [
            (0, [0x80]), (1, [0x81]), (7, [0x87]), (8, [0x88]), (9, [0x89]), (125, [0xfd]),
            (126, [0xfe, 0, 126]), (3_201, [0xfe, 0x0c, 0x81]), (65_535, [0xfe, 0xff, 0xff]),
            (65_536, [0xff, 0, 0, 0, 0, 0, 1, 0, 0]), (70_003, [0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x73]),
        ] as [(Int, [UInt8])])
    func framesEachLengthAndMasksEachByte(count: Int, length: [UInt8]) {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        let key: [UInt8] = [0x80, 0x01, 0xfe, 0x7f]
        let bytes = frame(.binary, payload, key: MaskKey(bits: 0x8001_fe7f))
        let header = [0x82] + length + key
        #expect(Array(bytes.prefix(header.count)) == header)
        #expect(bytes.dropFirst(header.count).enumerated().map { $1 ^ key[$0 % 4] } == payload)
    }

    @Test func masksWhatBeginsAndEndsAnywhere() {
        let source = (0..<64).map { UInt8($0) }
        let key = MaskKey(bits: 0x0102_0304)
        for (start, end) in (0..<9).flatMap({ start in (start..<30).map { (start, $0) } }) {
            let part = Array(source[start..<end])
            let masked = source.withUnsafeBytes { source in
                [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
                    guard let base = buffer.baseAddress else { return }
                    key.mask(UnsafeRawBufferPointer(rebasing: source[start..<end]), to: base + 3)
                    base.initialize(repeating: 0, count: 3)
                    count = 3 + part.count
                }
            }
            #expect(masked.dropFirst(3).enumerated().map { $1 ^ UInt8($0 % 4 + 1) } == part)
        }
    }

    @Test func keysDoNotRepeat() {
        let keys = MaskKeys()
        // Of 500 keys, several batches, two alike come once in 34,000 runs; of 500 constant or counted ones far more.
        let seen = (0..<500).map { _ in keys.next().bits }
        #expect(Set(seen).count >= 498)
        // Each bit is set in about half of them: 170 and 330 are more than seven standard deviations away.
        for bit in 0..<32 { #expect((170...330).contains(seen.count { $0 >> bit & 1 == 1 })) }
    }
}

/// What a client's frames must survive: parts that wait for a slow reader, and the library's own frames between them.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ClientFramesOnTheWireTests {
    @Test func aSlowReaderGetsAllMessagesWholeAndInOrder() async throws {
        try await withServer(limits: SlowReading.limits) { server in
            try await SlowReading.check(server, isTLS: false)
        }
    }
}

/// A client that sends far more than the system takes while the server does not read.
enum SlowReading {
    /// Room for all of it, and a ping of each side in the middle.
    static var limits: WebLimits {
        var limits = WebLimits()
        limits.maxMessageBytes = 4 << 20
        limits.sendQueueBytes = 64 << 20
        limits.pingInterval = .milliseconds(50)
        limits.pongTimeout = .seconds(60)
        return limits
    }

    static func check(_ server: TestServer, isTLS: Bool) async throws {
        var request = WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: server.port, target: "/", isTLS: isTLS),
            trust: WebSocketTrust(verifies: false), limits: limits)
        request.connectTimeout = .seconds(60)
        let (sender, _) = try await connect(request, on: server.loops[0])
        let reader = try await server.acceptor.record()
        _ = try await reader.onLoop { $0.pauseReading() }
        let messages = messages
        let (outcomes, queued) = try await sender.onLoop { socket in
            let outcomes = messages.enumerated().map { index, message in
                socket.send(text: "message \(index)")
                return socket.send(binary: message)
            }
            return (outcomes, socket.queuedBytes)
        }
        #expect(!outcomes.contains(.dropped) && outcomes.contains(.backpressure))
        #expect(queued > 1 << 20)
        // The pings are due by now, and what the system took is all that has gone.
        try await Task.sleep(for: .milliseconds(100))
        #expect(try await sender.onLoop { $0.queuedBytes } > 1 << 20)
        _ = try await reader.onLoop { $0.resumeReading() }
        let total = messages.reduce(0) { $0 + $1.count }
        try await reader.wait("all") { $0.binaryCount == total && $0.texts.count == messages.count }
        #expect(reader.state.withLock { $0.texts } == messages.indices.map { "message \($0)" })
        let (binary, ends) = reader.state.withLock { ($0.binary, $0.pieces.count(where: \.isLast)) }
        #expect(ends == messages.count)
        var rest = binary[...]
        for (index, message) in messages.enumerated() {
            #expect(rest.prefix(message.count) == message[...], "message \(index)")
            rest = rest.dropFirst(message.count)
        }
        try await sender.wait("drained") { $0.drained >= 1 }
        _ = try await sender.onLoop { $0.close(code: 1000, reason: "done") }
        try await reader.wait("closed") { $0.closures.count == 1 }
        #expect(reader.state.withLock { $0.closures } == [.init(cause: .peer, code: 1000, reason: "done")])
    }

    /// More than the buffers of both systems hold, each different from the others, and of each length that a header has.
    private static var messages: [[UInt8]] {
        let pattern = (0..<1_300_000).map { UInt8(truncatingIfNeeded: $0 &* 17 &+ $0 >> 9) }
        let large = (UInt8(0)..<20).map { [$0] + pattern }
        let small = [125, 126, 65_535, 65_536].map { Array(pattern.prefix($0)) }
        return large + small + [Array(pattern.suffix(1_100_000))]
    }
}
