import EventLoops
import Hansard
import Logging
import Testing

@testable import HansardServer

/// Two engines as one, at the edge: rooms, threads, and calls within calls. What is decided is the business of
/// `EngineSuccession`.
@Suite(.timeLimit(.minutes(10))) struct FallbackEngineTests {
    let first = ScriptedEngine("first", features: [.redaction])
    let second = ScriptedEngine("second")
    let log = LogRecorder()
    let events = SyntheticEngineTests.Events()
    static let audio = EngineAudio(sampleRate: 8_000, channels: 1, isMultichannel: false)
    static let away = HansardError(.unavailable, "all slots are in use")

    static let redacted: SessionOptions = {
        var options = SessionOptions()
        options.redactions = [.all]
        return options
    }()

    private var engine: FallbackEngine { FallbackEngine(first: first, second: second, logger: log.logger) }

    private func onLoop(_ body: @escaping @Sendable () throws -> Void) async throws {
        let loop = try EventLoop(name: "test")
        defer {
            loop.stop()
            loop.join()
        }
        try await loop.run(body)
    }

    private func request(_ options: SessionOptions = SessionOptions()) -> EngineRequest {
        EngineRequest(audio: Self.audio, language: "en", options: options)
    }

    @Test func toItsSessionsItIsTheFirst() {
        #expect(engine.description == first.description)
        #expect(engine.load.inUse == 0)
    }

    // MARK: Room

    @Test func roomInTheSecondIsTakenOnlyWhenItIsNeeded() async throws {
        try await onLoop { [self] in
            let reservation = try engine.reserve(for: SessionOptions())
            #expect(second.load.inUse == 0)
            let stream = try reservation.open(request()) { [events] in events.add($0) }
            #expect(stream.send([1, 2, 3]) == .sent)
            #expect(first.state.withLock { $0.requests.map(\.hasSubstitute) } == [true])
            first.say(.final(EngineResult(through: .zero, transcript: "", words: [])))
            #expect(events.take().count == 1)
            first.say(.failed("broken"))
            #expect(second.asked == ["send 3"])
            #expect(second.state.withLock { $0.requests.map(\.hasSubstitute) } == [false])
            let metered = EngineEvent.metered(AudioTime(frames: 6, sampleRate: 8_000))
            #expect(events.take().prefix(1) == [.spokenBy(second.description)])
            second.say(.progress(channel: 0, through: .zero))
            #expect(events.take().first == metered)
            #expect(first.asked.last == "cancel")
            reservation.release()
            reservation.release()
            #expect(first.load.inUse == 0 && second.load.inUse == 0)
            #expect(second.state.withLock { $0.reserved } == 1)
        }
        let warning = log.entries.first { $0.message.contains("its second goes on") }
        #expect(warning?.metadata["error"] == "broken" && warning?.metadata["second"] == "second")
    }

    @Test func withoutRoomInTheFirstTheSecondBegins() async throws {
        first.set { $0.room = Self.away }
        try await onLoop { [self] in
            let reservation = try engine.reserve(channels: 1)
            #expect(second.load.inUse == 1, "so that a session is refused before it begins")
            let stream = try reservation.open(request()) { [events] in events.add($0) }
            #expect(events.take() == [.spokenBy(second.description)])
            #expect(stream.send([1]) == .sent)
            #expect(second.asked == ["send 1"])
            #expect(second.state.withLock { $0.reserved } == 1)
            reservation.release()
            #expect(second.load.inUse == 0)
        }
    }

    @Test func withoutRoomInEitherTheFirstSaysSo() {
        first.set { $0.room = Self.away }
        second.set { $0.room = HansardError(.unavailable, "full too") }
        #expect(throws: Self.away) { _ = try engine.reserve(for: SessionOptions()) }
        #expect(log.entries.contains { $0.metadata["second_error"] == "full too" })
    }

    @Test func anUnusedReservationIsGivenBack() throws {
        let reservation = try engine.reserve(for: SessionOptions())
        reservation.release()
        #expect(first.load.inUse == 0)
        first.set { $0.room = Self.away }
        let other = try engine.reserve(for: SessionOptions())
        other.release()
        #expect(second.load.inUse == 0)
    }

    /// The second would give what the client wanted taken out.
    @Test func whatTheSecondMayNotDoItIsNotAskedFor() async throws {
        let options = Self.redacted
        first.set { $0.room = Self.away }
        #expect(throws: Self.away) { _ = try engine.reserve(for: options) }
        first.set { $0.room = nil }
        try await onLoop { [self] in
            let stream = try engine.reserve(for: options).open(request(options)) { [events] in events.add($0) }
            #expect(first.state.withLock { $0.requests.map(\.hasSubstitute) } == [false])
            first.say(.failed("broken"))
            #expect(events.take() == [.failed("broken")])
            stream.cancel()
            #expect(second.state.withLock { $0.reserved } == 0)
        }
    }

    // MARK: Opening

    @Test func whatCannotBeOpenedIsReplaced() async throws {
        first.set { $0.opening = Self.away }
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            #expect(events.take() == [.spokenBy(second.description)])
            _ = stream.send([1])
            #expect(second.asked == ["send 1"])
        }
    }

    @Test func audioThatTheFirstDoesNotTakeIsNobodys() async throws {
        let invalid = HansardError(.invalid, "3 channels")
        first.set { $0.opening = invalid }
        try await onLoop { [self] in
            let reservation = try engine.reserve(channels: 1)
            #expect(throws: invalid) { _ = try reservation.open(request(), deliver: { _ in }) }
        }
        #expect(second.state.withLock { $0.reserved } == 0)
    }

    @Test(arguments: ["room", "opening"]) func withoutASecondTheStreamHasFailed(_ what: String) async throws {
        second.set { state in
            if what == "room" { state.room = Self.away } else { state.opening = Self.away }
        }
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            first.say(.failed("broken"))
            let told = events.take()
            #expect(told.count == 1)
            guard case .failed(let reason)? = told.first else { return }
            #expect(reason.hasPrefix("broken"))
            #expect(stream.send([1]) == .dropped)
        }
    }

    /// Engines may speak within `open`.
    @Test func whoFailsWhileItIsOpenedIsReplaced() async throws {
        first.set { $0.greeting = [.metered(.zero), .failed("broken")] }
        second.set { $0.greeting = [.progress(channel: 0, through: .zero)] }
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            #expect(
                events.take() == [
                    .metered(.zero), .spokenBy(second.description), .progress(channel: 0, through: .zero),
                ])
            #expect(first.asked == ["cancel"])
            #expect(stream.send([1]) == .sent)
        }
    }

    @Test func outsideOfAnEventLoopItCannotBeOpened() throws {
        let reservation = try engine.reserve(channels: 1)
        #expect(throws: HansardError.self) { _ = try reservation.open(request(), deliver: { _ in }) }
    }

    // MARK: Calls within calls

    /// A send that fails within itself is replayed within itself.
    @Test func aDroppedSendGoesToTheSecond() async throws {
        first.set { $0.outcome = .dropped }
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            #expect(stream.send([1, 2]) == .sent)
            #expect(first.asked == ["send 2", "cancel"])
            #expect(second.asked == ["send 2"])
            #expect(stream.send([3]) == .sent)
        }
    }

    @Test func aSecondWithoutRoomHoldsTheSessionBack() async throws {
        second.set { $0.outcome = .backpressure }
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            for _ in 0..<3 { _ = stream.send([1]) }
            first.say(.failed("broken"))
            #expect(second.asked == ["send 1"])
            #expect(stream.send([1, 2]) == .backpressure)
            _ = events.take()
            second.say(.capacity)
            second.set { $0.outcome = .sent }
            second.say(.capacity)
            #expect(second.asked == ["send 1", "send 1", "send 1", "send 2"])
            #expect(events.take().last == .capacity)
        }
    }

    /// The session hands in what it held as soon as it is told that there is room: within our own call.
    @Test func audioThatComesWithinAnEventIsTakenInItsTurn() async throws {
        first.set { $0.outcome = .backpressure }
        try await onLoop { [self] in
            let stream = Locked<(any EngineStream)?>(nil)
            let outcomes = Locked<[SendOutcome]>([])
            let left = Locked(3)
            let opened = try engine.reserve(channels: 1).open(request()) { [events] event in
                events.add(event)
                let mayGo = left.withLock { left in
                    left -= 1
                    return left >= 0
                }
                guard event == .capacity, mayGo, let stream = stream.withLock({ $0 }) else { return }
                let outcome = stream.send([7])
                outcomes.withLock { $0.append(outcome) }
            }
            stream.withLock { $0 = opened }
            #expect(opened.send([1]) == .backpressure)
            first.set { $0.outcome = .sent }
            first.say(.capacity)
            #expect(first.asked == ["send 1", "send 1", "send 1", "send 1"])
            #expect(outcomes.withLock { $0 } == [.backpressure, .backpressure, .backpressure])
            #expect(events.list == [.capacity, .capacity, .capacity, .capacity])
            #expect(opened.send([1]) == .sent)
            stream.withLock { $0 = nil }
        }
    }

    // MARK: Threads

    /// Events of other threads come to the loop, in their order, and none to a stream that is gone.
    @Test func eventsOfOtherThreadsComeOnTheLoop() async throws {
        let loop = try EventLoop(name: "test")
        let isOnLoop = Locked<[Bool]>([])
        let held = Locked<(any EngineStream)?>(nil)
        try await loop.run { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] event in
                isOnLoop.withLock { $0.append(loop.isCurrent) }
                events.add(event)
            }
            held.withLock { $0 = stream }
        }
        for second in 1...100 { first.say(.progress(channel: 0, through: .milliseconds(second))) }
        first.say(.failed("broken"))
        try await loop.run {}
        let told = events.take()
        let expected = (1...100).map { EngineEvent.progress(channel: 0, through: .milliseconds($0)) }
        #expect(Array(told.prefix(100)) == expected)
        #expect(told.last == .spokenBy(second.description))
        #expect(isOnLoop.withLock { $0 }.allSatisfy { $0 })
        held.withLock { $0 = nil }
        second.say(.progress(channel: 0, through: .zero))
        try await loop.run {}
        #expect(events.take().isEmpty)
        loop.stop()
        loop.join()
    }

    // MARK: With a real second

    /// The synthetic engine answers within each call, and its clock begins anew.
    @Test func theSyntheticEngineGoesOn() async throws {
        let engine = FallbackEngine(first: first, second: SyntheticEngine(), logger: log.logger)
        try await onLoop { [self] in
            let stream = try engine.reserve(channels: 1).open(request()) { [events] in events.add($0) }
            for _ in 0..<4 { _ = stream.send([Int16](repeating: 0, count: 8_000)) }
            first.say(
                .final(
                    EngineResult(
                        through: .milliseconds(2_500), transcript: "one",
                        words: [Word(text: "one", start: .zero, end: .milliseconds(900))])))
            first.say(.failed("broken"))
            for _ in 0..<4 { _ = stream.send([Int16](repeating: 0, count: 8_000)) }
            stream.finish()
            let finals = events.list.compactMap { if case .final(let result) = $0 { result } else { nil } }
            #expect(
                finals.map(\.transcript) == ["one", "second1 second2 second3 second4 second5"])
            #expect(finals.last?.words.map(\.start.seconds) == [2.5, 3.5, 4.5, 5.5, 6.5])
            #expect(events.list.last == .ended)
            #expect(events.list.contains(.metered(.milliseconds(9_500))), "4 s here and 5.5 s there")
        }
    }
}

