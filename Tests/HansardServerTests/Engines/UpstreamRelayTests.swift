import EventLoops
import Hansard
import Testing
import Web

@testable import HansardServer

/// Relays at the edge, where something takes longer than it may. What is decided is the business of `RelayedStream`.
@Suite(.timeLimit(.minutes(10))) struct UpstreamRelayTests {
    /// A service whose credentials never come.
    private struct HangingService: UpstreamService {
        let description = EngineDescription(
            name: "hanging", modelName: "m", modelVersion: "1", architecture: "a", languages: ["en"],
            maxMultichannel: 20)
        let channelsPerStream = 1
        let callTimeout: Duration
        let asked = Locked(0)
        let givenUp = Locked(0)

        func policy(for request: EngineRequest) -> RelayPolicy {
            var policy = RelayPolicy(flush: .message, keepAlive: .message)
            policy.patience = .zero
            return policy
        }

        func call(for request: EngineRequest) async throws(HansardError) -> UpstreamCall {
            asked.withLock { $0 += 1 }
            // Until it is cancelled.
            try? await Task.sleep(for: .seconds(3_600))
            givenUp.withLock { $0 += 1 }
            throw HansardError(.unavailable, "asked in vain")
        }

        func end(after error: WebSocketConnectError) -> UpstreamEnd { .failed(error.description) }
        func end(after closure: WebSocketClosure) -> UpstreamEnd { .failed(closure.reason) }
    }

    private static let mono = EngineAudio(sampleRate: 8_000, channels: 1, isMultichannel: false)

    private func open(
        _ engine: RelayEngine, _ audio: EngineAudio, on loop: EventLoop
    ) async throws -> (LoopBound<any EngineStream>, SyntheticEngineTests.Events) {
        let events = SyntheticEngineTests.Events()
        let stream = try await loop.run {
            let request = EngineRequest(audio: audio, language: "en", options: SessionOptions())
            let stream = try engine.reserve(channels: audio.channels).open(request) { events.add($0) }
            return LoopBound(stream, on: loop)
        }
        return (stream, events)
    }

    @Test func credentialsThatNeverComeAreNotWaitedForForEver() async throws {
        let loop = try EventLoop(name: "test")
        let service = HangingService(callTimeout: .milliseconds(20))
        let engine = RelayEngine(service: service, logger: LogRecorder().logger)
        let (stream, events) = try await open(engine, Self.mono, on: loop)
        try await eventually("the session is told") {
            events.list.contains { if case .failed = $0 { true } else { false } }
        }
        let reason = "its credentials, or its address, were not there after 0.02 seconds"
        #expect(events.list.last == .failed(reason))
        try await eventually("who asked is told that it is of no use") { service.givenUp.withLock { $0 } == 1 }
        #expect(service.asked.withLock { $0 } == 1)
        #expect(engine.record.counts.failed == 1)
        try await loop.run { stream.value.cancel() }
        loop.stop()
        loop.join()
    }

    @Test func whoIsCancelledDoesNotWaitForThem() async throws {
        let loop = try EventLoop(name: "test")
        let service = HangingService(callTimeout: .seconds(3_600))
        let engine = RelayEngine(service: service, logger: LogRecorder().logger)
        let (stream, events) = try await open(engine, Self.mono, on: loop)
        try await eventually("credentials are asked for") { service.asked.withLock { $0 } == 1 }
        try await loop.run { stream.value.cancel() }
        try await eventually("nobody waits for them") { service.givenUp.withLock { $0 } == 1 }
        #expect(!events.list.contains { if case .failed = $0 { true } else { false } })
        #expect(engine.record.counts.failed == 0, "nothing was wrong with it")
        loop.stop()
        loop.join()
    }

    /// Each channel has a stream of its own here; what they may hold is that of one session.
    @Test func manyStreamsOfOneSessionShareItsMemory() async throws {
        let loop = try EventLoop(name: "test")
        let service = HangingService(callTimeout: .seconds(3_600))
        let engine = RelayEngine(service: service, logger: LogRecorder().logger)
        let audio = EngineAudio(sampleRate: 48_000, channels: 20, isMultichannel: true)
        let (stream, _) = try await open(engine, audio, on: loop)
        let bytes = try await loop.run {
            let piece = [Int16](repeating: 0, count: 4_800 * 20)
            var bytes = piece.count * 2
            while stream.value.send(piece) == .sent, bytes < 200 << 20 { bytes += piece.count * 2 }
            stream.value.cancel()
            return bytes
        }
        #expect(((15 << 20)...(17 << 20)).contains(bytes), "\(bytes)")
        loop.stop()
        loop.join()
    }
}
