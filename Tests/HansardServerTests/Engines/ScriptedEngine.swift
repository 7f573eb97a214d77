import EventLoops
import Hansard

/// An engine that does what a test tells it, and remembers what it was asked.
final class ScriptedEngine: SpeechEngine {
    struct State {
        var room = HansardError?.none
        var opening = HansardError?.none
        var outcome = SendOutcome.sent
        /// Said within `open`.
        var greeting: [EngineEvent] = []
        /// Said within each `send`.
        var answer: @Sendable ([Int16]) -> [EngineEvent] = { _ in [] }
        var asked: [String] = []
        var requests: [EngineRequest] = []
        var deliver: (@Sendable (EngineEvent) -> Void)?
        var reserved = 0
        var released = 0
    }
    let description: EngineDescription
    let state = Locked(State())

    init(_ name: String, languages: [String] = ["en"], features: Set<EngineFeature> = []) {
        description = EngineDescription(
            name: name, modelName: "\(name)-model", modelVersion: "1", architecture: name, languages: languages,
            maxMultichannel: 2, features: features)
    }

    var load: (capacity: Int?, inUse: Int) { state.withLock { (nil, $0.reserved - $0.released) } }
    var asked: [String] { state.withLock { $0.asked } }

    func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }

    /// Says something on the calling thread.
    func say(_ event: EngineEvent) { state.withLock { $0.deliver }?(event) }

    func reserve(channels: Int) throws(HansardError) -> any EngineReservation {
        try state.withLock { state throws(HansardError) in
            if let error = state.room { throw error }
            state.reserved += 1
        }
        return Reservation(engine: self)
    }

    private final class Reservation: EngineReservation {
        let engine: ScriptedEngine
        let isHeld = Locked(true)

        init(engine: ScriptedEngine) { self.engine = engine }

        func open(
            _ request: EngineRequest, deliver: @escaping @Sendable (EngineEvent) -> Void
        ) throws(HansardError) -> any EngineStream {
            let greeting = try engine.state.withLock { state throws(HansardError) -> [EngineEvent] in
                if let error = state.opening { throw error }
                state.requests.append(request)
                state.deliver = deliver
                return state.greeting
            }
            greeting.forEach(deliver)
            return Stream(engine: engine)
        }

        func release() {
            let wasHeld = isHeld.withLock { isHeld in
                defer { isHeld = false }
                return isHeld
            }
            if wasHeld { engine.state.withLock { $0.released += 1 } }
        }
    }

    private final class Stream: EngineStream {
        let engine: ScriptedEngine

        init(engine: ScriptedEngine) { self.engine = engine }

        private func note(_ what: String) { engine.state.withLock { $0.asked.append(what) } }

        func send(_ samples: [Int16]) -> SendOutcome {
            note("send \(samples.count)")
            let (answer, outcome) = engine.state.withLock { ($0.answer, $0.outcome) }
            answer(samples).forEach { engine.say($0) }
            return outcome
        }
        func flush(channel: Int) { note("flush \(channel)") }
        func finish() { note("finish") }
        func cancel() { note("cancel") }
    }
}
