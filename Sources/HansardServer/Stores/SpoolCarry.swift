import Foundation
import Hansard

/// The oldest file of a spool, read to be carried: which of its bytes are whose, in pieces.
struct SpoolCarry: Sendable {
    struct Frame: Sendable {
        let session: SessionID
        /// Where it is in the file, header and all.
        let range: Range<Int>
    }

    let file: Int
    /// The frames in order, but those that settle a session: all that they settle is in this file or was in earlier ones.
    let pieces: [[Frame]]
    /// How much of the file could be read.
    let readableBytes: Int
    /// How often the disk had failed before.
    let failures: Int
    private let bytes: [UInt8]

    /// - Parameter pieceBytes: a piece has one frame, or as many as are not longer than this together.
    /// - Throws: if a record is of an unknown form.
    init(file: Int, bytes: [UInt8], pieceBytes: Int, failures: Int) throws {
        let (payloads, readableBytes) = SpoolFraming.payloads(in: bytes)
        let decoder = JSONDecoder()
        var pieces: [[Frame]] = []
        var room = 0
        for payload in payloads {
            let record = try decoder.decode(SpoolRecord.self, from: Data(payload))
            if case .settled = record { continue }
            let frame = Frame(
                session: record.session, range: payload.startIndex - SpoolFraming.headerBytes..<payload.endIndex)
            if frame.range.count > room {
                pieces.append([])
                room = pieceBytes
            }
            pieces[pieces.count - 1].append(frame)
            room -= frame.range.count
        }
        self.file = file
        self.pieces = pieces
        self.readableBytes = readableBytes
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
