import Hansard

/// What the spool's files hold: decides which of them can go, and which is to be carried.
///
/// A file can go when all sessions with a record in it are settled. Files go oldest first, so that a `settled` record outlives
/// what it settles. A session that lives for hours has records in every file, and would keep all that others left there: once
/// the files hold more of settled sessions than of others, the oldest is carried, which means that the records in it that must
/// be kept are written again, behind the newest, and that it then goes.
///
/// A file of which a sync failed may have a hole after a power failure, though all of it can be read now
/// (https://man7.org/linux/man-pages/man2/fsync.2.html, Notes on errors). What is needed of it is written again as if it were carried,
/// with the `settled` records, whose sessions earlier files may have. Nothing goes before that is done.
///
/// Going once through all files writes what must be kept once more, and frees more than that, since it only begins while there
/// is more to free: on the whole the spool writes at most twice what its sessions do.
struct SpoolContents: Sendable {
    /// What can be done for room.
    enum Step: Equatable {
        /// The disk may have lost some of this file: all of it that is needed is written again.
        case rewrite(Int)
        /// Nobody needs these files. In order.
        case delete([Int])
        case carry(Int)
    }

    private struct File {
        var bytes = 0
        /// Less than `bytes` if a crash tore its last record.
        var readableBytes = 0
        /// What sessions that are not settled have in it.
        var liveBytes = 0
    }

    private struct Share {
        let file: Int
        var bytes: Int
    }

    /// With less garbage than this, nothing is carried: a spool that is nearly empty would always have more of it than of the rest.
    private let leastGarbage: Int
    private var files: [Int: File] = [:]
    /// What each session that is not settled has in which files, oldest first.
    private var shares: [SessionID: [Share]] = [:]
    /// The oldest file, if it cannot be read as it was written.
    private var damaged: Int?
    /// The files of which a sync failed.
    private var lost: Set<Int> = []
    /// The file that is written to, or was last.
    private(set) var current = 0
    /// What all files hold.
    private(set) var bytes = 0
    /// What sessions that are not settled have in them. What was written twice counts twice: both would be carried.
    private(set) var liveBytes = 0

    init(leastGarbage: Int) { self.leastGarbage = leastGarbage }

    /// The sessions that are not settled.
    var sessions: Int { shares.count }

    var currentBytes: Int { files[current]?.bytes ?? 0 }

    func isUnsettled(_ session: SessionID) -> Bool { shares[session] != nil }

    /// Whether some of what was written may not outlive a power failure, though it was synced since.
    var hasLost: Bool { !lost.isEmpty }

    func isLost(_ file: Int) -> Bool { lost.contains(file) }

    /// What of a file could be read when it was last looked at.
    func readableBytes(of file: Int) -> Int { files[file]?.readableBytes ?? 0 }

    var nextStep: Step? {
        if let file = lost.min() { return .rewrite(file) }
        guard let oldest = files.keys.min(), oldest != current, let file = files[oldest] else { return nil }
        if file.liveBytes == 0 {
            return .delete(
                Array(files.keys.sorted().prefix { $0 != current && files[$0]?.liveBytes == 0 }))
        }
        guard oldest != damaged, garbage > max(liveBytes, leastGarbage) else { return nil }
        return .carry(oldest)
    }

    /// What carrying would free: the current file stays.
    private var garbage: Int {
        let file = files[current] ?? File()
        return bytes - liveBytes - (file.bytes - file.liveBytes)
    }

    // MARK: What happens

    /// A file with a higher number than all others takes what comes.
    mutating func begin(_ file: Int) {
        files[file] = File()
        current = file
    }

    /// A record, framed, is in the current file.
    mutating func add(_ count: Int, of record: SpoolRecord) {
        if case .settled(let session) = record {
            grow(by: count)
            settle(session)
        } else {
            add(count, of: record.session)
        }
    }

    /// The same of a record that settles nothing.
    mutating func add(_ count: Int, of session: SessionID) {
        grow(by: count)
        files[current]?.liveBytes += count
        liveBytes += count
        let last = (shares[session]?.count ?? 0) - 1
        if last >= 0, shares[session]?[last].file == current {
            shares[session]?[last].bytes += count
        } else {
            shares[session, default: []].append(Share(file: current, bytes: count))
        }
    }

    /// The current file ends in bytes that are no record.
    mutating func addTorn(_ count: Int) {
        files[current]?.bytes += count
        bytes += count
    }

    private mutating func grow(by count: Int) {
        files[current]?.bytes += count
        files[current]?.readableBytes += count
        bytes += count
    }

    /// Nothing of the session need be kept.
    mutating func settle(_ session: SessionID) {
        for share in shares.removeValue(forKey: session) ?? [] { drop(share) }
    }

    /// No session but these is unsettled, whatever was read of others.
    mutating func keep(_ sessions: Set<SessionID>) {
        for session in shares.keys where !sessions.contains(session) { settle(session) }
    }

    /// What must be kept of the file is on the disk in later ones.
    mutating func carried(_ file: Int) {
        for session in shares.keys {
            guard let index = shares[session]?.firstIndex(where: { $0.file == file }),
                let share = shares[session]?.remove(at: index)
            else { continue }
            drop(share)
        }
        lost.remove(file)
    }

    /// A sync of the file failed: what it was to bring to the disk need not be there, whatever later ones say.
    mutating func syncFailed(_ file: Int) { if files[file] != nil { lost.insert(file) } }

    /// The oldest file cannot be read as it was written: it stays until its sessions are settled, and all behind it.
    mutating func isDamaged(_ file: Int) { damaged = file }

    mutating func deleted(_ file: Int) {
        bytes -= files.removeValue(forKey: file)?.bytes ?? 0
        lost.remove(file)
    }

    private mutating func drop(_ share: Share) {
        files[share.file]?.liveBytes -= share.bytes
        liveBytes -= share.bytes
    }
}
