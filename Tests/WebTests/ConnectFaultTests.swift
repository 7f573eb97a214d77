import EventLoops
import Foundation
import Testing
@testable import Web

/// What a client hears if the other side breaks off before the handshake is done. The limit for connecting is far away: who
/// fails does so for the fault itself.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ConnectFaultTests {
    /// When the peer breaks off.
    enum Moment: CaseIterable { case accepted, halfWay, asked, answering }

    @Test(arguments: Moment.allCases, [false, true])
    func aPeerThatBreaksOffIsToldAtOnce(_ moment: Moment, isReset: Bool) async throws {
        try await expectBreak(isTLS: false, moment, isReset: isReset)
    }

    @Test(arguments: [Moment.accepted, .halfWay, .asked], [false, true])
    func aPeerThatBreaksOffTLSIsToldAtOnce(_ moment: Moment, isReset: Bool) async throws {
        try await expectBreak(isTLS: true, moment, isReset: isReset)
    }

    private func expectBreak(isTLS: Bool, _ moment: Moment, isReset: Bool) async throws {
        let loop = try EventLoop(name: "client")
        let listener = try RawListener()
        async let peer: Void = blocking { try listener.breakOff(moment, isReset: isReset) }
        var request = WebSocketClientRequest(
            url: WebSocketURL(host: "127.0.0.1", port: listener.port, target: "/", isTLS: isTLS))
        request.connectTimeout = .seconds(300)
        let (record, failures) = try await connect(request, on: loop)
        try await peer
        try await record.wait("closed") { $0.closures.count == 1 }
        let told = failures.value.withLock { $0 }
        #expect(told.map(\.kind) == [.connectionFailed])
        // Who is reset before the first byte was sent may not have noticed that there was a connection.
        if moment != .accepted {
            let text = told.first?.description ?? ""
            #expect(text.hasPrefix("no connection to 127.0.0.1:\(listener.port): "))
            #expect(text.contains("the peer closed the connection during "), "\(text)")
        }
        #expect(record.state.withLock { $0.closures.map(\.cause) } == [.handshakeFailed])
        loop.stop()
        try await blocking { loop.join() }
    }

    /// The system refuses to connect to such an address at once, within the call.
    @Test func anAddressThatNobodyCanConnectToIsToldOnce() async throws {
        let loop = try EventLoop(name: "client")
        let url = WebSocketURL(host: "255.255.255.255", port: 9, target: "/", isTLS: false)
        let (record, failures) = try await connect(WebSocketClientRequest(url: url), on: loop)
        try await record.wait("closed") { $0.closures.count == 1 }
        #expect(
            failures.value.withLock { $0.map(\.description) }
                == ["no connection to 255.255.255.255:9: it could not be begun"])
        loop.stop()
        try await blocking { loop.join() }
    }
}

/// A wrong certificate is told to whoever connects, and to nobody else.
@Suite(.serialized, .timeLimit(.minutes(10))) struct WrongCertificateTests {
    /// What is wrong with a certificate, and how it is called.
    enum Fault: String, CaseIterable {
        case unknownAuthority = "self-signed certificate"
        case otherName = "IP address mismatch"
        case expired = "certificate has expired"
    }

    @Test(arguments: Fault.allCases) func whatIsWrongIsToldAndNotLogged(_ fault: Fault) async throws {
        let lines = Locked<[String]>([])
        WebLog.setSink { _, line in lines.withLock { $0.append(line) } }
        defer { WebLog.setSink(nil) }
        let name = fault == .otherName ? "DNS:elsewhere.example" : "IP:127.0.0.1"
        try await TestCertificate.with(name: name, hasExpired: fault == .expired) { files in
            try await withServer(tls: files) { server in
                let url = WebSocketURL(host: "127.0.0.1", port: server.port, target: "/", isTLS: true)
                var request = WebSocketClientRequest(url: url)
                if fault != .unknownAuthority {
                    request.trust = WebSocketTrust(authoritiesFile: files.certificate)
                }
                let (record, failures) = try await connect(request, on: server.loops[0])
                try await record.wait("refused") { $0.opened + $0.closures.count == 1 }
                let told = failures.value.withLock { $0 }
                #expect(told.map(\.kind) == [.connectionFailed])
                #expect(
                    told.first?.description
                        == "no connection to 127.0.0.1:\(server.port): the server's certificate is not accepted: "
                        + fault.rawValue)
            }
        }
        #expect(lines.withLock { $0.filter { $0.contains("SSL error") } } == [])
    }

    /// The library's own line about it (4.1.6), which it has as an error.
    @Test func whoWantsToKnowEverythingIsToldInTheLogToo() {
        let line = "SSL error: self-signed certificate (preverify_ok=0;err=18;depth=0)"
        #expect(WebLog.level(bit: 1 << 0, line) == .info)
        #expect(WebLog.level(bit: 1 << 0, "SSL error: something else") == .error)
    }
}

extension RawListener {
    /// Accepts one connection and breaks it off.
    func breakOff(_ moment: ConnectFaultTests.Moment, isReset: Bool) throws {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let peer = accept(descriptor, nil, nil)
        guard peer >= 0 else { throw RawClient.Failure(description: "accept: \(errno)") }
        setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var buffer = [UInt8](repeating: 0, count: moment == .halfWay ? 1 : 16_384)
        // What is left unread makes a close a reset.
        if moment != .accepted, recv(peer, &buffer, buffer.count, 0) <= 0 {
            throw RawClient.Failure(description: "recv: \(errno)")
        }
        if moment == .answering {
            let start = Array("HTTP/1.1 101 Switching Protocols\r\nUpgr".utf8)
            _ = start.withUnsafeBytes { send(peer, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        }
        if isReset {
            var option = Foundation.linger(l_onoff: 1, l_linger: 0)
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<Foundation.linger>.size))
        }
        close(peer)
    }
}
