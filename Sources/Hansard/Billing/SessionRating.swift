/// What a line of a bill has of a session's time.
public struct RatedTime: Sendable, Hashable {
    /// Which line.
    public var subject: RatedLine.Subject
    /// 1 where the session began, else 0.
    public var sessions: Int
    /// Milliseconds as they were metered.
    public var raw: Int64
    /// After increment and minimum, as far as the session was not billed for before.
    public var billed: Int64
}

/// Decides which line has a time, and what it is billed there: sessions one after the other, the parts of each in their order.
///
/// A session's time is rounded up and brought to the minimum as a whole, as far as it has a price: what is billed of a later part
/// is what all of it is billed, less what was billed before, in an earlier period by the plan of that period. Each plan counts the
/// time that it bills.
public struct SessionRating: Sendable {
    /// The time of a session that has a price, as far as it has been rated, and what it was billed.
    private struct Priced {
        var session: SessionID?
        var milliseconds: Int64 = 0
        var billed: Int64 = 0
    }

    private let plan: PlanVersion
    private let earlier: PlanVersion?
    private var last = Priced()

    /// - Parameters:
    ///   - plan: one that `PlanVersion.check` finds good.
    ///   - earlier: what the period before was billed by; nil if nothing was.
    public init(_ plan: PlanVersion, after earlier: PlanVersion?) {
        self.plan = plan
        self.earlier = earlier
    }

    /// What a session's time is billed, in milliseconds.
    public static func billed(_ milliseconds: Int64, by plan: PlanVersion) -> Int64 {
        guard milliseconds > 0 else { return 0 }
        let (whole, rest) = milliseconds.quotientAndRemainder(dividingBy: plan.increment)
        return max((rest == 0 ? whole : whole + 1) * plan.increment, plan.minimum)
    }

    /// The next part of the session that the last one was of, or the first of another.
    public mutating func rate(_ time: BillableTime) -> RatedTime {
        if time.session == nil || time.session != last.session { last = before(time) }
        let charge = plan.charges.firstIndex { $0.covers(engine: time.engine, language: time.language) }
        var billed = time.milliseconds
        if charge != nil {
            last.milliseconds += time.milliseconds
            billed = max(0, Self.billed(last.milliseconds, by: plan) - last.billed)
            last.billed += billed
        }
        return RatedTime(
            subject: charge.map(RatedLine.Subject.charge) ?? .unpriced, sessions: time.isBeginning ? 1 : 0,
            raw: time.milliseconds, billed: billed)
    }

    /// What a session had in earlier periods, as the last of them was billed: of its time what had a price then. What had none is
    /// not billed now, though it may have one since; what had one was paid, though it may have none any more.
    private func before(_ time: BillableTime) -> Priced {
        guard let earlier else { return Priced(session: time.session) }
        let priced = time.earlier.filter { part in
            earlier.charges.contains { $0.covers(engine: part.engine, language: time.language) }
        }
        func sum(_ plan: PlanVersion) -> Int64 { priced.reduce(0) { $0 + $1.milliseconds(plan.time) } }
        return Priced(
            session: time.session, milliseconds: sum(plan), billed: Self.billed(sum(earlier), by: earlier))
    }
}
