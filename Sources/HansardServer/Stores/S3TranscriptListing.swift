import FoundationEssentials
import Hansard

/// Finds the newest of a tenant's transcripts in a store that lists oldest first, with few lists.
///
/// Names begin with the day and then with the session's id, which begins with its time: their order is that of time,
/// and a list can begin at any moment. So the first list, of the oldest, is all that small tenants need. Of larger ones
/// the last hour is looked at next, then more and more; where a list is cut off, the time that it did not reach is
/// halved. Of a million transcripts a page takes about ten lists at worst.
struct S3TranscriptListing {
    /// What to do next.
    enum Action: Equatable {
        /// List names that come after this one, and tell `listed`; nil begins at the oldest.
        case list(startAfter: String?)
        /// These are the newest.
        case done([TranscriptEntry])
        /// More lists than names of ours can need: other objects are in the way.
        case giveUp
    }

    /// Lists in one search.
    static let maximumLists = 100
    /// How far back from the end to look, in milliseconds: an hour, and 16 times as much each.
    private static let reaches: [Int64] = (0..<4).map { 3_600_000 << (4 * $0) }

    /// Names after `lower`, of sessions from `lowerTime` on and before `upperTime`; nil is no bound.
    private struct Window {
        var lower: String?
        var lowerTime: Int64 = 0
        var upperTime: Int64?
    }

    private enum Work {
        case search(Window)
        case found([TranscriptEntry])
    }

    private let before: String?
    private let limit: Int
    /// No session is later, as far as is known: where halving begins.
    private let end: Int64
    /// The newest last.
    private var work = [Work.search(Window())]
    private var current = Window()
    private var entries: [TranscriptEntry] = []
    /// That of the last name: most names are of the same day as the one before, and calendars are slow.
    private var day = (number: Int64(-1), path: "")
    private(set) var lists = 0

    /// - Parameters:
    ///   - before: the page's entries are older; nil is no bound.
    ///   - now: saves lists if it is right, and costs some if it is not.
    init(before: SessionID?, limit: Int, now: Date) {
        self.before = before?.description
        self.limit = limit
        end = before.map { Self.time(of: $0) + 1 } ?? Int64(now.timeIntervalSince1970 * 1_000)
    }

    /// What to do next.
    mutating func next() -> Action {
        while entries.count < limit, let item = work.popLast() {
            switch item {
            case .found(let found): entries += found.suffix(limit - entries.count).reversed()
            case .search(let window):
                guard lists < Self.maximumLists else { return .giveUp }
                lists += 1
                current = window
                return .list(startAfter: window.lower)
            }
        }
        return .done(entries)
    }

    /// A list has come.
    ///
    /// - Parameter isWhole: whether no name follows the last of these.
    mutating func listed(_ names: [(name: String, size: Int)], isWhole: Bool) {
        var found: [TranscriptEntry] = []
        var reached = isWhole
        for (name, size) in names {
            guard let session = session(of: name) else { continue }
            let isBeyond = current.upperTime.map { Self.time(of: session) >= $0 } ?? false
            if isBeyond || before.map({ session.description >= $0 }) ?? false {
                reached = true
                break
            }
            found.append(TranscriptEntry(session: session, startedAt: session.startedAt, size: size))
        }
        work.append(.found(found.suffix(limit)))
        guard !reached, let last = names.last?.name else { return }
        let lastTime = found.last.map { Self.time(of: $0.session) } ?? current.lowerTime
        var rest = Window(lower: last, lowerTime: lastTime, upperTime: nil)
        for time in splits(after: lastTime) {
            work.append(.search(Window(lower: rest.lower, lowerTime: rest.lowerTime, upperTime: time)))
            rest = Window(lower: Self.place(of: time), lowerTime: time)
        }
        rest.upperTime = current.upperTime
        work.append(.search(rest))
    }

    /// Where to cut the time after `lastTime` that the current window's list did not reach; ascending.
    private func splits(after lastTime: Int64) -> [Int64] {
        let isFirst = current.lower == nil
        let times = isFirst ? Self.reaches.reversed().map { end - $0 } : [lastTime / 2 + (current.upperTime ?? end) / 2]
        return times.filter { $0 > lastTime && $0 < current.upperTime ?? .max }
    }

    // MARK: Names

    /// `yyyy/mm/dd/<session>.json`; nil if it is not that.
    private mutating func session(of name: String) -> SessionID? {
        guard name.hasSuffix(".json"), let slash = name.lastIndex(of: "/"),
            let session = SessionID(String(name[name.index(after: slash)...].dropLast(5)))
        else { return nil }
        let number = Self.time(of: session) / 86_400_000
        if day.number != number { day = (number, S3TranscriptStore.dayPath(of: session.startedAt)) }
        return name == "\(day.path)/\(session).json" ? session : nil
    }

    private static func time(of session: SessionID) -> Int64 {
        Int64((session.startedAt.timeIntervalSince1970 * 1_000).rounded())
    }

    /// What the names of all sessions from a time on come after, and none before it: their day, and the part of their
    /// ids that is the time.
    static func place(of time: Int64) -> String {
        let first = SessionID(
            startedAt: Date(timeIntervalSince1970: Double(time) / 1_000), random: [UInt8](repeating: 0, count: 10))
        return "\(S3TranscriptStore.dayPath(of: first.startedAt))/\(first.description.prefix(13))"
    }
}
