import Hansard

/// A session that has ended, with everything that the stores must learn of it.
struct SessionEnd: Sendable {
    var lease: Lease
    var end: SpooledEnd
    var finals: Int

    /// The status to store, once it is known where the transcript is.
    func status(transcriptLocation: String?) -> SessionStatus {
        let isStored = transcriptLocation != nil || end.transcript == nil
        return SessionStatus(
            session: lease.session, tenant: lease.tenant, key: lease.key, state: isStored ? end.state : .storing,
            endState: end.state, reason: end.reason, startedAt: end.usage.startedAt, endedAt: end.usage.endedAt,
            audioMilliseconds: end.usage.audioMilliseconds, engineMilliseconds: end.usage.engineMilliseconds,
            finals: finals, transcriptLocation: transcriptLocation, region: end.usage.region)
    }

    /// The usage row to record, which says how it ended as well: lists of past sessions are made from these rows.
    func usage(transcriptLocation: String?) -> UsageRow {
        var row = end.usage
        row.outcome = SessionOutcome(
            state: status(transcriptLocation: transcriptLocation).state, reason: end.reason, finals: finals,
            hasTranscript: end.transcript != nil)
        return row
    }
}
