import Hansard

/// Counts a session's admitted audio, and says when the spool and the lease are to learn of it.
struct AudioMeter {
    /// A usage checkpoint goes to the spool with each so much audio.
    static let checkpointInterval = AudioTime.milliseconds(10_000)
    /// The lease learns of the use with each so much audio.
    static let renewalInterval = AudioTime.milliseconds(60_000)

    private var total: Int64 = 0
    private var checkpointed = AudioTime.zero
    private var renewed = AudioTime.zero

    /// What follows from some audio.
    struct Step: Equatable {
        /// Milliseconds since the last step.
        var added: Int
        /// Milliseconds in all.
        var total: Int64
        /// Whether the spool is to know.
        var isCheckpoint: Bool
        /// Whether the lease is to know.
        var isRenewal: Bool
    }

    /// The session has admitted so much by now.
    mutating func heard(_ duration: AudioTime) -> Step {
        let step = Step(
            added: Int(duration.milliseconds - total), total: duration.milliseconds,
            isCheckpoint: duration - checkpointed >= Self.checkpointInterval,
            isRenewal: duration - renewed >= Self.renewalInterval)
        total = step.total
        if step.isCheckpoint { checkpointed = duration }
        if step.isRenewal { renewed = duration }
        return step
    }
}
