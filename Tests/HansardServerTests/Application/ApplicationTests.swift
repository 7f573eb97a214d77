import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// A whole node over real sockets: the synthetic engine, a fresh database, the folder store.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ApplicationTests {
    private func session(of client: ListenClient) throws -> SessionID {
        let metadata = try #require(client.messages("Metadata").last)
        return try #require((metadata["request_id"] as? String).flatMap { SessionID($0) })
    }

    @Test func aSessionFromTheFirstWordToTheInvoice() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(
                to: application, query: "encoding=linear16&sample_rate=8000&interim_results=true&tag=a&tag=b&extra=k:v")
            try await client.opened()
            try await client.send(seconds: 6)
            try await client.wait("a final") {
                $0.texts.contains { $0.contains("second5") && $0.contains("\"is_final\":true") }
            }
            try await client.send(text: #"{"type":"CloseStream"}"#)
            let closure = try await client.closed()
            #expect(closure.cause == .peer)
            #expect(closure.code == 1000)
            #expect(client.finals == ["second1 second2 second3 second4 second5", "second6"])
            #expect(client.messages("Metadata").count == 1)
            let last = try #require(client.messages.last)
            #expect(last["type"] as? String == "Metadata")
            #expect(last["duration"] as? Double == 6)
            #expect(last["channels"] as? Int == 1)
            // SHA-256 of 96,000 zero bytes, by sha256sum.
            #expect(
                last["sha256"] as? String == "55873fecc61a79e87ca550c7072e38ccdd7ecb600ace286fe4717952a97c42b0")
            let interims = client.messages("Results").filter { $0["is_final"] as? Bool == false }
            #expect(interims.count >= 5, "at least one for each second of audio")
            #expect(
                client.messages("Results").allSatisfy {
                    ($0["metadata"] as? [String: Any])?["extra"] as? [String: String] == ["k": "v"]
                })

            // By the time the client knows, it is stored.
            let id = try session(of: client)
            let (status, body) = try await fixture.get("/v1/transcripts/\(id)", from: application)
            #expect(status == 200)
            let transcript = try JSONTextTests.parsed(Array(body.utf8))
            #expect(transcript["complete"] as? Bool == true)
            #expect(transcript["audio_ms"] as? Int == 6_000)
            #expect(transcript["tags"] as? [String] == ["a", "b"])
            #expect(transcript["engine"] as? String == "synthetic")
            #expect((transcript["results"] as? [Any])?.count == 2)
            #expect(
                try await fixture.get("/v1/transcripts/\(id)?format=txt", from: application).body.hasSuffix("second6\n")
            )
            let stored = try await fixture.connections.status(of: id)
            #expect(stored?.state == .completed)
            #expect(stored?.finals == 2)
            #expect(stored?.transcriptLocation?.hasSuffix("\(id).json") == true)
            #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
            try await eventually("the usage row") {
                try await fixture.usage.usage(of: id, tenant: Sample.tenant) != nil
            }
            let row = try #require(try await fixture.usage.usage(of: id, tenant: Sample.tenant))
            #expect(row.audioMilliseconds == 6_000)
            #expect(row.connectedMilliseconds >= 0)
            #expect(row.key == fixture.keyID)
            #expect(row.tags == ["a", "b"])
        }
    }

    /// Its usage row is there, and it does not keep others' rows from being recorded.
    @Test func aSessionWithoutAudio() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application, query: "")
            try await client.opened()
            try await client.send(text: #"{"type":"Finalize"}"#)
            try await client.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await client.closed().code == 1000)
            #expect(client.messages.map { $0["type"] as? String } == ["Results", "Metadata"])
            #expect(client.messages[0]["from_finalize"] as? Bool == true)
            #expect(client.messages[1]["duration"] as? Double == 0)
            #expect(client.messages[1]["channels"] as? Int == 0)
            #expect(
                client.messages[1]["sha256"] as? String
                    == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            let id = try session(of: client)
            #expect(try await fixture.connections.status(of: id)?.state == .completed)
            #expect(try await fixture.get("/v1/transcripts/\(id)", from: application).status == 404)
            try await eventually("the usage row") {
                try await fixture.usage.usage(of: id, tenant: Sample.tenant) != nil
            }
            #expect(try await fixture.usage.usage(of: id, tenant: Sample.tenant)?.audioMilliseconds == 0)
        }
    }

    @Test func channelsApartAndFinalizeForEach() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(
                to: application, query: "encoding=linear16&sample_rate=8000&channels=2&multichannel=true")
            try await client.opened()
            try await client.send(seconds: 3)
            try await client.send(text: #"{"type":"Finalize"}"#)
            try await client.wait("two answers") { $0.texts.count { $0.contains("\"from_finalize\":true") } == 2 }
            try await client.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await client.closed().code == 1000)
            let answers = client.messages("Results").filter { $0["from_finalize"] as? Bool == true }
            #expect(
                answers.compactMap { $0["channel_index"] as? [Int] }.sorted { $0[0] < $1[0] } == [[0, 2], [1, 2]])
            // Three seconds' worth of bytes of one channel are one and a half of two.
            #expect(client.finals == ["second1", "second1"])
            let id = try session(of: client)
            try await eventually("the usage row") {
                try await fixture.usage.usage(of: id, tenant: Sample.tenant) != nil
            }
            let row = try await fixture.usage.usage(of: id, tenant: Sample.tenant)
            #expect(row?.audioMilliseconds == 1_500)
            #expect(row?.channels == 2)
        }
    }

    // MARK: Handshakes

    @Test func everyWayToAuthenticate() async throws {
        try await ApplicationFixture.run { fixture, application in
            let request =
                "POST /v1/auth/grant HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token \(fixture.key)\r\n"
                + "Content-Length: 0\r\nConnection: close\r\n\r\n"
            let (_, body) = try await ApplicationFixture.exchange(
                request, port: ApplicationFixture.port(of: application))
            let token = try #require(try JSONTextTests.parsed(Array(body.utf8))["access_token"] as? String)
            let clients = [
                try await fixture.connect(to: application),
                try await fixture.connect(to: application, authorization: "bearer \(token)"),
                try await fixture.connect(to: application, subprotocols: ["token", fixture.key]),
                try await fixture.connect(to: application, subprotocols: ["bearer", token]),
            ]
            for client in clients {
                try await client.opened()
                try await client.send(text: #"{"type":"CloseStream"}"#)
                #expect(try await client.closed().code == 1000)
            }
        }
    }

    @Test(arguments: [
        ("Token nonsense", "", 401, "malformed"), ("Basic abc", "", 401, "Authorization"),
        (nil, "encoding=opus&sample_rate=8000", 400, "encoding"), (nil, "interim_results=perhaps", 400, "true, false"),
        (nil, "redact=pci", 400, "redact"), (nil, "encoding=linear16", 400, "sample_rate"),
    ])
    func aRefusalSaysWhy(_ authorization: String?, _ query: String, _ status: Int, _ words: String) async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application, query: query, authorization: authorization)
            _ = try await client.closed()
            #expect(client.now.refusal?.kind == .refused(status: status))
            #expect(client.now.refusal?.dgError?.contains(words) == true)
            #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
        }
    }

    // MARK: Limits and revocation

    @Test func oneSessionMoreThanAllowedIsRefused() async throws {
        try await ApplicationFixture.run(limit: 1) { fixture, application in
            let first = try await fixture.connect(to: application)
            try await first.opened()
            try await first.send(seconds: 1)
            try await first.wait("a result") { !$0.texts.isEmpty }
            let second = try await fixture.connect(to: application)
            let closure = try await second.closed()
            #expect(closure.code == 1008)
            #expect(closure.reason == "quota: 1 concurrent sessions")
            #expect(second.now.texts.isEmpty, "before any result")
            // The node remembers for a moment and refuses without asking.
            let third = try await fixture.connect(to: application)
            let thirdClosure = try await third.closed()
            let isRefused = third.now.refusal?.kind == .refused(status: 429) && third.now.refusal?.retryAfter == "1"
            #expect(isRefused || thirdClosure.code == 1008)
            #expect(try await fixture.connections.leases(of: Sample.tenant).count == 1)

            try await first.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await first.closed().code == 1000)
            let fourth = try await fixture.connect(to: application)
            try await fourth.opened()
            try await fourth.send(seconds: 1)
            try await fourth.wait("a result") { !$0.texts.isEmpty }
            try await fourth.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await fourth.closed().code == 1000)
            let page = try await fixture.get("/metrics", from: application).body
            #expect(page.contains("\nhansard_sessions_started_total 2\n"))
            #expect(page.contains("\nhansard_sessions_ended_total{state=\"terminated\"} 0\n"), "it never began")
        }
    }

    @Test func aKeyThatIsDisabledEndsItsLiveSessions() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application)
            try await client.opened()
            try await client.send(seconds: 2)
            try await client.wait("all was heard") { $0.texts.last?.contains("second2") == true }
            try await fixture.pool.query("UPDATE api_keys SET is_enabled = false")
            let closure = try await client.closed()
            #expect(closure.code == 1008)
            #expect(closure.reason == "key revoked")
            #expect(client.finals == ["second1 second2"], "what was heard is given and kept")
            let id = try session(of: client)
            #expect(try await fixture.connections.status(of: id)?.state == .terminated)
            #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
            let again = try await fixture.connect(to: application)
            _ = try await again.closed()
            #expect(again.now.refusal?.kind == .refused(status: 401))
        }
    }

    @Test func aSuspendedTenantsSessionsEnd() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application)
            try await client.opened()
            try await fixture.pool.query("UPDATE tenants SET status = 'suspended'")
            let closure = try await client.closed()
            #expect(closure.code == 1008)
            #expect(closure.reason == "tenant suspended")
            let again = try await fixture.connect(to: application)
            _ = try await again.closed()
            #expect(again.now.refusal?.kind == .refused(status: 403))
        }
    }

    @Test func aClientThatVanishesLeavesEverythingInOrder() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application)
            try await client.opened()
            try await client.send(seconds: 6)
            try await client.wait("a final") { $0.texts.contains { $0.contains("\"is_final\":true") } }
            let result = try #require(client.messages("Results").first)
            let text = try #require((result["metadata"] as? [String: Any])?["request_id"] as? String)
            let id = try #require(SessionID(text))
            try await client.vanish()
            try await eventually("interrupted") { try await fixture.connections.status(of: id)?.state == .interrupted }
            #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
            let transcript = try JSONTextTests.parsed(
                Array(try await fixture.get("/v1/transcripts/\(id)", from: application).body.utf8))
            #expect(transcript["complete"] as? Bool == false)
            #expect(transcript["state"] as? String == "interrupted")
            #expect((transcript["results"] as? [Any])?.count == 2)
        }
    }

    // MARK: Text messages

    @Test func whatIsNotOfTheProtocolIsPassedOverTenTimes() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application)
            try await client.opened()
            for _ in 0..<10 { try await client.send(text: "hello") }
            try await client.send(seconds: 1)
            try await client.wait("a result") { !$0.texts.isEmpty }
            try await client.send(text: "{}")
            #expect(try await client.closed().code == 1008)
            #expect(try await fixture.connections.status(of: session(of: client))?.state == .failed)
        }
    }

    /// A node that has just seen a limit reached refuses at the handshake, where a client is told when to come again.
    @Test func aLimitThatWasJustReachedIsRefusedAtTheHandshake() async throws {
        try await ApplicationFixture.run(limit: 1) { fixture, application in
            let first = try await fixture.connect(to: application)
            try await first.opened()
            try await first.send(seconds: 1)
            try await first.wait("an interim") { !$0.texts.isEmpty }
            // Within a second of a refusal after the 101; on a machine that stalls for longer, the next try.
            var refusal: WebSocketConnectError?
            for _ in 0..<10 where refusal == nil {
                let second = try await fixture.connect(to: application)
                try await second.wait("a refusal") { $0.refusal != nil || $0.closure != nil }
                #expect([nil, 1008].contains(second.now.closure?.code))
                refusal = second.now.refusal
            }
            #expect(refusal?.kind == .refused(status: 429))
            try await first.send(text: #"{"type":"CloseStream"}"#)
            _ = try await first.closed()
            // Its end makes room at once.
            let next = try await fixture.connect(to: application)
            try await next.opened()
            try await next.send(seconds: 1)
            try await next.wait("an interim") { !$0.texts.isEmpty }
        }
    }

    /// What a client has said before it left counts, also if its slot was not decided by then.
    @Test func whoSaysEverythingAndLeavesIsHeardToTheEnd() async throws {
        try await ApplicationFixture.run { fixture, application in
            let id = try await fixture.pool.transaction { connection in
                try await connection.query("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE")
                let client = try await fixture.connect(to: application)
                try await client.opened()
                try await client.send(seconds: 6)
                try await client.send(text: #"{"type":"CloseStream"}"#)
                try await client.close()
                _ = try await client.closed()
                return try #require(application.parts.services.sessions.identifiers.first)
            }
            try await eventually("it is settled") { try await fixture.connections.status(of: id) != nil }
            let status = try await fixture.connections.status(of: id)
            #expect(status?.state == .completed)
            #expect(status?.audioMilliseconds == 6_000)
            #expect(status?.finals == 2)
            #expect(try await fixture.get("/v1/transcripts/\(id)", from: application).status == 200)
        }
    }
}
