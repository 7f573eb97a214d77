import Audio
import EventLoops
import Hansard

/// The events of several streams, each of which hears one channel, as those of one: it has room when all have, and is
/// over when all are. Any thread.
final class ChannelGathering: Sendable {
    private struct State {
        var withoutRoom: Set<Int> = []
        var running: Set<Int>
        /// What each stream was sent, as far as they say.
        var metered: [Int: AudioTime] = [:]
    }

    private let state: Locked<State>
    private let deliver: @Sendable (EngineEvent) -> Void

    /// - Parameters:
    ///   - channels: how many streams there are.
    ///   - deliver: takes the events of all.
    init(channels: Int, deliver: @escaping @Sendable (EngineEvent) -> Void) {
        state = Locked(State(running: Set(0..<channels)))
        self.deliver = deliver
    }

    /// An event of the stream that hears `channel`, to which it is channel 0.
    func take(_ event: EngineEvent, channel: Int) {
        switch event {
        case .partial(var result):
            result.channel = channel
            deliver(.partial(result))
        case .final(var result):
            result.channel = channel
            deliver(.final(result))
        case .progress(_, let through): deliver(.progress(channel: channel, through: through))
        case .flushed: deliver(.flushed(channel: channel))
        case .capacity:
            let hasRoom = state.withLock { state in
                state.withoutRoom.remove(channel)
                return state.withoutRoom.isEmpty
            }
            if hasRoom { deliver(.capacity) }
        case .metered(let total):
            let sum = state.withLock { state in
                state.metered[channel] = total
                return state.metered.values.reduce(AudioTime.zero, +)
            }
            deliver(.metered(sum))
        case .ended:
            let isLast = state.withLock { state in
                state.running.remove(channel) != nil && state.running.isEmpty
            }
            if isLast { deliver(.ended) }
        case .spokenBy, .failed: deliver(event)
        }
    }

    /// What sends to the streams, in their order, came to as a whole.
    func outcome(_ outcomes: [SendOutcome]) -> SendOutcome {
        state.withLock { state in
            for (channel, outcome) in outcomes.enumerated() where outcome == .backpressure {
                state.withoutRoom.insert(channel)
            }
        }
        if outcomes.contains(.dropped) { return .dropped }
        return outcomes.contains(.backpressure) ? .backpressure : .sent
    }
}

extension [Int16] {
    /// All channels of interleaved samples as one.
    func mixed(channels: Int) -> [Int16] {
        guard channels > 1 else { return self }
        var mixed: [Int16] = []
        mixed.appendDownmix(of: self, channels: channels)
        return mixed
    }

    /// Each channel of interleaved samples by itself.
    func apart(channels: Int) -> [[Int16]] {
        (0..<channels).map { channel in
            var own: [Int16] = []
            own.appendChannel(channel, of: self, channels: channels)
            return own
        }
    }
}
