import Audio
import EventLoops
import Hansard

/// The events of several streams, each of which hears one channel, as those of one: it has room when all have, and is
/// over when all are. Any thread.
final class ChannelGathering: Sendable {
    private struct State {
        var withoutRoom: Set<Int> = []
        /// How often each stream has told that there is room again.
        var roomsTold: [Int]
        /// Sends that are going on: what answers room with more audio would overtake itself, so it is told after them.
        var sends = 0
        var owesCapacity = false
        var running: Set<Int>
        /// What each stream was sent, as far as they say.
        var metered: [Int: AudioTime] = [:]
    }

    private let channels: Int
    private let state: Locked<State>
    private let deliver: @Sendable (EngineEvent) -> Void

    /// - Parameters:
    ///   - channels: how many streams there are.
    ///   - deliver: takes the events of all.
    init(channels: Int, deliver: @escaping @Sendable (EngineEvent) -> Void) {
        self.channels = channels
        state = Locked(State(roomsTold: Array(repeating: 0, count: channels), running: Set(0..<channels)))
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
                state.roomsTold[channel] += 1
                state.withoutRoom.remove(channel)
                guard state.sends > 0 else { return state.withoutRoom.isEmpty }
                state.owesCapacity = true
                return false
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

    /// Sends to each stream in turn.
    ///
    /// A stream may have room again before its own send has returned, or while the others are sent to: what it told then is
    /// not told again, and nobody is held back for it.
    ///
    /// - Parameter send: sends to the stream that hears a channel.
    /// - Returns: what the sends came to as a whole; `.capacity` follows `.backpressure`.
    func send(_ send: (_ channel: Int) -> SendOutcome) -> SendOutcome {
        var isDropped = false
        state.withLock { $0.sends += 1 }
        for channel in 0..<channels {
            let told = state.withLock { $0.roomsTold[channel] }
            switch send(channel) {
            case .sent: break
            case .backpressure:
                state.withLock { state in
                    if state.roomsTold[channel] == told { state.withoutRoom.insert(channel) }
                }
            case .dropped: isDropped = true
            }
        }
        let (hasRoom, owesCapacity) = state.withLock { state in
            state.sends -= 1
            guard state.withoutRoom.isEmpty, state.sends == 0 else { return (state.withoutRoom.isEmpty, false) }
            defer { state.owesCapacity = false }
            return (true, state.owesCapacity)
        }
        if owesCapacity { deliver(.capacity) }
        if isDropped { return .dropped }
        return hasRoom ? .sent : .backpressure
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
