import EventLoops
import LocalSpeech

/// Keeps a stream's events, and lets a test wait for one.
final class EventLog: Sendable {
    private struct State {
        var events: [RecognizerEvent] = []
        var waiters:
            [(predicate: @Sendable ([RecognizerEvent]) -> Bool, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Locked(State())

    var events: [RecognizerEvent] { state.withLock { $0.events } }

    func add(_ event: RecognizerEvent) {
        let ready = state.withLock { state in
            state.events.append(event)
            let ready = state.waiters.filter { $0.predicate(state.events) }
            state.waiters.removeAll { $0.predicate(state.events) }
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    /// Waits until the events satisfy the predicate; the suite's time limit ends what never does.
    func wait(until predicate: @escaping @Sendable ([RecognizerEvent]) -> Bool) async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if predicate(state.events) { return true }
                state.waiters.append((predicate, continuation))
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    func waitForEnd() async {
        await wait { events in events.contains { $0.isLast } }
    }

    /// Without `.capacity`, which depends on how fast the audio was decoded.
    var eventsOfAudio: [RecognizerEvent] { events.filter { $0 != .capacity } }
    var finals: [RecognizerResult] { events.compactMap(\.final) }
    var partials: [RecognizerResult] { events.compactMap(\.partial) }
    var texts: [String] { finals.map(\.text) }
}

extension RecognizerEvent {
    var final: RecognizerResult? { if case .final(let result) = self { result } else { nil } }
    var partial: RecognizerResult? { if case .partial(let result) = self { result } else { nil } }
    var progress: Duration? { if case .progress(let through) = self { through } else { nil } }

    var isLast: Bool {
        switch self {
        case .ended, .failed: true
        default: false
        }
    }
}

/// Numbers told by callbacks.
final class EventCount: Sendable {
    private let state = Locked<[Int]>([])

    var values: [Int] { state.withLock { $0 } }

    func add(_ value: Int) { state.withLock { $0.append(value) } }
}
