import Testing

@testable import HTTPClient

@Suite struct AdmissionTests {
    private func options(_ connections: Int, perOrigin: Int, waiting: Int = 100, waitingPerOrigin: Int = 100)
        -> HTTPClient.Options
    {
        var options = HTTPClient.Options()
        options.maximumConnections = connections
        options.maximumConnectionsPerOrigin = perOrigin
        options.maximumWaiting = waiting
        options.maximumWaitingPerOrigin = waitingPerOrigin
        return options
    }

    @Test func anOriginHasItsShareAndAllHaveTheWhole() {
        var admission = Admission(options: options(3, perOrigin: 2))
        #expect(admission.transferArrived(1, origin: "a") == .run)
        #expect(admission.transferArrived(2, origin: "a") == .run)
        #expect(admission.transferArrived(3, origin: "a") == .wait)
        #expect(admission.transferArrived(4, origin: "b") == .run)
        #expect(admission.transferArrived(5, origin: "b") == .wait)
        // 3 has waited longer, but its origin has its share.
        #expect(admission.transferEnded(origin: "b") == 5)
        #expect(admission.transferEnded(origin: "a") == 3)
        #expect(admission.transferEnded(origin: "a") == nil)
        #expect(admission.running == 2)
        #expect(admission.waiting == 0)
    }

    @Test func whoHasWaitedLongestIsNext() {
        var admission = Admission(options: options(2, perOrigin: 2))
        #expect(admission.transferArrived(1, origin: "a") == .run)
        #expect(admission.transferArrived(2, origin: "b") == .run)
        #expect(admission.transferArrived(3, origin: "b") == .wait)
        #expect(admission.transferArrived(4, origin: "a") == .wait)
        #expect(admission.transferArrived(5, origin: "c") == .wait)
        #expect(admission.transferEnded(origin: "a") == 3)
        #expect(admission.transferEnded(origin: "b") == 4)
        #expect(admission.transferEnded(origin: "b") == 5)
    }

    @Test func theQueueIsBoundedForAnOriginAndForAll() {
        var admission = Admission(options: options(1, perOrigin: 1, waiting: 3, waitingPerOrigin: 2))
        #expect(admission.transferArrived(1, origin: "a") == .run)
        #expect(admission.transferArrived(2, origin: "a") == .wait)
        #expect(admission.transferArrived(3, origin: "a") == .wait)
        let perOrigin = "2 requests to a wait already (maximumWaitingPerOrigin)"
        #expect(admission.transferArrived(4, origin: "a") == .refuse(perOrigin))
        #expect(admission.transferArrived(5, origin: "b") == .wait)
        #expect(admission.transferArrived(6, origin: "c") == .refuse("3 requests wait already (maximumWaiting)"))
        admission.transferWithdrew(2, origin: "a")
        admission.transferWithdrew(2, origin: "a")
        #expect(admission.waiting == 2)
        #expect(admission.transferArrived(7, origin: "c") == .wait)
        #expect(admission.transferEnded(origin: "a") == 3)
    }

    @Test func generatedHistoriesKeepTheLimitsAndLoseNobody() {
        for seed in 0..<200 as Range<UInt64> {
            var random = SplitMix(state: seed)
            var admission = Admission(options: options(5, perOrigin: 2, waiting: 12, waitingPerOrigin: 6))
            var running: [UInt64: String] = [:]
            var waiting: [UInt64: String] = [:]
            for id in 1...400 as ClosedRange<UInt64> {
                let origin = ["a", "b", "c", "d"].randomElement(using: &random) ?? "a"
                switch random.next() % 5 {
                case 0, 1:
                    switch admission.transferArrived(id, origin: origin) {
                    case .run: running[id] = origin
                    case .wait: waiting[id] = origin
                    case .refuse:
                        #expect(waiting.count == 12 || waiting.values.count { $0 == origin } == 6)
                    }
                case 2:
                    guard let gone = waiting.keys.sorted().randomElement(using: &random) else { continue }
                    admission.transferWithdrew(gone, origin: waiting.removeValue(forKey: gone) ?? "")
                default:
                    guard let ended = running.keys.sorted().randomElement(using: &random) else { continue }
                    if let next = admission.transferEnded(origin: running.removeValue(forKey: ended) ?? "") {
                        running[next] = waiting.removeValue(forKey: next)
                    }
                }
                #expect(admission.running == running.count)
                #expect(admission.waiting == waiting.count)
                #expect(running.count <= 5)
                let shares = Dictionary(grouping: running.values) { $0 }.mapValues(\.count)
                #expect(shares.values.allSatisfy { $0 <= 2 })
                // Nobody waits who could run.
                #expect(running.count == 5 || waiting.values.allSatisfy { shares[$0] == 2 })
            }
        }
    }

