/// Decides which piece of a recording is sent when: at the pace of the audio, or as fast as it is taken.
///
/// Each piece has its time on the clock of the start, so that delays of one do not add up to a drift; after a delay the
/// pieces that are due follow at once.
struct AudioPacing: Equatable {
    /// How much audio a piece holds at most.
    static let pieceMilliseconds = 100
    /// The size of a piece when there is no pace, in bytes.
    static let fastPieceBytes = 16 << 10

    /// Nil sends as fast as the server takes it.
    let pace: WAVPace?
    /// Bytes sent so far, header included.
    private(set) var sentBytes = 0
    private var sentPieces = 0

    init(pace: WAVPace?) { self.pace = pace }

    /// How many bytes the next piece should have. The first one holds the header as well.
    var nextPieceBytes: Int {
        guard let pace else { return Self.fastPieceBytes }
        return max(1, end(ofPiece: sentPieces, pace) - sentBytes)
    }

    /// When the next piece is due, from the start.
    var nextPieceDue: Duration { pace == nil ? .zero : .milliseconds(Self.pieceMilliseconds * sentPieces) }

    /// How much audio has been sent.
    var sentAudio: Duration {
        guard let pace else { return .zero }
        return .seconds(max(0, sentBytes - pace.audioOffset)) / pace.bytesPerSecond
    }

    /// A piece has been given to the connection.
    mutating func sent(_ bytes: Int) {
        sentBytes += bytes
        guard let pace else { return }
        // A source may give less than was asked for; the rest of the piece is due at the same time.
        while sentBytes >= end(ofPiece: sentPieces, pace) { sentPieces += 1 }
    }

    /// Where piece number `piece` ends, at a frame's boundary; computed from the start, so that rounding does not add up.
    private func end(ofPiece piece: Int, _ pace: WAVPace) -> Int {
        let bytes = pace.bytesPerSecond * Self.pieceMilliseconds * (piece + 1) / 1_000
        // At least a frame each, for the sake of formats with fewer than ten frames a second.
        return pace.audioOffset + max(piece + 1, bytes / pace.bytesPerFrame) * pace.bytesPerFrame
    }
}
