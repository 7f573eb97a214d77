import EventLoops
public import FoundationEssentials

/// The time that signatures carry: this machine's, corrected by what AWS's answers said of it. Any thread may use it.
///
/// One is shared by all services of a process, and by what decides whether credentials have ended.
public final class AWSClock: Sendable {
    /// What is less is left alone: services accept five minutes, S3 15, and answers are late by some seconds.
    static let smallestError: TimeInterval = 240
    /// Corrections that differ by less are the same correction.
    static let smallestChange: TimeInterval = 60

    private let machine: @Sendable () -> Date
    private let report: @Sendable (ClockError) -> Void
    private let correction = Locked<TimeInterval>(0)

    /// A clock without correction.
    ///
    /// - Parameters:
    ///   - machine: this machine's time.
    ///   - report: called once for each time that the machine's clock is found wrong, or right again, on the thread of
    ///     whoever found it.
    public init(
        machine: @escaping @Sendable () -> Date = { Date() },
        report: @escaping @Sendable (ClockError) -> Void = { _ in }
    ) {
        self.machine = machine
        self.report = report
    }

    /// The corrected time.
    public var now: Date { machine() + correction.withLock { $0 } }

    /// Compares this machine's clock with the time of an answer that just came.
    ///
    /// - Returns: whether signatures will now be dated differently.
    func learn(serverTime: Date) -> Bool {
        let error = serverTime.timeIntervalSince(machine())
        let needed = abs(error) < Self.smallestError ? 0 : error
        let isNew = correction.withLock { correction in
            guard abs(needed - correction) >= Self.smallestChange else { return false }
            correction = needed
            return true
        }
        if isNew { report(ClockError(seconds: needed)) }
        return isNew
    }
}

/// By how much this machine's clock differs from AWS's.
public struct ClockError: Sendable, Equatable, CustomStringConvertible {
    /// What AWS's clock shows more than this machine's; 0 if it is right again.
    public var seconds: TimeInterval

    /// For logs.
    public var description: String {
        guard seconds != 0 else { return "this machine's clock agrees with AWS's again" }
        let minutes = Int((abs(seconds) / 60).rounded())
        return """
            this machine's clock is \(minutes) min \(seconds > 0 ? "behind" : "ahead of") AWS's; requests are signed with \
            AWS's time until it is set right
            """
    }
}
