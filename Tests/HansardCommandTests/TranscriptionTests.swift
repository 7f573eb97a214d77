import EventLoops
import Foundation
import Testing
import Web

@testable import HansardCommand

/// A server that takes audio as it is told to, and answers `CloseStream` as the protocol wants.
private final class StandInServer: Sendable {
    enum Behaviour: Sendable { case complete, refuse, revoke(afterBytes: Int), slow, silent }

    let behaviour: Behaviour
    let received = Locked<[UInt8]>([])
    let request = Locked<HTTPRequest?>(nil)

    init(_ behaviour: Behaviour) { self.behaviour = behaviour }

    /// A Boolean, because describing how long arrays differ takes minutes.
    func hasReceived(_ expected: [UInt8]) -> Bool { received.withLock { $0 == expected } }

    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse {
        HTTPResponse(status: 404, text: "not here")
    }

    func admit(_ request: HTTPRequest) -> HandshakeDecision {
        self.request.withLock { $0 = request }
        if case .refuse = behaviour {
            return .refuse(HTTPResponse(status: 401, headers: ["dg-error": "Invalid credentials."], text: "{}"))
        }
        return .accept(StandInSession(self))
    }
}

/// The one server of this process: the first part of a path says which stand-in it is for.
///
/// It and its loops are never stopped: when libwebsockets 4.1.6 gives a context up, it closes the context's eventfd twice,
/// and by the second time the number may belong to another test's file or socket.
private final class Switchboard: WebSocketAcceptor, HTTPResponder {
    private let standIns = Locked<[String: StandInServer]>([:])

    static let running = Task {
        let switchboard = Switchboard()
        let server = try await WebServer.start(
            configuration: WebServerConfiguration(listen: SocketAddress(host: "127.0.0.1", port: 0)),
            loops: [try EventLoop(name: "serving")],
            responder: switchboard,
            acceptor: switchboard
        )
        return (switchboard, server, asking: try EventLoop(name: "asking"))
    }

    /// The path under which the stand-in is reached.
    func add(_ standIn: StandInServer) -> String {
        let path = "/\(UUID().uuidString)"
        standIns.withLock { $0[path] = standIn }
        return path
    }

    @concurrent func respond(to request: HTTPRequest) async -> HTTPResponse { HTTPResponse(status: 404, text: "") }

    func admit(_ request: HTTPRequest, on loop: EventLoop) -> HandshakeDecision {
        let path = "/\(request.path.split(separator: "/").first ?? "")"
        let standIn = standIns.withLock { $0[path] }
        return standIn?.admit(request) ?? .refuse(HTTPResponse(status: 404, text: "no such stand-in"))
    }
}

private final class StandInSession: WebSocketHandler {
    private let server: StandInServer
    private var socket: WebSocket?

    init(_ server: StandInServer) { self.server = server }

    func opened(_ socket: WebSocket) { self.socket = socket }

    func receivedBinary(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        let count = server.received.withLock { received in
            received += bytes
            return received.count
        }
        switch server.behaviour {
        case .revoke(let limit) where count >= limit: socket?.close(code: 1008, reason: "key revoked")
        case .slow:
            socket?.pauseReading()
            socket?.loop.schedule(after: .milliseconds(1)) { [weak self] in self?.socket?.resumeReading() }
        default: break
        }
    }

