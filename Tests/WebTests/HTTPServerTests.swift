import EventLoops
import Foundation
import Synchronization
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct HTTPServerTests {
    @Test func answersARequestAndKeepsTheConnection() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                for number in 0..<3 {
                    try client.send(
                        "GET /a%20b/\(number)?x=1%262&y=a+b HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\(number)\r\n\r\n"
                    )
                    let response = try client.readResponse()
                    #expect(response.statusLine == "HTTP/1.1 200 OK")
                    #expect(response.body == "GET /a b/\(number)|x=1%262&y=a%20b|0|127.0.0.1")
                    #expect(response.headers["x-echo"] == "k\(number)")
                    #expect(response.headers["connection"] == "keep-alive")
                }
            }
        }
    }

    @Test(arguments: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    func answersEveryMethodWithABodyOnOneConnection(method: String) async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                for size in [5, 0, 100_000, 1] {
                    let body = String(repeating: "b", count: size)
                    try client.send("\(method) /m HTTP/1.1\r\nHost: h\r\nContent-Length: \(size)\r\n\r\n\(body)")
                    let response = try client.readResponse()
                    #expect(response.body == "\(method) /m||\(size)|127.0.0.1")
                }
            }
        }
    }

    @Test(arguments: ["POST", "PUT", "PATCH"])
    func aBodylessRequestWithoutLengthIsAnsweredAndCloses(method: String) async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send("\(method) /m HTTP/1.1\r\nHost: h\r\n\r\n")
                let response = try client.readResponse()
                #expect(response.body == "\(method) /m||0|127.0.0.1")
                #expect(response.headers["connection"] == "close")
                #expect(client.readToEnd().isEmpty)
            }
        }
    }

    @Test func headHasTheLengthAndNoBody() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                for _ in 0..<2 {
                    try client.send("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
                    let response = try client.readResponse(isHead: true)
                    #expect(response.headers["content-length"] == "\("HEAD /x||0|127.0.0.1".utf8.count)")
                }
                try client.send("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n")
                let empty = try client.readResponse()
                #expect(empty.status == 204)
                #expect(empty.headers["content-length"] == nil)
                try client.send("GET /split HTTP/1.1\r\nHost: h\r\n\r\n")
                let split = try client.readResponse()
                #expect(split.headers["x-one"] == "a  X-Two: b")
                #expect(split.headers["x-two"] == nil)
            }
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "close"), ("GET / HTTP/1.0\r\n\r\n", "close"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"),
    ])
    func saysWhetherTheConnectionIsKept(request: String, expected: String) async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(request)
                #expect(try client.readResponse().headers["connection"] == expected)
                if expected == "close" {
                    #expect(client.readToEnd().isEmpty)
                } else {
                    try client.send(request)
                    #expect(try client.readResponse().status == 200)
                }
            }
        }
    }

    @Test(arguments: [
        ("Content-Length: 1048577", 413), ("Content-Length: 99999999999999999999", 400), ("Content-Length: -5", 400),
        ("Content-Length: 5x", 400), ("Content-Length: 5\r\nContent-Length: 6", 400), ("Content-Length : 5", 400),
        ("Transfer-Encoding: chunked", 411), ("Transfer-Encoding: chunked\r\nContent-Length: 5", 411),
    ])
    func badFramingIsAnsweredAtOnceAndCloses(header: String, status: Int) async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send("POST /x HTTP/1.1\r\nHost: h\r\n\(header)\r\n\r\n")
                let response = try client.readResponse()
                #expect(response.status == status)
                #expect(response.headers["connection"] == "close")
            }
            #expect(server.server.counters.requests == 0)
        }
    }

    @Test func aRefusedClientThatIsStillSendingSeesTheAnswer() async throws {
        try await withServer { server in
            try await blocking {
                for header in ["Content-Length: 3000000", "Transfer-Encoding: chunked"] {
                    let client = try RawClient(port: server.port)
                    try client.send("POST /x HTTP/1.1\r\nHost: h\r\n\(header)\r\n\r\n")
                    for _ in 0..<30 { try client.send([UInt8](repeating: 0x31, count: 50_000)) }
                    let status = try client.readResponse().status
                    #expect(status == 411 || status == 413)
                }
            }
        }
    }

    @Test(arguments: ["Authorization", "If-Match", "Cookie"]) func aHeaderWithNULIsRefused(_ name: String) async throws
    {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send("GET /x HTTP/1.1\r\nHost: h\r\n\(name): a\0b\r\n\r\n")
                #expect(try client.readResponse().status == 400)
            }
        }
    }

    @Test func expectContinueIsAnswered() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                try client.send("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
                #expect(try client.readHead() == "HTTP/1.1 100 Continue\r\n\r\n")
                try client.send("abc")
                #expect(try client.readResponse().body == "PUT /x||3|127.0.0.1")
            }
        }
    }

    /// It may be the body of the request before, whose length the library did not see.
    @Test(arguments: [
        ["GET /slow/1 HTTP/1.1\r\nHost: h\r\n\r\nDELETE /2 HTTP/1.1\r\nHost: h\r\n\r\n"],
        ["GET /slow/1 HTTP/1.1\r\nHost: h\r\n\r\nDELETE /2 HT"],
        ["GET /slow/1 HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE /2 HTTP/1.1\r\nHost: h\r\n\r\n"],
        ["GET /slow/1 HTTP/1.1\r\nHost: h\r\n\r\n", String(repeating: "x", count: 200_000)],
        ["GET /slow/1 HTTP/1.1\r\nHost: h\r\nIf: x\r\nContent-Length: 36\r\n\r\nDELETE /2 HTTP/1.1\r\nHost: h\r\n\r\n"],
        ["POST /slow/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcDELETE /2 HTTP/1.1\r\nHost: h\r\n\r\n"],
    ])
    func whatComesBeforeTheAnswerEndsTheConnection(_ pieces: [String]) async throws {
        try await withServer { server in
            server.responder.gate.close()
            let client = try RawClient(port: server.port)
            for piece in pieces {
                try await blocking { try client.send(piece) }
                try await eventually("first") { server.responder.started.load(ordering: .relaxed) == 1 }
            }
            server.responder.gate.open()
            let (response, rest) = try await blocking { (try client.readResponse(), client.readToEnd()) }
            #expect(response.status == 200 && response.body.split(separator: "|")[0].hasSuffix(" /slow/1"))
            #expect(rest.isEmpty && server.server.counters.requests == 1)
        }
    }

    @Test func bodiesArriveAsTheyWereSentOnAKeptConnection() async throws {
        try await withServer { server in
            try await blocking {
                let client = try RawClient(port: server.port)
                for number in 0..<200 {
                    let body = "body \(number) " + String(repeating: "x", count: number * 97)
                    try client.send(
                        "POST /mirror HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                    )
                    let response = try client.readResponse()
                    #expect(response.body == body)
                }
            }
        }
    }

    @Test(arguments: [true, false])
    func aClientThatGoesAwayWhileAResponseIsMadeDoesNoHarm(resets: Bool) async throws {
        try await withServer { server in
            server.responder.gate.close()
            for number in 0..<10 {
                try await blocking {
                    let client = try RawClient(port: server.port)
                    try client.send("GET /slow/\(number) HTTP/1.1\r\nHost: h\r\n\r\n")
                    while server.responder.started.load(ordering: .relaxed) <= number { usleep(1_000) }
                    if resets { client.reset() }
                }
            }
            server.responder.gate.open()
            try await eventually("gone") { server.server.counters.open == 0 }
        }
    }

    @Test func aLargeResponseToASlowReaderWithAPipelinedRequestArrivesWholeAndCostsNoTime() async throws {
        try await withServer { server in
            let size = 8_000_000
            let client = try RawClient(port: server.port, receiveBuffer: 4_096)
            try await blocking {
                try client.send("GET /large?\(size) HTTP/1.1\r\nHost: h\r\n\r\nGET /after HTTP/1.1\r\nHost: h\r\n\r\n")
            }
            try await eventually("sending") { server.server.counters.bytesSent >= size }
            let before = try await processorTime(server.loops[0])
            try await Task.sleep(for: .milliseconds(300))
            let spent = try await processorTime(server.loops[0]) - before
            // A loop that turns in circles on the waiting request would use all of it.
            #expect(spent < .milliseconds(150))
            try await blocking {
                let large = try client.readResponse()
                #expect(large.body.utf8.count == size)
                #expect(client.readToEnd().isEmpty)
            }
        }
    }

    /// Bytes that are no request, named by their beginning alone.
    struct Garbage: Sendable, ExpressibleByStringLiteral, ExpressibleByStringInterpolation, CustomTestStringConvertible
    {
        let text: String
        init(stringLiteral text: String) { self.text = text }
        var testDescription: String { String(text.debugDescription.prefix(60)) }
    }

    @Test(
        arguments: [
            "\u{0}\u{1}\u{2}\r\n\r\n", "FROB / HTTP/1.1\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n", "GET /%zz HTTP/1.1\r\n\r\n",
            "GET /%01 HTTP/1.1\r\n\r\n", "CONNECT h:1 HTTP/1.1\r\n\r\n", "GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a%0d%0aX:1 HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nUpgrade: other\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nConnection: Upgrade\r\n\r\n",
        ] as [Garbage])
    func garbageEndsTheConnectionAndNothingElse(_ bytes: Garbage) async throws {
        try await withServer { server in
            let answer = try await blocking {
                let client = try RawClient(port: server.port)
                try client.send(bytes.text)
                let answer = String(decoding: client.readToEnd(), as: UTF8.self)
                let other = try RawClient(port: server.port)
                try other.send("GET /ok HTTP/1.1\r\nHost: system\r\n\r\n")
                #expect(try other.readResponse().status == 200)
                return answer
            }
            #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.") && answer.dropFirst(9).hasPrefix("4"), "\(answer)")
            #expect(server.server.counters.requests == 1)
        }
    }

    @Test func slowClientsAreCutOff() async throws {
        var limits = WebLimits()
        limits.headerTimeout = .milliseconds(150)
        limits.bodyTimeout = .milliseconds(150)
        limits.keepAliveTimeout = .milliseconds(150)
        try await withServer(limits: limits) { server in
            try await blocking {
                for start in ["", "GET / HT", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"] {
                    let client = try RawClient(port: server.port)
                    try client.send(start)
                    #expect(client.readToEnd().isEmpty)
                }
                let client = try RawClient(port: server.port)
                try client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                _ = try client.readResponse()
                try client.send("GET / HT")
                #expect(client.readToEnd().isEmpty)
            }
            #expect(server.server.counters.timedOut == 4)
        }
    }

    @Test func stoppingLetsARequestBeAnswered() async throws {
        let client = Locked<RawClient?>(nil)
        try await withServer(stopWithin: .seconds(20)) { server in
            server.responder.gate.close()
            let connection = try RawClient(port: server.port)
            client.withLock { $0 = connection }
            let idle = try RawClient(port: server.port)
            try await blocking { try connection.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n") }
            try await eventually("started") { server.responder.started.load(ordering: .relaxed) == 1 }
            async let stopped: Void = server.server.stop(within: .seconds(20))
            try await blocking { #expect(idle.readToEnd().isEmpty) }
            #expect(throws: RawClient.Failure.self) { _ = try RawClient(port: server.port) }
            server.responder.gate.open()
            let response = try await blocking { try connection.readResponse() }
            #expect(response.body == "GET /slow||0|127.0.0.1")
            #expect(response.headers["connection"] == "close")
            await stopped
        }
    }
}

/// The processor time that a loop's thread has used.
private func processorTime(_ loop: EventLoop) async throws -> Duration {
    try await loop.run {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
}
