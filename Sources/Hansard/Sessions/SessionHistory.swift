public import FoundationEssentials

/// Which sessions a list shows: all that nothing here excludes.
public struct SessionFilter: Sendable, Equatable {
    /// How far a session has come.
    public enum Status: String, Sendable, CaseIterable {
        /// It holds its slot.
        case live
        /// It has ended.
        case past
        /// As `live`: its client is attached.
        case active
        /// Ended; the transcript waits for its store.
        case storing
        /// An end.
        case completed
        /// An end.
        case interrupted
        /// An end.
        case failed
        /// An end.
        case terminated

        /// The state of past sessions that it stands for; nil is any of them, or none at all.
        public var pastState: SessionState? {
            switch self {
            case .live, .past, .active: nil
            case .storing: .storing
            case .completed: .completed
            case .interrupted: .interrupted
            case .failed: .failed
            case .terminated: .terminated
            }
        }
    }

    /// nil is live and past.
    public var status: Status?
    /// The key that opened them.
    public var key: KeyID?
    /// The engine that spoke first. It is known of past sessions alone.
    public var engine: String?
    /// They began then or later, to the millisecond.
    public var startedFrom: Date?
    /// They began before, to the millisecond.
    public var startedBefore: Date?

    /// A filter that excludes nothing.
    public init() {}

    /// Whether sessions that hold a slot can be among them.
    public var hasLive: Bool {
        switch status {
        case nil, .live, .active: engine == nil
        case .past, .storing, .completed, .interrupted, .failed, .terminated: false
        }
    }

    /// Whether sessions that have ended can be among them.
    public var hasPast: Bool {
        switch status {
        case .live, .active: false
        case nil, .past, .storing, .completed, .interrupted, .failed, .terminated: true
        }
    }

    /// Whether it asks for the engine of sessions of which it is not known yet.
    public var isContradictory: Bool { engine != nil && !hasPast }

    /// Whether a session that holds a slot is among them.
    public func includes(_ lease: Lease) -> Bool {
        hasLive && key.map { $0 == lease.key } ?? true
            && startedFrom.map { lease.session >= SessionID(firstFrom: $0) } ?? true
            && startedBefore.map { lease.session < SessionID(firstFrom: $0) } ?? true
    }
}

/// Whose sessions are looked for, and who looks.
public enum SessionReach: Sendable, Equatable {
    /// The tenant itself: the store must show it nothing else, whatever it is asked.
    case own(TenantID)
    /// An operator, at one tenant's.
    case tenant(TenantID)
    /// An operator who may know of these; nil is all.
    case tenants([TenantID]?)
}

/// Where sessions can be found after their end, for as long as usage is kept.
///
/// Conformers may be called from any task; they throw `HansardError` with code `.unavailable` if the store is away.
public protocol SessionHistory: Sendable {
    /// The past sessions of a filter, newest first by their ids. A session may appear some moments after its end.
    ///
    /// - Parameters:
    ///   - before: the last one of the page before; nil begins at the newest.
    ///   - limit: at least 1.
    func past(
        _ reach: SessionReach, _ filter: SessionFilter, before: SessionID?, limit: Int
    ) async throws -> [UsageRow]
    /// One past session; nil if there is none, or none within reach.
    func past(_ session: SessionID, _ reach: SessionReach) async throws -> UsageRow?
}

/// A session as lists show it.
public enum ListedSession: Sendable, Equatable {
    /// It holds its slot.
    case live(Lease)
    /// It has ended.
    case past(UsageRow)

    /// Which session.
    public var session: SessionID {
        switch self {
        case .live(let lease): lease.session
        case .past(let row): row.session
        }
    }

    /// One page of both, newest first. Whatever is in both still holds its slot: it is live.
    ///
    /// - Parameters:
    ///   - live: all of a filter's, in any order. They must have been read before `past`: who ends between is in both, and
    ///     not in neither.
    ///   - past: the newest `limit` before `before`, newest first.
    public static func page(live: [Lease], past: [UsageRow], before: SessionID?, limit: Int) -> [ListedSession] {
        let held = Set(live.map(\.session))
        let here = live.filter { lease in before.map { lease.session < $0 } ?? true }
        let all = here.map(Self.live) + past.filter { !held.contains($0.session) }.map(Self.past)
        return Array(all.sorted { $0.session > $1.session }.prefix(limit))
    }
}

extension SessionID: Comparable {
    /// In the order of their bytes, which is that of their starts to the millisecond.
    public static func < (one: SessionID, other: SessionID) -> Bool { one.rawValue < other.rawValue }

    /// The lowest id of a session that begins at a time or later, to the millisecond; no id is lower that begins before 1970.
    public init(firstFrom time: Date) {
        // What is a hair above a whole millisecond, as whole ones are in binary, is that millisecond.
        let milliseconds = (time.timeIntervalSince1970 * 1_000 - 0.001).rounded(.up)
        self.init(
            startedAt: Date(timeIntervalSince1970: milliseconds / 1_000), random: [UInt8](repeating: 0, count: 10))
    }
}
