public import FoundationEssentials

/// A segment of a session in the month of a line.
public struct BilledSegment: Sendable {
    /// Whose it is.
    public var session: SessionID
    /// When the session began, in whichever month.
    public var startedAt: Date
    /// As the line's invoice has it; nil if it was not there yet.
    public var known: BillableTime?
    /// As the invoices before have it, where they billed the month; nil if they did not, or it was not there.
    public var billed: BillableTime?

    /// See the members.
    public init(session: SessionID, startedAt: Date, known: BillableTime?, billed: BillableTime?) {
        self.session = session
        self.startedAt = startedAt
        self.known = known
        self.billed = billed
    }
}

/// A session whose usage is in a line, and how much of it.
public struct LineSession: Sendable, Hashable {
    /// Which session.
    public var session: SessionID
    /// When it began, in whichever month.
    public var startedAt: Date
    /// 1 if the line counts it, else 0: a session counts where it began. -1 takes back what was counted before.
    public var sessions: Int = 0
    /// Milliseconds as they were metered, less what was billed before.
    public var raw: Int64 = 0
    /// After increment and minimum, less what was billed before: below zero where a later part is billed less now.
    public var billed: Int64 = 0
}

/// Finds the sessions of an invoice's line: those of which it has anything, and what. All of them together are the line.
///
/// It is given a month's segments by session, and the segments of each in their order.
public struct LineSessions: Sendable {
    private let subject: RatedLine.Subject
    private var known: SessionRating
    private var billed: SessionRating
    private var session: LineSession?
    /// The last of the sessions of which all segments were given; nil is none.
    public private(set) var lastWhole: SessionID?

    /// - Parameters:
    ///   - subject: what the line is for.
    ///   - plan: by which the line's month is billed.
    ///   - earlier: by which the month before it was; nil if it was not.
    public init(of subject: RatedLine.Subject, _ plan: PlanVersion, after earlier: PlanVersion?) {
        self.subject = subject
        known = SessionRating(plan, after: earlier)
        billed = SessionRating(plan, after: earlier)
    }

    /// Adds the next segment.
    ///
    /// - Returns: the session before, if this is of another and the line has anything of that one.
    public mutating func add(_ segment: BilledSegment) -> LineSession? {
        let whole = session?.session == segment.session ? nil : end()
        var own = session ?? LineSession(session: segment.session, startedAt: segment.startedAt)
        for (rated, sign) in [(segment.known.map { known.rate($0) }, 1), (segment.billed.map { billed.rate($0) }, -1)] {
            guard let rated, rated.subject == subject else { continue }
            own.sessions += sign * rated.sessions
            own.raw += Int64(sign) * rated.raw
            own.billed += Int64(sign) * rated.billed
        }
        session = own
        return whole
    }

    /// There are no other segments of the session, or none at all.
    ///
    /// - Returns: the last session, if the line has anything of it.
    public mutating func end() -> LineSession? {
        guard let own = session else { return nil }
        (session, lastWhole) = (nil, own.session)
        return own.sessions == 0 && own.raw == 0 && own.billed == 0 ? nil : own
    }
}
