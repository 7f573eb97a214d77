import Hansard

/// What the stores still have to learn of one session: the order in which they learn it.
struct SettlementProgress: Sendable {
    /// The next thing to do.
    enum Step: Equatable {
        case spool, putTranscript, release, finishStoring, recordUsage, forget
    }

    /// Whether the spool has the session's end.
    var isSpooled = true
    /// Where the transcript is, once it is stored.
    var location: String?
    /// Whether the slot is free and the status set.
    var isReleased = false
    /// Whether the status was set while the transcript waited.
    var wasStoring = false
    /// Whether the usage row is recorded.
    var isUsageRecorded = false
    /// Whether that row says that the transcript waits.
    var isRecordedAsStoring = false
    /// Whether there is a transcript at all.
    let hasTranscript: Bool

    init(hasTranscript: Bool) { self.hasTranscript = hasTranscript }

    /// The slot is free. A status that an earlier attempt stored, whose answer was lost or whose node died, stays: it may
    /// say `storing`.
    mutating func released(_ outcome: ReleaseOutcome, as state: SessionState) {
        isReleased = true
        wasStoring = state == .storing || (outcome == .alreadyGone && hasTranscript)
    }

    /// The usage row, as far as it can be told now, is in its store.
    mutating func recordedUsage(asStoring: Bool) {
        isUsageRecorded = true
        isRecordedAsStoring = asStoring
    }

    /// Whether the usage row, or that it is no longer true that the transcript waits, is still to be told.
    var owesUsage: Bool { !isUsageRecorded || (isRecordedAsStoring && location != nil) }

    /// Every step that can be tried now: a store that is away does not hold up what another one can do.
    var steps: [Step] {
        var steps: [Step] = []
        let waits = hasTranscript && location == nil
        if !isSpooled, waits || owesUsage { steps.append(.spool) }
        if waits { steps.append(.putTranscript) }
        // Nobody is told `storing` of what is nowhere but in memory.
        if !isReleased, isSpooled || !waits { steps.append(.release) }
        if isReleased, wasStoring, !waits { steps.append(.finishStoring) }
        if owesUsage { steps.append(.recordUsage) }
        return steps.isEmpty ? [.forget] : steps
    }
}
