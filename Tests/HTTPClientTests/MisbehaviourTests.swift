import EventLoops
import Foundation
import HTTPClient
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct MisbehaviourTests {
    @Test func aServerThatNeverAnswersIsATimeout() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            peer.readToEnd()
        } _: { server in
            try await withClient { client in
                let error = await failure(of: client, get(server.origin, timeout: .milliseconds(200)))
                #expect(error.isTimeout)
                #expect(!error.wasNotSent)
                #expect(error.message.contains("127.0.0.1:\(server.port)"))
                #expect(client.statistics.failures == 1)
                #expect(client.statistics.underWay == 0)
            }
        }
    }

    @Test func aServerThatStopsAmidstAnAnswerIsATimeout() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            try peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            peer.readToEnd()
        } _: { server in
            try await withClient { client in
                let error = await failure(of: client, get(server.origin, timeout: .milliseconds(300)))
                #expect(error.isTimeout)
                #expect(!error.wasNotSent)
            }
        }
    }

    @Test func aHostThatDoesNotAnswerTheConnectionIsATimeoutOfConnecting() async throws {
        let server = try RawServer(backlog: 0, accepts: false) { _, _ in }
        defer { server.stop() }
        // The queue of a listening socket is full with one connection more than its backlog; the next gets no answer.
        var fillers: [Int32] = []
        defer { for filler in fillers { close(filler) } }
        for _ in 0..<4 {
            let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            fillers.append(filler)
            var address = loopback(port: server.port)
            withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    _ = connect(filler, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        try await withClient({ $0.connectTimeout = .milliseconds(100) }) { client in
            let error = await failure(of: client, get(server.origin, timeout: .seconds(30)))
            #expect(error.isTimeout)
            #expect(error.wasNotSent)
            let other = await failure(of: client, get(server.origin, timeout: .milliseconds(30)))
            #expect(other.isTimeout)
            #expect(other.wasNotSent)
        }
    }

    @Test func noTurnInTimeIsATimeoutOfARequestThatWasNotSent() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            peer.readToEnd()
        } _: { server in
            try await withClient({ $0.maximumConnectionsPerOrigin = 1 }) { client in
                let first = Task { await failure(of: client, get(server.origin, timeout: .seconds(20))) }
                try await eventually("sent") { server.heads.withLock { $0.count } == 1 }
                let second = await failure(of: client, get(server.origin, timeout: .milliseconds(50)))
                #expect(second.isTimeout)
                #expect(second.wasNotSent)
                first.cancel()
                #expect(await first.value.code == -2)
                #expect(server.heads.withLock { $0.count } == 1)
            }
        }
    }

    @Test func aHangingServerLeavesRoomForOthers() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            peer.readToEnd()
        } _: { hanging in
            try await withWebServer { origin, _ in
                try await withClient({ options in
                    options.maximumConnections = 6
                    options.maximumConnectionsPerOrigin = 4
                    options.maximumWaitingPerOrigin = 3
                }) { client in
                    let stuck = (0..<7).map { _ in Task { await failure(of: client, get(hanging.origin)) } }
                    try await eventually("stuck") { client.statistics.underWay == 4 && client.statistics.waiting == 3 }
                    let refused = await failure(of: client, get(hanging.origin))
                    #expect(refused.code == 0)
                    #expect(refused.wasNotSent)
                    #expect(refused.message.contains("maximumWaitingPerOrigin"))
                    for _ in 0..<20 { #expect(try await client.send(get(origin)).status == 200) }
                    for task in stuck { task.cancel() }
                    for task in stuck { _ = await task.value }
                    #expect(client.statistics.waiting == 0)
                    #expect(client.statistics.underWay == 0)
                }
            }
        }
    }

    @Test(
        arguments: [
            ("", 52), ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 18), ("HTTP/1.1 200 OK\r\nX", nil),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 18), ("garbage", nil),
            ("garbage\r\n\r\nmore", nil), ("HTTP/1.1 0 OK\r\n\r\n", nil),
            ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 8),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 56), ("\0\0\0\0", nil),
            ("HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", nil),
        ] as [(String, Int32?)])
    func brokenAnswersAreErrors(answer: String, code: Int32?) async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            try peer.send(answer)
        } _: { server in
            try await withClient { client in
                var request = get(server.origin, "/")
                request.query = "secret=1"
                request.headers = [TransferHeader("Authorization", "secret=2")]
                let error = await failure(of: client, request)
                #expect(error.code > 0, "\(error)")
                if let code { #expect(error.code == code, "\(error)") }
                #expect(!error.wasNotSent)
                #expect(!error.description.contains("secret"))
                #expect(server.heads.withLock { $0.count } == 1)
            }
        }
    }

    @Test func aResetIsAnError() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            peer.reset()
        } _: { server in
            try await withClient { client in
                let error = await failure(of: client, get(server.origin))
                #expect(error.code == 56)
                #expect(!error.wasNotSent)
            }
        }
    }

    @Test func aConnectionThatClosedWhileIdleIsReplaced() async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            try peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            peer.close()
            server.heads.withLock { $0.append("closed") }
        } _: { server in
            try await withClient { client in
                for round in 1...5 {
                    let request = TransferRequest(method: "POST", origin: server.origin, body: [1])
                    let answer = try await client.send(request)
                    #expect(answer.status == 200)
                    try await eventually("closed") { server.heads.withLock { $0.count } == 2 * round }
                }
                #expect(client.statistics.connectionsOpened == 5)
            }
        }
    }

    /// Here curl by itself would send the request again on a new connection.
    @Test(arguments: ["POST", "GET", "PUT"], [false, true])
    func aRequestIsNotRepeatedWhenItsUsedConnectionCloses(method: String, resets: Bool) async throws {
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            try peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _ = try server.readRequest(from: peer)
            if resets { peer.reset() }
        } _: { server in
            try await withClient { client in
                let request = TransferRequest(method: method, origin: server.origin, body: method == "GET" ? [] : [1])
                let answer = try await client.send(request)
                #expect(answer.status == 200)
                let error = await failure(of: client, request)
                #expect(error.code == 52, "\(error)")
                #expect(!error.wasNotSent)
                #expect(server.heads.withLock { $0.count } == 2)
                // The client goes on.
                let next = try await client.send(request)
                #expect(next.status == 200)
            }
        }
    }

    @Test func tooLargeIsAnErrorThatNamesTheLimit() async throws {
        let answers = [
            "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + String(repeating: "a", count: 1_001),
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\na",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                + String(repeating: "64\r\n" + String(repeating: "a", count: 100) + "\r\n", count: 11) + "0\r\n\r\n",
        ]
        for answer in answers {
            try await withRawServer(script: answeringEach(answer)) { server in
                try await withClient { client in
                    var request = get(server.origin)
                    request.maximumResponseBytes = 1_000
                    let error = await failure(of: client, request)
                    #expect(error.code == 63)
                    #expect(error.message.contains("1000 bytes (maximumResponseBytes)"))
                    #expect(!error.wasNotSent)
                }
            }
        }
        let fits = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + String(repeating: "a", count: 1_000)
        try await withRawServer(script: answeringEach(fits)) { server in
            try await withClient { client in
                var request = get(server.origin)
                request.maximumResponseBytes = 1_000
                let answer = try await client.send(request)
                #expect(answer.body.count == 1_000)
            }
        }
    }

    @Test func aHeadThatIsTooLargeIsAnErrorThatNamesTheLimit() async throws {
        let interim = String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 100)
        for answer in ["HTTP/1.1 200 OK\r\nX: " + String(repeating: "a", count: 2_000) + "\r\n\r\n", interim] {
            try await withRawServer(script: answeringEach(answer)) { server in
                try await withClient({ $0.maximumHeaderBytes = 1_024 }) { client in
                    let error = await failure(of: client, get(server.origin))
                    #expect(error.code == 63)
                    #expect(error.message.contains("1024 bytes (maximumHeaderBytes)"))
                }
            }
        }
    }

    @Test func whoCannotBeReachedWasNotSentAnything() async throws {
        let server = try RawServer { _, _ in }
        server.stop()
        try await withClient { client in
            let refused = await failure(of: client, get(server.origin))
            #expect(refused.code == 7)
            #expect(refused.wasNotSent)
            // A label has at most 63 bytes: no resolver asks anyone for this.
            let unknown = await failure(of: client, get("http://\(String(repeating: "a", count: 64)).invalid"))
            #expect(unknown.code == 6, "\(unknown)")
            #expect(unknown.wasNotSent)
            let badPort = await failure(of: client, get("http://127.0.0.1:99999"))
            #expect(badPort.code == 3, "\(badPort)")
            #expect(badPort.wasNotSent)
        }
    }

    @Test func randomBytesAreAnErrorOrAResponse() async throws {
        let starts = [
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: ", "HTTP/1.1 1", "HTTP/2 200\r\n", "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: gzip, chunked\r\n\r\n10\r\n",
        ]
        let answers = Locked(SplitMix(state: 7))
        try await withRawServer { peer, server in
            _ = try server.readRequest(from: peer)
            let bytes = answers.withLock { random in
                let start = starts[Int(random.next() % UInt64(starts.count))]
                let alphabet = Array("\r\n :;0123456789abcHTP/.,=\0\u{ff}".utf8)
                let count = Int(random.next() % 400)
                let isText = random.next() % 2 == 0
                return Array(start.utf8)
                    + (0..<count).map { _ in
                        let number = random.next()
                        return isText
                            ? alphabet[Int(number % UInt64(alphabet.count))] : UInt8(truncatingIfNeeded: number)
                    }
            }
            try peer.send(bytes)
        } _: { server in
            try await withClient { client in
                for _ in 0..<600 { _ = await failure(of: client, get(server.origin)) }
                let statistics = client.statistics
                #expect(statistics.responses + statistics.failures == 600)
                #expect(statistics.failures > 100)
                #expect(statistics.responses > 20)
                #expect(statistics.underWay == 0)
            }
        }
    }
}

/// A small random source with a seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
