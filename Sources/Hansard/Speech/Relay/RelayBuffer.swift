import DequeModule

/// The audio that a relay still needs: what may have to be replayed, and behind it what has not been sent yet. Positions
/// are frames of the session's audio clock.
struct RelayBuffer {
    private struct Chunk {
        var samples: [Int16]
        /// Its first frame.
        var start: Int64
        /// The channels on which something in it may be speech, a bit each.
        var loudChannels: UInt32
    }

    /// A sample beyond this (-36 dBFS) may be speech.
    static let loudness: Int16 = 512

    private let channels: Int
    /// Frames that may wait to be sent, and how few must wait before more may come once they were too many.
    private let waitingLimit: (most: Int64, again: Int64)
    /// A chunk grows until it has so many samples: what goes in one message lies in one piece then.
    private let shortestChunk: Int
    private var chunks: Deque<Chunk> = []
    /// The chunk that `position` is in; `chunks.count` at the end.
    private var cursor = 0
    /// Behind the last frame that came.
    private(set) var end: Int64 = 0
    /// The next frame to send.
    private(set) var position: Int64 = 0

    /// For audio of any length.
    ///
    /// - Parameters:
    ///   - channels: samples in a frame.
    ///   - shortestMessage: frames that are sent together at least, if so many come.
    init(channels: Int, shortestMessage: Int64) {
        self.channels = channels
        shortestChunk = Int(shortestMessage) * channels
        waitingLimit = (.max, .max)
    }

    /// With the policy's limits of what may wait, and its shortest message.
    init(_ audio: EngineAudio, policy: RelayPolicy) {
        channels = audio.channels
        shortestChunk = Int(policy.shortestMessage.firstFrame(sampleRate: audio.sampleRate)) * channels
        func frames(_ time: AudioTime) -> Int64 { time.microseconds * Int64(audio.sampleRate) / 1_000_000 }
        let most = min(frames(policy.queueLimit), Int64(policy.queueBytes / (channels * MemoryLayout<Int16>.size)))
        waitingLimit = (most, most - min(frames(policy.queueStep), most / 2))
    }

    /// The first frame that is kept.
    var start: Int64 { chunks.first?.start ?? end }
    /// Frames that wait to be sent.
    var waiting: Int64 { end - position }
    /// Whether no more should come.
    var isFull: Bool { waiting >= waitingLimit.most }
    /// Whether more may come after it was full.
    var hasRoomAgain: Bool { waiting <= waitingLimit.again }

    /// Adds whole frames.
    mutating func append(_ samples: [Int16]) {
        guard !samples.isEmpty else { return }
        let loud = loudChannels(samples)
        if let last = chunks.indices.last, chunks[last].samples.count < shortestChunk {
            chunks[last].samples += samples
            chunks[last].loudChannels |= loud
            cursor = min(cursor, last)
        } else {
            chunks.append(Chunk(samples: room(for: samples), start: end, loudChannels: loud))
        }
        end += Int64(samples.count / channels)
    }

    /// The array itself, if it is a whole chunk; else a copy that can grow to one in place.
    private func room(for samples: [Int16]) -> [Int16] {
        guard samples.count < shortestChunk else { return samples }
        var chunk: [Int16] = []
        chunk.reserveCapacity(shortestChunk + samples.count)
        chunk += samples
        return chunk
    }

    private func loudChannels(_ samples: [Int16]) -> UInt32 {
        func isLoud(_ sample: Int16) -> Bool { sample > Self.loudness || sample < -Self.loudness }
        guard channels > 1 else { return samples.contains(where: isLoud) ? 1 : 0 }
        return (0..<channels).reduce(0) { loud, channel in
            let isLoud = stride(from: channel, to: samples.count, by: channels).contains { isLoud(samples[$0]) }
            return isLoud ? loud | 1 << UInt32(channel) : loud
        }
    }

    /// The next frames to send, at most `limit`, and whether they may hold speech; nil at the end. They are copied only
    /// where they lie in several chunks.
    mutating func next(atMost limit: Int64) -> (samples: ArraySlice<Int16>, isLoud: Bool)? {
        guard var (samples, isLoud) = piece(atMost: limit) else { return nil }
        var rest = limit - Int64(samples.count / channels)
        while rest > 0, let more = piece(atMost: rest) {
            samples += more.samples
            isLoud = isLoud || more.isLoud
            rest -= Int64(more.samples.count / channels)
        }
        return (samples, isLoud)
    }

    private mutating func piece(atMost limit: Int64) -> (samples: ArraySlice<Int16>, isLoud: Bool)? {
        guard cursor < chunks.count, limit > 0 else { return nil }
        let chunk = chunks[cursor]
        let offset = Int(position - chunk.start) * channels
        let count = min(chunk.samples.count - offset, Int(limit) * channels)
        position += Int64(count / channels)
        if offset + count == chunk.samples.count { cursor += 1 }
        return (chunk.samples[offset..<offset + count], chunk.loudChannels != 0)
    }

    /// Goes back, or forward, to a frame that is kept.
    mutating func seek(to frame: Int64) {
        position = min(max(frame, start), end)
        cursor = chunks.firstIndex { $0.start + Int64($0.samples.count / channels) > position } ?? chunks.count
    }

    /// Forgets what lies before a frame, but nothing that has not been sent.
    mutating func drop(before frame: Int64) {
        let last = min(frame, position)
        while let first = chunks.first, first.start + Int64(first.samples.count / channels) <= last {
            chunks.removeFirst()
            cursor -= 1
        }
    }

    /// The first frame from `frame` on that may be speech on a channel, or `limit` if none before that is.
    func firstLoud(from frame: Int64, before limit: Int64, channel: Int) -> Int64 {
        let chunk = chunks.first {
            $0.loudChannels & 1 << UInt32(channel) != 0 && $0.start + Int64($0.samples.count / channels) > frame
        }
        return min(max(chunk?.start ?? limit, frame), limit)
    }
}
