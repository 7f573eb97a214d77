import EventLoops
import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

/// How a node begins and ends: gracefully, and after a death.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ApplicationLifeTests {
    @Test func aGracefulStopEndsSessionsAtTheDeadlineAndStoresThem() async throws {
        let fixture = try await ApplicationFixture.make()
        let application = try await fixture.start()
        let client = try await fixture.connect(to: application)
        try await client.opened()
        try await client.send(seconds: 7)
        try await client.wait("the seventh second") { $0.texts.contains { $0.contains("second7") } }
        // libwebsockets hides a close code of 1012 from its own clients.
        let raw = try await RawWebSocket.open(
            port: ApplicationFixture.port(of: application), path: "/v1/listen",
            headers: "Authorization: Token \(fixture.key)\r\n")
        #expect(try await fixture.connections.nodes().count == 1)
        await application.stop()
        _ = try await client.closed()
        let closure = try await raw.closure()
        #expect(closure.code == 1012)
        #expect(closure.reason == "node restarting")
        #expect(client.finals == ["second1 second2 second3 second4 second5", "second6 second7"])
        let metadata = try #require(client.messages.last)
        #expect(metadata["type"] as? String == "Metadata")
        let id = try #require((metadata["request_id"] as? String).flatMap { SessionID($0) })
        let store = FolderTranscriptStore(folder: fixture.folder.url.appending(path: "transcripts"))
        let transcript = try #require(try await store.get(id, tenant: Sample.tenant))
        store.stop()
        #expect(transcript.results.count == 2)
        #expect(transcript.state == .interrupted)
        #expect(try await fixture.connections.status(of: id)?.state == .interrupted)
        #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
        #expect(try await fixture.connections.nodes().isEmpty, "a node that has shut down needs no reaping")
        #expect(try await fixture.usage.usage(of: id, tenant: Sample.tenant)?.audioMilliseconds == 7_000)
        await application.stop()
        await fixture.close()
    }

    @Test func aDrainingNodeLetsSessionsEndByThemselves() async throws {
        let fixture = try await ApplicationFixture.make()
        var settings = fixture.settings
        settings.drainDeadline = .seconds(60)
        let application = try await Application.start(settings: settings, logger: fixture.log.logger)
        let client = try await fixture.connect(to: application)
        try await client.opened()
        try await client.send(seconds: 1)
        try await client.wait("a result") { !$0.texts.isEmpty }
        let stop = Task { await application.stop() }
        try await eventually("it drains") { fixture.log.count(of: "stopping") == 1 }
        try await client.send(seconds: 1)
        try await client.send(text: #"{"type":"CloseStream"}"#)
        #expect(try await client.closed().code == 1000)
        #expect(client.finals == ["second1 second2"])
        await stop.value
        await fixture.close()
    }

    /// kill -9 in the middle of speech, then a new start with the same state directory.
    @Test func aNewStartFinishesWhatADeadLifeLeft() async throws {
        let fixture = try await ApplicationFixture.make()
        let holder = Sample.epoch("node-1", 1)
        let session = SessionID(startedAt: moment(100), random: [UInt8](repeating: 3, count: 10))
        var lease = Sample.lease(session, holder: holder)
        lease.key = fixture.keyID
        try await fixture.connections.heartbeat(
            NodeRecord(epoch: holder, heartbeat: UUID(), address: "", region: "", version: ""))
        #expect(
            try await fixture.connections.claim(lease, limit: AdmissionLimit(sessions: nil, version: 1)) == .claimed)
        // A lease of which the spool knows nothing: the node died before the first audio.
        let silent = SessionID(startedAt: moment(101), random: [UInt8](repeating: 4, count: 10))
        let silentLease = Sample.lease(silent, holder: holder)
        _ = try await fixture.connections.claim(silentLease, limit: AdmissionLimit(sessions: nil, version: 1))
        let (spool, _) = try Spool.open(
            folder: fixture.folder.url.appending(path: "spool"), maximumBytes: 1 << 30, logger: fixture.log.logger)
        var began = Sample.began(session, holder: holder)
        began.nonce = lease.nonce
        #expect(await spool.appended(.began(began)))
        #expect(await spool.appended(.final(session, Sample.final(0))))
        #expect(await spool.appended(.final(session, Sample.final(1))))
        #expect(await spool.appended(.usage(session, audioMilliseconds: 1_900, at: moment(103))))
        spool.close()
        try EpochFile(stateDirectory: fixture.folder.url).write(holder)

        let application = try await fixture.start()
        #expect(try await fixture.connections.leases(of: Sample.tenant).isEmpty)
        #expect(try await fixture.connections.nodes().map(\.epoch.node) == ["node-1"])
        #expect(try await fixture.connections.nodes().map(\.epoch) != [holder])
        #expect(try await fixture.connections.status(of: session)?.state == .interrupted)
        #expect(try await fixture.connections.status(of: silent)?.state == .interrupted)
        let (status, body) = try await fixture.get("/v1/transcripts/\(session)?format=txt", from: application)
        #expect(status == 200)
        #expect(body == "go forward\ngo forward\n")
        try await eventually("the usage row") {
            try await fixture.usage.usage(of: session, tenant: Sample.tenant)?.audioMilliseconds == 2_000
        }
        await application.stop()
        // Nothing is left for the life after.
        let (last, recovery) = try Spool.open(
            folder: fixture.folder.url.appending(path: "spool"), maximumBytes: 1 << 30, logger: fixture.log.logger)
        #expect(recovery.sessions.isEmpty)
        last.close()
        await fixture.close()
    }

    /// A peer took the node for dead and freed the slot: the next renewal finds out.
    @Test(arguments: [Tenant.LeaseLoss.keep, .close]) func aSessionWhoseLeaseIsGoneEndsIfThatIsWanted(
        _ policy: Tenant.LeaseLoss
    ) async throws {
        let fixture = try await ApplicationFixture.make()
        var settings = fixture.settings
        settings.onLeaseLost = policy
        let application = try await Application.start(settings: settings, logger: fixture.log.logger)
        let client = try await fixture.connect(to: application)
        try await client.opened()
        try await client.send(seconds: 1)
        try await client.wait("a result") { !$0.texts.isEmpty }
        let lease = try #require(try await fixture.connections.leases(of: Sample.tenant).first)
        #expect(try await fixture.connections.reap(lease, status: .abandoned(lease, now: moment(0))))
        try await client.send(seconds: 60)
        try await eventually("the renewal has failed") { fixture.log.count(of: "the session's lease is gone") == 1 }
        if policy == .keep {
            try await client.send(seconds: 1)
            try await client.send(text: #"{"type":"CloseStream"}"#)
            #expect(try await client.closed().code == 1000)
        } else {
            // It is 1013, which libwebsockets hides from its own clients.
            #expect(try await client.closed().code != 1000)
        }
        await application.stop()
        let status = try await fixture.connections.status(of: lease.session)
        #expect(status?.state == (policy == .keep ? .completed : .interrupted))
        #expect((status?.finals ?? 0) > 0, "the holder corrects the reaper")
        await fixture.close()
    }

    @Test func aNodeThatCannotStartLeavesNothingRunning() async throws {
        let fixture = try await ApplicationFixture.make()
        let occupied = try OccupiedPort()
        var settings = fixture.settings
        settings.listen.port = occupied.port
        let error = await #expect(throws: WebServerError.self) {
            try await Application.start(settings: settings, logger: fixture.log.logger)
        }
        #expect(error?.description.contains("cannot listen on 127.0.0.1:\(occupied.port)") == true)
        #expect(try await fixture.connections.nodes().isEmpty, "a node that never served is not there to be reaped")
        let application = try await fixture.start()
        #expect(try await fixture.get("/healthz", from: application).status == 200)
        await application.stop()
        await fixture.close()
    }

    /// A second server with the same state directory would take the first one's live sessions for those of a dead life.
    @Test func aStateDirectoryServesOneNodeAtATime() async throws {
        let fixture = try await ApplicationFixture.make()
        let application = try await fixture.start()
        let client = try await fixture.connect(to: application)
        try await client.opened()
        try await client.send(seconds: 1)
        try await client.wait("a result") { !$0.texts.isEmpty }
        let error = await #expect(throws: HansardError.self) { _ = try await fixture.start() }
        #expect(error?.message.contains("another process uses it") == true)
        #expect(try await fixture.connections.leases(of: Sample.tenant).count == 1)
        try await client.send(text: #"{"type":"CloseStream"}"#)
        #expect(try await client.closed().code == 1000)
        await application.stop()
        let next = try await fixture.start()
        await next.stop()
        await fixture.close()
    }

    @Test func theNodeSaysWhetherItCanServe() async throws {
        try await ApplicationFixture.run { fixture, application in
            let (status, body) = try await fixture.get("/readyz", from: application)
            #expect(status == 200, "\(body)")
            #expect(try await fixture.get("/metrics", from: application).body.contains("hansard_sessions_active 0.0"))
            #expect(try await fixture.get("/v1/listen", from: application).status == 426, "without an upgrade")
        }
    }

    /// Neither keys nor tokens nor the MAC secret may be read in the log or on the metrics page.
    @Test func noSecretIsLogged() async throws {
        let fixture = try await ApplicationFixture.make()
        let application = try await fixture.start()
        let client = try await fixture.connect(to: application)
        try await client.opened()
        try await client.send(text: #"{"type":"CloseStream"}"#)
        _ = try await client.closed()
        let unknown = Sample.secret(77)
        for authorization in ["Token \(unknown)", "Token \(unknown)x", "Basic \(unknown)"] {
            _ = try await fixture.connect(to: application, authorization: authorization).closed()
        }
        let page = try await fixture.get("/metrics", from: application).body
        await application.stop()
        let log = fixture.log.entries.map { "\($0.message) \($0.metadata)" }.joined(separator: "\n")
        #expect(fixture.log.count(of: "handshake refused") == 3)
        for secret in [fixture.key, unknown, "a secret of the tests"] {
            #expect(!log.contains(secret))
            #expect(!page.contains(secret))
        }
        await fixture.close()
    }

    /// A final that a client has read is in the transcript whatever happens to the node: it is written first.
    @Test func noFinalIsSentBeforeTheSpoolHasIt() async throws {
        try await ApplicationFixture.run { fixture, application in
            let client = try await fixture.connect(to: application)
            try await client.opened()
            try await client.send(seconds: 1)
            try await client.wait("an interim") { !$0.texts.isEmpty }
            let disk = DispatchSemaphore(value: 0)
            application.parts.services.spool.writer.execute { disk.wait() }
            defer { disk.signal() }
            try await client.send(seconds: 5)
            let metrics = application.parts.services.metrics
            try await eventually("the audio is heard") { metrics.audioMilliseconds.value == 6_000 }
            // Long enough for what would be sent at once.
            try await Task.sleep(for: .milliseconds(300))
            #expect(client.finals == [])
            disk.signal()
            try await client.wait("a final") { $0.texts.contains { $0.contains("\"is_final\":true") } }
        }
    }
}
