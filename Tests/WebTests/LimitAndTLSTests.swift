import EventLoops
import Foundation
import Synchronization
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct LimitTests {
    @Test func anAddressThatConnectsTooOftenGets429AndThenNothing() async throws {
        var limits = WebLimits()
        limits.handshakesPerAddressPerSecond = 0.001
        limits.handshakeBurst = 2
        try await withServer(limits: limits) { server in
            try await blocking {
                for _ in 0..<2 { try RawClient(port: server.port).upgrade() }
                for request in [RawClient.handshake(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
                    let client = try RawClient(port: server.port)
                    try client.send(request)
                    let response = try client.readResponse()
                    #expect(response.statusLine == "HTTP/1.1 429 Too Many Requests")
                    #expect(Int(response.headers["retry-after"] ?? "") ?? 0 > 900)
                    #expect(client.readToEnd().isEmpty)
                }
                let client = try RawClient(port: server.port)
                #expect(client.readToEnd().isEmpty)
            }
            #expect(server.server.counters.refusedByAddressLimit == 3)
            #expect(server.acceptor.requests.withLock { $0.count } == 2)
        }
    }

    @Test func connectionsBeyondTheLimitAreClosed() async throws {
        var limits = WebLimits()
        limits.maxConnections = 2
        try await withServer(limits: limits) { server in
            try await blocking {
                let held = [try RawClient(port: server.port), try RawClient(port: server.port)]
                for client in held { try client.upgrade() }
                #expect(try RawClient(port: server.port).readToEnd().isEmpty)
                try held[0].sendFrame(1, Array("echo".utf8))
                _ = try held[0].readFrame()
            }
            #expect(server.server.counters.refusedByConnectionLimit == 1)
        }
    }

    @Test func aThousandHandshakesOnSeveralLoops() async throws {
        try await withServer(loops: 3) { server in
            let clients = try await blocking {
                try (0..<1_000).map { _ in
                    let client = try RawClient(port: server.port)
                    try client.send(RawClient.handshake())
                    return client
                }
            }
            try await blocking {
                for client in clients { _ = try client.readHead() }
                for client in clients { try client.sendFrame(1, Array("echo".utf8)) }
                for client in clients { _ = try client.readFrame() }
            }
            #expect(server.server.counters.open == 1_000)
            let loops = server.acceptor.records.withLock { $0 }.compactMap { $0.socket.withLock { $0?.loop } }
            #expect(loops.count == 1_000)
            #expect(server.loops.allSatisfy { loop in loops.contains { $0 === loop } })
        }
    }

    @Test func stoppingClosesWebSocketsWith1001() async throws {
        let records = try await withServer(loops: 2) { server in
            let clients = try await blocking {
                try (0..<10).map { _ in
                    let client = try RawClient(port: server.port)
                    try client.upgrade()
                    return client
                }
            }
            async let codes = blocking {
                try clients.map { client in
                    let code = try client.readFrame().closeCode
                    try client.sendClose(1001)
                    return code
                }
            }
            await server.server.stop(within: .milliseconds(50))
            let all = try await codes
            #expect(all == [Int?](repeating: 1001, count: 10))
            return server.acceptor.records.withLock { $0 }
        }
        #expect(records.count == 10)
        for record in records { #expect(record.state.withLock { $0.closures.map(\.code) } == [1001]) }
    }

    @Test func anAddressThatCannotBeListenedOnIsAnError() async throws {
        let loop = try EventLoop(name: "bad")
        let configuration = WebServerConfiguration(listen: SocketAddress(host: "nonsense", port: 0))
        await #expect(throws: WebServerError.self) {
            _ = try await WebServer.start(
                configuration: configuration,
                loops: [loop],
                responder: TestResponder(),
                acceptor: TestAcceptor()
            )
        }
        loop.stop()
        try await blocking { loop.join() }
    }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct ProxyProtocolTests {
    static let trusted = [AddressRange("127.0.0.0/8")].compactMap { $0 }

    @Test func theProxysClientIsThePeer() async throws {
        try await withServer(trustedProxies: ProxyProtocolTests.trusted) { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(ProxyHeaderTests.header() + Array("GET /p HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
                #expect(try client.readResponse().body == "GET /p||0|192.0.2.7")
                let local = try RawClient(port: server.port)
                try local.send(ProxyHeaderTests.header(command: 0x20, family: 0, rest: []))
                try local.send("GET /p HTTP/1.1\r\nHost: h\r\n\r\n")
                #expect(try local.readResponse().body == "GET /p||0|127.0.0.1")
                let slow = try RawClient(port: server.port)
                for byte in ProxyHeaderTests.header() {
                    try slow.send([byte])
                    usleep(2_000)
                }
                try slow.upgrade()
            }
            #expect(server.server.counters.badProxyHeaders == 0)
        }
    }

    @Test func malformedMissingAndLateHeadersCloseTheConnection() async throws {
        var limits = WebLimits()
        limits.proxyHeaderTimeout = .milliseconds(150)
        try await withServer(limits: limits, trustedProxies: ProxyProtocolTests.trusted) { server in
            try await blocking {
                let starts = [
                    Array("GET / HTTP/1.1\r\n\r\n".utf8), ProxyHeaderTests.header(command: 0x11), [],
                    Array(ProxyHeaderTests.header().prefix(20)),
                ]
                for start in starts {
                    let client = try RawClient(port: server.port)
                    try client.send(start)
                    #expect(client.readToEnd().isEmpty)
                }
            }
            #expect(server.server.counters.badProxyHeaders == 4)
            #expect(server.server.counters.requests == 0)
        }
    }

    @Test func fromOthersAHeaderIsGarbage() async throws {
        let others = [AddressRange("192.0.2.0/24")].compactMap { $0 }
        try await withServer(trustedProxies: others) { server in
            let answer = try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(ProxyHeaderTests.header() + Array("GET /p HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
                return String(decoding: client.readToEnd(), as: UTF8.self)
            }
            #expect(!answer.contains("192.0.2.7"))
            #expect(server.server.counters.requests == 0)
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct TLSTests {
    @Test func servesAndConnectsOverTLSAndVerifies() async throws {
        try await TestCertificate.with { files in
            try await withServer(tls: files) { server in
                let url = WebSocketURL(host: "127.0.0.1", port: server.port, target: "/", isTLS: true)
                var request = WebSocketClientRequest(url: url)
                let (stranger, failures) = try await connect(request, on: server.loops[0])
                try await stranger.wait("refused") { $0.closures.count == 1 }
                #expect(failures.value.withLock { $0.map(\.kind) } == [.connectionFailed])
                for trust in [WebSocketTrust(authoritiesFile: files.certificate), WebSocketTrust(verifies: false)] {
                    request.trust = trust
                    let (record, failures) = try await connect(request, on: server.loops[0])
                    try await record.wait("end of connecting") { $0.opened + $0.closures.count == 1 }
                    #expect(failures.value.withLock { $0.map(\.description) } == [])
                    let payload = [UInt8](repeating: 0x55, count: 500_000)
                    let outcome = try await record.onLoop { socket in
                        socket.send(binary: payload)
                        return socket.send(text: "echo over TLS")
                    }
                    #expect(outcome != .dropped)
                    try await record.wait("echo") { $0.texts == ["echo over TLS"] }
                    _ = try await record.onLoop { $0.close(code: 1000, reason: "") }
                    try await record.wait("closed") { $0.closures.count == 1 }
                }
                #expect(server.acceptor.requests.withLock { $0.allSatisfy(\.isTLS) })
            }
        }
    }

    @Test func aSlowReaderGetsAllMessagesWholeAndInOrder() async throws {
        try await TestCertificate.with { files in
            try await withServer(limits: SlowReading.limits, tls: files) { server in
                try await SlowReading.check(server, isTLS: true)
            }
        }
    }

    @Test func offersTLS12And13AndHTTP11Alone() async throws {
        try await TestCertificate.with { files in
            try await withServer(tls: files) { server in
                func connect(_ options: [String]) async throws -> String {
                    try await blocking {
                        try TestCertificate.openssl(
                            ["s_client", "-connect", "127.0.0.1:\(server.port)", "-ign_eof"] + options,
                            input: "GET /tls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                        )
                    }
                }
                for version in ["-tls1_2", "-tls1_3"] {
                    let output = try await connect([version, "-alpn", "h2,http/1.1"])
                    #expect(output.contains("GET /tls||0|127.0.0.1"))
                    #expect(output.contains("ALPN protocol: http/1.1"))
                }
                let old = try await connect(["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
                #expect(!old.contains("GET /tls||"))
            }
        }
    }

    @Test func aMissingCertificateIsAnError() async throws {
        await #expect(throws: WebServerError.self) {
            try await withServer(tls: TLSFiles(certificate: "/nonexistent", key: "/nonexistent")) { _ in }
        }
    }
}
