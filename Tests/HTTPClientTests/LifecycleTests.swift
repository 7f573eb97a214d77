import EventLoops
import Foundation
import HTTPClient
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct LifecycleTests {
    private static let silent: @Sendable (RawPeer, RawServer) throws -> Void = { peer, server in
        _ = try server.readRequest(from: peer)
        peer.readToEnd()
        server.heads.withLock { $0.append("gone") }
    }

    @Test func aTaskThatIsCancelledAlreadySendsNothing() async throws {
        try await withRawServer(script: Self.silent) { server in
            try await withClient { client in
                let task = Task {
                    withUnsafeCurrentTask { $0?.cancel() }
                    _ = try await client.send(get(server.origin))
                }
                await #expect(throws: CancellationError.self) { try await task.value }
                #expect(client.statistics.connectionsOpened == 0)
                #expect(server.connections == 0)
            }
        }
    }

    @Test func cancellingClosesTheTransfersConnectionAlone() async throws {
        try await withRawServer(script: Self.silent) { server in
            try await withClient { client in
                let one = Task { try await client.send(get(server.origin)) }
                try await eventually("sent") { server.heads.withLock { $0.count } == 1 }
                let other = Task { try await client.send(get(server.origin)) }
                try await eventually("sent") { server.heads.withLock { $0.count } == 2 }
                one.cancel()
                await #expect(throws: CancellationError.self) { try await one.value }
                try await eventually("closed") { server.heads.withLock { $0.filter { $0 == "gone" }.count } == 1 }
                #expect(client.statistics.underWay == 1)
                other.cancel()
                await #expect(throws: CancellationError.self) { try await other.value }
                #expect(client.statistics.cancellations == 2)
                #expect(client.statistics.underWay == 0)
            }
        }
    }

    @Test func cancellingOneThatWaitsKeepsTheOrderOfTheRest() async throws {
        try await withRawServer(script: Self.silent) { server in
            try await withClient({ $0.maximumConnectionsPerOrigin = 1 }) { client in
                let tasks = try await (0..<4).asyncMap { index in
                    let task = Task { try await client.send(get(server.origin, "/\(index)")) }
                    try await eventually("in line") {
                        client.statistics.underWay + client.statistics.waiting == index + 1
                    }
                    return task
                }
                tasks[1].cancel()
                await #expect(throws: CancellationError.self) { try await tasks[1].value }
                for index in [0, 2, 3] {
                    try await eventually("sent") {
                        server.heads.withLock { $0.last { $0 != "gone" } }?.hasPrefix("GET /\(index) ") == true
                    }
                    tasks[index].cancel()
                    await #expect(throws: CancellationError.self) { try await tasks[index].value }
                }
            }
        }
    }

    @Test func cancellingAtAnyMomentLosesNobody() async throws {
        try await withRawServer(script: answeringEach("HTTP/1.1 204 No Content\r\n\r\n")) { server in
            try await withClient({ $0.maximumConnectionsPerOrigin = 8 }) { client in
                let outcomes = await withTaskGroup(of: Bool?.self) { group in
                    for index in 0..<600 {
                        group.addTask {
                            let task = Task { try await client.send(get(server.origin)) }
                            if index % 3 == 0 { await Task.yield() }
                            if index % 3 == 1 { try? await Task.sleep(for: .microseconds(index * 7)) }
                            task.cancel()
                            switch await task.result {
                            case .success(let response): return response.status == 204
                            case .failure(let error): return error is CancellationError ? nil : false
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(outcomes.count == 600)
                #expect(!outcomes.contains(false))
                #expect(client.statistics.underWay == 0)
                #expect(client.statistics.waiting == 0)
                let answer = try await client.send(get(server.origin))
                #expect(answer.status == 204)
            }
        }
    }

    @Test func closingFailsWhatIsUnderWayAndWhatWaits() async throws {
        try await withRawServer(script: Self.silent) { server in
            var options = HTTPClient.Options()
            options.maximumConnectionsPerOrigin = 2
            let client = try HTTPClient(options: options)
            let tasks = (0..<5).map { _ in Task { await failure(of: client, get(server.origin)) } }
            try await eventually("sent") { server.heads.withLock { $0.count } == 2 && client.statistics.waiting == 3 }
            async let again: Void = client.close()
            await client.close()
            await again
            var errors: [CurlError] = []
            for task in tasks { errors.append(await task.value) }
            #expect(errors.allSatisfy { $0.code == 0 && $0.message == "the HTTP client has been closed" })
            #expect(errors.count { $0.wasNotSent } == 3)
            try await eventually("closed") { server.heads.withLock { $0.count } == 4 }
            let late = await failure(of: client, get(server.origin))
            #expect(late.code == 0)
            #expect(late.wasNotSent)
            await client.close()
            #expect(client.statistics.failures == 5)
            #expect(client.statistics.underWay == 0)
            #expect(client.statistics.waiting == 0)
        }
    }

    @Test func aClientThatIsLetGoClosesItsConnections() async throws {
        try await withRawServer(script: answeringEach("HTTP/1.1 204 No Content\r\n\r\n")) { server in
            do {
                let client = try HTTPClient()
                _ = try await client.send(get(server.origin))
                #expect(clientDescriptors(of: server) == 1)
            }
            try await eventually("connections gone") { clientDescriptors(of: server) == 0 }
        }
    }

    @Test func aThousandTransfersLeaveNothingBehind() async throws {
        try await withRawServer { peer, server in
            // Every seventh connection ends without an answer, every third answer ends its connection.
            while true {
                let (head, _) = try server.readRequest(from: peer)
                if head.hasPrefix("GET /7") { return }
                try peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if head.hasPrefix("GET /3") { return }
            }
        } _: { server in
            try await withClient { client in
                _ = await failure(of: client, get(server.origin))
                _ = await failure(of: client, get("http://localhost:\(server.port)", "/3"))
                let before = clientDescriptors(of: server)
                for index in 0..<1_000 {
                    let path = index % 7 == 0 ? "/7" : index % 3 == 0 ? "/3" : "/"
                    let origin = index % 10 == 0 ? "http://localhost:\(server.port)" : server.origin
                    _ = await failure(of: client, get(origin, path))
                }
                #expect(client.statistics.underWay == 0)
                #expect(client.statistics.responses + client.statistics.failures == 1_002)
                #expect((1..<4).contains(before))
                #expect(clientDescriptors(of: server, inheritedByChildren: true) == 0)
                try await eventually("descriptors") { clientDescriptors(of: server) < 4 }
            }
            try await eventually("descriptors") { clientDescriptors(of: server) == 0 }
        }
    }
}

/// How many connections of this process go to the server.
private func clientDescriptors(of server: RawServer, inheritedByChildren: Bool = false) -> Int {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return names.count { name in
        guard let descriptor = Int32(name) else { return false }
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &size) }
        }
        if inheritedByChildren && fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0 { return false }
        return code == 0 && address.sin_family == sa_family_t(AF_INET)
            && Int(UInt16(bigEndian: address.sin_port)) == server.port
    }
}

extension Sequence {
    fileprivate func asyncMap<Value>(_ transform: (Element) async throws -> Value) async rethrows -> [Value] {
        var values: [Value] = []
        for element in self { values.append(try await transform(element)) }
        return values
    }
}
