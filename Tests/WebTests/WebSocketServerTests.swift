import EventLoops
import Foundation
import Synchronization
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct WebSocketServerTests {
    @Test func upgradesWithTheAcceptorsHeadersAndEchoes() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                let head = try client.upgrade(path: "/v1/listen?model=a%20b&tag=x&tag=y")
                #expect(head.contains("\r\ndg-request-id: id-1\r\n"))
                #expect(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
                #expect(!head.lowercased().contains("sec-websocket-protocol"))
                try client.sendFrame(1, Array("echo ä".utf8))
                #expect(try client.readFrame() == .init(opcode: 1, payload: Array("echo ä".utf8)))
            }
            let request = server.acceptor.requests.withLock { $0[0] }
            #expect(request.path == "/v1/listen")
            #expect(request.query == "model=a%20b&tag=x&tag=y")
            let record = try await server.acceptor.record()
            try await record.wait("closed") { $0.closures.count == 1 }
            #expect(record.state.withLock { $0.closures } == [WebSocketClosure(cause: .connectionLost)])
        }
    }

    static let key55 = String(repeating: "k", count: 55)
    static let token60 = String(repeating: "t", count: 60)

    @Test(arguments: [
        ("/", "token, \(key55)", "token"), ("/", "bearer, \(token60)", "bearer"), ("/", "bearer,\(token60)", "bearer"),
        ("/nosub", "token, \(key55)", nil),
    ])
    func echoesOnlyTheChosenSubprotocol(path: String, offer: String, expected: String?) async throws {
        try await withServer { server in
            try await blocking {
                for _ in 0..<2 {
                    let client = try RawClient(port: server.port)
                    let head = try client.upgrade(path: path, extra: "Sec-WebSocket-Protocol: \(offer)\r\n")
                    let lines = head.components(separatedBy: "\r\n").filter {
                        $0.lowercased().hasPrefix("sec-websocket-protocol")
                    }
                    #expect(lines == (expected.map { ["Sec-WebSocket-Protocol: \($0)"] } ?? []))
                    // The next handshake, without any, must not inherit the name.
                    let other = try RawClient(port: server.port)
                    #expect(!(try other.upgrade().lowercased().contains("sec-websocket-protocol")))
                }
            }
        }
    }

    @Test(arguments: [
        ("Sec-WebSocket-Protocol: token, \(String(repeating: "k", count: 64))\r\n", "at most 63 bytes"),
        ("Sec-WebSocket-Protocol: a, \(key55), \(key55), \(key55)\r\n", "126 bytes"),
        ("Sec-WebSocket-Protocol: a b\r\n", "token"),
    ])
    func subprotocolsThatTheLibraryWouldHangUpOnAreAnsweredWith400(extra: String, expected: String) async throws {
        try await withServer { server in
            let response = try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(RawClient.handshake(extra: extra))
                return try client.readResponse()
            }
            #expect(response.statusLine == "HTTP/1.1 400 Bad Request")
            #expect(response.body.contains(expected))
        }
    }

    @Test func refusesWithExactlyTheGivenResponseAndCloses() async throws {
        try await withServer { server in
            let bytes = try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(RawClient.handshake(path: "/refuse"))
                return client.readToEnd()
            }
            #expect(
                String(decoding: bytes, as: UTF8.self) == """
                    HTTP/1.1 401 Unauthorized\r
                    dg-error: no key\r
                    Retry-After: 7\r
                    Content-Type: text/plain; charset=utf-8\r
                    Content-Length: 27\r
                    Connection: close\r
                    \r
                    {"err_code":"INVALID_AUTH"}
                    """
            )
            #expect(server.server.counters.webSocketsRefused == 1)
        }
    }

    @Test func passesBinaryPiecesAndZeroLengthMessages() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.upgrade()
                try client.sendFrame(2, [])
                try client.sendFrame(2, [1, 2], isFinal: false)
                try client.sendFrame(0, [3], isFinal: false)
                try client.sendFrame(9, [7])
                try client.sendFrame(0, [])
                try client.sendFrame(1, Array("ä".utf8.prefix(1)), isFinal: false)
                try client.sendFrame(0, Array("ä".utf8.dropFirst()))
                try client.sendFrame(1, [])
                try client.sendFrame(1, Array("echo".utf8))
                // The library answers pings when the socket is next writable, so in either order.
                let frames = [try client.readFrame(), try client.readFrame()]
                #expect(frames.contains(.init(opcode: 10, payload: [7])))
                #expect(frames.contains { $0.opcode == 1 })
            }
            let state = try await server.acceptor.record().state.withLock { $0 }
            #expect(state.pieces.map(\.count) == [0, 2, 1, 0])
            #expect(state.pieces.map(\.isFirst) == [true, true, false, false])
            #expect(state.pieces.map(\.isLast) == [true, false, false, true])
            #expect(state.binary == [1, 2, 3])
            #expect(state.texts == ["ä", "", "echo"])
        }
    }

    @Test func aLargeMessageArrivesWhole() async throws {
        try await withServer { server in
            let payload = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.upgrade()
                try client.sendFrame(2, payload)
                try client.sendFrame(1, Array("echo".utf8))
                _ = try client.readFrame()
            }
            let state = try await server.acceptor.record().state.withLock { $0 }
            #expect(state.binary == payload)
        }
    }

    @Test(arguments: [false, true])
    func aMessageBeyondTheLimitClosesWith1009(inFragments: Bool) async throws {
        try await withServer { server in
            let frame = try await blocking {
                let client = try RawClient(port: server.port)
                try client.upgrade()
                let half = [UInt8](repeating: 1, count: 600_000)
                if inFragments {
                    try client.sendFrame(2, half, isFinal: false)
                    try client.sendFrame(0, half)
                } else {
                    try client.sendFrame(2, half + half)
                }
                let frame = try client.readFrame()
                try client.sendClose(1009)
                #expect(client.readToEnd().isEmpty)
                return frame
            }
            #expect(frame.opcode == 8)
            #expect(frame.closeCode == 1009)
            let record = try await server.acceptor.record()
            try await record.wait("closed") { $0.closures.count == 1 }
            let closure = record.state.withLock { $0.closures[0] }
            #expect(closure.cause == .violation)
            #expect(closure.code == 1009)
        }
    }

    @Test(
        arguments: [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0x61, 0xf4, 0x90, 0x80, 0x80]] as [[UInt8]]
    )
    func invalidUTF8ClosesWith1007(text: [UInt8]) async throws {
        try await withServer { server in
            for isFragmented in [false, true] {
                let code = try await blocking {
                    let client = try RawClient(port: server.port)
                    try client.upgrade()
                    if isFragmented {
                        try client.sendFrame(1, text, isFinal: false)
                        try client.sendFrame(0, [])
                    } else {
                        try client.sendFrame(1, text)
                    }
                    return try client.readFrame().closeCode
                }
                #expect(code == 1007)
            }
            #expect(try await server.acceptor.record().state.withLock { $0.texts }.isEmpty)
        }
    }

    @Test func closesOfBothSidesCarryCodeAndReason() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.upgrade()
                try client.sendClose(4_000, "bye ä")
                let frame = try client.readFrame()
                #expect(frame.opcode == 8)
                #expect(frame.closeCode == 4_000)
                #expect(client.readToEnd().isEmpty)
                let other = try RawClient(port: server.port)
                try other.upgrade()
                try other.sendFrame(1, Array("close".utf8))
                let theirs = try other.readFrame()
                #expect(theirs.closeCode == 4_321)
                #expect(theirs.closeReason == "you said so")
                try other.sendClose(4_321)
                #expect(other.readToEnd().isEmpty)
                let third = try RawClient(port: server.port)
                try third.upgrade()
                try third.sendFrame(8, [])
                #expect(try third.readFrame() == .init(opcode: 8, payload: []))
            }
            let expected = [
                WebSocketClosure(cause: .peer, code: 4_000, reason: "bye ä"),
                WebSocketClosure(cause: .local, code: 4_321, reason: "you said so"),
                WebSocketClosure(cause: .peer, code: 1_005, reason: ""),
            ]
            for (index, closure) in expected.enumerated() {
                let record = try await server.acceptor.record(index)
                try await record.wait("closed \(index)") { !$0.closures.isEmpty }
                #expect(record.state.withLock { $0.closures } == [closure])
                #expect(record.state.withLock { $0.opened } == 1)
            }
        }
    }
}
