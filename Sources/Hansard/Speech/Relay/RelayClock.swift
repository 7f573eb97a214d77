import DequeModule

/// From the time of one upstream stream, which counts all that it was sent, to the session's, which counts the client's
/// audio alone: silence that only keeps a stream alive, or closes an utterance, takes no time there.
struct RelayClock {
    private struct Piece {
        var upstream: Int64
        var session: Int64
        var isAudio: Bool
    }

    private let sampleRate: Int
    private var pieces: Deque<Piece> = []
    /// Frames that the stream was sent.
    private(set) var sent: Int64 = 0
    private var session: Int64

    /// - Parameter start: the session's frame at which the stream begins.
    init(sampleRate: Int, start: Int64) {
        self.sampleRate = sampleRate
        session = start
    }

    /// The stream was sent audio of the client.
    mutating func sentAudio(_ frames: Int64) {
        if pieces.last?.isAudio != true { pieces.append(Piece(upstream: sent, session: session, isAudio: true)) }
        sent += frames
        session += frames
    }

    /// The stream was sent silence of our own.
    mutating func sentSilence(_ frames: Int64) {
        if pieces.last?.isAudio != false { pieces.append(Piece(upstream: sent, session: session, isAudio: false)) }
        sent += frames
    }

    /// The session's time at a time of the stream; never beyond what was sent.
    func sessionTime(_ time: AudioTime) -> AudioTime {
        let piece = pieces.last { self.time($0.upstream) <= time } ?? pieces.first
        guard let piece, piece.isAudio else { return self.time(piece?.session ?? session) }
        let next = pieces.first { $0.upstream > piece.upstream }
        let end = self.time(next?.session ?? session)
        return min(max(self.time(piece.session) + (time - self.time(piece.upstream)), .zero), end)
    }

    /// Forgets what lies before a time of the session.
    mutating func forget(before session: Int64) {
        while pieces.count > 1, pieces[1].session <= session { pieces.removeFirst() }
    }

    private func time(_ frames: Int64) -> AudioTime { AudioTime(frames: frames, sampleRate: sampleRate) }
}