    func receivedText(_ text: UnsafeRawBufferPointer) {
        guard String(decoding: text, as: UTF8.self) == #"{"type":"CloseStream"}"# else { return }
        if case .silent = server.behaviour { return }
        socket?.send(
            text: """
                {"type":"Results","channel_index":[0,1],"start":0,"duration":1,"is_final":true,"speech_final":true,\
                "channel":{"alternatives":[{"transcript":"go forward","confidence":1,"words":[]}]}}
                """
        )
        socket?.send(text: #"{"type":"Metadata","channels":1,"duration":1.0}"#)
        socket?.close(code: 1000, reason: "")
    }

    func closed(_ reason: WebSocketClosure) { socket = nil }
}

struct TranscriptionTests {
    /// Runs `transcribe` against a server; gives what was printed, and what it failed with.
    private func transcribe(
        _ behaviour: StandInServer.Behaviour,
        audioBytes: Int = 64_000,
        isFast: Bool = true,
        signals: StopSignals = StopSignals(),
        interruptAfterBytes: Int? = nil
    ) async throws -> (server: StandInServer, recording: [UInt8], printed: String, failure: CommandFailure?) {
        let folder = try TemporaryFolder()
        let recording = wavHeader(before: [("LIST", 9)]) + (0..<audioBytes).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let path = folder.path + "/speech.wav"
        try Data(recording).write(to: URL(filePath: path))
        let (switchboard, server, asking) = try await Switchboard.running.value
        let standIn = StandInServer(behaviour)
        let url = "http://127.0.0.1:\(server.port)\(switchboard.add(standIn))"
        let printed = Locked("")
        let source = try AudioSource(path: path)
        let transcription = Transcription(
            source: source,
            header: try await source.readHeader(),
            isFast: isFast,
            style: .lines(interim: false),
            signals: signals
        ) { text in printed.withLock { $0 += text } }
        let interruption = Task {
            while let limit = interruptAfterBytes, !Task.isCancelled {
                if standIn.received.withLock({ $0.count >= limit }) { return signals.arrived(SIGINT) }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        var failure: CommandFailure?
        do {
            let request = try TranscribeTarget(url: url, key: "hsk_k").request(
                model: "general",
                language: "en",
                interim: false
            )
            try await transcription.run(request, url: url, on: asking)
        } catch let error as CommandFailure {
            failure = error
        }
        interruption.cancel()
        return (standIn, recording, printed.withLock { $0 }, failure)
    }

    @Test func theWholeFileIsSentAndTheFinalsArePrinted() async throws {
        let (server, recording, printed, failure) = try await transcribe(.complete)
        #expect(failure == nil)
        let isWhole = server.hasReceived(recording)
        #expect(isWhole)
        #expect(printed == "go forward\n")
        #expect(server.request.withLock { $0?.headers["authorization"] } == "Token hsk_k")
        #expect(server.request.withLock { $0?.path.hasSuffix("/v1/listen") } == true)
    }

    @Test func thePaceIsTheRecordings() async throws {
        let clock = ContinuousClock()
        let start = clock.now
        let (server, recording, _, failure) = try await transcribe(.complete, audioBytes: 16_000, isFast: false)
        // Half a second of audio: its fifth and last piece is due after 400 ms, whatever else the machine does.
        #expect(clock.now - start >= .milliseconds(400))
        #expect(failure == nil)
        let isWhole = server.hasReceived(recording)
        #expect(isWhole)
    }

    @Test func aSlowServerLosesNothing() async throws {
        let (server, recording, printed, failure) = try await transcribe(.slow, audioBytes: 2_000_000)
        #expect(failure == nil)
        let isWhole = server.hasReceived(recording)
        #expect(isWhole)
        #expect(printed == "go forward\n")
    }

    @Test func aRefusalIsExplained() async throws {
        let (_, _, printed, failure) = try await transcribe(.refuse)
        #expect(failure?.status == .failed)
        #expect(
            failure?.message.hasPrefix("the server refused the session with HTTP 401: Invalid credentials.") == true
        )
        #expect(printed == "")
    }

    @Test func aCloseInTheMiddleIsExplained() async throws {
        let (_, _, _, failure) = try await transcribe(.revoke(afterBytes: 4_000), isFast: false)
        #expect(failure?.status == .failed)
        #expect(failure?.message == "the server closed the session with 1008: key revoked")
    }

    @Test func anInterruptionEndsTheRecordingEarly() async throws {
        let (server, recording, printed, failure) = try await transcribe(
            .complete,
            audioBytes: 3_200_000,
            isFast: false,
            interruptAfterBytes: 4_000
        )
        #expect(failure == nil)
        #expect(server.received.withLock { $0.count } < recording.count)
        #expect(printed == "go forward\n")
    }

    @Test func whatIsNoWAVIsRefusedBeforeConnecting() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/speech.mp3"
        try Data("ID3\u{4}".utf8).write(to: URL(filePath: path))
        let source = try AudioSource(path: path)
        do {
            _ = try await source.readHeader()
            Issue.record("an MP3 was taken for a WAV")
        } catch let failure as CommandFailure {
            #expect(failure.status == .usage)
            #expect(failure.message == "the audio is not a WAV file: it does not begin like a WAV file")
        }
        try Data(wavHeader().prefix(30)).write(to: URL(filePath: path))
        let half = try AudioSource(path: path)
        await #expect(throws: CommandFailure.self) { try await half.readHeader() }
        #expect(throws: CommandFailure.self) { try AudioSource(path: folder.path + "/none.wav") }
    }
}