    @Test func aRequestIsHandedOverOnce() {
        var sending = SingleSend()
        #expect(!sending.wasHandedOver)
        let first = sending.connectionBecameReady()
        #expect(first)
        #expect(sending.wasHandedOver)
        #expect(!sending.wasRepetitionRefused)
        let second = sending.connectionBecameReady()
        #expect(!second)
        #expect(sending.wasRepetitionRefused)
    }
}

@Suite struct CheckedRequestTests {
    private func refusal(_ change: (inout TransferRequest) -> Void) -> CurlError? {
        var request = TransferRequest(method: "PUT", origin: "https://h:1", path: "/a", query: "b=c", body: [1, 2])
        change(&request)
        do {
            _ = try CheckedRequest(request)
            return nil
        } catch {
            return error
        }
    }

    @Test func whatWouldBreakOutOfItsPlaceIsRefused() {
        let changes: [(String, (inout TransferRequest) -> Void)] = [
            ("method", { $0.method = "" }), ("method", { $0.method = "GET /" }), ("method", { $0.method = "A\r\nB" }),
            ("method", { $0.method = "CONNECT" }), ("HEAD", { $0.method = "HEAD" }),
            ("maximumResponseBytes", { $0.maximumResponseBytes = -1 }),
            ("origin", { $0.origin = "ftp://h" }), ("origin", { $0.origin = "file:///etc/passwd" }),
            ("origin", { $0.origin = "https://" }), ("origin", { $0.origin = "https://user@h" }),
            ("origin", { $0.origin = "https://h/p" }), ("origin", { $0.origin = "https://h?q" }),
            ("origin", { $0.origin = "https://h#f" }), ("origin", { $0.origin = "https://h\\i" }),
            ("origin", { $0.origin = "https://h\r\nX: y" }), ("origin", { $0.origin = "https://%68" }),
            ("origin", { $0.origin = "https://é" }), ("origin", { $0.origin = " https://h" }),
            ("path", { $0.path = "" }), ("path", { $0.path = "a" }), ("path", { $0.path = "/a b" }),
            ("path", { $0.path = "/a?b" }), ("path", { $0.path = "/a#b" }), ("path", { $0.path = "/\r\n" }),
            ("path", { $0.path = "/é" }), ("query", { $0.query = "a b" }), ("query", { $0.query = "a#b" }),
            ("query", { $0.query = "\0" }),
            ("name", { $0.headers = [.init("", "a")] }), ("name", { $0.headers = [.init("a:b", "a")] }),
            ("name", { $0.headers = [.init("a\r\nb", "a")] }), ("name", { $0.headers = [.init("é", "a")] }),
            ("header x", { $0.headers = [.init("X", "a\r\nY: b")] }),
            ("header x", { $0.headers = [.init("X", "a\0")] }),
            ("header x", { $0.headers = [.init("X", "é")] }),
            ("transfer-encoding", { $0.headers = [.init("Transfer-Encoding", "chunked")] }),
            ("connection", { $0.headers = [.init("connection", "close")] }),
            ("expect", { $0.headers = [.init("EXPECT", "100-continue")] }),
            ("host", { $0.headers = [.init("Host", "other:1")] }),
            ("content-length", { $0.headers = [.init("Content-Length", "3")] }),
        ]
        for (index, (subject, change)) in changes.enumerated() {
            let error = refusal(change)
            #expect(error?.code == 0, "\(index)")
            #expect(error?.wasNotSent == true, "\(index)")
            #expect(error?.message.contains(subject) == true, "\(index): \(error?.message ?? "")")
        }
    }

