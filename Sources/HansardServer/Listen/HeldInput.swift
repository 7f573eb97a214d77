import DequeModule
import Hansard
import Synchronization

/// What a client sent before its slot was claimed, or while the engine had no room, in order.
struct HeldInput {
    /// Bytes that one session may hold: nine minutes of mu-law at 8 kHz, two of 16-bit audio at 16 kHz.
    static let limit = 4 << 20
    /// Bytes that a session may hold even if the node's other sessions hold all that the node may.
    static let share = 64 << 10
    /// So much must have been handed over before reading goes on, or it would stop and go with each message.
    static let step = 64 << 10

    /// One piece of it.
    enum Piece {
        case audio([UInt8], endsStream: Bool)
        case message(ClientMessage)
    }

    private var pieces: Deque<(piece: Piece, bytes: Int)> = []
    private var bytes = 0
    private let total: HeldTotal

    /// - Parameter total: what all sessions of the node hold.
    init(total: HeldTotal) { self.total = total }

    /// Whether reading must stop.
    var isFull: Bool { bytes >= Self.limit || bytes >= Self.share && total.bytes >= HeldTotal.limit }
    /// Whether reading may go on after it was stopped.
    var hasRoom: Bool { bytes <= Self.limit - Self.step && (bytes < Self.share || total.bytes < HeldTotal.limit) }
    /// Whether nothing is held.
    var isEmpty: Bool { pieces.isEmpty }

    /// Adds a piece that took `count` bytes.
    mutating func add(_ piece: Piece, bytes count: Int) {
        let size = count + MemoryLayout<Piece>.size
        pieces.append((piece, size))
        bytes += size
        total.add(size)
    }

    /// Hands over the oldest piece.
    mutating func next() -> Piece? {
        guard let oldest = pieces.popFirst() else { return nil }
        bytes -= oldest.bytes
        total.add(-oldest.bytes)
        return oldest.piece
    }

    /// Drops what is left.
    mutating func drop() {
        pieces = []
        total.add(-bytes)
        bytes = 0
    }
}

/// Decides whether a client is read from: not while too much is held, but for a piece now and then.
struct ReadingPause {
    /// How long nothing is read before one piece is. Frames come in order, so that pings lie behind audio, and clients give up
    /// after some 20 s without their pong. It is looked at each second: a piece is read every 5 s at least.
    static let interval = Duration.seconds(4)

    private enum State {
        /// Everything is read.
        case reading
        /// Nothing is, since then.
        case paused(ContinuousClock.Instant)
        /// Until the next piece.
        case peeking
    }
    private var state = State.reading

    /// A piece was held.
    ///
    /// - Returns: true if reading must stop.
    mutating func held(isFull: Bool, now: ContinuousClock.Instant) -> Bool {
        switch state {
        case .paused: return false
        case .reading, .peeking:
            state = isFull ? .paused(now) : .reading
            return isFull
        }
    }

    /// Pieces were handed over.
    ///
    /// - Returns: true if reading goes on.
    mutating func released(hasRoom: Bool) -> Bool {
        guard hasRoom else { return false }
        defer { state = .reading }
        if case .paused = state { return true }
        return false
    }

    /// Time has passed. Called about once a second.
    ///
    /// - Returns: true if reading goes on, until the next piece.
    mutating func ticked(now: ContinuousClock.Instant) -> Bool {
        guard case .paused(let since) = state, since.duration(to: now) >= Self.interval else { return false }
        state = .peeking
        return true
    }
}

/// The bytes that all sessions of a node hold. Any thread.
final class HeldTotal: Sendable {
    /// Bytes that a node holds, whatever its sessions do; each may hold its `HeldInput.share` beyond.
    static let limit = 256 << 20

    private let count = Atomic<Int>(0)
    /// What they hold now.
    var bytes: Int { count.load(ordering: .relaxed) }
    func add(_ bytes: Int) { count.add(bytes, ordering: .relaxed) }
}
