import Foundation
import Hansard

/// A file of a spool, read to be carried or written again: which of its bytes are whose, in pieces.
struct SpoolCarry: Sendable {
    struct Frame: Sendable {
        let session: SessionID
        /// Where it is in the file, header and all.
        let range: Range<Int>
        /// Whether it settles the session.
        let isSettling: Bool
    }

    let file: Int
    /// Whether it is written again because the disk may have lost some of it.
    let isLost: Bool
    /// The frames in order. Those that settle a session are among them only where files before this one stay: all that they settle
    /// is in this one or was in those.
    let pieces: [[Frame]]
    /// How much of the file could be read.
    let readableBytes: Int
    /// How often the disk had failed before.
    let failures: Int
    private let bytes: [UInt8]

    /// - Parameter pieceBytes: a piece has one frame, or as many as are not longer than this together.
    /// - Throws: if a record is of an unknown form.
    init(file: Int, isLost: Bool, bytes: [UInt8], pieceBytes: Int, failures: Int) throws {
        let reading = SpoolFraming.read(bytes)
        let decoder = JSONDecoder()
        var pieces: [[Frame]] = []
        var room = 0
        for payload in reading.payloads {
            let record = try decoder.decode(SpoolRecord.self, from: Data(payload))
            var isSettling = false
            if case .settled = record { isSettling = true }
            if isSettling, !isLost { continue }
            let frame = Frame(
                session: record.session, range: payload.startIndex - SpoolFraming.headerBytes..<payload.endIndex,
                isSettling: isSettling)
            if frame.range.count > room {
                pieces.append([])
                room = pieceBytes
            }
            pieces[pieces.count - 1].append(frame)
            room -= frame.range.count
        }
        self.file = file
        self.isLost = isLost
        self.pieces = pieces
        readableBytes = reading.intactBytes
        self.failures = failures
        self.bytes = bytes
    }

    /// Frames as they are in the file.
    func data(of frames: [Frame]) -> Data {
        var data = Data(capacity: frames.reduce(0) { $0 + $1.range.count })
        for frame in frames { data.append(contentsOf: bytes[frame.range]) }
        return data
    }
}