    @Test func whatIsSoundIsTaken() throws {
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.origin = "http://[::1]:80" } == nil)
        #expect(refusal { $0.origin = "https://a_b.c-d.example" } == nil)
        #expect(
            refusal { $0.headers = [.init("Host", "H:1"), .init("content-length", "2"), .init("x", " \t")] } == nil)
        let checked = try CheckedRequest(
            TransferRequest(
                method: "PUT", origin: "HTTPS://Host:1", path: "/A", query: "Q",
                headers: [.init("Host", "host:1"), .init("x", ""), .init("Accept", "a")]))
        #expect(checked.url == "https://host:1/A?Q")
        #expect(checked.origin == "https://host:1")
        #expect(checked.headerLines == ["x;", "Accept: a", "Content-Type:", "Expect:"])
    }
}

@Suite struct ReplyAssemblyTests {
    private func assembled(_ lines: [String], body: [[UInt8]] = [], headers: Int = 1_000, bodies: Int = 1_000)
        -> ReplyAssembly
    {
        var reply = ReplyAssembly(maximumHeaderBytes: headers, maximumBodyBytes: bodies)
        for line in lines { _ = Array(line.utf8).withUnsafeBytes { reply.headerLineArrived($0) } }
        for piece in body { _ = piece.withUnsafeBytes { reply.bodyArrived($0) } }
        return reply
    }

    @Test func linesBecomeFields() {
        let reply = assembled(
            ["HTTP/2 404 \r\n", "a: b:c\r\n", "A:\td \r\n", " e\r\n", "no colon\r\n", ":x\r\n", "\r\n"],
            body: [[1], [2]])
        let headers = [TransferHeader("a", "b:c"), TransferHeader("A", "d e"), TransferHeader("", "x")]
        #expect(reply.response() == TransferResponse(status: 404, headers: headers, body: [1, 2]))
    }

    @Test func onlyTheLastHeadCounts() {
        let interim = ["HTTP/1.1 103 Early\r\n", "a: b\r\n", "\r\n"]
        let final = ["HTTP/1.1 200 OK\r\n", "c: d\r\n", "\r\n"]
        let trailers = ["HTTP/1.1 500 No\r\n", "e: f\r\n"]
        let response = assembled(interim + interim + final + trailers).response()
        #expect(response == TransferResponse(status: 200, headers: [TransferHeader("c", "d")]))
    }

    @Test(arguments: [
        [], ["HTTP/1.1 200 OK\r\n"], ["HTTP/1.1\r\n", "\r\n"], ["HTTP/1.1 99 X\r\n", "\r\n"],
        ["HTTP/1.1 600 X\r\n", "\r\n"], ["HTTP/1.1 -200 X\r\n", "\r\n"], ["\r\n", "\r\n"],
    ])
    func withoutAStatusThereIsNoResponse(lines: [String]) {
        #expect(assembled(lines).response() == nil)
    }

    @Test func limitsEndIt() {
        let line = "HTTP/1.1 200 OK\r\n"
        #expect(assembled([line, "\r\n"], headers: 19).breach == nil)
        #expect(assembled([line, "\r\n"], headers: 18).breach == .headersTooLarge(18))
        #expect(assembled([line, "\r\n"], body: [[1], [2]], bodies: 2).breach == nil)
        #expect(assembled([line, "\r\n"], body: [[1], [2, 3]], bodies: 2).breach == .bodyTooLarge(2))
        var reply = assembled([line, "\r\n"], bodies: 2)
        #expect([1].withUnsafeBytes { reply.bodyArrived($0, announced: 3) } == false)
        #expect(reply.breach == .bodyTooLarge(2))
    }

    @Test func anyLinesAreTaken() {
        var random = SplitMix(state: 3)
        let alphabet = Array("HTP/1. 20:\r\n\t\0a\u{ff}".utf8)
        for _ in 0..<20_000 {
            var reply = ReplyAssembly(maximumHeaderBytes: 200, maximumBodyBytes: 10)
            for _ in 0..<(random.next() % 8) {
                let line = (0..<(random.next() % 40)).map { _ in alphabet.randomElement(using: &random) ?? 0 }
                let isWanted = line.withUnsafeBytes { reply.headerLineArrived($0) }
                #expect(isWanted == (reply.breach == nil))
            }
            if let status = reply.response()?.status { #expect((100...599).contains(status)) }
        }
    }
}