/// Which engine a tenant gets.
@Suite struct EngineRegistryTests {
    private func registry(_ fallback: String?, _ names: String...) -> EngineRegistry {
        EngineRegistry(
            defaultEngine: "a", fallbackEngine: fallback,
            engines: Dictionary(uniqueKeysWithValues: names.map { ($0, ScriptedEngine($0)) }),
            logger: LogRecorder().logger)
    }

    private func tenant(_ first: String? = nil, _ second: String? = nil) -> Tenant {
        Tenant(id: Sample.tenant, name: "one", defaultEngine: first, fallbackEngine: second, createdAt: moment(0))
    }

    /// The name of the first, and whether there is a second.
    private func choice(_ registry: EngineRegistry, _ tenant: Tenant) throws -> String {
        let engine = try registry.engine(for: tenant)
        return engine.description.name + (engine is FallbackEngine ? "+" : "")
    }

    @Test func theTenantsChoiceComesBeforeTheServers() throws {
        let registry = registry("b", "a", "b", "c")
        #expect(try choice(registry, tenant()) == "a+")
        #expect(try choice(registry, tenant("c")) == "c+")
        #expect(try choice(registry, tenant("b")) == "b", "an engine is not its own second")
        #expect(try choice(registry, tenant("b", "a")) == "b+")
        #expect(try choice(registry, tenant(nil, "a")) == "a", "so a tenant has none")
        #expect(try choice(self.registry(nil, "a", "b"), tenant()) == "a")
        #expect(try choice(self.registry(nil, "a", "b"), tenant(nil, "b")) == "a+")
    }

    @Test func whatThisNodeDoesNotHaveIsNone() throws {
        let registry = registry("b", "a", "b")
        #expect(try choice(registry, tenant(nil, "x")) == "a")
        #expect(try choice(registry, tenant("x")) == "b")
        #expect(throws: HansardError.self) { try registry.engine(for: tenant("x", "y")) }
    }
}
