import EventLoops
import Foundation
import HTTPClient
import Testing
import Web

@Suite(.serialized, .timeLimit(.minutes(10))) struct HTTPClientTests {
    @Test(arguments: [200, 201, 301, 302, 400, 403, 404, 412, 500, 503])
    func everyStatusIsAResponse(status: Int) async throws {
        try await withWebServer { origin, _ in
            try await withClient { client in
                let response = try await client.send(get(origin, "/\(status)"))
                #expect(response.status == status)
                #expect(response.body == Array("status \(status)".utf8))
                #expect(client.statistics.responses == 1)
            }
        }
    }

    @Test func headersAndBodiesGoBothWays() async throws {
        try await withWebServer { origin, _ in
            try await withClient { client in
                for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                    let body = Array("body of \(method)".utf8)
                    let headers = [TransferHeader("Idempotency-Key", "k 1"), TransferHeader("Content-Type", "a/b")]
                    let request = TransferRequest(
                        method: method, origin: origin, path: "/p", query: "a=%20b&c", headers: headers, body: body)
                    let response = try await client.send(request)
                    #expect(response.status == 200)
                    #expect(response.body == body)
                    #expect(response.header("x-method") == method)
                    #expect(response.header("X-QUERY") == "a=%20b&c")
                    let got = response.headers.filter { $0.name.lowercased() == "x-got" }.map(\.value)
                    #expect(got.contains("idempotency-key=k 1"))
                    #expect(got.contains("content-type=a/b"))
                    #expect(got.contains("content-length=\(body.count)"))
                    #expect(got.contains("expect=none"))
                }
                #expect(client.statistics.connectionsOpened == 1)
            }
        }
    }

    @Test func nothingIsAddedButHostAndContentLength() async throws {
        try await withRawServer(script: answeringEach("HTTP/1.1 204 No Content\r\n\r\n")) { server in
            try await withClient { client in
                let host = "Host: 127.0.0.1:\(server.port)\r\n"
                for method in ["GET", "DELETE", "OPTIONS", "HEAD"] {
                    _ = try await client.send(TransferRequest(method: method, origin: server.origin))
                    #expect(server.heads.withLock { $0.last } == "\(method) / HTTP/1.1\r\n\(host)\r\n")
                }
                for method in ["PUT", "POST", "PATCH"] {
                    _ = try await client.send(TransferRequest(method: method, origin: server.origin))
                    let head = "\(method) / HTTP/1.1\r\n\(host)Content-Length: 0\r\n\r\n"
                    #expect(server.heads.withLock { $0.last } == head)
                    let body = [UInt8](repeating: 1, count: 2_000_000)
                    _ = try await client.send(TransferRequest(method: method, origin: server.origin, body: body))
                    let long = "\(method) / HTTP/1.1\r\n\(host)Content-Length: 2000000\r\n\r\n"
                    #expect(server.heads.withLock { $0.last } == long)
                }
                let own = [
                    TransferHeader("Accept", "x/y"), TransferHeader("X-Empty", ""), TransferHeader("X-A", "a;b: c"),
                    TransferHeader("host", "127.0.0.1:\(server.port)"), TransferHeader("content-length", "1"),
                    TransferHeader("User-Agent", "u"),
                ]
                _ = try await client.send(
                    TransferRequest(method: "DELETE", origin: server.origin, headers: own, body: [1]))
                let head = "Accept: x/y\r\nX-Empty:\r\nX-A: a;b: c\r\nUser-Agent: u\r\nContent-Length: 1\r\n\r\n"
                let sent = server.heads.withLock { $0.last } ?? ""
                #expect(
                    Set(sent.components(separatedBy: "\r\n"))
                        == Set(
                            ("DELETE / HTTP/1.1\r\n\(host)" + head)
                                .components(separatedBy: "\r\n")))
            }
        }
    }

    @Test(arguments: [
        "/a//b/../c/./d", "/%2e%2E/%2f%2F", "/~*'()!@:,;=&+$", "/..", "/a%20b%ZZ", "/\"<>[]{}|\\^`", "//",
    ])
    func targetsAreSentByteForByte(path: String) async throws {
        try await withRawServer(script: answeringEach("HTTP/1.1 204 No Content\r\n\r\n")) { server in
            try await withClient { client in
                for query in ["", "a=b%2Fc&d=../e", "?", "x=%7e~'|^\"<>"] {
                    _ = try await client.send(
                        TransferRequest(method: "GET", origin: server.origin, path: path, query: query))
                    let target = path + (query.isEmpty ? "" : "?\(query)")
                    #expect(server.heads.withLock { $0.last }?.hasPrefix("GET \(target) HTTP/1.1\r\n") == true)
                }
            }
        }
    }

    @Test func largeBodiesGoBothWays() async throws {
        try await withWebServer { origin, _ in
            try await withClient { client in
                let body = (0..<(10 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
                var request = TransferRequest(method: "PUT", origin: origin, path: "/large", body: body)
                request.timeout = .seconds(60)
                let response = try await client.send(request)
                #expect(response.status == 200)
                #expect(response.body == body)
                let statistics = client.statistics
                #expect(statistics.bytesSent > 10 << 20)
                #expect(statistics.bytesReceived > 10 << 20)
            }
        }
    }

    @Test func aHeadResponseHasALengthAndNoBody() async throws {
        let script = answeringEach("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\nETag: \"e\"\r\n\r\n")
        try await withRawServer(script: script) { server in
            try await withClient { client in
                for _ in 0..<3 {
                    let response = try await client.send(TransferRequest(method: "HEAD", origin: server.origin))
                    #expect(response.status == 200)
                    #expect(response.header("content-length") == "5000000000")
                    #expect(response.body == [])
                }
                #expect(server.connections == 1)
            }
        }
    }

    @Test func countedBytesAreThoseOnTheWire() async throws {
        let sizes = [0, 1, 60_000, 70_000, 300_000]
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"
        try await withRawServer(script: answeringEach(answer)) { server in
            try await withClient { client in
                for size in sizes {
                    let body = [UInt8](repeating: 0x61, count: size)
                    _ = try await client.send(TransferRequest(method: "POST", origin: server.origin, body: body))
                }
                let heads = server.heads.withLock { $0.reduce(0) { $0 + $1.utf8.count } }
                #expect(client.statistics.bytesSent == heads + sizes.reduce(0, +))
                #expect(client.statistics.bytesReceived == answer.utf8.count * sizes.count)
            }
        }
    }

    @Test func connectionsAreUsedAgain() async throws {
        try await withWebServer { origin, server in
            try await withClient { client in
                for _ in 0..<50 { _ = try await client.send(get(origin)) }
                #expect(client.statistics.responses == 50)
                #expect(client.statistics.connectionsOpened == 1)
                #expect(server.counters.accepted == 1)
            }
        }
    }

    @Test func twoHundredAtOnceShareFewConnections() async throws {
        try await withWebServer { origin, server in
            try await withClient({ $0.maximumConnectionsPerOrigin = 7 }) { client in
                try await withThrowingTaskGroup { group in
                    for index in 0..<200 {
                        group.addTask {
                            let body = Array("\(index)".utf8)
                            var request = TransferRequest(method: "POST", origin: origin, body: body)
                            request.timeout = .seconds(60)
                            let response = try await client.send(request)
                            #expect(response.body == body)
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(client.statistics.responses == 200)
                #expect(client.statistics.connectionsOpened <= 7)
                #expect(server.counters.accepted <= 7)
            }
        }
    }

    @Test func interimResponsesFoldedLinesAndTrailersAreUnderstood() async throws {
        let answer =
            "HTTP/1.1 100 Continue\r\nX: no\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\n b\r\n"
            + "x: c \r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n3\r\nabc\r\n0\r\nT: t\r\n\r\n"
        try await withRawServer(script: answeringEach(answer)) { server in
            try await withClient { client in
                for _ in 0..<2 {
                    let response = try await client.send(get(server.origin))
                    #expect(response.status == 200)
                    #expect(response.headers.filter { $0.name.lowercased() == "x" }.map(\.value) == ["a b", "c"])
                    #expect(response.header("T") == nil)
                    #expect(response.body == Array("abc".utf8))
                }
                #expect(server.connections == 1)
            }
        }
    }
}

/// Answers each request of each connection with the same bytes.
func answeringEach(_ answer: String) -> @Sendable (RawPeer, RawServer) throws -> Void {
    { peer, server in
        while true {
            _ = try server.readRequest(from: peer)
            try peer.send(answer)
        }
    }
}
