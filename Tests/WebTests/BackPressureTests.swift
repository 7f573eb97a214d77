import EventLoops
import Foundation
import Synchronization
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct BackPressureTests {
    @Test func aReaderThatNeverReadsFillsTheQueueAndNoMore() async throws {
        try await withServer { server in
            let client = try RawClient(port: server.port, receiveBuffer: 4_096)
            try await blocking { try client.upgrade() }
            let record = try await server.acceptor.record()
            let (outcomes, queued) = try await record.onLoop { socket in
                let message = [UInt8](repeating: 0x61, count: 50_000)
                return ((0..<400).map { _ in socket.send(binary: message) }, socket.queuedBytes)
            }
            #expect(outcomes.first == .sent)
            #expect(outcomes.contains(.backpressure))
            #expect(outcomes.last == .dropped)
            #expect(queued <= 1 << 20)
            #expect(queued > 900_000)
            #expect(record.state.withLock { $0.drained } == 0)
            let kept = outcomes.count { $0 != .dropped }
            // Everything that was not dropped arrives, whole and in order, once the client reads.
            try await blocking {
                for _ in 0..<kept {
                    let frame = try client.readFrame()
                    #expect(frame.opcode == 2 && frame.payload.count == 50_000)
                }
            }
            try await record.wait("drained") { $0.drained == 1 }
            #expect(try await record.onLoop { $0.send(text: "last") } == .sent)
            let last = try await blocking { try client.readFrame().payload }
            #expect(last == Array("last".utf8))
        }
    }

    @Test func aCloseWaitsForTheQueueAndThenCutsOff() async throws {
        for reads in [true, false] {
            var limits = WebLimits()
            limits.closeTimeout = reads ? .seconds(60) : .milliseconds(300)
            try await withServer(limits: limits) { server in
                let client = try RawClient(port: server.port, receiveBuffer: 4_096)
                try await blocking { try client.upgrade() }
                let record = try await server.acceptor.record()
                let outcomes = try await record.onLoop { socket in
                    let message = [UInt8](repeating: 0x61, count: 60_000)
                    let outcomes = (0..<400).map { _ in socket.send(binary: message) }
                    socket.close(code: 1008, reason: String(repeating: "ä", count: 100))
                    #expect(socket.send(text: "late") == .dropped)
                    return outcomes
                }
                if reads {
                    try await blocking {
                        for _ in 0..<outcomes.count(where: { $0 != .dropped }) { _ = try client.readFrame() }
                        let close = try client.readFrame()
                        #expect(close.closeCode == 1008)
                        #expect(close.closeReason == String(repeating: "ä", count: 61))
                        try client.sendClose(1008)
                        #expect(client.readToEnd().isEmpty)
                    }
                }
                try await record.wait("closed") { $0.closures.count == 1 }
                #expect(record.state.withLock { $0.closures[0].cause } == .local)
                #expect(record.state.withLock { $0.closures[0].code } == 1008)
            }
        }
    }

    @Test func pausedReadingStallsTheSenderAndLosesNothing() async throws {
        try await withServer { server in
            let client = try RawClient(port: server.port)
            try await blocking { try client.upgrade() }
            let record = try await server.acceptor.record()
            _ = try await record.onLoop { $0.pauseReading() }
            let frames = 20
            let payload = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 17 &+ $0 >> 9) }
            let frame = RawClient.frame(2, payload)
            let stream = [[UInt8]](repeating: frame, count: frames).flatMap { $0 }
            // Until the buffers of both systems are full and stay so.
            let sent = try await blocking {
                var sent = 0
                var idle = 0
                while sent < stream.count && idle < 100 {
                    let count = client.sendWithoutWaiting(stream[sent...])
                    sent += count
                    idle = count > 0 ? 0 : idle + 1
                    if count == 0 { usleep(5_000) }
                }
                return sent
            }
            #expect(sent < stream.count)
            #expect(record.state.withLock { $0.binaryCount } == 0)
            let sender = Task { try await blocking { try client.send(Array(stream[sent...])) } }
            // Paused again and again in the middle of what comes.
            for _ in 0..<50 {
                _ = try await record.onLoop { $0.resumeReading() }
                try await Task.sleep(for: .milliseconds(1))
                _ = try await record.onLoop { $0.pauseReading() }
            }
            _ = try await record.onLoop { $0.resumeReading() }
            try await sender.value
            try await record.wait("all") { $0.binaryCount == frames * payload.count }
            let state = record.state.withLock { $0 }
            #expect(state.pieces.count(where: \.isLast) == frames)
            let isWhole = (0..<frames).allSatisfy { index in
                state.binary.withUnsafeBytes { bytes in
                    memcmp(bytes.baseAddress! + index * payload.count, payload, payload.count) == 0
                }
            }
            #expect(isWhole)
        }
    }

    @Test func aPauseBeginsInTheMiddleOfWhatWasRead() async throws {
        try await withServer { server in
            let client = try RawClient(port: server.port)
            // The messages come in one segment with the handshake, and what follows them after it.
            try await blocking {
                try client.send(
                    Array(RawClient.handshake().utf8) + RawClient.frame(1, Array("one".utf8))
                        + RawClient.frame(1, Array("two".utf8))
                )
                _ = try client.readHead()
            }
            let record = try await server.acceptor.record()
            try await record.wait("two") { $0.texts == ["one", "two"] }
            _ = try await record.onLoop { $0.pauseReading() }
            try await blocking { try client.send(RawClient.frame(1, Array("echo".utf8)) + RawClient.frame(9, [1])) }
            try await Task.sleep(for: .milliseconds(50))
            #expect(record.state.withLock { $0.texts.count } == 2)
            _ = try await record.onLoop { $0.resumeReading() }
            let frames = try await blocking { [try client.readFrame().opcode, try client.readFrame().opcode] }
            #expect(Set(frames) == [1, 10])
        }
    }

    @Test func pingsAreAnsweredWhileTheHandlerSends() async throws {
        try await withServer { server in
            let client = try RawClient(port: server.port)
            try await blocking { try client.upgrade() }
            let record = try await server.acceptor.record()
            let isDone = Atomic<Bool>(false)
            let sender = Task {
                while !isDone.load(ordering: .relaxed) {
                    _ = try await record.onLoop { socket in
                        for _ in 0..<20 { socket.send(binary: [UInt8](repeating: 1, count: 10_000)) }
                    }
                }
            }
            try await blocking {
                for number in UInt8(0)..<20 {
                    try client.sendFrame(9, [number])
                    while true {
                        let frame = try client.readFrame()
                        if frame.opcode == 10 {
                            #expect(frame.payload == [number])
                            break
                        }
                        #expect(frame == .init(opcode: 2, payload: [UInt8](repeating: 1, count: 10_000)))
                    }
                }
            }
            isDone.store(true, ordering: .relaxed)
            client.reset()
            try? await sender.value
            try await record.wait("closed") { !$0.closures.isEmpty }
            #expect(record.state.withLock { $0.closures } == [WebSocketClosure(cause: .connectionLost)])
        }
    }

    @Test func aPeerThatNeverAnswersPingsIsHungUpOn() async throws {
        var limits = WebLimits()
        limits.pingInterval = .milliseconds(50)
        limits.pongTimeout = .milliseconds(100)
        try await withServer(limits: limits) { server in
            let client = try RawClient(port: server.port)
            try await blocking {
                try client.upgrade()
                for _ in 0..<3 {
                    let ping = try client.readFrame()
                    #expect(ping.opcode == 9)
                    try client.sendFrame(10, ping.payload)
                }
                #expect(try client.readFrame().opcode == 9)
                #expect(client.readToEnd().isEmpty)
            }
            let record = try await server.acceptor.record()
            try await record.wait("closed") { $0.closures.count == 1 }
            #expect(record.state.withLock { $0.closures[0].cause } == .timeout)
        }
    }

    @Test func aPauseLongerThanThePongTimeoutDoesNotHangUp() async throws {
        var limits = WebLimits()
        // Long enough for a slow machine to come from the handshake to the pause.
        limits.pingInterval = .milliseconds(800)
        limits.pongTimeout = .milliseconds(800)
        try await withServer(limits: limits) { server in
            let client = try RawClient(port: server.port)
            try await blocking { try client.upgrade() }
            let record = try await server.acceptor.record()
            _ = try await record.onLoop { $0.pauseReading() }
            try await blocking { try client.sendFrame(1, Array("here".utf8)) }
            try await Task.sleep(for: .milliseconds(2_500))
            #expect(record.state.withLock { $0.texts.isEmpty && $0.closures.isEmpty })
            _ = try await record.onLoop { $0.resumeReading() }
            try await record.wait("here") { $0.texts == ["here"] }
            _ = try await record.onLoop { $0.terminate() }
            try await record.wait("closed") { $0.closures.map(\.cause) == [.local] }
        }
    }

    @Test func aResetIsToldOnce() async throws {
        try await withServer(loops: 2) { server in
            for index in 0..<20 {
                try await blocking {
                    let client = try RawClient(port: server.port)
                    try client.upgrade()
                    client.reset()
                }
                let record = try await server.acceptor.record(index)
                try await record.wait("closed") { !$0.closures.isEmpty }
            }
            try await eventually("gone") { server.server.counters.open == 0 }
            for record in server.acceptor.records.withLock({ $0 }) {
                #expect(record.state.withLock { $0.closures } == [WebSocketClosure(cause: .connectionLost)])
            }
        }
    }
}
